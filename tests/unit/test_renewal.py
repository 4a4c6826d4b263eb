"""The planner: a table for each phase, whose rows name the rule of the renewal that they show.

A number has a row on each side of its boundary. NOW is when the plan is asked for; `probed_at` of the current version lies
near it, so that its daily probe is not due, where a row is not about that.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import renewal_moves as moves
from shared.renewal import (
    OUTSIDE,
    POLICY,
    Facts,
    Plan,
    Probe,
    Seen,
    Step,
    Wait,
    is_hurried,
    manual_reason,
    next_of,
    plan,
    start_of,
)
from shared.renewal_state import Asked, CertificateVersion, Phase, RenewalState, Role
from tests.unit.renewal_samples import (
    CURRENT,
    DAY,
    HOUR,
    MINUTE,
    NEXT,
    NOW,
    PREVIOUS,
    SECOND,
    asked,
    possible_states,
    row,
    version,
)

CLIENT: Final = "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"
OBJECT: Final = "5d0e2f14-8c6b-4a39-9b7d-2e1f3a4c5b60"
NOTHING_SEEN: Final[Mapping[Role, Seen]] = {}
NEXT_OK, NEXT_REFUSED = {Role.NEXT: Seen.OK}, {Role.NEXT: Seen.REFUSED}
PREVIOUS_OK, PREVIOUS_REFUSED = {Role.PREVIOUS: Seen.OK}, {Role.PREVIOUS: Seen.REFUSED}


@dataclass(frozen=True)
class Case:
    """One row of a table: in this state, having seen this, the plan is that."""

    name: str
    state: RenewalState
    expected: Plan
    looked: Mapping[Role, Seen] = field(default_factory=dict)
    now: datetime = NOW
    client_id: str = CLIENT
    object_id: str = OBJECT

    def check(self) -> None:
        """Ask the planner."""
        facts = Facts(self.client_id, self.object_id, dict(self.looked))
        assert plan(self.state, facts, POLICY, self.now) == self.expected


def table(*cases: Case) -> pytest.MarkDecorator:
    """Run a test for each row, under the row's name."""
    names = [case.name for case in cases]
    assert not [name for name, times in Counter(names).items() if times > 1]
    return pytest.mark.parametrize("case", cases, ids=names)


def current(**changes: object) -> CertificateVersion:
    """Give the current version, changed."""
    return replace(CURRENT, **changes)  # type: ignore[arg-type] # fields of the record


def candidate(**changes: object) -> CertificateVersion:
    """Give the next version, changed."""
    return replace(NEXT, **changes)  # type: ignore[arg-type] # fields of the record


def previous(**changes: object) -> CertificateVersion:
    """Give the previous version, changed."""
    return replace(PREVIOUS, **changes)  # type: ignore[arg-type] # fields of the record


UNUSABLE: Final = {
    "has expired": current(not_after=NOW),
    "was refused twice": current(refused_run=2),
}
"""Current versions that nobody can sign in with, and that sign no proof."""


# Any phase: the current version is probed once a day


@table(
    Case("no client id: wait", row(), Wait(NOW + DAY), client_id=""),
    Case("no client id: not even a request", row(request=asked(Asked.ROTATE)), Wait(NOW + DAY), client_id=""),
    Case("no client id: not even the daily probe",
         row(current=current(probed_at=NOW - 2 * DAY)), Wait(NOW + DAY), client_id=""),
    Case("probed daily: 24 h less a second ago",
         row(current=current(probed_at=NOW - DAY + SECOND)), Wait(NOW + SECOND)),
    Case("probed daily: 24 h ago", row(current=current(probed_at=NOW - DAY)), Probe(Role.CURRENT)),
    Case("probed daily: never, counted from the phase, a second early",
         row(current=current(probed_at=None), phase_since=NOW - DAY + SECOND), Wait(NOW + SECOND)),
    Case("probed daily: never, counted from the phase",
         row(current=current(probed_at=None), phase_since=NOW - DAY), Probe(Role.CURRENT)),
    Case("refused once: again after 5 min, a second early",
         row(current=current(refused_run=1, probed_at=NOW - 5 * MINUTE + SECOND)), Wait(NOW + SECOND)),
    Case("refused once: again after 5 min",
         row(current=current(refused_run=1, probed_at=NOW - 5 * MINUTE)), Probe(Role.CURRENT)),
    Case("refused twice: again after 5 min",
         row(current=current(refused_run=2, probed_at=NOW - 5 * MINUTE)), Probe(Role.CURRENT)),
    Case("once in a tick",
         row(current=current(probed_at=NOW - DAY), request=asked(Asked.ROTATE)), Step.BEGIN, {Role.CURRENT: Seen.OK}),
    Case("expired: not probed, a new one is made",
         row(current=current(not_after=NOW, probed_at=NOW - 2 * DAY)), Step.BEGIN),
    Case("one second before it expires: probed",
         row(current=current(not_after=NOW + SECOND, probed_at=NOW - 2 * DAY)), Probe(Role.CURRENT)),
    Case("paused: probed all the same",
         row(current=current(probed_at=NOW - DAY), paused=True), Probe(Role.CURRENT)),
    Case("paused: waits for the daily probe",
         row(current=current(probed_at=NOW - HOUR), paused=True), Wait(NOW + 23 * HOUR)),
    Case("abandoned: disabled when nothing else is due", row(abandoned=("v9",)), Step.DISABLE_ABANDONED),
    Case("abandoned: keeps nothing waiting", row(abandoned=("v9",), request=asked(Asked.ROTATE)), Step.BEGIN),
    Case("abandoned: not while paused", row(abandoned=("v9",), paused=True), Wait(NOW + DAY)),
)  # fmt: skip
def test_in_any_phase(case: Case) -> None:
    """What comes before the phases."""
    case.check()


