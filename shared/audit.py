"""What happened, for the people who run this: one JSON line in the log and one row in an append-only table per event.

An event holds no personal data beyond an account id, and nothing secret. The line is written at once; the row is
written behind the request, in batches, by a thread of its own: a store that is slow or away delays nobody. A row that cannot
be written is said in the log, where the event itself already stands.
"""

import atexit
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter

from shared.errors import Conflict
from shared.ports import Row, Store, Table, Value

_log = logging.getLogger("sos")

_MAX_WAITING = 10_000
_BATCH = 100  # entities in one transaction of Tables
_LINGER_SECONDS = 0.2
_MAX_UNSAID = 100


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `name` and `reason` are stable slugs that an alert rule can match."""

    name: str
    at: datetime
    reference: str
    account_id: str = ""
    method: str = ""
    reason: str = ""
    where: str = ""
    """For a fault of ours: the places in the code, the innermost first."""
    warning: bool = False

    @property
    def severity(self) -> int:
        """The level of its line in the log: an error is ours, a warning is worth a look."""
        if self.where:
            return logging.ERROR
        return logging.WARNING if self.warning else logging.INFO

    def line(self) -> str:
        """Write the event as one line of JSON."""
        facts = {
            "event": self.name,
            "at": self.at.isoformat(timespec="milliseconds"),
            "reference": self.reference,
            "account": self.account_id,
            "method": self.method,
            "reason": self.reason,
            "where": self.where,
        }
        return json.dumps({key: value for key, value in facts.items() if value})

    @property
    def partition(self) -> str:
        """One partition a day: what the Owner's list of activity reads."""
        return self.at.astimezone(UTC).strftime("%Y-%m-%d")

    def row(self) -> Row:
        """Write the event as a row, in the order of time within its day."""
        key = f"{self.at.astimezone(UTC):%H%M%S%f}-{secrets.token_hex(4)}"
        return Row(self.partition, key, self.values())

    def values(self) -> dict[str, Value]:
        """Give what its row holds, wherever it stands."""
        return {"line": self.line(), "event": self.name, "account": self.account_id}


class AuditLog:
    """Takes events; writes each to the log now and to the store soon."""

    def __init__(self, store: Store, spawn: Callable[[Callable[[], None]], None] | None = None) -> None:
        self._store = store
        self._spawn = spawn or _start_thread
        self._waiting: deque[Event] = deque()
        self._lock = threading.Lock()
        self._writer = threading.Lock()  # held while a batch is written: whoever flushes waits for it
        self._writing = False
        self._unsaid: deque[tuple[int, str]] = deque(maxlen=_MAX_UNSAID)

    def record(self, event: Event) -> None:
        """Log an event and queue its row. Never raises, never waits for the store."""
        _log.log(event.severity, event.line())
        self.say_unsaid()
        with self._lock:
            if len(self._waiting) >= _MAX_WAITING:
                self._waiting.popleft()
                _log.error(json.dumps({"event": "audit.dropped", "reason": "queue_full"}))
            self._waiting.append(event)
            start, self._writing = not self._writing, True
        if start:
            try:
                self._spawn(self._write_until_empty)
            except RuntimeError:  # no thread to be had; the next event asks again
                self._writing = False

    def write(self, event: Event, partition: str, key: str, *, behind: bool) -> None:
        """Log an event and write its row now, under a name of its own: a second time is no second row.

        `behind` a request, on a thread of its own, the line waits for the next one that speaks. Raises UpstreamUnavailable.
        """
        if behind:
            self._unsaid.append((event.severity, event.line()))
        else:
            _log.log(event.severity, event.line())
            self.say_unsaid()
        with suppress(Conflict):
            self._store.insert(Table.AUDIT, Row(partition, key, event.values()))

    def flush(self) -> None:
        """Write what waits, now; for the end of the process, and for tests."""
        self._write_all()
        self.say_unsaid()

    def _write_all(self) -> None:
        with self._writer:
            while batch := self._take():
                self._write(batch)

    def say_later(self, name: str, reason: str, **facts: int) -> None:
        """Keep the line of an event that happened outside of an invocation, for the next one that speaks."""
        self._unsaid.append((logging.ERROR, json.dumps({"event": name, "reason": reason, **facts})))

    def say_unsaid(self) -> None:
        """Log the lines of our own threads, inside of an invocation: the host drops what is logged outside of one."""
        with suppress(IndexError):  # another thread said the last one
            while self._unsaid:
                _log.log(*self._unsaid.popleft())

    def _write_until_empty(self) -> None:
        # A moment's wait gathers the events of a busy second into one request.
        time.sleep(_LINGER_SECONDS)
        while True:
            self._write_all()
            with self._lock:
                if not self._waiting:
                    self._writing = False
                    return

    def _take(self) -> list[Event]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]

    def _write(self, batch: list[Event]) -> None:
        for _day, events in groupby(batch, key=attrgetter("partition")):
            rows = [event.row() for event in events]
            try:
                self._store.insert_all(Table.AUDIT, rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next batch must be written
                self.say_later("audit.not_written", type(error).__name__, events=len(rows))


def _start_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="audit", daemon=True).start()


def flush_at_exit(audit: AuditLog) -> None:
    """Write what waits when the process ends in order."""
    atexit.register(audit.flush)
