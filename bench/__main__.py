"""`python -m bench`: measure everything on this machine and print the table. It never fails for a slow machine."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import calls, cold, imports, memory, renewal, tokens, warm
from bench.stage import prepared
from bench.table import Line, head, row
from local.children import Child

_PEOPLE = 4


@dataclass(frozen=True, slots=True)
class _Effort:
    """How often each measure is repeated."""

    import_runs: int
    cold_runs: int
    warm_rounds: int
    sign_ins: int


_FULL = _Effort(import_runs=25, cold_runs=15, warm_rounds=60, sign_ins=10_000)
_QUICK = _Effort(import_runs=5, cold_runs=3, warm_rounds=12, sign_ins=200)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs: to see that it works, not to quote")
    parser.add_argument("--sign-ins", type=int, help="how many sign-ins the memory is watched over (10000)")
    arguments = parser.parse_args()
    effort = _QUICK if arguments.quick else _FULL
    print(head())
    for lines in _measure(effort, arguments.sign_ins or effort.sign_ins):
        print("\n".join(row(line) for line in lines), flush=True)


def _measure(effort: _Effort, sign_ins: int) -> Iterator[list[Line]]:
    """Measure one subject after the other; what is known is shown at once."""
    _say("imports")
    yield imports.measure(effort.import_runs)
    with tempfile.TemporaryDirectory() as directory, prepared(Path(directory), _PEOPLE) as stage:
        _say("process starts")
        yield cold.measure(stage, effort.cold_runs)
        _say("warm requests")
        with _baseline() as baseline:
            trivial = baseline.announcement(60)["ready"]
            yield warm.measure(stage, trivial, effort.warm_rounds)
            _say("the renewal")
            with tempfile.TemporaryDirectory() as own, prepared(Path(own), 1) as moved:
                yield renewal.measure(moved, trivial, effort.warm_rounds)
        _say("calls and tokens")
        yield calls.measure(stage)
        yield tokens.measure(stage, effort.warm_rounds)
        _say(f"memory over {sign_ins} sign-ins")
        yield memory.measure(stage, sign_ins, _say)


def _say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def _baseline() -> Child:
    app = str(Path(__file__).parent / "baseline")
    return Child("baseline", [sys.executable, "-m", "local", "functions", "--port", "0", "--app", app])


if __name__ == "__main__":
    main()
