"""Workers that die in the middle of a renewal, or work on it at the same moment: the rotation ends, and leaves no mess."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from shared import renewal_requests
from shared.base64url import random_id
from shared.renewal_state import Asked, Phase, RenewalState
from tests.journeys.timed_town import MINUTE, TimedTown
from tests.journeys.town import Service, wait_for

pytestmark = pytest.mark.system

_LEASE = timedelta(minutes=5, seconds=1)
_HELD_SECONDS = 1.0
"""How long a call is held in which a worker dies: it takes effect then, though nobody waits for the answer."""


def ask(town: TimedTown, kind: Asked) -> None:
    """Ask as the Owner does."""
    renewal_requests.ask(town.services.store, kind, random_id(), town.now)


def is_retiring(state: RenewalState) -> bool:
    """Whether the overlap is over."""
    return state.phase is Phase.RETIRE


@dataclass(frozen=True)
class Death:
    """In which call of which service the worker dies, and in which phase. `calls` is the name it is counted by."""

    phase: Phase
    service: Service
    match: str
    calls: str
    takes_effect: bool


_DEATHS = (
    Death(Phase.CREATE, "vault", "/create", "certificates/create", takes_effect=True),
    Death(Phase.CREATE, "vault", "/create", "certificates/create", takes_effect=False),
    Death(Phase.REGISTER, "graph", "addKey", "addKey", takes_effect=True),
    Death(Phase.REGISTER, "graph", "addKey", "addKey", takes_effect=False),
    Death(Phase.PROVE, "entra", "/token", "token", takes_effect=True),
    Death(Phase.OVERLAP, "entra", "/token", "token", takes_effect=True),
    Death(Phase.RETIRE, "graph", "removeKey", "removeKey", takes_effect=True),
    Death(Phase.RETIRE, "graph", "removeKey", "removeKey", takes_effect=False),
    Death(Phase.IDLE, "vault", "PATCH", "certificates/update", takes_effect=True),
)
"""IDLE stands for the end of RETIRE: the old version is disabled."""


def _name(death: Death) -> str:
    return f"{death.phase}-{death.calls.rpartition('/')[2]}-{'done' if death.takes_effect else 'not-done'}"


@pytest.mark.parametrize("death", _DEATHS, ids=_name)
def test_a_worker_that_is_killed_in_the_middle(timed_town: TimedTown, death: Death) -> None:
    """Killed in an outside call that takes effect or does not: the next one's timer ends the rotation, with no orphan."""
    town = timed_town
    old, before = town.current, set(town.versions())
    ask(town, Asked.GENERATE)
    _go_to(town, death.phase)
    town.calm()
    if death.takes_effect:
        town.fail(death.service, "delay", death.match, seconds=_HELD_SECONDS, times=1)
    else:  # told to come back in two seconds, for which the worker waits
        town.fail(death.service, "status", death.match, status=503, retry_after=2, times=1)
    town.fire(town.worker)
    wait_for(lambda: town.calls(death.service).get(death.calls))
    town.restart()
    if death.phase is Phase.CREATE and death.takes_effect:
        # The vault is slower than the worker is started: a version that it lists only later would be made twice.
        wait_for(lambda: set(town.versions()) - before)
    assert town.state.lease_owner
    assert town.sign_in_microsoft(town.browser()).title == "You are signed in"
    town.move(_LEASE)
    state = town.finish()
    new = town.current
    assert (state.previous, state.next, state.intent, state.abandoned) == (None, None, None, ())
    assert town.registered() == [new.thumbprint]
    assert town.most_keys <= 2
    assert set(town.versions()) - before == {new.version}
    assert not town.versions()[old.version]
    assert town.steps().count("switch") == 1
    assert town.sign_in_microsoft(town.browser()).title == "You are signed in"


def _go_to(town: TimedTown, phase: Phase) -> None:
    """Let time pass until the next tick makes the call that a worker dies in."""
    match phase:
        case Phase.CREATE | Phase.REGISTER:
            return
        case Phase.PROVE:
            town.pass_until(lambda state: state.phase is Phase.PROVE)
            town.move(4 * MINUTE)
            return
        case _:
            town.pass_until(lambda state: state.phase is Phase.OVERLAP)
            town.move(timedelta(days=7))
    if phase is Phase.IDLE:
        town.pass_until(is_retiring)
        town.move(timedelta(days=1, minutes=1))


def test_the_timers_of_two_workers_at_once(timed_town: TimedTown) -> None:
    """Both fire at the same moment, all through a rotation: one certificate made, one added, one switch, one removed."""
    town = timed_town
    second = town.start_worker()
    both = (town.worker, second)
    before = set(town.versions())
    town.calm()
    ask(town, Asked.GENERATE)
    town.finish(*both)
    second.stop()
    calls = town.calls("graph")
    assert (calls["addKey"], calls["removeKey"]) == (1, 1)
    assert town.calls("vault")["certificates/create"] == 1
    assert set(town.versions()) - before == {town.current.version}
    assert town.registered() == [town.current.thumbprint]
    steps = town.steps()
    assert [steps.count(step) for step in ("begin", "created", "switch", "finish")] == [1, 1, 1, 1]


def test_a_late_worker_does_not_do_it_again(timed_town: TimedTown) -> None:
    """A worker is held in `addKey` until its lease is over and another one has gone on: no second key, and no orphan."""
    town = timed_town
    ask(town, Asked.GENERATE)
    town.calm()
    second = town.start_worker()
    town.fail("graph", "delay", "addKey", seconds=2, times=1)
    town.fire(town.worker)
    wait_for(lambda: town.calls("graph").get("addKey"))
    town.move(_LEASE)
    town.settle(second)
    wait_for(lambda: len(town.registered()) == 2)
    town.finish(second)
    second.stop()
    calls = town.calls("graph")
    assert (calls["addKey"], calls["removeKey"]) == (1, 1)
    assert town.registered() == [town.current.thumbprint]
    assert town.current.key_id  # the late one left word of it
