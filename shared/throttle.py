"""The password door's throttle, right with any number of instances at once. The rules are in `shared.limits`.

Two rules govern it. An attempt is charged before the password is verified, as if it had failed, and a success
gives the charge back; so attempts in parallel cannot outrun the counters. And it fails closed: when the store
is away, or others keep changing the same row, no attempt takes place.

Knocking during a wait neither lengthens it nor costs anything: the impatient are not punished, and a guesser
gains nothing. A sign-in with Microsoft never comes here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.errors import Conflict, TooManyAttempts
from shared.limits import NO_WAIT, Attempt, Decision, Limit, Scope, decide, refunded
from shared.ports import Row, Store, Table

MAX_CONFLICTS = 10
"""Compare-and-swap is tried this often. Who loses every time is one of a crowd at one name or one address."""

CONTENTION_WAIT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to verify one password, once. Only `reserve` makes it."""

    attempt: Attempt


def require_no_wait(store: Store, attempt: Attempt, now: datetime) -> None:
    """Raise TooManyAttempts when the attempt must wait. Charges nothing, and promises nothing: `reserve` decides."""
    rows = [(limit, _get(store, limit)) for limit in attempt.charges]
    _require_no_wait(store, [(limit, row, decide(limit, row, now)) for limit, row in rows])


def reserve(store: Store, attempt: Attempt, now: datetime) -> Reservation:
    """Charge the attempt as if it had failed; without a reservation no password is verified.

    Raises TooManyAttempts when it must wait. Raises UpstreamUnavailable when the store is away or a row makes
    no sense.
    """
    rows = [(limit, _get(store, limit)) for limit in attempt.charges]
    decisions = [(limit, row, decide(limit, row, now)) for limit, row in rows]
    _require_no_wait(store, decisions)
    for position, (limit, row) in enumerate(rows):
        try:
            _charge(store, limit, row, now)
        except TooManyAttempts:
            _give_back(store, attempt.charges[:position])
            raise
    return Reservation(attempt)


def _require_no_wait(store: Store, decisions: list[tuple[Limit, Row | None, Decision]]) -> None:
    wait = max(decision.wait for _, _, decision in decisions)
    if wait > NO_WAIT:
        for limit, row, decision in decisions:
            if decision.wait > NO_WAIT:
                _bring_back(store, limit, row, decision)
        raise TooManyAttempts(wait, closed=any(decision.closed for _, _, decision in decisions))


def settle(store: Store, reservation: Reservation) -> None:
    """After a success, once: give the address its charge back and clear the failures in a row."""
    _give_back(store, reservation.attempt.charges)
    for limit in reservation.attempt.clears:
        reset(store, limit)


def reset(store: Store, limit: Limit) -> None:
    """Forget a counter's failures. Where others keep changing it, it stays: too strict rather than lost."""

    def delete(row: Row | None) -> None:
        if row is not None:
            store.delete(Table.THROTTLE, row)

    _swap(store, limit, _get(store, limit), delete)


def _charge(store: Store, limit: Limit, row: Row | None, now: datetime) -> None:
    def charge(row: Row | None) -> None:
        decision = decide(limit, row, now)
        if decision.wait > NO_WAIT:
            raise TooManyAttempts(decision.wait, closed=decision.closed)
        _write(store, limit, row, decision)

    if not _swap(store, limit, row, charge):
        raise TooManyAttempts(CONTENTION_WAIT)


def _give_back(store: Store, limits: tuple[Limit, ...]) -> None:
    """Undo the charge of an address. Failures in a row are not undone singly: they are cleared or stay."""

    def give_back(row: Row | None) -> None:
        if row is not None:
            store.replace(Table.THROTTLE, Row(row.partition, row.key, refunded(row), row.etag))

    for limit in limits:
        if limit.scope is Scope.ADDRESS:
            _swap(store, limit, _get(store, limit), give_back)


def _bring_back(store: Store, limit: Limit, row: Row | None, decision: Decision) -> None:
    """Write a row from the future back to now. Once: who was faster has done it too."""
    if decision.values is not None:
        try:
            _write(store, limit, row, decision)
        except Conflict:
            return


def _get(store: Store, limit: Limit) -> Row | None:
    return store.get(Table.THROTTLE, limit.partition, limit.key)


def _write(store: Store, limit: Limit, row: Row | None, decision: Decision) -> None:
    values = decision.values or {}
    if row is None:
        store.insert(Table.THROTTLE, Row(limit.partition, limit.key, values))
    else:
        store.replace(Table.THROTTLE, Row(row.partition, row.key, values, row.etag))


def _swap(store: Store, limit: Limit, row: Row | None, change: Callable[[Row | None], None]) -> bool:
    """Compare and swap: change the row as read, read it again after each conflict. Answer whether done."""
    for _ in range(MAX_CONFLICTS):
        try:
            change(row)
        except Conflict:
            row = _get(store, limit)
        else:
            return True
    return False
