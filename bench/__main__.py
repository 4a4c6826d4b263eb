"""`python -m bench`: measure everything on this machine and print the table. It never fails for a slow machine."""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import calls, cold, imports, memory, tokens, warm
from bench.stage import prepared
from bench.table import Line, show
from local.children import Child

_PEOPLE = 4


@dataclass(frozen=True, slots=True)
class _Effort:
    """How often each measure is repeated."""

    import_runs: int
    cold_runs: int
    warm_rounds: int
    sign_ins: int


_FULL = _Effort(import_runs=25, cold_runs=15, warm_rounds=15, sign_ins=10_000)
_QUICK = _Effort(import_runs=5, cold_runs=3, warm_rounds=3, sign_ins=200)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs: to see that it works, not to quote")
    parser.add_argument("--sign-ins", type=int, help="how many sign-ins the memory is watched over (10000)")
    arguments = parser.parse_args()
    effort = _QUICK if arguments.quick else _FULL
    print(show(_measure(effort, arguments.sign_ins or effort.sign_ins)))


def _measure(effort: _Effort, sign_ins: int) -> list[Line]:
    _say("imports")
    lines = imports.measure(effort.import_runs)
    with tempfile.TemporaryDirectory() as directory, prepared(Path(directory), _PEOPLE) as stage:
        _say("process starts")
        lines += cold.measure(stage, effort.cold_runs)
        _say("warm requests")
        with _baseline() as baseline:
            lines += warm.measure(stage, baseline.announcement(60)["ready"], effort.warm_rounds)
        _say("calls and tokens")
        lines += calls.measure(stage)
        lines += tokens.measure(stage, effort.warm_rounds)
        _say(f"memory over {sign_ins} sign-ins")
        lines += memory.measure(stage, sign_ins, _say)
    return lines


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def _baseline() -> Child:
    app = str(Path(__file__).parent / "baseline")
    return Child("baseline", [sys.executable, "-m", "local", "functions", "--port", "0", "--app", app])


if __name__ == "__main__":
    main()
