"""Who acts next: stories that run side by side, each a generator that yields how long, or until when, it waits."""

import heapq
from collections.abc import Generator, Iterable
from datetime import datetime, timedelta
from itertools import count

from local.year.clock import YearClock

type Story = Generator[datetime | timedelta]


class Agenda:
    """All stories, by the moment at which each goes on. The clock leaps from one to the next."""

    def __init__(self, clock: YearClock, stories: Iterable[Story]) -> None:
        self._clock = clock
        self._numbers = count()
        self._waiting = [(clock.now(), next(self._numbers), story) for story in stories]

    def play(self, until: datetime) -> None:
        """Play all stories up to a moment."""
        while self._waiting and self._waiting[0][0] <= until:
            moment, _, story = heapq.heappop(self._waiting)
            self._clock.leap_to(moment)
            wait = next(story, None)
            if wait is not None:
                again = wait if isinstance(wait, datetime) else self._clock.now() + wait
                heapq.heappush(self._waiting, (again, next(self._numbers), story))
        self._clock.leap_to(until)
