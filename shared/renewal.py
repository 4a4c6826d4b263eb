"""When the certificate is renewed, and what comes next: a pure planner over the row, what was observed, and the time.

    IDLE ──► CREATE ──► REGISTER ──► PROVE ──► OVERLAP ──► RETIRE ──► IDLE
                           ▲           │          │
                           └─ absent ──┘          └─ the Owner rolls back: the previous one signs again

Two rules govern it. A version signs only after a probe has shown, again and again, that Microsoft knows it: nobody's
word counts, neither our own nor the directory's. And only a key that this row wrote down as `previous` is ever removed.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final

from shared.renewal_state import Asked, CertificateVersion, Phase, RenewalState, Role


@dataclass(frozen=True, slots=True)
class RenewalPolicy:
    """The numbers of a renewal."""

    start_at: float = 0.66
    """The share of its lifetime after which a certificate is replaced at the earliest …"""
    spread: float = 0.06
    """… and by how much later at most. Of 365 days 102 to 124 are left."""
    settles_after: timedelta = timedelta(minutes=5)
    """A version signs from this long after its `not_before`: clocks differ."""
    last_safe: timedelta = timedelta(hours=24)
    """No version is switched to in its last hours …"""
    worth_proving: timedelta = timedelta(days=30)
    """… and one that has less left than this, and was never switched to, is given up for a new one."""
    probes: int = 5
    soak: timedelta = timedelta(minutes=15)
    probe_every: timedelta = timedelta(minutes=3)
    hurried_probes: int = 3
    hurried_soak: timedelta = timedelta(minutes=2)
    hurried_probe_every: timedelta = timedelta(minutes=1)
    absent_for: timedelta = timedelta(minutes=60)
    """A registered version that no probe finds for so long is registered again."""
    add_keys: int = 3
    """At most so many registrations a generation."""
    overlap: timedelta = timedelta(days=7)
    rotate_overlap: timedelta = timedelta(minutes=11)
    """For *rotate now*: how old the pointer of an instance in use may be (60 s), and 10 minutes."""
    proven_within: timedelta = timedelta(hours=1)
    """The current version was accepted so recently when the previous one is removed."""
    disabled_after: timedelta = timedelta(days=1)
    """After its removal; so long the vault can still sign with it."""
    given_up_after: timedelta = timedelta(days=7)
    """A version that the vault does not disable for so long is left to later."""
    current_probed_every: timedelta = timedelta(hours=24)
    waiting_probe_every: timedelta = timedelta(hours=1)
    """While the Owner has a certificate to upload …"""
    urgent_probe_every: timedelta = timedelta(minutes=5)
    """… and while nobody can sign in before that."""
    refusals: int = 2
    """Probes in a row that Microsoft refuses, until the current version counts as unusable."""


POLICY: Final = RenewalPolicy()


class Seen(StrEnum):
    """What a probe showed."""

    OK = auto()
    REFUSED = auto()
    """Microsoft does not know the key, or the vault does not sign with it. What shows neither is not seen at all."""


class Step(StrEnum):
    """What can be done. Those of `OUTSIDE` write to the vault or the directory."""

    BEGIN = auto()
    CREATE = auto()
    FOUND = auto()
    ADD_KEY = auto()
    ABSENT = auto()
    SWITCH = auto()
    ROLL_BACK = auto()
    FALL_BACK = auto()
    REFUSE_ROLL_BACK = auto()
    RETIRE = auto()
    REMOVE_KEY = auto()
    LEAVE_KEY = auto()
    DISABLE = auto()
    DISABLE_ABANDONED = auto()
    FINISH = auto()


OUTSIDE: Final = frozenset({Step.CREATE, Step.ADD_KEY, Step.REMOVE_KEY, Step.DISABLE, Step.DISABLE_ABANDONED})


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask Microsoft whether it knows this version."""

    role: Role


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What the row does not hold. `looked` is what probes since this tick's last step have shown."""

    client_id: str
    """Empty while the Owner has not named the application."""
    object_id: str
    """Empty while the Owner has not told it: then certificates are uploaded by hand."""
    looked: dict[Role, Seen]


type Plan = Step | Probe | Wait


