"""The row of the renewal: read as it was written, changed by compare-and-swap, and shared by two releases."""

import json
from dataclasses import fields, replace
from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CertificateExpired, Conflict, NotConfigured, UpstreamUnavailable
from shared.ports import Row, Table
from shared.renewal_state import (
    LONG_AGO,
    Asked,
    CertificateVersion,
    Intent,
    Note,
    Phase,
    RenewalState,
    Role,
    operation_id,
    read_state,
    save_state,
)
from tests.memory import MemoryStore
from tests.unit.renewal_samples import CURRENT, HOUR, MINUTE, NEXT, NOW, PREVIOUS, SECOND, asked, row, states
from tests.unit.spy_store import SpyStore

FULL = row(
    Phase.PROVE,
    next=replace(NEXT, registered_at=NOW, run_from=NOW, ok_at=NOW, probed_at=NOW),
    previous=replace(PREVIOUS, removed_at=NOW, disabled=True),
    request=asked(Asked.ROTATE),
    intent=Intent("000003:00001:prove", "remove_key", NOW),
    notes=(Note("a key", "renewal.found", NOW, "v2", "000003:00001:prove", warning=True),),
    retired=("sha1-v9",),
    clock_skew=timedelta(seconds=-1.5),
)


def stored(store: MemoryStore) -> dict[str, Any]:
    """Read the document as it lies in the store."""
    found = store.get(Table.SETTINGS, "settings", "certificate")
    assert found is not None
    document = json.loads(str(found.values["state"]))
    assert isinstance(document, dict)
    return document


def put(store: MemoryStore, document: dict[str, Any]) -> None:
    """Write a document as another release may have done."""
    store.insert(Table.SETTINGS, Row("settings", "certificate", {"state": json.dumps(document)}))


# There and back


@given(states)
def test_a_row_is_read_as_it_was_written(state: RenewalState) -> None:
    """Every field, whatever it holds; times are aware and in UTC."""
    store = MemoryStore()
    saved = save_state(store, state)
    found = read_state(store)
    assert found == state == saved
    assert found.etag == saved.etag != ""
    assert found.phase_since.tzinfo is UTC
    assert all(type(getattr(found, each.name)) is type(getattr(state, each.name)) for each in fields(state))


@given(states, states)
def test_a_row_is_written_over_the_one_that_was_read(first: RenewalState, second: RenewalState) -> None:
    """Nothing of the former remains."""
    store = MemoryStore()
    etag = save_state(store, first).etag
    saved = save_state(store, replace(second, etag=etag))
    assert read_state(store) == second
    assert saved.etag != etag


def test_before_the_first_row() -> None:
    """The beginning of everything: nothing is known, nothing signs, nobody works on it."""
    state = read_state(MemoryStore())
    assert state == RenewalState()
    assert (state.phase, state.generation, state.current, state.other) == (Phase.IDLE, 0, None, None)
    assert (state.next_attempt_at, state.lease_owner, state.etag) == (LONG_AGO, "", "")


def test_the_row_lies_where_the_sign_in_reads_it() -> None:
    """One row and one column, small enough for Tables (64 KiB for a string) when everything in it is full."""
    store = MemoryStore()
    long = tuple("a" * 27 for _ in range(100))
    save_state(store, replace(FULL, retired=long, foreign=long, answered=long))
    found = store.get(Table.SETTINGS, "settings", "certificate")
    assert found is not None
    assert list(found.values) == ["state"]
    assert len(str(found.values["state"]).encode("utf-16")) < 64 * 1024
    assert "etag" not in stored(store)


def test_nothing_else_is_written_as_json() -> None:
    """A value that JSON does not know is an error of ours, not a text that nobody reads back."""
    broken: Any = object()
    with pytest.raises(TypeError, match="object"):
        save_state(MemoryStore(), replace(FULL, last_error=broken))


# Compare and swap


def test_a_stale_row_never_wins() -> None:
    """Who read before another wrote must read again."""
    store = MemoryStore()
    first = save_state(store, row())
    second = save_state(store, replace(first, generation=4))
    with pytest.raises(Conflict):
        save_state(store, replace(first, generation=9))
    assert read_state(store) == second
    assert save_state(store, replace(second, generation=5)).generation == 5


def test_of_two_first_rows_one_wins() -> None:
    """Two timers of a new installation."""
    store = SpyStore()
    store.before_write(1, lambda: save_state(store, row(generation=1)))
    with pytest.raises(Conflict):
        save_state(store, row(generation=2))
    assert read_state(store).generation == 1


