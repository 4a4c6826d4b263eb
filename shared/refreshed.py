"""A value from elsewhere, kept in memory: refreshed in the background, and kept when that fails.

Three rules. A caller waits for a load only when there is no value, or when nobody asked for so long that the value may
be far from true. A load that fails takes nothing away. There is never more than one load under way: whoever needs its
outcome waits for the same one. (After `forget` the next load does not wait for one that began before it.)
"""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.errors import SignInError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.ports import Clock

BACK_OFF = timedelta(seconds=5)
"""How long a failed load is not repeated, so that a service in trouble is not called once per request."""

_log = logging.getLogger("sos")


def start_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread that does not keep the process alive."""
    threading.Thread(target=work, name="refresh", daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Loaded[T]:
    value: T
    at: datetime


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException
    at: datetime


class Refreshed[T]:
    """The value `load` answers: about `fresh_for` old at most while it is asked for, and kept while `load` fails.

    One older than `wait_after` is loaded again before it is answered (None: nobody ever waits for that).
    """

    def __init__(
        self,
        load: Callable[[], T],
        clock: Clock,
        fresh_for: timedelta,
        wait_after: timedelta | None = None,
        spawn: Callable[[Callable[[], None]], None] = start_thread,
    ) -> None:
        self._load = load
        self._clock = clock
        self._fresh_for = fresh_for
        self._wait_after = wait_after
        self._spawn = spawn
        self._lock = threading.Lock()  # held for a moment, never during a load
        self._loaded: _Loaded[T] | None = None
        self._failed: _Failed | None = None
        self._under_way: Future[T] | None = None
        self._trouble = ""

    def get(self) -> T:
        """Answer the value; without waiting, unless there is none or it is older than `wait_after`.

        Without a value, raises what `load` raised, and the same again without another load for BACK_OFF.
        """
        if self._trouble:
            self._say_trouble()
        loaded = self._loaded  # one reference, read once: no lock while the value is fresh
        now = self._clock()
        if loaded is not None and self._younger(loaded.at, self._fresh_for, now):
            return loaded.value
        failed = self._recent_failure(now)
        if loaded is None:
            if failed is not None:
                raise failed.error.with_traceback(None)
            return self._load_now(None)
        if (
            failed is None
            and self._wait_after is not None
            and not self._younger(loaded.at, self._wait_after, now)
        ):
            with suppress(Exception):  # it is in the log, and the last good value is better than none
                return self._load_now(loaded)
        self._load_in_background(loaded, now)
        return loaded.value

    @property
    def known(self) -> T | None:
        """The value as it was last loaded, however old; None before the first load. Loads nothing."""
        loaded = self._loaded
        return loaded.value if loaded is not None else None

    def peek(self) -> T | None:
        """Answer the value, or None when there is none yet; never wait, and load it in the background when it is time."""
        loaded, now = self._loaded, self._clock()
        if (loaded is None or not self._younger(loaded.at, self._fresh_for, now)) and (
            self._recent_failure(now) is None
        ):
            self._load_in_background(loaded, now)
        return self.known

    def refresh(self) -> T:
        """Load now, or wait for the load under way. Raises what `load` raises; the old value stays then."""
        return self._load_now(self._loaded)

    def forget(self) -> None:
        """Drop the value, and that of a load under way: the next `get` loads what is true from now on."""
        with self._lock:
            self._loaded = self._failed = self._under_way = None

    def _load_now(self, seen: _Loaded[T] | None) -> T:
        with self._lock:
            loaded, outcome = self._loaded, self._under_way
            if loaded is not None and loaded is not seen:
                return loaded.value  # another thread finished a load since the caller looked
            mine = outcome is None or outcome.cancel()  # one that no thread has begun yet is taken over
            if outcome is None or mine:
                outcome = self._under_way = Future()
                outcome.set_running_or_notify_cancel()
        if mine:
            self._run(outcome)
            self._say_trouble()
        return outcome.result()

    def _say_trouble(self) -> None:
        # By whoever asks next, in the thread of a request: the host drops lines that are logged outside of an invocation.
        trouble, self._trouble = self._trouble, ""
        if trouble:
            _log.warning(trouble)

    def _load_in_background(self, seen: _Loaded[T] | None, now: datetime) -> None:
        with self._lock:
            busy = self._under_way is not None or self._loaded is not seen
            if busy or self._recent_failure(now) is not None:
                return
            outcome = self._under_way = Future()

        def begin() -> None:
            if outcome.set_running_or_notify_cancel():
                self._run(outcome)

        try:
            self._spawn(begin)
        except RuntimeError as error:  # no thread: the system's limit is reached, or the process is ending
            if outcome.set_running_or_notify_cancel():
                self._settle(outcome, error)

    def _run(self, outcome: Future[T]) -> None:
        at = self._clock()  # the value is as old as the moment it was asked for
        try:
            value = self._load()
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody may wait for this load for ever
            self._settle(outcome, error)
            return
        with self._lock:
            if self._under_way is outcome:
                self._under_way, self._failed, self._loaded = None, None, _Loaded(value, at)
        outcome.set_result(value)

    def _settle(self, outcome: Future[T], error: BaseException) -> None:
        reason = f"{error.code}: {error}" if isinstance(error, SignInError) else type(error).__name__
        self._trouble = json.dumps({"event": "refresh.failed", "reason": reason})
        with self._lock:
            if self._under_way is outcome:
                self._under_way, self._failed = None, _Failed(error, self._clock())
        outcome.set_exception(error)

    def _recent_failure(self, now: datetime) -> _Failed | None:
        failed = self._failed
        return failed if failed is not None and self._younger(failed.at, BACK_OFF, now) else None

    @staticmethod
    def _younger(at: datetime, limit: timedelta, now: datetime) -> bool:
        # A moment in the future (the clock was set back) is not young: it would last for ever.
        return timedelta(0) <= now - at < limit
