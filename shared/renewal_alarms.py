"""What somebody must be told about the renewal: conditions that hold now. Each is raised once when it begins to hold."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared.renewal import POLICY
from shared.renewal_state import LONG_AGO, Phase, RenewalState

SILENT_AFTER: Final = timedelta(hours=3, minutes=10)
"""Three hours, and what a timer is late: the row shows a sign of life every second hour, so one run may be missed."""
_PROVING_FOR: Final = timedelta(minutes=60)
_LATE_BEFORE: Final = timedelta(days=60)
_DAILY_BEFORE: Final = timedelta(days=30)
_PAGES_AT_DAYS: Final = (14, 7)
_FAILURES: Final = 5
_CLOCKS_DIFFER: Final = timedelta(minutes=10)
"""At most, between two instances that are each wrong by 5 minutes."""
_SKEW: Final = timedelta(seconds=60)

SILENT: Final = "silent"


def conditions(state: RenewalState, now: datetime) -> tuple[str, ...]:
    """List what holds now, as `name` or `name:detail`. The names are stable: alert rules match them.

    silent           no tick for 3 hours
    failing          five ticks in a row have failed; `last_error` says why
    proving          a new certificate has not been proven for 60 minutes
    waiting          the next certificate has not been registered for 60 minutes: somebody must upload it
    not_switched     60 days before the end the next certificate does not sign yet
    expiring:N       N days are left, from 30 on; one each day
    page:N           14, then 7 days are left
    expired          nobody can sign in with Microsoft
    current_refused  Microsoft has refused the certificate twice
    still_works:V    a version that was taken off the application is accepted all the same
    foreign_key:T    a key on the application that is none of ours
    clock            our clock and Microsoft's differ by more than a minute
    """
    found = [SILENT] if is_silent(state, now) else []
    if state.attempts >= _FAILURES:
        found.append("failing")
    if state.phase is Phase.PROVE and now - state.phase_since > _PROVING_FOR:
        found.append("proving")
    if state.phase is Phase.REGISTER and now - state.phase_since > _PROVING_FOR:
        found.append("waiting")
    if state.current is not None:
        refused = state.current.refused_run >= POLICY.refusals
        # While Microsoft refuses it, sign-ins live on the other one.
        carries = state.other if refused and state.other is not None else state.current
        found += _of_lifetime(carries.not_after - now)
        if refused:
            found.append("current_refused")
    if state.still_works:
        found.append(f"still_works:{state.still_works}")
    found += [f"foreign_key:{x5t}" for x5t in state.foreign]
    if abs(state.clock_skew) > _SKEW:
        found.append("clock")
    return tuple(found)


def is_silent(state: RenewalState, now: datetime) -> bool:
    """Tell whether the timer has stopped, as far as the row shows. It says nothing before the first tick."""
    return state.last_tick_at > LONG_AGO and now - state.last_tick_at > SILENT_AFTER


def _of_lifetime(left: timedelta) -> list[str]:
    if left <= timedelta(0):
        return ["expired"]
    found = []
    if left < _LATE_BEFORE:
        found.append("not_switched")
    if left <= _DAILY_BEFORE:
        found.append(f"expiring:{left.days}")
    return found + [f"page:{days}" for days in _PAGES_AT_DAYS if left <= timedelta(days=days)]


def with_alarms(state: RenewalState, now: datetime) -> RenewalState:
    """Raise what has begun to hold since, and forget what holds no more, so that it can be raised again.

    What another instance raised is kept while it holds by that one's clock: it would be raised twice otherwise.
    """
    holding = conditions(state, now)
    nearly = {each for off in (-_CLOCKS_DIFFER, _CLOCKS_DIFFER) for each in conditions(state, now + off)}
    kept = tuple(each for each in state.alarms if each in nearly and each not in holding)
    for condition in holding:
        state = _raised(state, condition, now)
    return replace(state, alarms=(*holding, *kept))


def with_silence(state: RenewalState, now: datetime) -> RenewalState:
    """Raise that the timer was silent, before this tick hides it."""
    return _raised(state, SILENT, now) if is_silent(state, now) else state


def _raised(state: RenewalState, condition: str, now: datetime) -> RenewalState:
    if condition in state.alarms:
        return state
    name, _, detail = condition.partition(":")
    told = state.noted(f"renewal.alarm.{name}", now, detail, warning=True)
    return replace(told, alarms=(*state.alarms, condition))