def test_of_two_at_once_one_wins() -> None:
    """The row changes between the read and the write."""
    store = SpyStore()
    before = save_state(store, row())
    store.before_write(1, lambda: save_state(store, replace(before, paused=True)))
    with pytest.raises(Conflict):
        save_state(store, replace(before, generation=9))
    assert read_state(store) == replace(before, paused=True)


def test_a_row_that_is_gone_is_not_written_again() -> None:
    """Somebody deleted it: what was read is stale."""
    store = MemoryStore()
    before = save_state(store, row())
    found = store.get(Table.SETTINGS, "settings", "certificate")
    assert found is not None
    store.delete(Table.SETTINGS, found)
    with pytest.raises(Conflict):
        save_state(store, before)


def test_a_store_that_is_away() -> None:
    """Is said as it is: there is no row to guess."""
    store = MemoryStore()
    store.away = True
    with pytest.raises(UpstreamUnavailable):
        read_state(store)
    with pytest.raises(UpstreamUnavailable):
        save_state(store, row())


def test_the_version_that_was_read_is_no_part_of_what_is_known() -> None:
    """Two rows that say the same are equal: whoever changed nothing need not write."""
    assert replace(row(), etag="1") == replace(row(), etag="2")


# Two releases


@pytest.mark.parametrize(
    "path",
    [(), ("current",), ("next",), ("previous",), ("request",), ("intent",), ("notes", 0)],
    ids=lambda path: ".".join(map(str, path)) or "the row",
)
def test_what_a_newer_release_wrote_is_left_out(path: tuple[str | int, ...]) -> None:
    """While one is deployed, both read the same row: an unknown field, at any level, stops neither."""
    store = MemoryStore()
    save_state(store, FULL)
    document = stored(store)
    place: Any = document
    for step in path:
        place = place[step]
    place["of_a_newer_release"] = {"any": ["thing"]}
    newer = MemoryStore()
    put(newer, document)
    assert read_state(newer) == FULL


def nullable(document: dict[str, Any]) -> list[str]:
    """Give the fields that an older release may not have written: those that the record has a default for."""
    return sorted(document.keys() - {"version", "thumbprint", "x5t", "not_before", "not_after"})


@pytest.mark.parametrize("role", Role)
def test_what_an_older_release_did_not_write_has_its_default(role: Role) -> None:
    """A field that came later, in the record of a version."""
    store = MemoryStore()
    save_state(store, FULL)
    document = stored(store)
    for name in nullable(document[role]):
        del document[role][name]
    older = MemoryStore()
    put(older, document)
    known, full = read_state(older).version(role), FULL.version(role)
    assert known is not None
    assert full is not None
    assert known == CertificateVersion(
        full.version, full.thumbprint, full.x5t, full.not_before, full.not_after
    )


@given(
    st.sets(
        st.sampled_from(
            [
                each.name
                for each in fields(RenewalState)
                if each.name
                not in {
                    "etag",
                    "phase",
                    "current",
                    "next",
                    "previous",
                    "request",
                    "intent",
                    "notes",
                    "clock_skew",
                }
            ]
        )
    )
)
def test_a_field_that_came_later_has_its_default(missing: set[str]) -> None:
    """An older release wrote the row last."""
    store = MemoryStore()
    save_state(store, FULL)
    document = stored(store)
    for name in missing:
        del document[name]
    older = MemoryStore()
    put(older, document)
    found = read_state(older)
    for each in fields(RenewalState):
        if each.name != "etag":
            expected = RenewalState() if each.name in missing else FULL
            assert getattr(found, each.name) == getattr(expected, each.name)


# What it tells


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (row(), None),
        (row(Phase.REGISTER), None),
        (row(Phase.REGISTER, next=replace(NEXT, registered_at=NOW)), "v2"),
        (row(Phase.PROVE, next=replace(NEXT, registered_at=NOW)), "v2"),
        (row(Phase.OVERLAP), "v0"),
        (row(Phase.RETIRE), "v0"),
        (row(Phase.RETIRE, previous=replace(PREVIOUS, removed_at=NOW)), None),
    ],
    ids=["idle", "not registered", "registered", "being proven", "overlap", "about to be removed", "removed"],
)
def test_the_other_version_of_a_sign_in(state: RenewalState, expected: str | None) -> None:
    """The one that is being proven, or that signed before the overlap; never one that was retired."""
    assert (state.other.version if state.other else None) == expected


