"""The engineer steers the renewal by `python -m ops certificate` while people sign in: not one of them notices."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.renewal_state import Phase
from tests.journeys.timed_town import MINUTE, Crowd, TimedTown

pytestmark = pytest.mark.system


@pytest.fixture
def crowd(timed_town: TimedTown) -> Iterator[Crowd]:
    """Two people who sign in without a pause; nobody may fail."""
    with timed_town.crowd(2) as crowd:
        yield crowd
        crowd.wait_for_more(4)
    assert crowd.failures == []


def certificate(town: TimedTown, action: str) -> str:
    """Run one of the commands, which must succeed; gives what it says."""
    done = town.ops("certificate", action)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(town: TimedTown) -> dict[str, Any]:
    """Read what `ops certificate status` says."""
    shown: dict[str, Any] = json.loads(certificate(town, "status"))
    return shown


def test_rotate_now(timed_town: TimedTown, crowd: Crowd) -> None:
    """Asked for today, a rotation is over within half an hour: proven, switched, the old one removed and disabled."""
    town = timed_town
    old, began = town.current, town.now
    assert "Asked for" in certificate(town, "rotate")
    assert status(town)["asked"] == "rotate"
    switched = town.pass_until(lambda state: state.phase is Phase.OVERLAP)
    assert switched.current is not None
    assert switched.current.ok_run >= 3
    assert timedelta(minutes=2) <= town.now - began < timedelta(minutes=6)
    town.pass_until(lambda state: state.phase is Phase.IDLE)
    crowd.wait_for_more(4)
    assert town.now - began < timedelta(minutes=30)
    assert town.registered() == [town.current.thumbprint]
    assert town.versions()[old.version] is False
    assert status(town)["asked"] == ""


def test_revoke_now(timed_town: TimedTown, crowd: Crowd) -> None:
    """At the switch the vault signs with the old one no more, though instances still name it: they try the other one."""
    town = timed_town
    old = town.current
    certificate(town, "revoke")
    town.pass_until(lambda state: state.phase in {Phase.OVERLAP, Phase.RETIRE, Phase.IDLE})
    assert town.current.version != old.version
    crowd.wait_for_more(8)
    assert town.versions()[old.version] is False
    town.pass_until(lambda state: state.phase is Phase.IDLE)
    assert town.registered() == [town.current.thumbprint]


def test_pause_and_resume(timed_town: TimedTown, crowd: Crowd) -> None:
    """While it is paused nothing is written to Graph and nothing can be asked for; then it goes on where it stopped."""
    town = timed_town
    certificate(town, "generate")
    assert "idle" in certificate(town, "pause")
    assert status(town)["mode"] == "paused"
    refused = town.ops("certificate", "rotate")
    assert refused.returncode == 1
    assert "The renewal is paused: resume it first." in refused.stderr
    for _ in range(3):
        town.move(timedelta(hours=3))
        town.settle()
    assert town.state.phase is Phase.IDLE
    assert town.calls("graph") == {}
    assert "idle" in certificate(town, "resume")
    town.pass_until(lambda state: state.phase is Phase.PROVE, at_most=5)
    crowd.wait_for_more(4)
    assert town.calls("graph") == {"addKey": 1}


def test_roll_back(timed_town: TimedTown, crowd: Crowd) -> None:
    """During the overlap the previous one signs again, nothing goes on by itself, and the new one stays registered."""
    town = timed_town
    old = town.current
    refused = town.ops("certificate", "roll-back")
    assert refused.returncode == 1
    assert "There is no previous certificate to go back to." in refused.stderr
    certificate(town, "generate")
    town.pass_until(lambda state: state.phase is Phase.OVERLAP, step=2 * MINUTE)
    town.move(timedelta(days=2))
    certificate(town, "roll-back")
    town.settle()
    assert town.current.version == old.version
    crowd.wait_for_more(8)
    town.move(timedelta(days=10))
    town.settle()
    assert status(town)["mode"] == "paused"
    assert town.current.version == old.version
    assert len(town.registered()) == 2
