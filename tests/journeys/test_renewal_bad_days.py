"""Bad days of the renewal: Graph throttles or answers nothing, the vault or the store is away, the timer has stopped."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from local.playground import OWNER
from shared.renewal_state import Asked, Phase
from tests.client import Browser
from tests.journeys.test_renewal_killed import ask
from tests.journeys.timed_town import MINUTE, TimedTown
from tests.journeys.town import NURSE, events, wait_for

pytestmark = pytest.mark.system

_HELD_SECONDS = 0.3
IN = "You are signed in"


def test_graph_asks_for_patience(timed_town: TimedTown) -> None:
    """429 with `Retry-After` of half an hour: nobody calls before that, whoever fires the timer; then it goes on."""
    town = timed_town
    town.fail("graph", "status", "addKey", status=429, retry_after=1800, times=1)
    ask(town, Asked.GENERATE)
    town.settle()
    asked_at = town.now
    assert town.calls("graph") == {"addKey": 1}
    while town.now - asked_at < timedelta(minutes=28):
        town.move(2 * MINUTE)
        town.settle()
    town.fire(town.worker)
    assert town.calls("graph") == {"addKey": 1}
    town.pass_until(lambda state: state.phase is Phase.PROVE, step=2 * MINUTE, at_most=5)
    assert town.calls("graph") == {"addKey": 2}
    assert len(town.registered()) == 2


@pytest.mark.parametrize("duplicates", ["second", "refused"])
@pytest.mark.parametrize("kind", ["lose_answer", "cut"])
def test_an_answer_of_graph_is_lost(timed_town: TimedTown, kind: str, duplicates: str) -> None:
    """`addKey` did or did not take effect, and nobody knows: probes tell; a certificate never gets two keys."""
    town = timed_town
    old = town.current
    town.control("PUT", "graph", {"duplicates": duplicates})
    town.fail("graph", "lose_answer" if kind == "lose_answer" else "cut", "addKey", times=1)
    ask(town, Asked.GENERATE)
    town.settle()
    assert town.calls("graph") == {"addKey": 1}
    town.pass_until(lambda state: state.phase is Phase.OVERLAP, step=2 * MINUTE)
    assert town.calls("graph") == {"addKey": 1 if kind == "lose_answer" else 2}
    assert sorted(town.registered()) == sorted([old.thumbprint, town.current.thumbprint])
    assert town.most_keys == 2
    town.finish()
    assert town.registered() == [town.current.thumbprint]


def test_the_vault_is_away_for_an_hour(timed_town: TimedTown) -> None:
    """A warm instance signs people in while an assertion lasts, and opens the Owner's door all the time; then it goes on."""
    town = timed_town
    ask(town, Asked.GENERATE)
    town.pass_until(lambda state: state.phase is Phase.PROVE)
    assert town.sign_in_microsoft(town.browser()).title == IN
    assert town.enter(town.browser(), OWNER).status == 303
    town.fail("vault", "cut")
    for _ in range(2):
        town.move(2 * MINUTE)
        town.settle()
        assert town.sign_in_microsoft(town.browser()).title == IN
    for _ in range(2):
        town.move(timedelta(minutes=28))
        town.settle()
        assert town.enter(town.browser(), OWNER).status == 303
        assert town.sign_in_microsoft(town.browser()).title == "The key store is not answering"
    town.calm()
    town.move(timedelta(hours=1))
    town.pass_until(lambda state: state.phase is Phase.OVERLAP, step=2 * MINUTE)
    assert town.sign_in_microsoft(town.browser()).title == IN


def test_the_store_is_away_for_an_hour(timed_town: TimedTown) -> None:
    """Who has a session keeps it while its token lasts, others are sent to Microsoft; afterwards the rotation goes on."""
    town = timed_town
    ask(town, Asked.GENERATE)
    state = town.pass_until(lambda state: state.phase is Phase.PROVE)
    browser = town.browser()
    town.sign_in_microsoft(browser)
    failed = len(events(town.lines(), "renewal.tick_failed"))
    town.fail("store", "cut")
    town.move(4 * MINUTE)
    town.fire(town.worker)
    assert town.session_of(browser)["name"] == NURSE.name
    assert town.browser().get(f"{town.address}/login").status == 302
    for _ in range(3):
        town.move(timedelta(minutes=18))
        town.fire(town.worker)
    wait_for(lambda: len(events(town.lines(), "renewal.tick_failed")) > failed)
    town.calm()
    assert town.state.generation == state.generation
    town.pass_until(lambda state: state.phase is Phase.OVERLAP, step=2 * MINUTE)
    assert town.calls("graph") == {}
    assert town.session_of(browser)["name"] == NURSE.name
    assert town.sign_in_microsoft(town.browser()).title == IN


def test_a_timer_that_has_stopped(timed_town: TimedTown) -> None:
    """After seven silent hours any request starts a tick behind itself, and does not wait for it: the tick is held."""
    town, browser = timed_town, timed_town.browser()
    plain, with_a_tick = [], []
    for _ in range(8):
        town.move(timedelta(hours=7))
        silent = town.state.last_tick_at
        town.fail("store", "delay", "PUT sossettings", seconds=_HELD_SECONDS, times=1)
        with_a_tick.append(_seconds(town, browser))
        wait_for(lambda before=silent: town.state.last_tick_at > before)  # type: ignore[misc] # the row changed
        wait_for(lambda: not town.state.lease_owner)
        town.move(MINUTE)
        _seconds(town, browser)  # reads the row again, behind it
        plain += [_seconds(town, browser) for _ in range(3)]
    more = statistics.median(with_a_tick) - statistics.median(plain)
    assert more < _HELD_SECONDS / 2, f"{1000 * more:.1f} ms more"


def _seconds(town: TimedTown, browser: Browser) -> float:
    began = time.perf_counter()
    assert browser.get(f"{town.address}/healthz").status == 200
    return time.perf_counter() - began


def test_two_requests_at_once_start_one_tick(timed_town: TimedTown) -> None:
    """Eight come at the same moment, and more while the tick is held at Microsoft: the certificate is probed once."""
    town = timed_town
    people = [town.browser() for _ in range(8)]
    town.browser().get(f"{town.address}/healthz")
    town.move(timedelta(hours=25))
    town.fail("entra", "delay", "/token", seconds=1, times=1)
    for _ in range(3):
        with ThreadPoolExecutor(len(people)) as pool:
            list(pool.map(lambda browser: _seconds(town, browser), people))
    wait_for(lambda: town.calls("entra").get("token"))
    wait_for(lambda: not town.state.lease_owner)
    assert town.calls("entra")["token"] == 1
    alarms = [line for line in town.lines() if '"event": "renewal.alarm.silent"' in line]
    assert len(alarms) == len(set(alarms))