def test_the_version_that_signs() -> None:
    """The pointer of the row, to its last moment, whatever phase it is in."""
    for phase in Phase:
        assert row(phase).signing(CURRENT.not_after - SECOND) == CURRENT


def test_no_certificate_yet() -> None:
    """There is nothing to sign with, and the error says what is missing."""
    with pytest.raises(NotConfigured) as caught:
        row(Phase.PROVE, current=None).signing(NOW)
    assert caught.value.what == "certificate"


@pytest.mark.parametrize(
    ("planned", "expected"),
    [(5 * MINUTE, 5 * MINUTE), (MINUTE, MINUTE), (MINUTE - SECOND, MINUTE), (-HOUR, MINUTE)],
    ids=["as planned", "in a minute", "no sooner than a minute", "overdue"],
)
def test_an_expired_certificate_signs_no_more(planned: timedelta, expected: timedelta) -> None:
    """People read when the next try is, which lies ahead: they are not sent to Microsoft and back."""
    now = CURRENT.not_after
    with pytest.raises(CertificateExpired) as caught:
        row(next_attempt_at=now + planned).signing(now)
    assert caught.value.next_try == now + expected
    assert caught.value.retry_after == expected


def test_a_version_by_its_role() -> None:
    """Each role is a field of the row, read and written."""
    state = row(Phase.OVERLAP, next=NEXT)
    assert [state.version(role) for role in (Role.CURRENT, Role.NEXT, Role.PREVIOUS)] == [
        CURRENT,
        NEXT,
        PREVIOUS,
    ]
    for role in Role:
        changed = state.with_version(role, replace(NEXT, version="v9"))
        assert [each for each in Role if changed.version(each) != state.version(each)] == [role]


@pytest.mark.parametrize("kind", Asked)
def test_what_the_owner_waits_for(kind: Asked) -> None:
    """One of the kinds that are asked about."""
    state = row(request=asked(kind))
    assert state.asked(kind)
    assert state.asked(*Asked)
    assert not state.asked(*(other for other in Asked if other is not kind))
    assert not row().asked(*Asked)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (row(), False),
        (row(request=asked(Asked.ROTATE, "v1")), False),
        (row(request=asked(Asked.ROTATE, "v0")), True),
        (row(request=asked(Asked.ROTATE, "")), True),
        (row(request=asked(Asked.ROTATE, ""), current=None), False),
    ],
    ids=["no request", "the same signs", "another signs", "the first signs", "none signs yet"],
)
def test_when_a_request_is_answered(state: RenewalState, *, expected: bool) -> None:
    """When the version that signed then signs no more."""
    assert state.is_answered is expected


def test_a_note_has_a_key_of_its_own() -> None:
    """An operation's notes bear its name; others take the next number. Their keys are the rows of the audit table."""
    state = row(count=7)
    state = state.noted("renewal.found", NOW, "v2")
    state = state.noted("renewal.add_key.intent", NOW, operation="000003:00009:idle", warning=True)
    state = state.noted("renewal.found", NOW + HOUR, "v2")
    assert state.count == 9
    assert state.notes == (
        Note("000003:00008:idle:renewal.found", "renewal.found", NOW, "v2"),
        Note(
            "000003:00009:idle:renewal.add_key.intent",
            "renewal.add_key.intent",
            NOW,
            operation="000003:00009:idle",
            warning=True,
        ),
        Note("000003:00009:idle:renewal.found", "renewal.found", NOW + HOUR, "v2"),
    )
    assert len({note.key for note in state.notes}) == 3


@given(st.integers(0, 999_998), st.integers(0, 99_998), st.sampled_from(Phase))
def test_operations_sort_by_time(generation: int, count: int, phase: Phase) -> None:
    """By generation, then by number; no character that a row key may not have."""
    state = RenewalState(generation=generation, phase=phase)
    one, other = operation_id(state, count), operation_id(state, count + 1)
    assert one < other < operation_id(replace(state, generation=generation + 1), 0)
    assert not set(one) & set("/\\#?%")


def test_names_that_rows_and_rules_hold() -> None:
    """They stand in rows that outlive a release: a changed name would not be read."""
    assert {each.value for each in Phase} == {"idle", "create", "register", "prove", "overlap", "retire"}
    assert {each.value for each in Asked} == {"generate", "rotate", "revoke", "roll_back"}
    assert {each.value for each in Role} == {"current", "next", "previous"}
