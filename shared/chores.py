"""What the timer looks after once a day beside the certificate: the key ring of sessions, and rows that have expired."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared.errors import Conflict, UpstreamUnavailable
from shared.housekeeping import sweep
from shared.renewal_row import LeasedRow, LeaseLost, Stop, where
from shared.renewal_state import RenewalState
from shared.services import Services
from shared.vault_secrets import rotate_key_ring

_EVERY: Final = timedelta(hours=24)
_MORE_AFTER: Final = timedelta(minutes=50)
"""Where a sweep has left rows: the next hourly tick goes on."""


def are_due(state: RenewalState, now: datetime) -> bool:
    """Tell whether a day has passed, by whatever clock."""
    return not state.chores_at <= now < state.chores_at + _EVERY


def do(services: Services, row: LeasedRow) -> None:
    """Do them, when they are due. What fails is noted, and tried by the next tick."""
    now = services.clock()
    if not are_due(row.state, now):
        return
    try:
        row.require_time()
        rotated = rotate_key_ring(services.vault, now)
        more = sweep(services.store, now, enough=row.is_late).more
    except (Conflict, LeaseLost):
        raise
    except Stop:  # no time left
        return
    except Exception as error:  # noqa: BLE001 - a ring that nobody can read must not stop the renewal
        reason, wait = where(error), None
        if isinstance(error, UpstreamUnavailable):
            reason, wait = str(error), error.retry_after

        def failed(state: RenewalState) -> RenewalState:
            state = state.noted("chores.failed", now, reason, warning=True)
            return state if wait is None else replace(state, blocked_until=now + wait)

        row.save(failed)
        return
    done_at = now - _EVERY + _MORE_AFTER if more else now
    row.save(
        lambda state: replace(state.noted("key_ring.rotated", now) if rotated else state, chores_at=done_at)
    )
