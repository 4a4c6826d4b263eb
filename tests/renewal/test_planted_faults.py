"""The model can fail: with a fault planted in the product, each invariant is broken, and by its own number."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared import (
    renewal,
    renewal_alarms,
    renewal_moves,
    renewal_outside,
    renewal_requests,
    renewal_row,
    renewal_tick,
)
from shared.public_part import to_pem
from shared.renewal import Step
from shared.renewal_state import Asked, Intent, Phase, RenewalState, save_state
from tests.renewal.cloud import REPLICAS
from tests.renewal.gate import Happening, Outside
from tests.renewal.invariants import Broken
from tests.renewal.world import World

type Plant = Callable[[pytest.MonkeyPatch, World], None]
type Script = Callable[[World], None]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


# What happens


def rotate(world: World) -> None:
    """A rotation by itself, from its start to rest."""
    world.to_the_start()
    world.hours(3)
    world.hours(9 * 4, 6 * HOUR)


def rotate_closely_watched(world: World) -> None:
    """A rotation by itself, with a tick each minute."""
    world.to_the_start()
    every_minute(world, 40)


def one_replica_lags(world: World) -> None:
    """One replica of three never learns of the new key."""
    world.set_lags(timedelta(0), timedelta(0), 1000 * DAY)
    rotate_closely_watched(world)


def rotate_now(world: World) -> None:
    """The Owner asks for haste, twice: the first key was uploaded, and nobody knows its id. A tick runs each minute."""
    for _ in range(2):
        world.ask(Asked.ROTATE)
        every_minute(world, 30)


def every_minute(world: World, number: int) -> None:
    """A tick each minute."""
    for _ in range(number):
        world.move(MINUTE)
        world.tick(world.workers[0])


def crash_everywhere(world: World) -> None:
    """Rotations in which each tick dies at its next call, until one lives."""
    for call in range(1, 30, 2):
        world.ask(Asked.ROTATE)
        for _ in range(4):
            world.move(6 * MINUTE)
            world.tick(world.workers[0], Happening(call, world.die, after=True))
        every_minute(world, 15)


def overtake_everywhere(world: World) -> None:
    """Each tick is overtaken by the other worker at its next call."""
    for call in range(1, 30):
        world.ask(Asked.ROTATE)

        def happen() -> None:
            world.move(6 * MINUTE)
            world.tick(world.workers[1])

        for _ in range(5):
            world.move(MINUTE)
            world.tick(world.workers[0], Happening(call, happen))


def expire(world: World) -> None:
    """A year without anybody who uploads, in manual mode."""
    world.name_application("")
    world.hours(400, DAY)


def be_throttled(world: World) -> None:
    """Graph is busy for hours when the rotation begins."""
    world.ask(Asked.GENERATE)
    world.weather.busy_until[Outside.GRAPH] = world.now + 5 * HOUR
    every_minute(world, 30)


def never_appear(world: World) -> None:
    """No replica ever learns of the new key."""
    world.set_lags(*[1000 * DAY] * REPLICAS)
    world.ask(Asked.GENERATE)
    world.hours(12)


def ask_while_paused(world: World) -> None:
    """The Owner asks for a rotation, and pauses it before the tick."""
    world.ask(Asked.ROTATE)
    world.pause()
    every_minute(world, 5)


def refuse_by_policy(world: World) -> None:
    """The tenant refuses what is asked."""
    world.directory.refuses = True
    rotate(world)


def clocks_apart(world: World) -> None:
    """One worker is 5 minutes ahead and one behind, two replicas lag, and the Owner asks for haste."""
    world.set_lags(timedelta(0), MINUTE, MINUTE)
    world.pinned_replica = 0
    world.set_offset(world.workers[0], -5 * MINUTE)
    world.set_offset(world.workers[1], 5 * MINUTE)
    world.ask(Asked.ROTATE)
    for _ in range(60):
        world.move(timedelta(seconds=20))
        world.tick(world.workers[0])
        world.tick(world.workers[1])


def clocks_apart_at_the_switch(world: World) -> None:
    """A worker that is 5 minutes behind switches, and one that is 5 minutes ahead retires."""
    behind, ahead = world.workers
    world.set_offset(behind, -5 * MINUTE)
    world.set_offset(ahead, 5 * MINUTE)
    world.ask(Asked.ROTATE)
    for _ in range(40):
        world.move(timedelta(seconds=20))
        world.tick(ahead if world.row.phase is Phase.OVERLAP else behind)


def clocks_apart_at_a_threshold(world: World) -> None:
    """Two weeks before the end both workers look, by clocks that are 10 minutes apart."""
    world.name_application("")
    current = world.row.current
    assert current is not None
    while world.now < current.not_after - 15 * DAY:
        world.hours(1, DAY)
    ahead, behind = world.workers
    world.set_offset(ahead, 5 * MINUTE)
    world.set_offset(behind, -5 * MINUTE)
    world.move(current.not_after - 14 * DAY - world.now)
    for _ in range(20):
        world.tick(ahead)
        world.tick(behind)
        world.move(MINUTE)


def download(world: World) -> None:
    """The Owner downloads the certificate."""
    world.upload()


# What is planted


def policy(**changes: Any) -> Plant:  # noqa: ANN401 - fields of the record
    """Plan by other numbers."""

    def plant(patch: pytest.MonkeyPatch, world: World) -> None:
        del world
        for module in (renewal, renewal_tick, renewal_outside, renewal_moves, renewal_alarms):
            patch.setattr(module, "POLICY", replace(renewal.POLICY, **changes))

    return plant


def active_key_disabled(patch: pytest.MonkeyPatch, world: World) -> None:
    """The vault is told to disable the version that signs, instead of the previous one."""
    del world
    right = renewal_outside.Outside._disable  # noqa: SLF001 - the fault is planted there

    def wrong(self: Any, step: Step, version: str, change: Any) -> None:  # noqa: ANN401 - as it is called
        current = self._row.state.current
        right(self, step, current.version if current else version, change)

    patch.setattr(renewal_outside.Outside, "_disable", wrong)


def failures_do_not_count(patch: pytest.MonkeyPatch, world: World) -> None:
    """A refused probe does not end the run."""
    del world
    right = renewal_moves.seen

    def wrong(state: RenewalState, role: Any, found: Any, now: datetime) -> RenewalState:  # noqa: ANN401
        before, after = state.version(role), right(state, role, found, now)
        version = after.version(role)
        if before is None or version is None:
            return after
        return after.with_version(role, replace(version, ok_run=before.ok_run + 1, refused_run=0))

    patch.setattr(renewal_moves, "seen", wrong)


def newest_of_the_vault(patch: pytest.MonkeyPatch, world: World) -> None:
    """What was created signs at once: the vault's latest."""
    del world
    right = renewal_moves.created

    def wrong(state: RenewalState, version: Any, now: datetime) -> RenewalState:  # noqa: ANN401
        return renewal_moves.switched(right(state, version, now), now)

    patch.setattr(renewal_moves, "created", wrong)


