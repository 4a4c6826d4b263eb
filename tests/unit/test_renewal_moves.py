"""What each step makes of the row: what changes, and that nothing else does."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import renewal_moves as moves
from shared.renewal import OUTSIDE, Seen, Step
from shared.renewal_state import Asked, CertificateVersion, Phase, RenewalState, Role
from tests.unit.renewal_samples import (
    CURRENT,
    DAY,
    HOUR,
    MINUTE,
    NEXT,
    NOW,
    PREVIOUS,
    asked,
    row,
    states,
    version,
    versions,
)

LATER = NOW + HOUR
REGISTERED = replace(NEXT, key_id="key-v2", registered_at=NOW, run_from=NOW, ok_run=5, ok_at=LATER)


def differences(before: RenewalState, after: RenewalState) -> dict[str, object]:
    """Give the fields that changed, with what they are now."""
    names = [each.name for each in fields(before)]
    return {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}


def troubled(phase: Phase, **changes: object) -> RenewalState:
    """Give a row in this phase that has failures behind it."""
    return row(phase, attempts=4, last_error="graph: away", **changes)


CALM: dict[str, object] = {"attempts": 0, "last_error": "", "phase_since": LATER}
"""What each change of phase brings: what failed before counts no more."""


# What a probe showed


@pytest.mark.parametrize("role", Role)
def test_an_accepted_probe_counts(role: Role) -> None:
    """It makes the run longer, and ends a run of refusals; nothing else changes, since when the run lasts neither."""
    before = version("v5", ok_run=2, refused_run=1, run_from=NOW, probed_at=NOW, ok_at=NOW)
    state = row().with_version(role, before)
    after = moves.seen(state, role, Seen.OK, LATER)
    expected = replace(before, ok_run=3, refused_run=0, ok_at=LATER, probed_at=LATER)
    assert differences(state, after) == {role.value: expected}


@pytest.mark.parametrize("role", Role)
def test_a_refused_probe_starts_the_run_again(role: Role) -> None:
    """It is counted, and the time of the last good one stays."""
    before = version("v5", ok_run=4, refused_run=1, run_from=NOW, probed_at=NOW, ok_at=NOW)
    state = row().with_version(role, before)
    after = moves.seen(state, role, Seen.REFUSED, LATER)
    expected = replace(before, ok_run=0, refused_run=2, run_from=LATER, probed_at=LATER)
    assert differences(state, after) == {role.value: expected}


@pytest.mark.parametrize("found", Seen)
def test_a_version_that_has_left_is_not_seen(found: Seen) -> None:
    """The Owner's change can take it away while Microsoft is asked."""
    state = row(Phase.REGISTER, next=None)
    assert moves.seen(state, Role.NEXT, found, LATER) == state


@pytest.mark.parametrize(
    ("role", "removed", "found", "expected"),
    [
        (Role.PREVIOUS, True, Seen.OK, "v0"),
        (Role.PREVIOUS, True, Seen.REFUSED, ""),
        (Role.PREVIOUS, False, Seen.OK, ""),
        (Role.CURRENT, True, Seen.OK, ""),
    ],
)
def test_a_retired_key_that_still_works_is_remembered(
    role: Role, found: Seen, expected: str, *, removed: bool
) -> None:
    """Only one that was taken off the application, and only when it is accepted."""
    known = replace(PREVIOUS, removed_at=NOW if removed else None)
    state = row(Phase.RETIRE).with_version(role, known)
    assert moves.seen(state, role, found, LATER).still_works == expected


# The way of a rotation


def test_a_generation_begins() -> None:
    """With an empty sheet: numbers, refusals and counts of the one before are gone."""
    state = troubled(Phase.IDLE, count=17, add_keys=2, refusal="graph_403", still_works="v0")
    after = moves.begun(state, LATER)
    expected = {
        "phase": Phase.CREATE,
        "generation": 4,
        "count": 0,
        "add_keys": 0,
        "refusal": "",
        "still_works": "",
    }
    assert differences(state, after) == expected | CALM


