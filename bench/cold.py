"""How long a person waits who is the first: from the start of the process to the answer of `/login`."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
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
    environment, tenant = stage.environment, quote(stage.facts["tenant_id"])
    starts = {
        "trivial": _Start(_BASELINE, "/trivial", _OK, environment),
        "sdks": _Start(_BASELINE, "/sdks", _OK, environment),
        "calls": _Start(_BASELINE, f"/round_trips?tenant={tenant}", _OK, environment),
        "login": _Start(_ROOT, "/login", _FOUND, environment),
    }
    found = medians({name: start.measure for name, start in starts.items()}, runs)
    busy = {name: median(start.processor_seconds) for name, start in starts.items()}
    what = "process start to first /login answered"
    return [
        ratio_line(what, found["login"], "trivial function", found["trivial"], 2.2),
        ratio_line("  beside the floor: the SDKs imported", found["login"], "floor", found["sdks"], 1.15),
        ratio_line(
            "  beside a floor with the calls as well",
            found["login"],
            "floor with calls",
            found["calls"],
            None,
        ),
        ratio_line("  the floor itself", found["sdks"], "trivial function", found["trivial"], None),
        ratio_line("  on the processor", busy["login"], "trivial function", busy["trivial"], None),
        ratio_line("  on the processor, beside the floor", busy["login"], "floor", busy["sdks"], None),
        ratio_line(
            "  on the processor, beside the floor with calls",
            busy["login"],
            "floor with calls",
            busy["calls"],
            None,
        ),
    ]


class _Start:
    """Starts an app in the host and asks it once."""

    def __init__(self, app: Path, target: str, status: int, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "local", "functions", "--port", "0", "--app", str(app)]
        self._target = target
        self._status = status
        self._environment = {**os.environ, **environment}
        self.processor_seconds: list[float] = []

    def measure(self) -> float:
        """Give the seconds to the answer, and note the processor time of the process to its end."""
        spent = _processor_seconds_of_children()
        began = time.perf_counter()
        with subprocess.Popen(  # noqa: S603 - our own interpreter and program
            self._command, cwd=_ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                announced = json.loads(process.stdout.readline() if process.stdout else b"")
                with Wire(announced["ready"]) as wire:
                    answer = wire.get(self._target)
                seconds = time.perf_counter() - began
            finally:
                process.kill()
        self.processor_seconds.append(_processor_seconds_of_children() - spent)
        if answer.status != self._status:
            raise AssertionError(f"{self._target} was answered {answer.status}: {answer.body[:2000]!r}")
        return seconds


def _processor_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