@pytest.mark.parametrize("phase", Phase)
def test_the_current_version_is_probed_daily_in_every_phase(phase: Phase) -> None:
    """A certificate that somebody took off the application is noticed within a day, whatever else goes on."""
    facts = Facts(CLIENT, OBJECT, {})
    due = row(phase, current=current(probed_at=NOW - DAY))
    assert plan(due, facts, POLICY, NOW) == Probe(Role.CURRENT)
    assert plan(due, facts, POLICY, NOW - SECOND) != Probe(Role.CURRENT)


@pytest.mark.parametrize("phase", Phase)
def test_while_paused_nothing_is_begun_in_any_phase(phase: Phase) -> None:
    """Whatever is due: not even what the Owner asked for before."""
    late = row(phase, paused=True, request=asked(Asked.REVOKE, "v0"), abandoned=("v9",))
    for looked in (NOTHING_SEEN, NEXT_OK, NEXT_REFUSED, PREVIOUS_REFUSED):
        facts = Facts(CLIENT, OBJECT, dict(looked))
        assert plan(late, facts, POLICY, NOW) == Wait(NOW + DAY)


# IDLE

START = start_of(CURRENT, CLIENT, 4, POLICY)
AT_START = current(probed_at=START - MINUTE)


@table(
    Case("start: a second before", row(current=AT_START), Wait(START), now=START - SECOND),
    Case("start: at it", row(current=AT_START), Step.BEGIN, now=START),
    Case("start: far off, so the daily probe is next", row(), Wait(NOW + DAY)),
    Case("start: without an object id too", row(current=AT_START), Step.BEGIN, now=START, object_id=""),
    Case("start: after a refusal too", row(current=AT_START, refusal="graph_403"), Step.BEGIN, now=START),
    Case("start: not while paused",
         row(current=AT_START, paused=True), Wait(START - MINUTE + DAY), now=START),
    Case("first certificate: waits for the Owner", row(current=None), Wait(NOW + DAY)),
    Case("first certificate: the Owner asked",
         row(current=None, request=asked(Asked.GENERATE, "")), Step.BEGIN),
    Case("the Owner asked: generate", row(request=asked(Asked.GENERATE)), Step.BEGIN),
    Case("the Owner asked: rotate", row(request=asked(Asked.ROTATE)), Step.BEGIN),
    Case("the Owner asked: revoke", row(request=asked(Asked.REVOKE)), Step.BEGIN),
    Case("the Owner asked: roll back, too late", row(request=asked(Asked.ROLL_BACK)), Step.REFUSE_ROLL_BACK),
    Case("expired: begins", row(current=current(not_after=NOW)), Step.BEGIN),
    Case("expired long ago: begins", row(current=current(not_after=NOW - 90 * DAY)), Step.BEGIN),
)  # fmt: skip
def test_idle(case: Case) -> None:
    """IDLE waits until the start, or until the Owner asks."""
    case.check()


# CREATE


@table(
    Case("creates", row(Phase.CREATE), Step.CREATE),
    Case("manual: creates, so that it can be downloaded", row(Phase.CREATE), Step.CREATE, object_id=""),
    Case("a policy refuses addKey: creates", row(Phase.CREATE, refusal="graph_403"), Step.CREATE),
    Case("first certificate: creates", row(Phase.CREATE, current=None), Step.CREATE),
    *(Case(f"current {why}: creates",
           row(Phase.CREATE, current=gone), Step.CREATE) for why, gone in UNUSABLE.items()),
    Case("roll back: refused", row(Phase.CREATE, request=asked(Asked.ROLL_BACK)), Step.REFUSE_ROLL_BACK),
)  # fmt: skip
def test_create(case: Case) -> None:
    """CREATE makes a version, in manual mode too."""
    case.check()