@pytest.mark.parametrize("kind", Asked)
def test_what_the_owner_asked_stays_until_it_is_done(kind: Asked) -> None:
    """GENERATE is done when a generation begins; haste is needed to the end."""
    state = row(request=asked(kind))
    after = moves.begun(state, LATER)
    assert after.request == (None if kind is Asked.GENERATE else state.request)


def test_what_was_on_its_way_is_given_up() -> None:
    """The vault is to disable it, and it never comes back."""
    state = row(Phase.REGISTER, abandoned=("v8",), retired=("sha1-v7",))
    after = moves.begun(state, LATER)
    assert after.next is None
    assert after.abandoned == ("v8", "v2")
    assert after.retired == ("sha1-v7", "sha1-v2")
    assert after.current == CURRENT


def test_a_version_is_pinned() -> None:
    """It is the one that this generation is about, by its name in the vault."""
    state = troubled(Phase.CREATE)
    expected = {"phase": Phase.REGISTER, "next": NEXT} | CALM
    assert differences(state, moves.created(state, NEXT, LATER)) == expected


def test_a_version_is_found() -> None:
    """From now on it is registered, by whomever; the probe that found it is the first of its run."""
    state = troubled(Phase.REGISTER, next=replace(NEXT, ok_run=1, ok_at=LATER))
    known = replace(NEXT, ok_run=1, ok_at=LATER, registered_at=LATER, run_from=LATER)
    assert differences(state, moves.found(state, LATER)) == {"phase": Phase.PROVE, "next": known} | CALM


@pytest.mark.parametrize("key_id", ["key-v2", ""], ids=["answered", "unknown"])
def test_a_version_is_added(key_id: str) -> None:
    """Its time counts from the request, not from the answer, which may be lost."""
    state = troubled(Phase.REGISTER, next=replace(NEXT, ok_run=2, refused_run=1))
    after = moves.added(state, key_id, NOW, LATER)
    known = replace(NEXT, key_id=key_id, registered_at=NOW, run_from=NOW, refused_run=1)
    assert differences(state, after) == {"phase": Phase.PROVE, "next": known} | CALM


@pytest.mark.parametrize(
    ("add_keys", "refusal", "expected"),
    [(1, "", ""), (2, "", ""), (3, "", "not_appearing"), (2, "graph_403", "graph_403")],
)
def test_a_version_is_absent(add_keys: int, refusal: str, expected: str) -> None:
    """It is registered again, three times at most in a generation; then the Owner is asked for it."""
    state = troubled(Phase.PROVE, next=REGISTERED, add_keys=add_keys, refusal=refusal)
    after = moves.absent(state, LATER)
    assert (after.phase, after.phase_since, after.refusal) == (Phase.REGISTER, LATER, expected)
    assert after.next == replace(REGISTERED, registered_at=None, run_from=None, ok_run=0)
    assert after.other is None


def test_a_version_is_switched_to() -> None:
    """One change of the row: the next one signs, the current one is the previous, and nothing is on its way."""
    state = troubled(Phase.PROVE, next=REGISTERED)
    after = moves.switched(state, LATER)
    expected = {
        "phase": Phase.OVERLAP,
        "current": replace(REGISTERED, switched_at=LATER),
        "previous": CURRENT,
        "next": None,
    }
    assert differences(state, after) == expected | CALM


def test_the_first_version_is_switched_to() -> None:
    """There is no previous one."""
    after = moves.switched(row(Phase.PROVE, current=None, next=REGISTERED), LATER)
    assert after.current == replace(REGISTERED, switched_at=LATER)
    assert after.previous is None


