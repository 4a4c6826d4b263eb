"""The replicas of the token endpoint, each behind the truth in its own way."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(slots=True)
class Replicas:
    """Who answers next: each in turn. A replica knows the application's certificates as they were `delay` ago."""

    delays: tuple[timedelta, ...] = (timedelta(),)
    _asked: int = 0

    def next_delay(self) -> timedelta:
        """Turn to the next replica; give its delay."""
        delay = self.delays[self._asked % len(self.delays)]
        self._asked += 1
        return delay
