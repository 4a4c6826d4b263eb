"""The store in memory, for tests of races and crashes: it counts, and lets things happen at a chosen call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import UpstreamUnavailable
from tests.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.ports import Row, Table


class SpyStore(MemoryStore):
    """Counts reads and writes; an action planned for one of them runs once, just before it, and may raise."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.writes = 0
        self._plans: dict[tuple[str, int], Callable[[], object]] = {}

    def before_read(self, nth: int, action: Callable[[], object]) -> None:
        """Plan for the n-th read from now (1: the next)."""
        self._plans["read", self.reads + nth] = action

    def before_write(self, nth: int, action: Callable[[], object]) -> None:
        """Plan for the n-th write from now (1: the next)."""
        self._plans["write", self.writes + nth] = action

    def get(self, table: Table, partition: str, key: str) -> Row | None:
        """Read one row, or None."""
        self._read()
        return super().get(table, partition, key)

    def query(self, table: Table, partition: str) -> list[Row]:
        """Read all rows of a partition."""
        self._read()
        return super().query(table, partition)

    def older(self, table: Table, column: str, moment: datetime, most: int) -> list[Row]:
        """Read rows of any partition by their age."""
        self._read()
        return super().older(table, column, moment, most)

    def insert(self, table: Table, row: Row) -> Row:
        """Add a row."""
        self._written()
        return super().insert(table, row)

    def insert_all(self, table: Table, rows: list[Row]) -> None:
        """Add rows of one partition."""
        self._written()
        super().insert_all(table, rows)

    def replace(self, table: Table, row: Row) -> Row:
        """Write a row that was read."""
        self._written()
        return super().replace(table, row)

    def delete(self, table: Table, row: Row) -> None:
        """Remove a row that was read."""
        self._written()
        super().delete(table, row)

    def _read(self) -> None:
        self.reads += 1
        self._plans.pop(("read", self.reads), lambda: None)()

    def _written(self) -> None:
        self.writes += 1
        self._plans.pop(("write", self.writes), lambda: None)()


def crash() -> None:
    """Do what a process that dies in mid-work does to the writes that were to follow."""
    raise UpstreamUnavailable("store", "the process died here")
