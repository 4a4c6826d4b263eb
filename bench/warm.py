"""What a request costs once the worker is warm: `/login` and `/session` beside a trivial function in the same host."""

import time
from collections.abc import Callable, Mapping
from statistics import median

from bench.alternate import medians
from bench.stage import Stage
from bench.table import Line, ratio_line, verdict
from bench.visitor import SESSION_COOKIE, Visitor
from bench.wire import Wire

_BATCH = 50
"""Requests in one measure: short, so that both sides meet the same moments of the machine."""
_BATCHES_COUNTED = 4
_FOUND, _OK = 302, 200


def measure(stage: Stage, trivial: str, rounds: int) -> list[Line]:
    """Compare the two doors with the trivial function at the address `trivial`."""
    with Visitor(stage, stage.people[0]) as visitor:
        session = {"Cookie": f"{SESSION_COOKIE}={visitor.sign_in()}"}
    with Wire(trivial) as baseline, Wire(stage.worker.url) as ours:
        login, who = _batch(ours, "/login", _FOUND), _batch(ours, "/session", _OK, session)
        found = medians(
            {"trivial": _batch(baseline, "/trivial", _OK), "login": login, "session": who}, rounds
        )
        return [
            ratio_line("/login warm, p50", found["login"], "trivial function", found["trivial"], 3),
            _calls(stage, "/login", login),
            ratio_line("/session warm, p50", found["session"], "trivial function", found["trivial"], 2),
            _calls(stage, "/session", who),
        ]


def _batch(
    wire: Wire, target: str, status: int, headers: Mapping[str, str] | None = None
) -> Callable[[], float]:
    """Make the measure of `_BATCH` requests, one after the other: the median of one, in seconds."""

    def run() -> float:
        times = []
        for _ in range(_BATCH):
            began = time.perf_counter()
            answer = wire.get(target, headers)
            times.append(time.perf_counter() - began)
            if answer.status != status:
                raise AssertionError(f"{target} was answered {answer.status}")
        return median(times)

    return run


def _calls(stage: Stage, door: str, batch: Callable[[], float]) -> Line:
    """Count what requests call. The settings are refreshed each minute in the background: of two counts the lesser."""
    counts = []
    for _ in range(2):
        before = stage.calls()
        for _ in range(_BATCHES_COUNTED):
            batch()
        counts.append((stage.calls() - before).total())
    called = min(counts)
    met = verdict(met=called == 0)
    return Line(
        f"  {door}: calls to anything in {_BATCH * _BATCHES_COUNTED} requests",
        str(called),
        target="0",
        verdict=met,
    )