def test_the_owner_goes_back() -> None:
    """Both change places, the week begins anew, and nothing happens by itself until the Owner resumes."""
    state = troubled(Phase.OVERLAP, request=asked(Asked.ROLL_BACK))
    after = moves.rolled_back(state, LATER)
    expected = {
        "current": replace(PREVIOUS, switched_at=LATER),
        "previous": CURRENT,
        "request": None,
        "paused": True,
    }
    assert differences(state, after) == expected | CALM


def test_nobody_goes_back_to_nothing() -> None:
    """A row without its previous version is broken, and is not written."""
    with pytest.raises(TypeError, match="without a previous version"):
        moves.rolled_back(row(Phase.OVERLAP, previous=None), LATER)


def test_going_back_is_refused() -> None:
    """The request is answered, and nothing else has changed."""
    state = troubled(Phase.OVERLAP, request=asked(Asked.ROLL_BACK))
    assert differences(state, moves.roll_back_refused(state, LATER)) == {"request": None}


def test_the_overlap_is_over() -> None:
    """No version changes by that."""
    state = troubled(Phase.OVERLAP)
    assert differences(state, moves.retiring(state, LATER)) == {"phase": Phase.RETIRE} | CALM


def test_a_key_is_left_where_it_is() -> None:
    """It counts as removed, so that the vault soon signs with it no more; without a key id nobody probes it."""
    state = row(Phase.RETIRE)
    expected = {"previous": replace(PREVIOUS, removed_at=LATER, key_id="")}
    assert differences(state, moves.left(state, LATER)) == expected


def test_a_rotation_is_over() -> None:
    """The previous version is gone for good: its thumbprint never signs again."""
    state = troubled(Phase.RETIRE, retired=("sha1-v7",), previous=replace(PREVIOUS, disabled=True))
    after = moves.finished(state, LATER)
    expected = {"phase": Phase.IDLE, "previous": None, "retired": ("sha1-v7", "sha1-v0")}
    assert differences(state, after) == expected | CALM


def test_a_rotation_that_ended_early_leaves_nothing_enabled() -> None:
    """Everything had expired: the vault is still to disable the previous version."""
    after = moves.finished(troubled(Phase.OVERLAP, abandoned=("v8",)), LATER)
    assert after.abandoned == ("v8", "v0")
    assert after.previous is None


def test_the_first_rotation_is_over() -> None:
    """Nothing was retired."""
    after = moves.finished(row(Phase.OVERLAP, previous=None), LATER)
    assert (after.phase, after.retired, after.abandoned) == (Phase.IDLE, (), ())


@pytest.mark.parametrize(("target", "stays"), [("v0", False), ("", False), ("v1", True)])
def test_a_request_is_answered_when_another_version_signs(target: str, *, stays: bool) -> None:
    """One that was made meanwhile is about the version that signs now: it begins the next rotation."""
    request = asked(Asked.ROTATE, target)
    after = moves.finished(row(Phase.RETIRE, request=request), LATER)
    assert after.request == (request if stays else None)


@pytest.mark.parametrize("move", [moves.begun, moves.finished])
def test_the_latest_hundred_retired_are_kept(move: type) -> None:
    """The row does not grow for ever."""
    many = tuple(f"sha1-{n}" for n in range(100))
    state = row(Phase.RETIRE, next=NEXT, retired=many)
    after = move(state, LATER)
    assert len(after.retired) == 100
    assert after.retired[:-1] == many[1:]
    assert after.retired[-1] in {"sha1-v2", "sha1-v0"}


def test_the_previous_version_is_changed_where_there_is_one() -> None:
    """Whoever writes down an outcome may find that the Owner was faster."""
    state = row(Phase.RETIRE)
    after = moves.changed_previous(state, disabled=True)
    assert differences(state, after) == {"previous": replace(PREVIOUS, disabled=True)}
    assert moves.changed_previous(row(), disabled=True) == row()