# REGISTER


@table(
    Case("probes first: whoever put it there", row(Phase.REGISTER), Probe(Role.NEXT)),
    Case("found", row(Phase.REGISTER), Step.FOUND, NEXT_OK),
    Case("found: uploaded by hand", row(Phase.REGISTER), Step.FOUND, NEXT_OK, object_id=""),
    Case("not known yet: addKey", row(Phase.REGISTER), Step.ADD_KEY, NEXT_REFUSED),
    Case("not known yet, in haste: addKey",
         row(Phase.REGISTER, request=asked(Asked.REVOKE)), Step.ADD_KEY, NEXT_REFUSED),
    Case("at most 3 addKey: the third", row(Phase.REGISTER, add_keys=2), Step.ADD_KEY, NEXT_REFUSED),
    Case("at most 3 addKey: no fourth", row(Phase.REGISTER, add_keys=3), Step.ABSENT, NEXT_REFUSED),
    Case("manual: no object id, probed hourly",
         row(Phase.REGISTER), Wait(NOW + HOUR), NEXT_REFUSED, object_id=""),
    Case("manual: refused, probed hourly",
         row(Phase.REGISTER, refusal="graph_403"), Wait(NOW + HOUR), NEXT_REFUSED),
    Case("manual: the first, probed every 5 min",
         row(Phase.REGISTER, current=None), Wait(NOW + 5 * MINUTE), NEXT_REFUSED),
    *(Case(f"current {why}: no proof, probed every 5 min",
           row(Phase.REGISTER, current=gone), Wait(NOW + 5 * MINUTE), NEXT_REFUSED) for why, gone in UNUSABLE.items()),
    Case("current expires in a second: addKey",
         row(Phase.REGISTER, current=current(not_after=NOW + SECOND)), Step.ADD_KEY, NEXT_REFUSED),
    Case("current refused once: addKey",
         row(Phase.REGISTER, current=current(refused_run=1)), Step.ADD_KEY, NEXT_REFUSED),
    Case("current expired a day ago: probed every 5 min",
         row(Phase.REGISTER, current=current(not_after=NOW - DAY, probed_at=NOW - 2 * DAY)),
         Wait(NOW + 5 * MINUTE), NEXT_REFUSED),
    Case("generate: another one", row(Phase.REGISTER, request=asked(Asked.GENERATE)), Step.BEGIN),
    Case("generate: another one, though this one is there",
         row(Phase.REGISTER, request=asked(Asked.GENERATE)), Step.BEGIN, NEXT_OK),
    Case("rotate: goes on with this one", row(Phase.REGISTER, request=asked(Asked.ROTATE)), Probe(Role.NEXT)),
    Case("30 days left: worth it",
         row(Phase.REGISTER, next=candidate(not_after=NOW + 30 * DAY)), Probe(Role.NEXT)),
    Case("less than 30 days left: a new one",
         row(Phase.REGISTER, next=candidate(not_after=NOW + 30 * DAY - SECOND)), Step.BEGIN),
    Case("roll back: refused", row(Phase.REGISTER, request=asked(Asked.ROLL_BACK)), Step.REFUSE_ROLL_BACK),
)  # fmt: skip
def test_register(case: Case) -> None:
    """REGISTER probes, and asks the directory for what no probe finds."""
    case.check()


# PROVE


def proving(ok_run: int, since: timedelta, **changes: object) -> RenewalState:
    """Give a row whose next version was registered so long ago, and never refused since."""
    at = NOW - since
    known = candidate(not_before=at - DAY, registered_at=at, run_from=at, ok_run=ok_run, ok_at=at)
    return replace(row(Phase.PROVE, next=known, phase_since=at), **changes)  # type: ignore[arg-type] # fields


def refused(since: timedelta, ok_at: timedelta | None) -> RenewalState:
    """Give a row whose next version was registered so long ago, accepted last so long ago, and refused just now."""
    state = proving(0, since)
    last = None if ok_at is None else NOW - ok_at
    return replace(
        state, next=replace(next_of(state), run_from=NOW, ok_at=last, refused_run=1, probed_at=NOW)
    )


def changed_next(state: RenewalState, **changes: object) -> RenewalState:
    """Give the row with its next version changed."""
    return replace(state, next=replace(next_of(state), **changes))  # type: ignore[arg-type] # fields