def patches_the_list(patch: pytest.MonkeyPatch, world: World) -> None:
    """Registering replaces the whole list (PATCH keyCredentials)."""
    right = world.register

    def wrong(der: bytes) -> Any:  # noqa: ANN401 - a key
        for key in list(world.directory.keys.values()):
            if key.is_registered:
                world.directory.unregister(key, world.now)
        return right(der)

    patch.setattr(world, "register", wrong)


def removes_all_others(patch: pytest.MonkeyPatch, world: World) -> None:
    """Retiring removes every key but the current one."""
    right = renewal_outside.Outside._remove_key  # noqa: SLF001 - the fault is planted there

    def wrong(self: Any) -> None:  # noqa: ANN401 - as it is called
        current = self._row.state.current
        for key in list(world.directory.keys.values()):
            if key.is_registered and key.version != current.version:
                world.directory.unregister(key, world.now)
        world.check()
        right(self)

    patch.setattr(renewal_outside.Outside, "_remove_key", wrong)


def removes_current(patch: pytest.MonkeyPatch, world: World) -> None:
    """Retiring removes the key of the version that signs (Azure AD, 15 March 2021)."""
    del world
    right = renewal_moves.retiring

    def wrong(state: RenewalState, now: datetime) -> RenewalState:
        after = right(state, now)
        assert after.current is not None
        return renewal_moves.changed_previous(after, key_id=after.current.key_id)

    patch.setattr(renewal_moves, "MOVES", {**renewal_moves.MOVES, Step.RETIRE: wrong})


