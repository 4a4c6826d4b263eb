"""The second voice of the renewal: any request notices that a tick is overdue, and has it run behind itself.

A timer can stop for good after a deployment (azure-functions-host #11828). A glance costs a request microseconds: the row
is in memory, read in the background, and the tick runs on a thread of its own.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from shared.refreshed import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.renewal_state import RenewalState
    from shared.services import Services

_FIRST_GLANCE_AFTER: Final = timedelta(seconds=20)
"""An instance that starts has better things to do."""
_GLANCE_EVERY: Final = timedelta(seconds=5)
_AGAIN_AFTER: Final = timedelta(seconds=60)
"""After a tick behind a request: as long as the row may be old in memory."""
_TIMER_STOPPED: Final = timedelta(hours=6)


class RenewalWatch:
    """Starts at most one tick at a time. Ticks of other processes are kept apart by the lease."""

    def __init__(
        self, services: Services, spawn: Callable[[Callable[[], None]], None] = start_thread
    ) -> None:
        self._services = services
        self._spawn = spawn
        self._lock = threading.Lock()
        self._looked_at = services.clock()
        self._pause = _FIRST_GLANCE_AFTER
        self._working = False

    def glance(self) -> None:
        """Look whether a tick is overdue, and start it. Never raises, never waits."""
        now = self._services.clock()
        if timedelta(0) <= now - self._looked_at < self._pause:
            return
        with self._lock:
            if self._working or timedelta(0) <= now - self._looked_at < self._pause:
                return
            self._looked_at, self._pause = now, _GLANCE_EVERY
            state = self._services.certificate.peek()
            if state is None or not needs_help(state, now):
                return
            self._working = True
        self._services.audit.say_unsaid()
        try:
            self._spawn(self._work)
        except RuntimeError:  # no thread to be had; the next request asks again
            self._working = False

    def _work(self) -> None:
        from shared.renewal_tick import tick

        try:
            tick(self._services, behind=True)
            self._services.certificate.refresh()
        except Exception as error:  # noqa: BLE001 - a thread of its own: nobody else would hear of it
            self._services.audit.say_later("renewal.tick_failed", type(error).__name__)
        finally:
            self._looked_at, self._pause = self._services.clock(), _AGAIN_AFTER
            self._working = False


def needs_help(state: RenewalState, now: datetime) -> bool:
    """Tell whether a request should start a tick.

    That is when the timer has stopped, or when somebody waits for the next step: a certificate is on its way, the Owner
    asked for something, or it has expired. In between the hourly timer is soon enough.
    """
    if now - state.last_tick_at > _TIMER_STOPPED:
        return True
    # The name of the phase: importing the row's module would be 9 ms of every cold start.
    waiting = state.next is not None or state.request is not None or state.phase == "create"
    expired = state.current is not None and now >= state.current.not_after
    return (waiting or expired) and now >= max(state.next_attempt_at, state.blocked_until)
