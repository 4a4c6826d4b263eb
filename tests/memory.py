"""The store in memory: the same promises as the tables, for tests that need no network."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import count, islice
from threading import RLock

from shared.errors import Conflict, UpstreamUnavailable
from shared.ports import Row, Table

LARGEST_BATCH = 100
"""Rows in one entity group transaction of Azure Tables."""


class MemoryStore:
    """Answers `shared.ports.Store`. Safe to share between threads.

    `away = True` makes every call fail; `before` is called first in each call, to count, to wait or to interfere.
    """

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.away = False
        self.before = before
        self._rows: dict[tuple[Table, str, str], Row] = {}
        self._versions = count(1)
        self._lock = RLock()

    def get(self, table: Table, partition: str, key: str) -> Row | None:
        """Read one row, or None."""
        self._reach()
        with self._lock:
            return self._rows.get((table, partition, key))

    def insert(self, table: Table, row: Row) -> Row:
        """Add a row and return it with its etag. Raises Conflict when it is there already."""
        self._reach()
        with self._lock:
            if (table, row.partition, row.key) in self._rows:
                raise Conflict
            return self._write(table, row)

    def insert_all(self, table: Table, rows: list[Row]) -> None:
        """Add rows of one partition (1 to 100), all or none. Raises Conflict when one is there already."""
        self._reach()
        names = {(row.partition, row.key) for row in rows}
        if not 1 <= len(rows) <= LARGEST_BATCH:
            message = f"a batch has 1 to {LARGEST_BATCH} rows"
            raise ValueError(message)
        if len({row.partition for row in rows}) != 1 or len(names) != len(rows):
            message = "a batch stays in one partition and names each row once"
            raise ValueError(message)
        with self._lock:
            if any((table, *name) in self._rows for name in names):
                raise Conflict
            for row in rows:
                self._write(table, row)

    def replace(self, table: Table, row: Row) -> Row:
        """Write a row that was read and return it with its new etag. Raises Conflict when it changed."""
        self._reach()
        with self._lock:
            current = self._rows.get((table, row.partition, row.key))
            if current is None or current.etag != row.etag:
                raise Conflict
            return self._write(table, row)

    def delete(self, table: Table, row: Row) -> None:
        """Remove a row that was read; absent is done. Raises Conflict when it changed."""
        self._reach()
        with self._lock:
            current = self._rows.get((table, row.partition, row.key))
            if current is None:
                return
            if current.etag != row.etag:
                raise Conflict
            del self._rows[table, row.partition, row.key]

    def query(self, table: Table, partition: str) -> list[Row]:
        """Read all rows of a partition, in the order of their keys."""
        self._reach()
        with self._lock:
            rows = [row for (t, p, _), row in self._rows.items() if (t, p) == (table, partition)]
        return sorted(rows, key=lambda row: row.key)

    def older(self, table: Table, column: str, moment: datetime, most: int) -> list[Row]:
        """Read at most `most` rows of any partition whose time `column` lies before `moment`, in no order."""
        self._reach()

        def is_older(row: Row) -> bool:
            value = row.values.get(column)
            return isinstance(value, datetime) and value < moment

        with self._lock:
            found = (row for (t, _, _), row in self._rows.items() if t is table and is_older(row))
            return list(islice(found, most))

    def _reach(self) -> None:
        self.before()
        if self.away:
            port = "store"
            raise UpstreamUnavailable(port)

    def _write(self, table: Table, row: Row) -> Row:
        # The values are copied, so that nobody's later change to the mapping changes the stored row.
        written = replace(row, values=dict(row.values), etag=f'W/"{next(self._versions)}"')
        self._rows[table, row.partition, row.key] = written
        return written
