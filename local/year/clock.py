"""The time of the year: it leaps from event to event, and everything that tells or waits for time follows it."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from local.cloud.clock import ShiftedClock
from shared import refreshed
from shared.azure import connect, http


class YearClock:
    """A clock that stands still until it is moved. `skew` is how wrong that of the instance is whose turn it is.

    The stand-ins' clocks run on from the same moment, for the milliseconds until it is moved again.
    """

    def __init__(self, begin: datetime, followers: tuple[ShiftedClock, ...]) -> None:
        self.skew = timedelta()
        self._followers = followers
        self._set(begin)

    def now(self) -> datetime:
        """Tell the true time."""
        return self._now

    def now_here(self) -> datetime:
        """Tell the time as the instance sees it."""
        return self._now + self.skew

    def leap_to(self, moment: datetime) -> None:
        """Go on to a moment; stay where it has passed."""
        self._set(max(moment, self._now))

    def pass_by(self, seconds: float) -> None:
        """Let time pass: a call takes some, or a program would have slept."""
        self._set(self._now + timedelta(seconds=seconds))

    def _set(self, moment: datetime) -> None:
        self._now = moment
        offset = moment - datetime.now(UTC)
        for clock in self._followers:
            clock.offset = offset


class _AtOnce:
    """Stands for a thread whose work is quick: it is done where it would begin, so that each run goes the same way."""

    def __init__(self, target: Callable[[], None], **_: object) -> None:
        self.start = target


@contextmanager
def time_of(clock: YearClock) -> Generator[None]:
    """Let our code live by this clock: what it reads, how long it pauses, and when its background work is done.

    It has no switches for that, and needs none.
    """
    sleeping = SimpleNamespace(sleep=clock.pass_by, monotonic=time.monotonic, time=time.time)
    with ExitStack() as changes:
        changes.enter_context(_replaced(connect, "_now", clock.now_here))
        changes.enter_context(_replaced(http, "time", sleeping))
        threads = SimpleNamespace(Thread=_AtOnce, Lock=threading.Lock)
        changes.enter_context(_replaced(refreshed, "threading", threads))
        yield


@contextmanager
def _replaced(module: object, name: str, value: object) -> Generator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
