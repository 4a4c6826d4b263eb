"""What each step of a renewal makes of the row. Nothing here looks at the world: which step it is, `renewal` decides."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from shared.errors import DirectoryRefused
from shared.renewal import POLICY, Seen, Step, next_of
from shared.renewal_state import Asked, CertificateVersion, Phase, RenewalState, Role

_RETIRED_KEPT: Final = 100
_POLICY_REFUSES: Final = 400
"""Graph's status where a policy of the tenant forbids it. Any other may be a replica that lags, and is tried again."""
_REMOVALS: Final = 5
"""After so many refusals in a row the key is left where it is: the vault signs with it no more."""


def seen(state: RenewalState, role: Role, what: Seen, now: datetime) -> RenewalState:
    """Fold what a probe showed into the row."""
    version = state.version(role)
    if version is None:
        return state
    match what:
        case Seen.OK:
            version = replace(version, ok_run=version.ok_run + 1, ok_at=now, probed_at=now, refused_run=0)
        case Seen.REFUSED:
            refused = version.refused_run + 1
            version = replace(version, ok_run=0, run_from=now, probed_at=now, refused_run=refused)
    state = state.with_version(role, version)
    if role is Role.PREVIOUS and version.removed_at is not None and what is Seen.OK:
        state = replace(state, still_works=version.version)
    return state


def begun(state: RenewalState, now: datetime) -> RenewalState:
    """Start a generation. A version that was on its way is given up."""
    given_up = (state.next,) if state.next is not None else ()
    done = state.asked(Asked.GENERATE)
    started = replace(
        state,
        generation=state.generation + 1,
        count=0,
        next=None,
        add_keys=0,
        refusal="",
        still_works="",
        abandoned=(*state.abandoned, *(version.version for version in given_up)),
        retired=_with_retired(state, *given_up),
        request=None if done else state.request,
    )
    return started.moved(Phase.CREATE, now)


def created(state: RenewalState, version: CertificateVersion, now: datetime) -> RenewalState:
    """Pin the version that this generation is about."""
    return state.moved(Phase.REGISTER, now, next=version)


def found(state: RenewalState, now: datetime) -> RenewalState:
    """Microsoft knows the next version, whoever put it there."""
    candidate = replace(next_of(state), registered_at=now, run_from=now)
    return state.moved(Phase.PROVE, now, next=candidate)


def added(state: RenewalState, key_id: str, at: datetime, now: datetime) -> RenewalState:
    """The directory was asked at the time `at` to register the next version, and answered its key id, or nothing."""
    candidate = replace(next_of(state), key_id=key_id, registered_at=at, run_from=at, ok_run=0)
    return state.moved(Phase.PROVE, now, next=candidate)


def absent(state: RenewalState, now: datetime) -> RenewalState:
    """The next version has not been seen for long: register it again, or let the Owner do it."""
    exhausted = state.add_keys >= POLICY.add_keys
    candidate = replace(next_of(state), registered_at=None, run_from=None, ok_run=0)
    return state.moved(
        Phase.REGISTER, now, next=candidate, refusal="not_appearing" if exhausted else state.refusal
    )


def switched(state: RenewalState, now: datetime) -> RenewalState:
    """The next version signs from now on."""
    current = replace(next_of(state), switched_at=now)
    return state.moved(Phase.OVERLAP, now, current=current, previous=state.current, next=None)


def rolled_back(state: RenewalState, now: datetime) -> RenewalState:
    """The previous version signs again. The renewal is paused, lest it does the same again."""
    previous = state.previous
    if previous is None:
        raise TypeError("a roll-back without a previous version")
    current = replace(previous, switched_at=now)
    return state.moved(Phase.OVERLAP, now, current=current, previous=state.current, request=None, paused=True)


def fallen_back(state: RenewalState, now: datetime) -> RenewalState:
    """The version that signs has expired, and the previous one has not: it signs again."""
    previous = state.previous
    if previous is None:
        raise TypeError("nothing to fall back to")
    current = replace(previous, switched_at=now)
    return state.moved(Phase.OVERLAP, now, current=current, previous=state.current)