def disables_in_the_overlap(patch: pytest.MonkeyPatch, world: World) -> None:
    """The old version is disabled at the switch."""
    right = renewal_moves.switched

    def wrong(state: RenewalState, now: datetime) -> RenewalState:
        after = right(state, now)
        if after.previous is not None:
            world.vault.versions[after.previous.version].enabled = False
        return after

    patch.setattr(renewal_moves, "MOVES", {**renewal_moves.MOVES, Step.SWITCH: wrong})


def no_second_version(patch: pytest.MonkeyPatch, world: World) -> None:
    """A sign-in that is refused has no other version to try."""
    del world
    patch.setattr(RenewalState, "other", None)


def stale_write_wins(patch: pytest.MonkeyPatch, world: World) -> None:
    """The row is written over whatever version is there."""
    right = save_state

    def wrong(store: Any, state: RenewalState) -> RenewalState:  # noqa: ANN401 - a store
        return right(store, replace(state, etag=world.row.etag))

    patch.setattr(renewal_row, "save_state", wrong)


def retired_signs_again(patch: pytest.MonkeyPatch, world: World) -> None:
    """At the end of a rotation the old version signs again."""
    del world
    right = renewal_moves.finished

    def wrong(state: RenewalState, now: datetime) -> RenewalState:
        return replace(right(state, now), current=state.previous)

    patch.setattr(renewal_moves, "MOVES", {**renewal_moves.MOVES, Step.FINISH: wrong})


def two_at_once(patch: pytest.MonkeyPatch, world: World) -> None:
    """Two versions are made where one was asked for."""
    for worker in world.workers:
        right = worker.vault.create_certificate

        def wrong(name: str, tag: str, right: Any = right) -> None:  # noqa: ANN401 - as it is called
            right(name, tag)
            world.vault.make(f"{tag} again", world.now)

        patch.setattr(worker.vault, "create_certificate", wrong)


def stays_in_retire(patch: pytest.MonkeyPatch, world: World) -> None:
    """A rotation is never finished (acmebot #1060: stuck)."""
    del world
    patch.setattr(renewal, "_plan_retire", lambda _s, _f, _p, now: renewal.Wait(now + HOUR))


def retry_after_ignored(patch: pytest.MonkeyPatch, world: World) -> None:
    """The back-off does not look at Retry-After."""
    del world
    right = renewal_row.Stop.__init__

    def wrong(self: Any, until: datetime, failure: str = "", retry_after: Any = None) -> None:  # noqa: ANN401
        del retry_after
        right(self, until, failure)

    patch.setattr(renewal_row.Stop, "__init__", wrong)


def registers_for_ever(patch: pytest.MonkeyPatch, world: World) -> None:
    """There is no end to registrations."""
    policy(add_keys=100)(patch, world)


def no_intent(patch: pytest.MonkeyPatch, world: World) -> None:
    """Outside writes are made without an intent."""
    del world

    def wrong(self: Any, step: Step) -> Any:  # noqa: ANN401 - as it is called
        return Intent("", step, self._services.clock())

    patch.setattr(renewal_row.LeasedRow, "intend", wrong)


def no_outcome(patch: pytest.MonkeyPatch, world: World) -> None:
    """The outcome is not written down."""
    del world

    def wrong(self: Any, state: RenewalState, outcome: str, *, warning: bool = False) -> RenewalState:  # noqa: ANN401
        del self, outcome, warning
        return replace(state, intent=None)

    patch.setattr(renewal_row.LeasedRow, "settled", wrong)