@table(
    *(
        case
        for n in range(5)
        for case in (
            Case(f"probe {n + 1} after {3 * (n + 1)} min: a second early",
                 proving(n, 3 * (n + 1) * MINUTE - SECOND), Wait(NOW + SECOND)),
            Case(f"probe {n + 1} after {3 * (n + 1)} min",
                 proving(n, 3 * (n + 1) * MINUTE), Probe(Role.NEXT)),
        )
    ),
    Case("a late tick makes up: the second, due at 6 min, at 9",
         proving(1, 9 * MINUTE), Probe(Role.NEXT), NEXT_OK),
    Case("a late tick makes up: the third, due at 9 min", proving(2, 9 * MINUTE), Probe(Role.NEXT), NEXT_OK),
    Case("a late tick makes up: the fourth is not due",
         proving(3, 9 * MINUTE), Wait(NOW + 3 * MINUTE), NEXT_OK),
    Case("5 in a row: 4 are too few", proving(4, HOUR), Probe(Role.NEXT), NEXT_OK),
    Case("5 in a row", proving(5, HOUR), Step.SWITCH, NEXT_OK),
    Case("15 min since added: a second early", proving(5, 15 * MINUTE - SECOND), Wait(NOW + SECOND), NEXT_OK),
    Case("15 min since added", proving(5, 15 * MINUTE), Step.SWITCH, NEXT_OK),
    Case("switches on what this tick has seen, and on nothing older", proving(5, HOUR), Probe(Role.NEXT)),
    Case("a failure starts the run again: 3 min later",
         refused(30 * MINUTE, 10 * MINUTE), Wait(NOW + 3 * MINUTE), NEXT_REFUSED),
    Case("a failure starts the run again: counted from it, a second early",
         changed_next(proving(0, 30 * MINUTE), run_from=NOW - 3 * MINUTE + SECOND), Wait(NOW + SECOND)),
    Case("a failure starts the run again: counted from it",
         changed_next(proving(0, 30 * MINUTE), run_from=NOW - 3 * MINUTE), Probe(Role.NEXT)),
    Case("absent for 60 min: a second early",
         refused(HOUR - SECOND, None), Wait(NOW + 3 * MINUTE), NEXT_REFUSED),
    Case("absent for 60 min", refused(HOUR, None), Step.ABSENT, NEXT_REFUSED),
    Case("absent for 60 min since it was last seen: a second early",
         refused(5 * HOUR, HOUR - SECOND), Wait(NOW + 3 * MINUTE), NEXT_REFUSED),
    Case("absent for 60 min since it was last seen", refused(5 * HOUR, HOUR), Step.ABSENT, NEXT_REFUSED),
    Case("absent for 60 min: what was seen before it was registered again does not count",
         refused(HOUR - SECOND, 5 * HOUR), Wait(NOW + 3 * MINUTE), NEXT_REFUSED),
    Case("absent: a probe says so, not the time",
         changed_next(proving(0, 5 * HOUR), run_from=NOW - 5 * HOUR), Probe(Role.NEXT)),
    Case("usable from not_before + 5 min: a second early",
         changed_next(proving(5, HOUR), not_before=NOW - 5 * MINUTE + SECOND), Wait(NOW + SECOND), NEXT_OK),
    Case("usable from not_before + 5 min",
         changed_next(proving(5, HOUR), not_before=NOW - 5 * MINUTE), Step.SWITCH, NEXT_OK),
    Case("30 days left: worth it",
         changed_next(proving(5, HOUR), not_after=NOW + 30 * DAY), Step.SWITCH, NEXT_OK),
    Case("less than 30 days left: a new one",
         changed_next(proving(5, HOUR), not_after=NOW + 30 * DAY - SECOND), Step.BEGIN, NEXT_OK),
    Case("generate: too late, it goes on",
         proving(5, HOUR, request=asked(Asked.GENERATE)), Step.SWITCH, NEXT_OK),
    Case("roll back: refused", proving(5, HOUR, request=asked(Asked.ROLL_BACK)), Step.REFUSE_ROLL_BACK),
    Case("paused: does not switch", proving(5, HOUR, paused=True), Wait(NOW + DAY), NEXT_OK),
)  # fmt: skip
def test_prove(case: Case) -> None:
    """PROVE switches after 5 probes in a row and 15 minutes, and after nothing less."""
    case.check()


HASTE: Final[Mapping[str, dict[str, object]]] = {
    "rotate": {"request": asked(Asked.ROTATE)},
    "revoke": {"request": asked(Asked.REVOKE)},
    "the directory refuses": {"refusal": "graph_403"},
    "first certificate": {"current": None},
    "current has expired": {"current": UNUSABLE["has expired"]},
    "current was refused twice": {"current": UNUSABLE["was refused twice"]},
    "no object id": {},
}


