"""What the timer looks after once a day beside the certificate: the key ring of sessions, and rows that have expired."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared.errors import Conflict, UpstreamUnavailable
from shared.housekeeping import sweep
from shared.limits import CLOCK_TOLERANCE
from shared.renewal_row import LeasedRow, LeaseLost, Stop, where
from shared.renewal_state import RenewalState
from shared.services import Services
from shared.vault_secrets import rotate_key_ring

_EVERY: Final = timedelta(hours=24)
_AGAIN_AFTER: Final = timedelta(minutes=50)
"""Where a sweep has left rows, or something failed: the next hourly tick goes on."""


def are_due(state: RenewalState, now: datetime) -> bool:
    """Tell whether a day has passed, by whatever clock."""
    return not state.chores_at <= now < state.chores_at + _EVERY


def do(services: Services, row: LeasedRow) -> None:
    """Do them, unless our clock is known to be wrong: it would sweep sessions that live, and drop keys that sign."""
    now = services.clock()
    skew = services.identity.clock_skew()
    if abs(row.state.clock_skew if skew is None else skew) > CLOCK_TOLERANCE:
        return
    done = [_try(row, "key ring", now, lambda: _rotate(services, row, now))]
    done.append(_try(row, "sweep", now, lambda: not sweep(services.store, now, enough=row.is_late).more))
    done_at = now if all(done) else now - _EVERY + _AGAIN_AFTER
    row.save(lambda state: replace(state, chores_at=done_at))


def _rotate(services: Services, row: LeasedRow, now: datetime) -> bool:
    if rotate_key_ring(services.vault, now):
        row.save(lambda state: state.noted("key_ring.rotated", now))
    return True


def _try(row: LeasedRow, what: str, now: datetime, work: Callable[[], bool]) -> bool:
    """Do one of them; say whether it is done. One that fails must stop neither the other nor the renewal."""
    if row.is_late():
        return False
    try:
        return work()
    except (Conflict, LeaseLost, Stop):
        raise
    except Exception as error:  # noqa: BLE001 - a ring that nobody can read, say
        reason, wait = where(error), None
        if isinstance(error, UpstreamUnavailable):
            reason, wait = str(error), error.retry_after

        def failed(state: RenewalState) -> RenewalState:
            state = state.noted("chores.failed", now, f"{what}: {reason}", warning=True)
            return state if wait is None else replace(state, blocked_until=now + wait)

        row.save(failed)
        return False
