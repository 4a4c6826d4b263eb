"""Whether the worker grows: its resident memory over thousands of full sign-ins."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.stage import Stage
from bench.table import Line, verdict
from bench.visitor import Visitor

_VISITORS = 4
_LIMIT_PERCENT = 10


def measure(stage: Stage, sign_ins: int, say: Callable[[str], None]) -> list[Line]:
    """Sign in `sign_ins` times after a warm-up of a twentieth of that, and compare the memory at both ends."""
    warm_up = max(sign_ins // 20, _VISITORS)
    step = max(sign_ins // 10, _VISITORS)
    _sign_in(stage, warm_up)
    sizes = [_resident_megabytes(stage.worker.pid)]
    for done in range(0, sign_ins, step):
        _sign_in(stage, min(step, sign_ins - done))
        sizes.append(_resident_megabytes(stage.worker.pid))
        say(f"{min(done + step, sign_ins)} sign-ins: {sizes[-1]:.1f} MB")
    growth = (sizes[-1] / sizes[0] - 1) * 100
    return [
        Line(
            f"memory of the worker after {sign_ins} sign-ins",
            f"{sizes[-1]:.1f} MB",
            f"{sizes[0]:.1f} MB after {warm_up}",
            f"{growth:+.1f} %",
            f"<= +{_LIMIT_PERCENT} %",
            verdict(met=growth <= _LIMIT_PERCENT),
        ),
        Line("  of which in the second half", f"{sizes[-1] - sizes[len(sizes) // 2]:+.1f} MB"),
    ]


def _sign_in(stage: Stage, times: int) -> None:
    def sign_in(number: int) -> None:
        with Visitor(stage, stage.people[number]) as visitor:
            for _ in range(number, times, _VISITORS):
                visitor.sign_in()

    with ThreadPoolExecutor(_VISITORS) as pool:
        list(pool.map(sign_in, range(_VISITORS)))


def _resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if sys.platform == "linux":
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024
    answer = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)  # noqa: S603, S607 - the system's own ps
    return int(answer.stdout) / 1024
