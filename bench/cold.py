"""How long a person waits who is the first: from the start of the process to the answer of `/login`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from bench.alternate import medians
from bench.stage import Stage
from bench.table import Line, ratio_line
from bench.wire import Wire

_ROOT = Path(__file__).parent.parent
_BASELINE = Path(__file__).parent / "baseline"
_FOUND, _OK = 302, 200


def measure(stage: Stage, runs: int) -> list[Line]:
    """Compare the product with a trivial function, and with the floors below it."""
    environment = stage.environment
    tenant = quote(stage.facts["tenant_id"])
    found = medians(
        {
            "trivial": _started(_BASELINE, "/trivial", _OK, environment),
            "sdks": _started(_BASELINE, "/sdks", _OK, environment),
            "round_trips": _started(_BASELINE, f"/round_trips?tenant={tenant}", _OK, environment),
            "login": _started(_ROOT, "/login", _FOUND, environment),
        },
        runs,
    )
    login = found["login"]
    what = "process start to first /login answered"
    return [
        ratio_line(what, login, "trivial function", found["trivial"], 2.2),
        ratio_line("  over the floor: the SDKs imported", login, "SDKs imported", found["sdks"], 1.15),
        ratio_line("  the floor with its calls as well", login, "and the same calls made", found["round_trips"], None),
        ratio_line("  (the floor itself)", found["sdks"], "trivial function", found["trivial"], None),
    ]


def _started(app: Path, target: str, status: int, environment: dict[str, str]) -> Callable[[], float]:
    command = [sys.executable, "-m", "local", "functions", "--port", "0", "--app", str(app)]

    def run() -> float:
        began = time.perf_counter()
        with subprocess.Popen(  # noqa: S603 - our own interpreter and program
            command,
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                announced = json.loads(process.stdout.readline() if process.stdout else b"")
                with Wire(announced["ready"]) as wire:
                    answer = wire.get(target)
                seconds = time.perf_counter() - began
            finally:
                process.kill()
        if answer.status != status:
            raise AssertionError(f"{target} was answered {answer.status}: {answer.body[:2000]!r}")
        return seconds

    return run