def private_download(patch: pytest.MonkeyPatch, world: World) -> None:
    """The download holds the private key as well."""
    del world
    # Put together here: the check of this repository looks for the whole line.
    private = b"-----BEGIN " + b"PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
    patch.setattr(renewal_requests, "to_pem", lambda der: to_pem(der) + private)


def alarms_forgotten(patch: pytest.MonkeyPatch, world: World) -> None:
    """What was raised is not remembered."""
    del world
    right = renewal_alarms.with_alarms

    def wrong(state: RenewalState, now: datetime) -> RenewalState:
        return replace(right(state, now), alarms=())

    patch.setattr(renewal_tick, "with_alarms", wrong)


def alarms_silent(patch: pytest.MonkeyPatch, world: World) -> None:
    """No alarm is raised (acmebot #1209)."""
    del world
    patch.setattr(renewal_tick, "with_alarms", lambda state, _now: state)


def clocks_trusted(patch: pytest.MonkeyPatch, world: World) -> None:
    """An alarm is forgotten as soon as another clock has not reached its threshold."""
    del world
    patch.setattr(renewal_alarms, "_CLOCKS_DIFFER", timedelta(0))


def pause_ignored(patch: pytest.MonkeyPatch, world: World) -> None:
    """The planner does not see that the renewal is paused."""
    del world
    right = renewal.plan

    def wrong(state: RenewalState, *rest: Any) -> Any:  # noqa: ANN401 - as it is called
        return right(replace(state, paused=False), *rest)

    patch.setattr(renewal_tick, "plan", wrong)


def writes_in_manual_mode(patch: pytest.MonkeyPatch, world: World) -> None:
    """A refusal is not kept: the directory is asked again and again."""
    del world
    patch.setattr(renewal, "manual_reason", lambda *_: "")


FAULTS: list[tuple[int, Plant, Script]] = [
    (1, active_key_disabled, rotate_now),
    (2, policy(soak=timedelta(0), probe_every=timedelta(0)), rotate_closely_watched),
    (2, policy(probes=1), rotate),
    (2, failures_do_not_count, one_replica_lags),
    (2, newest_of_the_vault, rotate),
    (3, removes_current, rotate),
    (3, policy(overlap=DAY), rotate),
    (4, disables_in_the_overlap, rotate),
    (5, patches_the_list, rotate),
    (5, removes_all_others, rotate_now),
    (6, no_second_version, clocks_apart),
    (7, stale_write_wins, overtake_everywhere),
    (7, retired_signs_again, rotate_now),
    (8, two_at_once, rotate_now),
    (9, stays_in_retire, rotate_now),
    (10, retry_after_ignored, be_throttled),
    (10, registers_for_ever, never_appear),
    (11, no_intent, rotate),
    (11, no_outcome, crash_everywhere),
    (12, policy(rotate_overlap=MINUTE), clocks_apart_at_the_switch),
    (13, private_download, download),
    (14, alarms_forgotten, expire),
    (14, alarms_silent, expire),
    (14, clocks_trusted, clocks_apart_at_a_threshold),
    (15, pause_ignored, ask_while_paused),
    (15, writes_in_manual_mode, refuse_by_policy),
]


@pytest.mark.parametrize(("number", "plant", "script"), FAULTS)
def test_breaks(number: int, plant: Plant, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault breaks the invariant that forbids it."""
    world = World()
    world.furnish()
    world.add_foreign()
    plant(monkeypatch, world)
    with pytest.raises(Broken) as broken:
        _play(script, world)
    assert broken.value.number == number, str(broken.value)


def _play(script: Script, world: World) -> None:
    script(world)
    world.come_to_rest()


SCRIPTS = sorted({script for _, _, script in FAULTS}, key=lambda script: script.__name__)


@pytest.mark.parametrize("script", SCRIPTS)
def test_holds(script: Script) -> None:
    """Without a fault the same things happen, and every invariant holds."""
    world = World()
    world.furnish()
    world.add_foreign()
    _play(script, world)