def finished(state: RenewalState, now: datetime) -> RenewalState:
    """The rotation is over. A request that was made meanwhile stays, and begins the next one.

    Where it ended early, because everything had expired, the vault has still to disable the previous version.
    """
    retired = (state.previous,) if state.previous is not None else ()
    enabled = tuple(version.version for version in retired if not version.disabled)
    request = None if state.is_answered else state.request
    return state.moved(
        Phase.IDLE,
        now,
        previous=None,
        still_works="",
        abandoned=(*state.abandoned, *enabled),
        retired=_with_retired(state, *retired),
        request=request,
    )


def changed_previous(state: RenewalState, **changes: Any) -> RenewalState:  # noqa: ANN401 - fields of the record
    """Give the state with fields of the previous version changed."""
    previous = state.previous
    return state if previous is None else replace(state, previous=replace(previous, **changes))


def retiring(state: RenewalState, now: datetime) -> RenewalState:
    """The overlap is over."""
    return state.moved(Phase.RETIRE, now)


def left(state: RenewalState, now: datetime) -> RenewalState:
    """Nobody may remove the previous key here: it stays registered, and the vault will sign with it no more."""
    return changed_previous(state, removed_at=now, key_id="")


def roll_back_refused(state: RenewalState, now: datetime) -> RenewalState:
    """There is nothing to go back to, or it would not work."""
    del now
    return replace(state, request=None)


def learned(state: RenewalState, version: str, key_id: str) -> RenewalState:
    """Write the key id of a version down, wherever that version stands by now."""
    for role in Role:
        known = state.version(role)
        if known is not None and known.version == version and not known.key_id:
            return state.with_version(role, replace(known, key_id=key_id))
    return state


def given_up(state: RenewalState, version: CertificateVersion, now: datetime) -> RenewalState:
    """The vault made a version with the wrong dates: another one is made, and this one disabled."""
    again = state.moved(Phase.CREATE, now, abandoned=(*state.abandoned, version.version))
    again = replace(again, attempts=state.attempts)  # it is a failure, whose wait grows
    return again.noted("renewal.given_up", now, version.version, warning=True)


def not_added(state: RenewalState) -> RenewalState:
    """The directory did nothing: the registration does not count."""
    return replace(state, add_keys=state.add_keys - 1)


def refused(state: RenewalState, error: DirectoryRefused) -> RenewalState:
    """The directory refused to register: tried again, or done by hand where a policy or three tries say so."""
    if error.status != _POLICY_REFUSES and state.add_keys < POLICY.add_keys:
        return state
    return replace(state, refusal=f"graph_{error.status}_{error.reason}")


def not_removed(state: RenewalState) -> RenewalState:
    """The directory refused to remove. After some tries, or for good, the key is left where it is."""
    if state.attempts < _REMOVALS:
        return state
    return changed_previous(state, key_id="")


def disabled(state: RenewalState, version: str) -> RenewalState:
    """The vault signs with this version no more."""
    same = state.previous is not None and state.previous.version == version
    return changed_previous(state, disabled=True) if same else state


def without_abandoned(state: RenewalState, version: str) -> RenewalState:
    """The vault signs with this version no more; it was never switched to."""
    return replace(state, abandoned=tuple(each for each in state.abandoned if each != version))


def _with_retired(state: RenewalState, *versions: CertificateVersion) -> tuple[str, ...]:
    return (*state.retired, *(version.x5t for version in versions))[-_RETIRED_KEPT:]


MOVES: Final[Mapping[Step, Callable[[RenewalState, datetime], RenewalState]]] = {
    Step.BEGIN: begun,
    Step.FOUND: found,
    Step.ABSENT: absent,
    Step.SWITCH: switched,
    Step.ROLL_BACK: rolled_back,
    Step.FALL_BACK: fallen_back,
    Step.REFUSE_ROLL_BACK: roll_back_refused,
    Step.RETIRE: retiring,
    Step.LEAVE_KEY: left,
    Step.FINISH: finished,
}
"""The steps that change nothing but the row."""