def plan(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    """Say what to do now. The same question gets the same answer, whoever asks."""
    if not facts.client_id:
        return Wait(now + policy.current_probed_every)
    due = _current_due_at(state, policy, now)
    if now >= due and Role.CURRENT not in facts.looked:
        return Probe(Role.CURRENT)
    planned = _plan_phase(state, facts, policy, now)
    if isinstance(planned, Wait):
        planned = Wait(max(now, min(planned.until, due)))
    return planned


def _plan_phase(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    if state.asked(Asked.ROLL_BACK):
        return _plan_roll_back(state, facts, policy, now)
    if state.paused:
        return Wait(now + policy.current_probed_every)
    match state.phase:
        case Phase.IDLE:
            return _plan_idle(state, facts, policy, now)
        case Phase.CREATE:
            return Step.CREATE
        case Phase.REGISTER:
            return _plan_register(state, facts, policy, now)
        case Phase.PROVE:
            return _plan_prove(state, facts, policy, now)
        case Phase.OVERLAP:
            return _plan_overlap(state, facts, policy, now)
        case Phase.RETIRE:
            return _plan_retire(state, facts, policy, now)


def _plan_idle(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    if state.request is not None:
        return Step.BEGIN
    current, wait = state.current, Wait(now + policy.current_probed_every)
    if current is not None:
        start = start_of(current, facts.client_id, state.generation + 1, policy)
        if now >= start or _is_unusable(current, policy, now):
            return Step.BEGIN
        wait = Wait(start)
    # Last, because nothing waits for it: the Owner asks for the first certificate, and the time of others comes.
    return Step.DISABLE_ABANDONED if state.abandoned else wait


def _plan_register(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    if state.asked(Asked.GENERATE) or next_of(state).not_after - now < policy.worth_proving:
        return Step.BEGIN
    match facts.looked.get(Role.NEXT):
        case None:
            return Probe(Role.NEXT)
        case Seen.OK:
            return Step.FOUND
        case Seen.REFUSED if not manual_reason(state, facts.object_id, policy, now):
            return Step.ADD_KEY if state.add_keys < policy.add_keys else Step.ABSENT
        case _:
            urgent = _nobody_can_sign_in(state, policy, now)
            return Wait(now + (policy.urgent_probe_every if urgent else policy.waiting_probe_every))


def _plan_prove(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    candidate = next_of(state)
    if candidate.not_after - now < policy.worth_proving:
        return Step.BEGIN
    registered_at = candidate.registered_at or now
    hurried = is_hurried(state, facts.object_id, policy, now)
    probes = policy.hurried_probes if hurried else policy.probes
    soak = policy.hurried_soak if hurried else policy.soak
    every = policy.hurried_probe_every if hurried else policy.probe_every
    looked = facts.looked.get(Role.NEXT)
    proven = candidate.ok_run >= probes and now - registered_at >= soak
    if looked is Seen.OK and proven and _may_sign(candidate, policy, now):
        return Step.SWITCH
    if (
        looked is Seen.REFUSED
        and now - max(candidate.ok_at or registered_at, registered_at) >= policy.absent_for
    ):
        return Step.ABSENT
    if looked is Seen.REFUSED:
        return Wait(now + every)
    # A tick that comes late makes up for the probes that were due meanwhile.
    due = (candidate.run_from or registered_at) + every * (candidate.ok_run + 1)
    if candidate.ok_run >= probes:
        due = max(registered_at + soak, candidate.not_before + policy.settles_after)
    return Probe(Role.NEXT) if now >= due else Wait(due)


def _plan_overlap(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    current, previous = state.current, state.previous
    if current is None or previous is None:
        return Step.FINISH
    if now >= current.not_after:
        return _plan_fall_back(previous, facts, policy, now)
    ends = (current.switched_at or state.phase_since) + _overlap(state, policy)
    if now < ends:
        return Wait(ends)
    if now - (current.ok_at or state.phase_since) <= policy.proven_within and not current.refused_run:
        return Step.RETIRE
    return Probe(Role.CURRENT) if Role.CURRENT not in facts.looked else Wait(now + policy.urgent_probe_every)


def _plan_roll_back(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    previous = state.previous
    if state.phase is not Phase.OVERLAP or previous is None:
        return Step.REFUSE_ROLL_BACK
    match facts.looked.get(Role.PREVIOUS):
        case None:
            return Probe(Role.PREVIOUS)
        case Seen.OK if _may_sign(previous, policy, now):
            return Step.ROLL_BACK
        case _:
            return Step.REFUSE_ROLL_BACK


def _plan_fall_back(previous: CertificateVersion, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    """The current version has expired (a roll-back was forgotten, say): the other one is better than none."""
    if previous.removed_at is not None or not _may_sign(previous, policy, now):
        return Step.FINISH
    if Role.PREVIOUS not in facts.looked:
        return Probe(Role.PREVIOUS)
    return Step.FALL_BACK if facts.looked[Role.PREVIOUS] is Seen.OK else Step.FINISH


def _plan_retire(state: RenewalState, facts: Facts, policy: RenewalPolicy, now: datetime) -> Plan:
    previous = state.previous
    if previous is None or state.current is None:
        return Step.FINISH
    if now >= state.current.not_after:
        return _plan_fall_back(previous, facts, policy, now)
    revoked = state.asked(Asked.REVOKE) and state.is_answered
    if revoked and not previous.disabled:
        return Step.DISABLE
    if previous.removed_at is None:
        if not previous.key_id or not facts.object_id or state.refusal:
            return Step.LEAVE_KEY
        unusable = manual_reason(state, facts.object_id, policy, now)
        return Wait(now + policy.urgent_probe_every) if unusable else Step.REMOVE_KEY
    if previous.disabled:
        return Step.FINISH
    if now - previous.removed_at >= policy.given_up_after:
        return Step.FINISH  # the vault does not disable it; that must not keep the next rotation waiting
    rested = now - previous.removed_at >= policy.disabled_after
    if not rested and state.request is None:
        return Wait(previous.removed_at + policy.disabled_after)
    if rested and previous.key_id and Role.PREVIOUS not in facts.looked:
        return Probe(Role.PREVIOUS)  # it must be refused by now
    return Step.DISABLE


def start_of(current: CertificateVersion, client_id: str, generation: int, policy: RenewalPolicy) -> datetime:
    """Say when the replacement of a certificate begins: after 66 to 72 % of its lifetime, the same after each restart."""
    digest = hashlib.sha256(f"{client_id} {generation}".encode()).digest()
    share = policy.start_at + policy.spread * int.from_bytes(digest[:8]) / 2**64
    return current.not_before + (current.not_after - current.not_before) * share


def manual_reason(state: RenewalState, object_id: str, policy: RenewalPolicy, now: datetime) -> str:
    """Say why nothing may be written to the directory, as a slug; empty when it may."""
    if state.paused:
        return "paused"
    if not object_id:
        return "no_object_id"
    if state.current is None:
        return "first_certificate"
    if _is_unusable(state.current, policy, now):
        return "current_unusable"  # it could not sign the proof
    return state.refusal


def is_hurried(state: RenewalState, object_id: str, policy: RenewalPolicy, now: datetime) -> bool:
    """Tell whether the short rules of PROVE apply: somebody asked for haste, uploaded by hand, or nobody can sign in."""
    return state.asked(Asked.ROTATE, Asked.REVOKE) or bool(manual_reason(state, object_id, policy, now))


def _nobody_can_sign_in(state: RenewalState, policy: RenewalPolicy, now: datetime) -> bool:
    return state.current is None or _is_unusable(state.current, policy, now)


def _is_unusable(version: CertificateVersion, policy: RenewalPolicy, now: datetime) -> bool:
    return now >= version.not_after or version.refused_run >= policy.refusals


def _may_sign(version: CertificateVersion, policy: RenewalPolicy, now: datetime) -> bool:
    settled = now >= version.not_before + policy.settles_after
    return settled and now < version.not_after - policy.last_safe and not version.disabled


def _current_due_at(state: RenewalState, policy: RenewalPolicy, now: datetime) -> datetime:
    """When the current version is to be probed again: once a day, soon after it was refused, never once it has expired."""
    if state.current is None or now >= state.current.not_after:
        return datetime.max.replace(tzinfo=now.tzinfo)
    every = policy.urgent_probe_every if state.current.refused_run else policy.current_probed_every
    return (state.current.probed_at or state.phase_since) + every


def _overlap(state: RenewalState, policy: RenewalPolicy) -> timedelta:
    """How long both versions stay. Who asks for haste in the middle of an overlap shortens it."""
    if state.asked(Asked.REVOKE):
        return timedelta(0)
    return policy.rotate_overlap if state.asked(Asked.ROTATE) else policy.overlap


def next_of(state: RenewalState) -> CertificateVersion:
    """Give the version that is on its way. Raises TypeError where there is none: the row is broken."""
    if state.next is None:
        raise TypeError(f"a row in {state.phase} without its next version")
    return state.next
