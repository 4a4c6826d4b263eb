"""One process of ours: services of its own, what they keep in memory, and a way to die in the middle of a call."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from local.year.clock import YearClock
from shared.azure.connect import connect
from shared.config import Config
from shared.ports import Row, Table

_CALL_SECONDS: Final = 0.03
"""How long a call takes by the clock of the year."""


class Killed(BaseException):
    """The process ends here. Nothing in it may go on, so nothing may catch it."""


class Instance:
    """The real services on the real adapters. Each call to a port passes through here, and goes on unchanged."""

    def __init__(self, name: str, config: Config, clock: YearClock, wrote: Callable[[Row], None]) -> None:
        self.name = name
        self._clock = clock
        self.skew = timedelta()
        self.calls: Counter[str] = Counter()
        self._wrote = wrote
        self._dies_in = 0
        self._dies_after = False
        self.services = services = connect(config)
        for port in ("store", "vault", "identity", "directory"):
            setattr(services, port, _Port(getattr(services, port), self._through))

    @contextmanager
    def dying(self, at_call: int, *, after: bool) -> Generator[None]:
        """Be killed at the n-th call from here on: before it, or `after` its effect."""
        self._dies_in, self._dies_after = at_call, after
        try:
            yield
        finally:
            self._dies_in = 0

    def _through(self, name: str, method: Callable[..., Any], *args: Any, **named: Any) -> Any:  # noqa: ANN401 - any call
        self.calls[name] += 1
        self._clock.pass_by(_CALL_SECONDS)
        self._dies_in -= 1
        dies = self._dies_in == 0
        if dies and not self._dies_after:
            raise Killed
        answer = method(*args, **named)
        if name in {"insert", "replace"} and args[0] is Table.SETTINGS and args[1].key == "certificate":
            self._wrote(args[1])
        if dies:
            raise Killed
        return answer


class _Port:
    """A port whose calls are seen."""

    def __init__(self, port: object, through: Callable[..., Any]) -> None:
        self._port = port
        self._through = through

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._through, name, getattr(self._port, name))
