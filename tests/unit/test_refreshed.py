import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import UpstreamUnavailable
from shared.refreshed import Refreshed, start_thread

HOUR, BACK_OFF = timedelta(hours=1), timedelta(seconds=5)
PATIENCE = 10
"""Seconds after which a test that waits for another thread gives up."""


class World:
    """A clock to turn by hand, a source to fail by hand, and background work to run by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.answer: int | Exception = 1
        self.loads = 0
        self.failure = UpstreamUnavailable("store")
        self.background: list[Callable[[], None]] = []

    def clock(self) -> datetime:
        """Answer the time that the test has set."""
        return self.now

    def load(self) -> int:
        """Answer, or fail, as the test has set."""
        self.loads += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def refreshed(self, wait_after: timedelta | None = None) -> Refreshed[int]:
        """Make a value of this world, fresh for an hour."""
        return Refreshed(self.load, self.clock, HOUR, wait_after, self.background.append)

    def later(self, delta: timedelta) -> None:
        """Turn the clock."""
        self.now += delta

    def run_background(self) -> None:
        """Run what was begun in the background so far."""
        work, self.background[:] = list(self.background), []
        for each in work:
            each()


def test_the_first_get_loads_and_the_next_ones_do_not() -> None:
    """A fresh value is answered from memory."""
    world = World()
    value = world.refreshed()
    assert [value.get(), value.get()] == [1, 1]
    world.later(HOUR - timedelta(microseconds=1))
    assert value.get() == 1
    assert (world.loads, world.background) == (1, [])


def test_a_stale_value_is_answered_at_once_and_refreshed_in_the_background() -> None:
    """Nobody waits for a refresh, and only one is begun."""
    world = World()
    value = world.refreshed()
    value.get()
    world.later(HOUR)
    world.answer = 2
    assert [value.get(), value.get()] == [1, 1]
    assert (world.loads, len(world.background)) == (1, 1)
    world.run_background()
    assert value.get() == 2
    assert (world.loads, world.background) == (2, [])


def test_a_value_is_as_old_as_the_moment_its_load_began() -> None:
    """A slow load does not make its value younger."""
    world = World()

    def slow() -> int:
        world.later(timedelta(minutes=10))
        return world.load()

    value = Refreshed(slow, world.clock, HOUR, spawn=world.background.append)
    value.get()
    world.later(timedelta(minutes=50))
    value.get()
    assert len(world.background) == 1


def test_a_failed_refresh_keeps_the_old_value_and_backs_off() -> None:
    """A service in trouble is asked again after BACK_OFF, not once per request."""
    world = World()
    value = world.refreshed()
    value.get()
    world.later(HOUR)
    world.answer = UpstreamUnavailable("store")
    value.get()
    world.run_background()
    assert value.get() == 1
    world.later(BACK_OFF - timedelta(microseconds=1))
    assert value.get() == 1
    assert world.background == []
    world.later(timedelta(microseconds=1))
    world.answer = 2
    assert value.get() == 1
    world.run_background()
    assert value.get() == 2


def test_without_wait_after_nobody_waits_for_an_old_value() -> None:
    """An outage of any length leaves the last good value in use."""
    world = World()
    value = world.refreshed()
    value.get()
    world.later(timedelta(days=3650))
    assert value.get() == 1
    assert world.loads == 1


def test_a_value_older_than_wait_after_is_loaded_before_it_is_answered() -> None:
    """An instance that rested does not act on what was true before; a younger value is answered at once."""
    world = World()
    value = world.refreshed(wait_after=2 * HOUR)
    value.get()
    world.answer = 2
    world.later(2 * HOUR - timedelta(microseconds=1))
    assert value.get() == 1
    world.background.clear()
    value.forget()
    value.get()
    world.answer = 3
    world.later(2 * HOUR)
    assert value.get() == 3
    assert world.background == []


def test_an_old_value_is_kept_when_it_cannot_be_loaded() -> None:
    """An outage takes nothing away, and costs one waiting caller in each back-off."""
    world = World()
    value = world.refreshed(wait_after=2 * HOUR)
    value.get()
    world.later(3 * HOUR)
    world.answer = UpstreamUnavailable("store")
    assert [value.get() for _ in range(3)] == [1, 1, 1]
    assert world.loads == 2
    world.later(BACK_OFF)
    world.answer = 2
    assert value.get() == 2


def test_a_failed_first_load_is_raised_and_not_repeated_until_the_back_off_ends() -> None:
    """While there is nothing to answer with, callers get the same failure without a call each."""
    world = World()
    world.answer = UpstreamUnavailable("vault")
    value = world.refreshed()
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable, match="vault"):
            value.get()
    assert world.loads == 1
    world.later(BACK_OFF)
    world.answer = 5
    assert value.get() == 5


def test_refresh_loads_now_whatever_the_age_and_the_back_off() -> None:
    """A forced refresh is not held back by a recent failure."""
    world = World()
    value = world.refreshed()
    assert value.refresh() == 1
    world.answer = UpstreamUnavailable("store")
    with pytest.raises(UpstreamUnavailable):
        value.refresh()
    assert value.get() == 1
    world.answer = 3
    assert value.refresh() == 3
    assert value.get() == 3
    assert world.loads == 3


def test_refresh_does_not_wait_for_a_load_that_no_thread_has_begun() -> None:
    """A background thread that is slow to start delays nobody, and finds its work done."""
    world = World()
    value = world.refreshed()
    value.get()
    world.later(HOUR)
    world.answer = 2
    value.get()
    assert value.refresh() == 2
    world.run_background()
    assert value.get() == 2
    assert world.loads == 2


def test_a_good_load_ends_the_back_off() -> None:
    """A failure that is over does not hold back the next refresh."""
    world = World()
    value = Refreshed(world.load, world.clock, timedelta(seconds=1), spawn=world.background.append)
    value.get()
    world.answer = world.failure
    with pytest.raises(UpstreamUnavailable):
        value.refresh()
    world.answer = 2
    value.refresh()
    world.later(timedelta(seconds=1))
    value.get()
    assert len(world.background) == 1


def test_forget_makes_the_next_get_load() -> None:
    """After a write the writer does not read what was there before; a recent failure is forgotten too."""
    world = World()
    value = world.refreshed()
    value.get()
    value.forget()
    world.answer = UpstreamUnavailable("store")
    with pytest.raises(UpstreamUnavailable):
        value.get()
    value.forget()
    world.answer = 2
    assert value.get() == 2


def test_a_load_that_began_before_forget_does_not_come_back() -> None:
    """The outcome of a forgotten load is dropped, whether it is a value or a failure."""
    world = World()
    value = world.refreshed()
    value.get()
    for old in (2, UpstreamUnavailable("store")):
        world.later(HOUR)
        value.get()
        value.forget()
        world.answer = 3
        assert value.get() == 3
        world.answer = old
        world.run_background()
        world.answer = 4
        assert value.get() == 3
        world.later(HOUR)
        value.get()
        assert len(world.background) == 1, "a dropped failure holds nothing back"
        world.run_background()


def test_a_failure_that_began_before_forget_holds_nothing_back() -> None:
    """What went wrong before the value was forgotten says nothing about the next load."""
    world = World()
    value = world.refreshed()
    value.get()
    world.later(HOUR)
    value.get()
    value.forget()
    world.answer = world.failure
    world.run_background()
    world.answer = 2
    assert value.get() == 2


def test_a_value_forgotten_while_somebody_looks_is_loaded() -> None:
    """`forget` holds for a caller who saw the old value a moment before, and had to wait for a new one anyway."""
    world = World()
    forget = False

    def clock() -> datetime:
        if forget:
            value.forget()  # another thread, in the middle of this one's `get`
        return world.now

    value = Refreshed(world.load, clock, HOUR, HOUR, world.background.append)
    value.get()
    world.later(HOUR)
    world.answer, forget = 2, True
    assert value.get() == 2
    assert world.background == []


def test_a_clock_set_back_does_not_keep_a_value_fresh() -> None:
    """A value from the future is refreshed like a stale one."""
    world = World()
    value = world.refreshed()
    value.get()
    world.later(-HOUR)
    assert value.get() == 1
    assert len(world.background) == 1


def test_when_no_thread_can_be_started_the_old_value_stays() -> None:
    """The attempt counts as a failed refresh, and a later one is possible."""
    world = World()
    attempts: list[int] = []

    def no_thread(_work: Callable[[], None]) -> None:
        attempts.append(1)
        raise RuntimeError

    value = Refreshed(world.load, world.clock, HOUR, spawn=no_thread)
    value.get()
    world.later(HOUR)
    assert [value.get(), value.get()] == [1, 1]
    assert attempts == [1]
    world.later(BACK_OFF)
    value.get()
    assert attempts == [1, 1]
    world.answer = 2
    assert value.refresh() == 2


def test_a_refresh_while_a_thread_fails_to_start_wins() -> None:
    """What was loaded meanwhile is not spoilt by the failure."""
    world = World()

    def no_thread(_work: Callable[[], None]) -> None:
        world.answer = 2
        value.refresh()  # another thread, at this moment
        raise RuntimeError

    value = Refreshed(world.load, world.clock, HOUR, spawn=no_thread)
    value.get()
    world.later(HOUR)
    assert value.get() == 1
    assert value.get() == 2


def test_concurrent_first_loads_happen_once() -> None:
    """Those who come while the first load is under way wait for it, and get its value."""
    world = World()
    begun, go_on = threading.Event(), threading.Event()

    def load() -> int:
        begun.set()
        assert go_on.wait(PATIENCE)
        return world.load()

    value = Refreshed(load, world.clock, HOUR)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(value.get)
        assert begun.wait(PATIENCE)
        others = [pool.submit(value.get), pool.submit(value.refresh)]
        go_on.set()
        assert {each.result(PATIENCE) for each in (first, *others)} == {1}
    assert value.get() == 1


def test_those_who_wait_for_a_load_share_its_failure() -> None:
    """A slow failure costs each waiting request one wait, not one after the other."""
    begun, go_on = threading.Event(), threading.Event()
    world = World()

    def load() -> int:
        world.loads += 1
        begun.set()
        assert go_on.wait(PATIENCE)
        raise world.failure

    value = Refreshed(load, world.clock, HOUR)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(value.get)]
        assert begun.wait(PATIENCE)
        waiting += [pool.submit(value.get) for _ in range(3)]
        go_on.set()
        assert all(isinstance(each.exception(PATIENCE), UpstreamUnavailable) for each in waiting)
    assert world.loads == 1


def test_who_lost_the_race_takes_the_value_of_who_won() -> None:
    """A load that ended between looking and loading is not done again."""
    world = World()
    value = world.refreshed()
    real_clock_calls = 0

    def clock() -> datetime:
        nonlocal real_clock_calls
        real_clock_calls += 1
        if real_clock_calls == 1:
            value.refresh()  # another thread, in the middle of this one's `get`
        return world.now

    value = Refreshed(world.load, clock, HOUR, spawn=world.background.append)
    assert value.get() == 1
    assert world.loads == 1
    real_clock_calls = 0
    world.later(HOUR)
    value.get()
    assert world.background == [], "what another thread has just refreshed is not refreshed again"


def test_a_failure_is_logged_by_its_kind_only(caplog: pytest.LogCaptureFixture) -> None:
    """What the failure says may come from outside, so it stays out of the log."""
    world = World()
    world.answer = ValueError("a token")
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="a token"):
        world.refreshed().get()
    assert [record.getMessage() for record in caplog.records] == [
        '{"event": "refresh.failed", "reason": "ValueError"}'
    ]


def test_background_work_runs_in_a_daemon_thread() -> None:
    """A refresh that hangs does not keep the process from ending."""
    seen: list[bool] = []
    done = threading.Event()

    def work() -> None:
        seen.append(threading.current_thread().daemon)
        done.set()

    start_thread(work)
    assert done.wait(PATIENCE)
    assert seen == [True]