@pytest.mark.parametrize("role", Role)
def test_a_late_answer_is_written_to_its_version(role: Role) -> None:
    """Without its key id it could never be removed, wherever the version stands by now."""
    state = row(Phase.RETIRE, next=NEXT).with_version(role, version("v5"))
    expected = {role.value: version("v5", key_id="key-v5")}
    assert differences(state, moves.learned(state, "v5", "key-v5")) == expected


def test_a_late_answer_overwrites_nothing() -> None:
    """A key id that is known stays, and a version that is nowhere changes nothing."""
    state = row(Phase.RETIRE)
    assert moves.learned(state, "v0", "another key") == state
    assert moves.learned(state, "v9", "key-v9") == state


def test_the_steps_that_write_outside_are_no_moves() -> None:
    """Each step is one or the other, and none is forgotten."""
    assert moves.MOVES.keys() | OUTSIDE == set(Step)
    assert not moves.MOVES.keys() & OUTSIDE


# Rules over all moves

legal = states.filter(lambda state: state.next is not None and state.previous is not None)
steps = st.sampled_from(sorted(moves.MOVES))


@given(legal, steps)
def test_no_move_takes_back_what_is_for_ever(state: RenewalState, step: Step) -> None:
    """The generation only grows, what was retired stays so, and nothing is said or asked by a move."""
    after = moves.MOVES[step](state, NOW)
    assert after.generation in {state.generation, state.generation + 1}
    assert set(state.retired) <= set(after.retired)
    assert set(state.abandoned) <= set(after.abandoned)
    assert (after.notes, after.intent, after.answered) == (state.notes, state.intent, state.answered)
    assert after.etag == state.etag


@given(legal, steps)
def test_only_these_moves_change_who_signs(state: RenewalState, step: Step) -> None:
    """And no version appears from nowhere."""
    after = moves.MOVES[step](state, NOW)
    if step is Step.SWITCH:
        assert name(after.current) == name(state.next)
        assert after.previous == state.current
    elif step in {Step.ROLL_BACK, Step.FALL_BACK}:
        assert name(after.current) == name(state.previous)
        assert after.previous == state.current
    else:
        assert after.current == state.current
    known = {name(each) for each in (state.current, state.next, state.previous)}
    assert {name(each) for each in (after.current, after.next, after.previous)} <= known | {None}


def name(known: CertificateVersion | None) -> str | None:
    """Give the name of a version in the vault."""
    return known.version if known is not None else None


@given(versions, st.lists(st.sampled_from(Seen), max_size=12))
def test_a_run_is_what_was_seen_last(made: CertificateVersion, shown: list[Seen]) -> None:
    """Both runs always say what the latest probes said; they are never both under way."""
    state = row(Phase.PROVE, next=replace(made, ok_run=0, refused_run=0))
    for n, found in enumerate(shown):
        state = moves.seen(state, Role.NEXT, found, NOW + n * MINUTE)
    after = state.next
    assert after is not None
    expected = 0
    for found in reversed(shown):
        if found is not shown[-1]:
            break
        expected += 1
    runs = (after.ok_run, after.refused_run)
    assert runs == ((expected, 0) if shown and shown[-1] is Seen.OK else (0, expected))


def test_a_whole_year_of_moves() -> None:
    """From the first certificate to the end of the second rotation, by moves alone."""
    state, now = RenewalState(), NOW
    for generation, made in enumerate((version("v1"), version("v2")), start=1):
        state = moves.begun(state, now)
        state = moves.created(state, made, now)
        state = moves.added(state, f"key-{made.version}", now, now)
        for _ in range(5):
            now += 3 * MINUTE
            state = moves.seen(state, Role.NEXT, Seen.OK, now)
        state = moves.switched(state, now)
        now += timedelta(days=7)
        state = moves.retiring(state, now)
        state = moves.finished(state, now + DAY)
        assert (state.generation, state.phase) == (generation, Phase.IDLE)
    assert name(state.current) == "v2"
    assert (state.next, state.previous, state.retired) == (None, None, ("sha1-v1",))
