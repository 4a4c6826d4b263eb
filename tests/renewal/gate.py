"""Every call of a worker to the outside passes here: it can fail, die, or wait while others work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum, auto

from shared.errors import UpstreamUnavailable


class Crash(BaseException):
    """The process is killed here. Nothing in it may run any more, so nothing may catch it."""


class Outside(StrEnum):
    """What a worker calls."""

    STORE = auto()
    VAULT = auto()
    MICROSOFT = auto()
    GRAPH = auto()


@dataclass(slots=True)
class Weather:
    """How the outside fares, for every worker alike."""

    away: set[Outside] = field(default_factory=set)
    """No request reaches these."""
    deaf: set[Outside] = field(default_factory=set)
    """These do what they are asked, and their answer is lost."""
    busy_until: dict[Outside, datetime] = field(default_factory=dict)
    """These answer 429 with Retry-After."""


@dataclass(slots=True)
class Happening:
    """What comes between: called before the n-th call of a tick, or after its effect and before its answer."""

    at_call: int
    what: Callable[[], None]
    after: bool = False


@dataclass(slots=True)
class Gate:
    """The way out of one worker."""

    now: Callable[[], datetime]
    """The true time."""
    weather: Weather
    told_to_wait: Callable[[Outside, datetime], None]
    called: Callable[[Outside], None]
    happenings: list[Happening] = field(default_factory=list)
    calls: int = 0

    @contextmanager
    def expecting(self, happenings: list[Happening]) -> Iterator[None]:
        """Let these happen, with the calls counted from here."""
        self.happenings, self.calls = happenings, 0
        try:
            yield
        finally:
            self.happenings = []

    def through[T](self, outside: Outside, effect: Callable[[], T]) -> T:
        """Make one call."""
        self.calls += 1
        number = self.calls
        self._happen(number, after=False)
        self.called(outside)
        if outside in self.weather.away:
            raise UpstreamUnavailable(outside, "no connection", nothing_done=True)
        until = self.weather.busy_until.get(outside)
        if until is not None and self.now() < until:
            self.told_to_wait(outside, until)
            wait: timedelta = until - self.now()
            raise UpstreamUnavailable(outside, "http 429", retry_after=wait, nothing_done=True)
        answer = effect()
        self._happen(number, after=True)
        if outside in self.weather.deaf:
            raise UpstreamUnavailable(outside, "time-out")
        return answer

    def _happen(self, number: int, *, after: bool) -> None:
        due = [each for each in self.happenings if each.at_call == number and each.after == after]
        for each in due:
            self.happenings.remove(each)
            each.what()