@pytest.mark.parametrize("why", HASTE)
def test_prove_in_haste(why: str) -> None:
    """Asked in haste, uploaded by hand, the first one, or nobody can sign in: 3 probes a minute apart, and 2 minutes."""
    object_id = "" if why == "no object id" else OBJECT

    def planned(ok_run: int, since: timedelta, looked: Mapping[Role, Seen]) -> Plan:
        state = proving(ok_run, since, **HASTE[why])
        return plan(state, Facts(CLIENT, object_id, dict(looked)), POLICY, NOW)

    for n in range(3):
        assert planned(n, (n + 1) * MINUTE - SECOND, NOTHING_SEEN) == Wait(NOW + SECOND)
        assert planned(n, (n + 1) * MINUTE, NOTHING_SEEN) == Probe(Role.NEXT)
    assert planned(3, 2 * MINUTE - SECOND, NEXT_OK) == Wait(NOW + SECOND)
    assert planned(3, 2 * MINUTE, NEXT_OK) == Step.SWITCH
    assert planned(3, 2 * MINUTE, NOTHING_SEEN) == Probe(Role.NEXT)
    assert planned(2, HOUR, NEXT_OK) == Probe(Role.NEXT)
    assert planned(0, 2 * MINUTE, NEXT_REFUSED) == Wait(NOW + MINUTE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"request": asked(Asked.GENERATE)},
        {"current": current(refused_run=1)},
        {"current": current(not_after=NOW + SECOND)},
    ],
    ids=["an ordinary day", "generate", "current refused once", "current expires in a second"],
)
def test_prove_without_haste(changes: dict[str, object]) -> None:
    """In automatic mode 3 probes and 2 minutes are not enough."""
    state = proving(3, 11 * MINUTE, **changes)
    assert plan(state, Facts(CLIENT, OBJECT, NEXT_OK), POLICY, NOW) == Wait(NOW + MINUTE)


def test_haste_in_the_middle_of_proving() -> None:
    """Who asks for haste does not wait for probes that have been made."""
    state = proving(3, 11 * MINUTE, request=asked(Asked.ROTATE))
    assert plan(state, Facts(CLIENT, OBJECT, {}), POLICY, NOW) == Probe(Role.NEXT)
    assert plan(state, Facts(CLIENT, OBJECT, NEXT_OK), POLICY, NOW) == Step.SWITCH


# OVERLAP


def overlapping(since: timedelta, **changes: object) -> RenewalState:
    """Give a row whose current version signs since so long ago, and was accepted just now."""
    signs = current(switched_at=NOW - since, ok_at=NOW, not_before=NOW - since - DAY)
    return replace(row(Phase.OVERLAP, current=signs, phase_since=NOW - since), **changes)  # type: ignore[arg-type] # fields


def proven(state: RenewalState, **changes: object) -> RenewalState:
    """Give the row with its current version changed."""
    return replace(state, current=replace(state.current or CURRENT, **changes))  # type: ignore[arg-type] # fields


WEEK = 7 * DAY


