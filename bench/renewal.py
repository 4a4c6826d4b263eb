"""What the renewal costs: a tick with nothing to do, a whole rotation, and a sign-in in the middle of one."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
from azure.data.tables import TableServiceClient

from bench.alternate import medians
from bench.stage import Stage
from bench.table import Line, ratio_line, verdict
from bench.visitor import Visitor
from bench.wire import Wire
from local.playground import new_certificate
from shared.azure import connect as adapters
from shared.base64url import random_id
from shared.config import Config
from shared.renewal_requests import ask
from shared.renewal_state import Asked, Phase, read_state, save_state
from shared.renewal_tick import tick
from shared.services import Services

_BATCH = 20
_OUTSIDE_AT_MOST = 40
_HOURS_AT_MOST = 24 * 12
_SIGN_INS = 20
_WARM_UP = 3
_NOT_OURS = ("authorize", "login", "sosaudit")
"""What the browser calls, and what is written behind the request."""
_HOUR = timedelta(hours=1)
_SETTLED_SECONDS = 1.0
"""Longer than the audit log waits for company."""


def measure(stage: Stage, trivial: str, rounds: int) -> list[Line]:
    """Measure all three, on a stage of its own: it is left with rows from the future."""
    services = adapters.connect(Config.from_environ(stage.environment))
    tick(services)
    return [
        *_idle_tick(stage, services, trivial, rounds),
        *_sign_in(stage, services),
        *_rotation(stage, services),
    ]


def _idle_tick(stage: Stage, services: Services, trivial: str, rounds: int) -> list[Line]:
    config = services.config
    connection_string = config.tables_connection_string
    if connection_string is None:
        raise AssertionError("the laptop's tables have a connection string")
    client = TableServiceClient.from_connection_string(connection_string.reveal())
    bare = client.get_table_client("sossettings")
    before = stage.calls()
    tick(services)
    called = stage.calls() - before
    with Wire(trivial) as wire:
        found = medians(
            {
                "tick": _batch(lambda: tick(services)),
                "trivial": _batch(lambda: wire.get("/trivial")),
                "read": _batch(lambda: bare.get_entity("settings", "certificate")),
            },
            rounds,
        )
    only_store = called.total() == 1 and all(name.startswith("store: ") for name in called)
    return [
        Line(
            "tick with nothing to do: calls",
            str(called.total()),
            target="<= 1, store",
            verdict=verdict(met=only_store or not called),
        ),
        ratio_line("tick with nothing to do", found["tick"], "trivial function", found["trivial"], 2),
        ratio_line(
            "  the same, beside its one read", found["tick"], "bare read by the SDK", found["read"], None
        ),
    ]


def _batch(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for _ in range(_BATCH):
            work()
        return (time.perf_counter() - began) / _BATCH

    return run


def _rotation(stage: Stage, services: Services) -> list[Line]:
    """Count what a rotation adds, with the hourly timer alone and the whole overlap of seven days."""
    with _moving_clock(stage) as move:
        _rotate(services, move, Asked.ROTATE)  # the certificate of the playground has no key id to remove
        hours, rotation = _counted(stage, lambda: _rotate(services, move, Asked.GENERATE))
        _, idle = _counted(stage, lambda: _tick_for(services, move, hours))
    added = _outside(rotation).total() - _outside(idle).total()
    met = verdict(met=added <= _OUTSIDE_AT_MOST)
    store = rotation.total() - _outside(rotation).total()
    return [
        Line(
            f"rotation ({hours} hourly ticks): outside calls it adds",
            str(added),
            f"{_outside(rotation).total()} with it, {_outside(idle).total()} without",
            target=f"<= {_OUTSIDE_AT_MOST}",
            verdict=met,
        ),
        *(
            Line(f"  by name: {name}", str(count), f"{idle[name]} without")
            for name, count in sorted(_outside(rotation).items())
        ),
        Line("  beside them: calls to the store", str(store)),
    ]


def _rotate(services: Services, move: Callable[[], None], kind: Asked) -> int:
    """Ask for a rotation and tick until it is over; gives the hours it took."""
    ask(services.store, kind, random_id(), services.clock())
    return _tick_for(services, move, _HOURS_AT_MOST, until_idle=True)


def _tick_for(services: Services, move: Callable[[], None], hours: int, *, until_idle: bool = False) -> int:
    for hour in range(hours):
        tick(services)
        state = read_state(services.store)
        if until_idle and state.phase is Phase.IDLE and state.request is None:
            return hour
        move()
    if until_idle:
        raise AssertionError("the rotation does not end")
    return hours


def _counted(stage: Stage, work: Callable[[], int]) -> tuple[int, Counter[str]]:
    before = stage.calls()
    outcome = work()
    return outcome, stage.calls() - before


def _outside(called: Counter[str]) -> Counter[str]:
    return Counter({name: n for name, n in called.items() if not name.startswith("store: ")})


@contextmanager
def _moving_clock(stage: Stage) -> Iterator[Callable[[], None]]:
    """Move our clock and the stand-ins' on by an hour, together; both go back at the end."""
    real = adapters._now  # noqa: SLF001 - production has no option for another clock
    offset = timedelta()

    def move_to(to: timedelta) -> None:
        nonlocal offset
        offset = to
        body = {"offset_seconds": to.total_seconds()}
        httpx.post(f"{stage.laptop.cloud.control_url}/clock", json=body, trust_env=False).raise_for_status()

    adapters._now = lambda: datetime.now(UTC) + offset  # noqa: SLF001 - as above
    try:
        yield lambda: move_to(offset + _HOUR)
    finally:
        move_to(timedelta())
        adapters._now = real  # noqa: SLF001 - as above


def _sign_in(stage: Stage, services: Services) -> list[Line]:
    """Count what a sign-in calls when Microsoft does not know the new certificate yet, and the old one still."""
    plain = _calls_per_sign_in(stage)
    before = read_state(services.store)
    unknown, _ = new_certificate(services)
    save_state(services.store, replace(before, current=unknown, previous=before.current, phase=Phase.OVERLAP))
    refused = _calls_per_sign_in(stage)
    save_state(services.store, replace(before, etag=read_state(services.store).etag))
    extra = refused - plain
    return [
        Line(
            "sign-in that meets a certificate error: extra calls",
            f"{extra:.3g}",
            f"{plain:.3g} without",
            target="<= 1",
            verdict=verdict(met=extra <= 1),
        )
    ]


def _calls_per_sign_in(stage: Stage) -> float:
    """Count on a worker of its own, which has read the row as it is now."""
    worker = stage.laptop.start_worker()
    redirect_uri = {"redirect_uris": [f"{each}/azure" for each in (stage.worker.url, worker.url)]}
    control = f"{stage.laptop.cloud.control_url}/application"
    httpx.put(control, json=redirect_uri, trust_env=False).raise_for_status()
    with Visitor(replace(stage, worker=worker), stage.people[0]) as visitor:
        for _ in range(_WARM_UP):
            visitor.sign_in()
        time.sleep(_SETTLED_SECONDS)
        before = stage.calls()
        for _ in range(_SIGN_INS):
            visitor.sign_in()
        time.sleep(_SETTLED_SECONDS)
        called = stage.calls() - before
    worker.stop()
    counted = {name: n for name, n in called.items() if not name.endswith(_NOT_OURS)}
    return sum(counted.values()) / _SIGN_INS
