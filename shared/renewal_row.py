"""The row of the renewal in the hands of one tick: its lease, compare-and-swap, intents, and what is said of them."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared.audit import Event
from shared.base64url import random_id
from shared.errors import Conflict
from shared.renewal import Step
from shared.renewal_alarms import with_alarms, with_silence
from shared.renewal_state import LONG_AGO, Intent, RenewalState, operation_id, read_state, save_state
from shared.services import Services

AUDIT_PARTITION: Final = "renewal"
_LEASE: Final = timedelta(minutes=5)
"""As long as a function may run (host.json, functionTimeout)."""
_KEPT_FREE: Final = timedelta(seconds=60)
"""No call starts with less of the lease left: one takes 30 seconds at most, with all its tries."""

type Change = Callable[[RenewalState], RenewalState]


class LeaseLost(Exception):
    """Somebody else works on the row: everything that this tick knows may be out of date."""


class Changed(Exception):
    """The Owner changed the row between the plan and the act: plan again."""


class Stop(Exception):
    """No more in this tick. With `failure` the wait grows with each one; without, it ends at `until`."""

    def __init__(self, until: datetime, failure: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(failure)
        self.until = until
        self.failure = failure
        self.retry_after = retry_after


def where(error: Exception) -> str:
    """Name a defect by its kind and place. Its text may hold anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"


def is_leased(state: RenewalState, now: datetime) -> bool:
    """Tell whether somebody works on the row. A lease from the future was taken by a clock that was wrong."""
    return bool(state.lease_owner) and now < state.lease_until <= now + 2 * _LEASE


class LeasedRow:
    """The row as this tick last wrote it. Every write is a compare-and-swap."""

    def __init__(self, services: Services, state: RenewalState, *, behind: bool) -> None:
        self.state = state
        self._services = services
        self._behind = behind
        self._owner = random_id()
        self._said: set[str] = set()

    def take(self) -> None:
        """Take the lease. Raises Conflict when somebody else was faster."""
        now = self._services.clock()
        leased = replace(
            with_silence(self.state, now), lease_owner=self._owner, lease_until=now + _LEASE, last_tick_at=now
        )
        self._write(leased)

    def beat(self) -> None:
        """Show that the timer lives, and raise alarms: one write, without a lease. Raises Conflict."""
        now = self._services.clock()
        self._write(with_alarms(replace(with_silence(self.state, now), last_tick_at=now), now))
        self._forget_notes()

    def release(self) -> None:
        """Let go of the lease."""
        self.save(lambda state: replace(state, lease_owner="", lease_until=LONG_AGO))
        self._forget_notes()

    def _forget_notes(self) -> None:
        """Take out of the row what has been said; where that fails the next tick says it again, under the same keys."""
        if self.state.notes:
            with suppress(Conflict):
                self.state = save_state(self._services.store, replace(self.state, notes=()))

    def save(self, change: Change, *, planned: bool = False) -> None:
        """Change the row while the lease is ours. Where the Owner changed it meanwhile, `change` is made on top.

        `planned` changes were chosen for the row as it was: those raise Changed then.
        """
        while True:
            try:
                self._write(change(self.state))
            except Conflict:
                fresh = read_state(self._services.store)
                if fresh.lease_owner != self._owner:
                    raise LeaseLost from None
                self.state = fresh
                if planned:
                    raise Changed from None
            else:
                return

    def intend(self, step: Step) -> Intent:
        """Write down an outside write that is about to be made. Raises Changed, or Stop when the time is short."""
        self.require_time()
        now = self._services.clock()
        intent = Intent(operation_id(self.state, self.state.count + 1), step, now)

        def intended(state: RenewalState) -> RenewalState:
            asking = int(step is Step.ADD_KEY)
            state = replace(state, intent=intent, count=state.count + 1, add_keys=state.add_keys + asking)
            return state.noted(f"renewal.{step}.intent", now, operation=intent.operation)

        self.save(intended, planned=True)
        self.require_time()
        return intent

    def settled(self, state: RenewalState, outcome: str, *, warning: bool = False) -> RenewalState:
        """Give the row with the outcome of its intent."""
        intent = state.intent
        if intent is None:
            return state
        name = f"renewal.{intent.step}.outcome"
        told = state.noted(name, self._services.clock(), outcome, operation=intent.operation, warning=warning)
        return replace(told, intent=None)

    def require_time(self) -> None:
        """Raise Stop when the lease ends too soon for another call."""
        if self.is_late():
            raise Stop(self._services.clock())

    def is_late(self) -> bool:
        """Tell whether the lease ends too soon for another call."""
        return self._services.clock() >= self.state.lease_until - _KEPT_FREE

    def _write(self, state: RenewalState) -> None:
        unsaid = tuple(note for note in state.notes if note.key not in self._said)
        self.state = save_state(self._services.store, replace(state, notes=unsaid))
        for note in unsaid:
            event = Event(
                note.name, note.at, note.operation or note.key, reason=note.reason, warning=note.warning
            )
            self._services.audit.write(event, AUDIT_PARTITION, note.key, behind=self._behind)
            self._said.add(note.key)