@table(
    Case("7 days: a second early", overlapping(WEEK - SECOND), Wait(NOW + SECOND)),
    Case("7 days", overlapping(WEEK), Step.RETIRE),
    Case("7 days: counted from the phase where no switch is known",
         proven(overlapping(WEEK), switched_at=None), Step.RETIRE),
    Case("7 days: counted from the phase, a second early",
         proven(overlapping(WEEK - SECOND), switched_at=None), Wait(NOW + SECOND)),
    Case("current proven within the hour: an hour ago",
         proven(overlapping(WEEK), ok_at=NOW - HOUR), Step.RETIRE),
    Case("current proven within the hour: a second more",
         proven(overlapping(WEEK), ok_at=NOW - HOUR - SECOND), Probe(Role.CURRENT)),
    Case("current proven within the hour: refused since",
         proven(overlapping(WEEK), refused_run=1), Probe(Role.CURRENT)),
    Case("current proven within the hour: refused just now",
         proven(overlapping(WEEK), refused_run=1), Wait(NOW + 5 * MINUTE), {Role.CURRENT: Seen.REFUSED}),
    Case("current proven within the hour: never", proven(overlapping(WEEK), ok_at=None), Probe(Role.CURRENT)),
    Case("no probe for it before the end",
         proven(overlapping(WEEK - SECOND), ok_at=NOW - 2 * HOUR), Wait(NOW + SECOND)),
    Case("rotate: 11 min, a second early",
         overlapping(11 * MINUTE - SECOND, request=asked(Asked.ROTATE, "v0")), Wait(NOW + SECOND)),
    Case("rotate: 11 min", overlapping(11 * MINUTE, request=asked(Asked.ROTATE, "v0")), Step.RETIRE),
    Case("revoke: at once", overlapping(timedelta(0), request=asked(Asked.REVOKE, "v0")), Step.RETIRE),
    Case("revoke: current proven all the same",
         proven(overlapping(timedelta(0), request=asked(Asked.REVOKE, "v0")), ok_at=NOW - 2 * HOUR), Probe(Role.CURRENT)),
    Case("generate: shortens nothing",
         overlapping(WEEK - SECOND, request=asked(Asked.GENERATE)), Wait(NOW + SECOND)),
    Case("manual: retires too", overlapping(WEEK), Step.RETIRE, object_id=""),
    Case("paused: does not retire", overlapping(WEEK, paused=True), Wait(NOW + DAY)),
    Case("current expired: is the previous one good", proven(overlapping(HOUR), not_after=NOW), Probe(Role.PREVIOUS)),
    Case("current expired: the previous one signs again",
         proven(overlapping(HOUR), not_after=NOW), Step.FALL_BACK, {Role.PREVIOUS: Seen.OK}),
    Case("current expired, previous refused: over",
         proven(overlapping(HOUR), not_after=NOW), Step.FINISH, {Role.PREVIOUS: Seen.REFUSED}),
    Case("current expires in a second: goes on",
         proven(overlapping(HOUR), not_after=NOW + SECOND), Wait(NOW + DAY)),
    Case("the first certificate has nothing to retire",
         overlapping(timedelta(0), previous=None), Step.FINISH),
    Case("roll back: probes the previous one first",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK)), Probe(Role.PREVIOUS)),
    Case("roll back: it works",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK)), Step.ROLL_BACK, PREVIOUS_OK),
    Case("roll back: it does not work",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK)), Step.REFUSE_ROLL_BACK, PREVIOUS_REFUSED),
    Case("roll back: while paused too",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK), paused=True), Step.ROLL_BACK, PREVIOUS_OK),
    Case("roll back: nothing to go back to",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK), previous=None), Step.REFUSE_ROLL_BACK),
    Case("roll back: not relied on in its last 24 h",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK), previous=previous(not_after=NOW + DAY)),
         Step.REFUSE_ROLL_BACK, PREVIOUS_OK),
    Case("roll back: a second before its last 24 h",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK), previous=previous(not_after=NOW + DAY + SECOND)),
         Step.ROLL_BACK, PREVIOUS_OK),
    Case("roll back: not to a disabled one",
         overlapping(HOUR, request=asked(Asked.ROLL_BACK), previous=previous(disabled=True)),
         Step.REFUSE_ROLL_BACK, PREVIOUS_OK),
)  # fmt: skip
def test_overlap(case: Case) -> None:
    """OVERLAP keeps both for 7 days, and removes nothing before the new one was proven within the hour."""
    case.check()


# RETIRE


def retiring(**changes: object) -> RenewalState:
    """Give a row in RETIRE whose previous version is changed so; `request` and the like belong to the row."""
    of_row = {
        name: changes.pop(name) for name in ("request", "refusal", "paused", "current") if name in changes
    }
    return row(Phase.RETIRE, previous=previous(**changes), **of_row)


@table(
    Case("removes what this row wrote down as previous", retiring(), Step.REMOVE_KEY),
    Case("no key id is known: it is left", retiring(key_id=""), Step.LEAVE_KEY),
    Case("manual, no object id: it is left", retiring(), Step.LEAVE_KEY, object_id=""),
    Case("manual, the directory refuses: it is left", retiring(refusal="graph_403"), Step.LEAVE_KEY),
    *(Case(f"current {why}: no proof, so it waits",
           retiring(current=gone), Wait(NOW + 5 * MINUTE)) for why, gone in UNUSABLE.items() if why == "was refused twice"),
    Case("current refused once: removes", retiring(current=current(refused_run=1)), Step.REMOVE_KEY),
    Case("paused: waits", retiring(paused=True), Wait(NOW + DAY)),
    Case("revoke: disables the old version first", retiring(request=asked(Asked.REVOKE, "v0")), Step.DISABLE),
    Case("revoke: then removes", retiring(request=asked(Asked.REVOKE, "v0"), disabled=True), Step.REMOVE_KEY),
    Case("revoke: no object id, disables all the same",
         retiring(request=asked(Asked.REVOKE, "v0")), Step.DISABLE, object_id=""),
    Case("revoke of the one that signs now: not this one first",
         retiring(request=asked(Asked.REVOKE)), Step.REMOVE_KEY),
    Case("disabled a day later: a second early", retiring(removed_at=NOW - DAY + SECOND), Wait(NOW + SECOND)),
    Case("a retired key must fail: probed a day later", retiring(removed_at=NOW - DAY), Probe(Role.PREVIOUS)),
    Case("disabled a day later: it failed", retiring(removed_at=NOW - DAY), Step.DISABLE, PREVIOUS_REFUSED),
    Case("disabled a day later: it still works", retiring(removed_at=NOW - DAY), Step.DISABLE, PREVIOUS_OK),
    Case("left where it is: a day later too, without a probe",
         retiring(removed_at=NOW - DAY, key_id=""), Step.DISABLE),
    Case("left where it is: a second early",
         retiring(removed_at=NOW - DAY + SECOND, key_id=""), Wait(NOW + SECOND)),
    Case("rotate: disabled at once",
         retiring(removed_at=NOW, request=asked(Asked.ROTATE, "v0")), Step.DISABLE),
    Case("a new request: disabled at once, so that it begins",
         retiring(removed_at=NOW, request=asked(Asked.ROTATE)), Step.DISABLE),
    Case("disabled: done", retiring(removed_at=NOW - DAY, disabled=True), Step.FINISH),
    Case("revoked, disabled and removed: done",
         retiring(removed_at=NOW, disabled=True, request=asked(Asked.REVOKE, "v0")), Step.FINISH),
    Case("current expired: is the previous one good", retiring(current=current(not_after=NOW)), Probe(Role.PREVIOUS)),
    Case("current expired, previous removed: over, so that a new one is made",
         retiring(current=current(not_after=NOW), removed_at=NOW), Step.FINISH),
    Case("the vault never disables it: left to later", retiring(removed_at=NOW - WEEK), Step.FINISH),
    Case("current expires in a second: removes",
         retiring(current=current(not_after=NOW + SECOND)), Step.REMOVE_KEY),
    Case("nothing to retire: done", row(Phase.RETIRE, previous=None), Step.FINISH),
    Case("roll back: refused", retiring(request=asked(Asked.ROLL_BACK)), Step.REFUSE_ROLL_BACK),
)  # fmt: skip
def test_retire(case: Case) -> None:
    """RETIRE removes the previous key, watches that it fails, and disables its version a day later."""
    case.check()


