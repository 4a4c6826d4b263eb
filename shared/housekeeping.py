"""The sweep: rows that mean nothing any more are deleted, so that sessions and counters do not pile up for ever.

A row goes when it is over even by a clock that is behind as far as clocks may differ: no instance then decides otherwise
without it. And it goes as it was read: a session that is renewed or a counter that is charged in between conflicts, and
stays. So sweeps may run at any time, two at once, and die anywhere.

One thing is forgotten that mattered: failures in a row that rested for `limits.KEEP`, a year. Who guesses once a year wins
little by that, and the table would keep every name that anybody ever made up.

Old rows of the audit table stay: they carry no time to find them by.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.errors import Conflict
from shared.limits import CLOCK_TOLERANCE
from shared.ports import Store, Table
from shared.session import ABSOLUTE_LIMIT, IDLE_LIMIT

MOST: Final = 500
"""Rows of one table in one sweep."""

_OVER: Final = (
    # Renewal refuses such a session, and the sign-in that made it cannot be replayed: its transaction lived 10 minutes.
    (Table.SESSIONS, "last_seen", IDLE_LIMIT),
    # For a row whose last_seen was written by a clock that was far ahead. It is the longest of the absolute limits.
    (Table.SESSIONS, "auth_time", ABSOLUTE_LIMIT),
    # A counter says itself when it may go: an address when its budget is full, failures in a row after `limits.KEEP`.
    (Table.THROTTLE, "expires_at", timedelta(0)),
)
"""What is over: table, column, and how long after the time in that column."""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many rows went (of two sweeps at once both may count one), and whether there may be more of them."""

    sessions: int
    throttle: int
    more: bool


def sweep(store: Store, now: datetime, enough: Callable[[], bool], most: int = MOST) -> Swept:
    """Delete rows that are over, at most `most` of each table, until `enough` says so before the next call.

    Raises UpstreamUnavailable when the store is away; what was deleted by then stays deleted.
    """
    gone: Counter[Table] = Counter()
    more = False
    for table, column, limit in _OVER:
        if enough():
            more = True
            break
        room = most - gone[table]
        rows = store.older(table, column, now - limit - CLOCK_TOLERANCE, room)
        more |= len(rows) == room
        for row in rows:
            if enough():
                more = True
                break
            try:
                store.delete(table, row)
            except Conflict:
                continue
            gone[table] += 1
    return Swept(gone[Table.SESSIONS], gone[Table.THROTTLE], more)
