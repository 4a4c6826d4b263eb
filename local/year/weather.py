"""What is out of order at the outside. It strikes the ticks of the renewal, never people.

At the same moment a sign-in would meet the same outage, and fail because of it, whatever the certificate: that says nothing
of the renewal, so people sign in in between.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from local.cloud.web import Service
from local.faults import Fault

STORE: Final = "store"


@dataclass(slots=True)
class Weather:
    """The services that are away now: `entra`, `vault`, or the store."""

    services: Mapping[str, Service]
    away: set[str] = field(default_factory=set)

    @property
    def store_is_away(self) -> bool:
        """Whether nobody listens where the store was."""
        return STORE in self.away

    @contextmanager
    def striking(self) -> Generator[None]:
        """Let the weather be what it is, until the block ends."""
        struck = self.away - {STORE}
        for name in struck:
            self.services[name].faults.add(Fault("status", status=503))
        try:
            yield
        finally:
            for name in struck:
                self.services[name].faults.reset()