# Rules over all phases


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("object_id", [OBJECT, ""], ids=["automatic", "manual"])
def test_when_everything_expired_a_new_certificate_is_made(phase: Phase, object_id: str) -> None:
    """From any phase: the Owner can download it and upload it, whatever was under way when it ended."""
    gone = {"not_after": NOW - DAY, "ok_at": NOW - 2 * DAY, "probed_at": NOW - 2 * DAY}
    state = row(phase, current=current(switched_at=NOW - 30 * DAY, **gone), phase_since=NOW - 20 * DAY)
    if state.next is not None:
        state = changed_next(state, not_after=NOW - DAY, registered_at=NOW - 20 * DAY)
    if state.previous is not None:
        state = replace(state, previous=previous(not_after=NOW - 2 * DAY))
    looked: dict[Role, Seen] = {}
    now = NOW
    for _ in range(40):
        match plan(state, Facts(CLIENT, object_id, looked), POLICY, now):
            case Step.CREATE:
                return
            case Wait(until):
                now, looked = max(until, now + SECOND), {}
            case Probe(role):
                looked[role] = Seen.REFUSED
                state = moves.seen(state, role, Seen.REFUSED, now)
            case Step.DISABLE:
                state = moves.changed_previous(state, disabled=True)
            case Step.DISABLE_ABANDONED:
                state = replace(state, abandoned=state.abandoned[1:])
            case step:
                assert step in moves.MOVES, f"{step} needs a certificate that Microsoft knows"
                state, looked = moves.MOVES[step](state, now), {}
    pytest.fail(f"for ever in {state.phase}")


@given(
    possible_states,
    st.sampled_from([OBJECT, ""]),
    st.dictionaries(st.sampled_from(Role), st.sampled_from(Seen)),
)
def test_rules_of_any_row(state: RenewalState, object_id: str, looked: dict[Role, Seen]) -> None:
    """Paused and manual write nothing to the directory; a switch needs its run; only `previous` is removed."""
    planned = plan(state, Facts(CLIENT, object_id, looked), POLICY, NOW)
    assert planned == plan(state, Facts(CLIENT, object_id, looked), POLICY, NOW)
    if state.paused:
        assert planned not in OUTSIDE
    if manual_reason(state, object_id, POLICY, NOW):
        assert planned not in {Step.ADD_KEY, Step.REMOVE_KEY}
    match planned:
        case Wait(until):
            assert until >= NOW
        case Step.ADD_KEY:
            assert state.add_keys < 3
            assert looked[Role.NEXT] is Seen.REFUSED
        case Step.SWITCH:
            assert looked[Role.NEXT] is Seen.OK
            hurried = is_hurried(state, object_id, POLICY, NOW)
            made = next_of(state)
            assert made.ok_run >= (3 if hurried else 5)
            assert made.registered_at is not None
            assert NOW - made.registered_at >= (2 if hurried else 15) * MINUTE
            assert made.not_before + 5 * MINUTE <= NOW < made.not_after - DAY
        case Step.RETIRE:
            assert state.current is not None
            assert not state.current.refused_run
            assert NOW - (state.current.ok_at or state.phase_since) <= HOUR
        case Step.REMOVE_KEY:
            assert state.phase is Phase.RETIRE
            assert state.previous is not None
            assert state.previous.key_id
            assert state.previous.removed_at is None
        case _:
            pass


