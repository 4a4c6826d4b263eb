"""One tick of the renewal: take the lease, look at the world, do what the planner says, write down what came of it.

A tick can die anywhere, and run twice at once: the next one finds the intent of what was about to be done, and probes
instead of believing.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared import chores
from shared import renewal_moves as moves
from shared.errors import Conflict, UpstreamUnavailable
from shared.renewal import OUTSIDE, POLICY, Facts, Probe, Seen, Step, Wait, plan
from shared.renewal_alarms import with_alarms
from shared.renewal_outside import Outside
from shared.renewal_row import Changed, LeasedRow, LeaseLost, Stop, is_leased, where
from shared.renewal_state import Phase, RenewalState, Role, read_state
from shared.services import Services

_HEARTBEAT: Final = timedelta(minutes=110)
"""A tick with nothing else to do writes the row when it is so old: every second one of an hourly timer."""
_LONGEST_WAIT: Final = timedelta(hours=25)
"""Longer than any wait that is written down: what lies beyond it was written by a clock that was wrong."""
_BACK_OFF: Final = (timedelta(minutes=1), timedelta(hours=6))
_STORE: Final = "store"
_DOUBLINGS: Final = 10
_UNUSUAL: Final = frozenset(
    {Step.ABSENT, Step.LEAVE_KEY, Step.ROLL_BACK, Step.FALL_BACK, Step.REFUSE_ROLL_BACK}
)
_MOST_STEPS: Final = 30


def is_due(state: RenewalState, now: datetime) -> bool:
    """Tell whether a tick has anything to do."""
    heartbeat = not state.last_tick_at <= now < state.last_tick_at + _HEARTBEAT
    return heartbeat or has_work(state, now)


def has_work(state: RenewalState, now: datetime) -> bool:
    """Tell whether it is more than a sign of life: not while a service asked for patience, nor before the next attempt."""
    if _is_near(state.blocked_until, now):
        return False
    return bool(state.intent or state.notes) or not _is_near(state.next_attempt_at, now)


def tick(
    services: Services,
    *,
    behind: bool = False,
    with_chores: bool = True,
    jitter: Callable[[], float] = random.random,
) -> bool:
    """Run one tick, when one is due and nobody else runs one. Gives whether it was run.

    `behind` a request, on a thread of its own, its log lines wait for the next request. Who steers by hand leaves the chores
    to the timer: the clock of their computer sweeps nothing. `jitter` gives numbers from 0 to 1.
    Raises UpstreamUnavailable when the store is away.
    """
    state, now = read_state(services.store), services.clock()
    if not is_due(state, now) or is_leased(state, now):
        return False
    try:
        row = LeasedRow(services, state, behind=behind)
        _Tick(services, row, jitter, with_chores=with_chores).run()
    except (Conflict, LeaseLost):
        return False
    return True


def _is_near(moment: datetime, now: datetime) -> bool:
    return now < moment <= now + _LONGEST_WAIT


class _Tick:
    """What one tick knows beside the row."""

    def __init__(
        self, services: Services, row: LeasedRow, jitter: Callable[[], float], *, with_chores: bool
    ) -> None:
        self._services = services
        self._clock = services.clock
        self._row = row
        self._outside = Outside(services, row)
        self._jitter = jitter
        self._with_chores = with_chores

    def run(self) -> None:
        """Do everything that is due, and let go of the lease."""
        state, now = self._row.state, self._clock()
        resting, busy = not has_work(state, now), self._with_chores and chores.are_due(state, now)
        if resting and not busy:
            self._row.beat()
            return
        self._row.take()
        if not resting:
            self._close(self._work())
        if busy and not _is_near(self._row.state.blocked_until, now):
            with suppress(Stop):  # no time left
                chores.do(self._services, self._row)
        self._row.release()

    def _work(self) -> Stop:
        """Settle what is open and take steps; gives when to look again, and what failed."""
        try:
            self._settle()
            stopped = self._steps()
            self._outside.look_for_foreign_keys()
        except Stop as stop:
            return stop
        except UpstreamUnavailable as error:
            return Stop(self._clock(), f"{error.code}: {error}", error.retry_after)
        except (Conflict, LeaseLost):
            raise
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the renewal in silence
            return Stop(self._clock(), f"internal_error: {where(error)}")
        return stopped

    def _steps(self) -> Stop:
        """Do what is planned until there is nothing left; gives when to look again."""
        client_id, object_id = self._outside.read_application()
        looked: dict[Role, Seen] = {}
        for _ in range(_MOST_STEPS):
            facts = Facts(client_id, object_id, looked)
            match plan(self._row.state, facts, POLICY, self._clock()):
                case Wait(until):
                    return Stop(until)
                case Probe(role):
                    looked[role] = self._outside.probe(role)
                case step:
                    self._take(step)
                    looked = {}
        return Stop(self._clock())

    def _take(self, step: Step) -> None:
        """Take one step. What the Owner changed meanwhile is planned anew; a failure leaves no intent open."""
        try:
            if step in OUTSIDE:
                self._outside.take(step)
            else:
                self._move(step)
        except Changed:
            return
        except UpstreamUnavailable as error:
            if error.port == _STORE:  # whether it was done is not known: the next tick settles it
                raise
            outcome = f"{'not done' if error.nothing_done else 'unknown'}: {error}"
            self._row.save(lambda state: self._row.settled(state, outcome, warning=True))
            raise

    def _move(self, step: Step) -> None:
        """Take a step that changes nothing but the row."""
        now, move = self._clock(), moves.MOVES[step]
        warning = step in _UNUSUAL

        def moved(state: RenewalState) -> RenewalState:
            after = move(state, now)
            about = after.current if step is Step.SWITCH else after.next or after.previous
            version = about.version if about is not None else ""
            return after.noted(f"renewal.{step}", now, version, warning=warning)

        self._row.save(moved, planned=True)

    def _settle(self) -> None:
        """An earlier tick died between an intent and its outcome: what it did is not known, and probes will tell."""
        intent, now = self._row.state.intent, self._clock()
        if intent is None:
            return

        def settled(state: RenewalState) -> RenewalState:
            state = self._row.settled(state, "unknown: the tick ended before it", warning=True)
            if intent.step == Step.ADD_KEY and state.phase is Phase.REGISTER:
                return moves.added(state, "", intent.at, now)
            return state

        self._row.save(settled)

    def _close(self, stopped: Stop) -> None:
        """Write down when to look again, and raise alarms."""
        now, planned_for = self._clock(), self._row.state

        def closed(state: RenewalState) -> RenewalState:
            again, blocked = stopped.until, state.blocked_until
            if (state.request, state.paused) != (planned_for.request, planned_for.paused):
                again = now
            attempts = state.attempts + 1 if stopped.failure else 0
            if stopped.failure:
                again = max(again, now + self._back_off(state))
            if stopped.retry_after is not None:
                blocked = now + stopped.retry_after
            state = replace(
                state,
                attempts=attempts,
                last_error=stopped.failure,
                blocked_until=blocked,
                next_attempt_at=max(again, blocked),
            )
            return with_alarms(state, now)

        self._row.save(closed)

    def _back_off(self, state: RenewalState) -> timedelta:
        """Full jitter between a minute and six hours; five minutes at most while nobody can sign in."""
        least, most = _BACK_OFF
        nobody = state.current is None or self._clock() >= state.current.not_after
        if nobody and state.phase is not Phase.CREATE:  # somebody may upload; a vault that fails has time
            most = POLICY.urgent_probe_every
        grown: timedelta = least * 2 ** min(state.attempts + 1, _DOUBLINGS)
        return max(least, self._jitter() * min(most, grown))