@given(possible_states, st.sampled_from([OBJECT, ""]))
def test_no_wait_ends_at_once_while_expired(state: RenewalState, object_id: str) -> None:
    """A wait that is over when it begins lets every request start a tick, just when Microsoft is asked too often anyway."""
    gone = current(not_after=NOW - DAY, probed_at=NOW - 2 * DAY)
    state = replace(state, current=gone, phase_since=NOW)
    planned = plan(state, Facts(CLIENT, object_id, NEXT_REFUSED | {Role.CURRENT: Seen.REFUSED}), POLICY, NOW)
    assert not isinstance(planned, Wait) or planned.until > NOW


@table(
    Case("REGISTER", row(Phase.REGISTER, next=None), Wait(NOW)),
    Case("PROVE", row(Phase.PROVE, next=None), Wait(NOW)),
)
def test_a_row_without_its_next_version_is_broken(case: Case) -> None:
    """It is an error of ours, and says where."""
    with pytest.raises(TypeError, match=f"in {case.state.phase} without its next version"):
        case.check()


@pytest.mark.parametrize(
    ("changes", "object_id", "expected"),
    [
        ({}, OBJECT, ""),
        ({"paused": True}, OBJECT, "paused"),
        ({}, "", "no_object_id"),
        ({"current": None}, OBJECT, "first_certificate"),
        ({"current": UNUSABLE["has expired"]}, OBJECT, "current_unusable"),
        ({"current": current(not_after=NOW + SECOND)}, OBJECT, ""),
        ({"current": UNUSABLE["was refused twice"]}, OBJECT, "current_unusable"),
        ({"current": current(refused_run=1)}, OBJECT, ""),
        (
            {"refusal": "graph_403_Authorization_RequestDenied"},
            OBJECT,
            "graph_403_Authorization_RequestDenied",
        ),
    ],
)
def test_why_nothing_is_written_to_the_directory(
    changes: dict[str, Any], object_id: str, expected: str
) -> None:
    """The reason is a slug that the Owner's page explains; there is none when everything is automatic."""
    assert manual_reason(row(**changes), object_id, POLICY, NOW) == expected


# When a renewal starts

clients = st.uuids().map(str)
generations = st.integers(1, 1000)


@given(clients, generations)
def test_the_start_leaves_102_to_124_days(client_id: str, generation: int) -> None:
    """After 66 to 72 % of 365 days."""
    year = version("v1", not_before=NOW, not_after=NOW + 365 * DAY)
    start = start_of(year, client_id, generation, POLICY)
    assert NOW + 0.66 * 365 * DAY <= start < NOW + 0.72 * 365 * DAY
    assert 102 <= (year.not_after - start).days <= 124
    assert start.tzinfo is not None


@given(clients, generations, st.timedeltas(DAY, 3650 * DAY))
def test_the_start_is_a_share_of_the_lifetime(client_id: str, generation: int, lifetime: timedelta) -> None:
    """Of any: 66 to 72 %, the same when it is asked again, as after a restart."""
    made = version("v1", not_before=NOW, not_after=NOW + lifetime)
    start = start_of(made, client_id, generation, POLICY)
    assert 0.66 - 1e-9 <= (start - NOW) / lifetime <= 0.72 + 1e-9
    assert (
        start_of(version("v7", not_before=NOW, not_after=NOW + lifetime), client_id, generation, POLICY)
        == start
    )


def test_the_start_is_written_down() -> None:
    """The same in every process and every release: a date that moved would renew early, or not at all for a while."""
    year = version("v1", not_before=NOW, not_after=NOW + 365 * DAY)
    assert start_of(year, CLIENT, 1, POLICY) == datetime.fromisoformat("2028-02-13T23:36:43.782086+00:00")


@given(clients, clients, generations, generations)
def test_the_start_differs_by_application_and_generation(
    one: str, other: str, first: int, second: int
) -> None:
    """Many applications of one tenant do not all renew in the same hour, nor one always after the same share."""
    year = version("v1", not_before=NOW, not_after=NOW + 365 * DAY)
    same = start_of(year, one, first, POLICY) == start_of(year, other, second, POLICY)
    assert same == ((one, first) == (other, second))


def test_the_starts_are_spread_evenly() -> None:
    """Over the whole 22 days: a tenth of them in each tenth."""
    year = version("v1", not_before=NOW, not_after=NOW + 365 * DAY)
    shares = [(start_of(year, CLIENT, n, POLICY) - NOW) / (365 * DAY) for n in range(1000)]
    tenths = Counter(int((share - 0.66) / 0.006) for share in shares)
    assert set(tenths) == set(range(10))
    assert all(60 < count < 140 for count in tenths.values())
