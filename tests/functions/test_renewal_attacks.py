"""What an attacker's and an outage hunter's reading of the renewal found: each with a test of its own."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.errors import AuthorizationDenied, Conflict, UpstreamUnavailable
from shared.ports import RegisteredKey, Row, Table
from shared.renewal_alarms import conditions
from shared.renewal_requests import ask
from shared.renewal_state import Asked, Phase, RenewalState, read_state, save_state
from shared.renewal_tick import tick
from shared.settings import read_settings, save_settings
from tests.house import START, House, a_version, sign_with

YEAR = timedelta(days=365)


@pytest.fixture
def ticking(house: House) -> House:
    """A house whose renewal was looked after a moment ago."""
    tick(house.services, jitter=lambda: 0.0)
    return house


def later(house: House, **delta: float) -> RenewalState:
    """Let time pass, and the timer come; gives the row."""
    house.clock.move(**delta)
    tick(house.services, jitter=lambda: 0.0)
    return read_state(house.store)


def test_a_forgotten_roll_back_locks_nobody_out(house: House) -> None:
    """The old version signs again, and expires while the renewal is paused: the newer one, which is registered, signs."""
    newer = a_version("v2", START + 2 * YEAR)
    sign_with(house.store, a_version("v1"), previous=newer, phase=Phase.OVERLAP, paused=True)
    house.clock.move(days=366)
    house.move_to(house.instance())
    assert house.sign_in_with_microsoft().location == "/"
    assert house.vault.signed[-1] == "v2"


def test_resuming_after_that_keeps_the_newer_one(house: House) -> None:
    """It is probed and becomes the current one; the vault does not disable it."""
    newer = a_version("v2", START + 2 * YEAR)
    sign_with(house.store, a_version("v1"), previous=newer, phase=Phase.OVERLAP)
    state = later(house, days=366)
    assert state.current is not None
    assert state.current.version == "v2"
    assert "v2" not in house.vault.disabled_versions


@pytest.mark.parametrize("skew", [timedelta(hours=2), timedelta(hours=-2)])
def test_a_clock_that_is_known_to_be_wrong_sweeps_nothing(house: House, skew: timedelta) -> None:
    """Two hours ahead every session would be over: the chores wait for a clock that is right."""
    house.sign_in_with_microsoft()
    house.identity.skew = skew
    house.clock.move(hours=14)
    tick(house.services)
    assert len(rows_of_sessions(house)) == 1
    house.identity.skew = timedelta(0)
    house.clock.move(hours=2)
    tick(house.services)
    assert rows_of_sessions(house) == []


def test_who_steers_by_hand_sweeps_nothing(house: House) -> None:
    """The clock of an engineer's computer is nobody's."""
    house.sign_in_with_microsoft()
    house.clock.move(hours=14)
    tick(house.services, with_chores=False)
    assert len(rows_of_sessions(house)) == 1


def rows_of_sessions(house: House) -> list[Row]:
    """Read all sessions."""
    return house.store.older(Table.SESSIONS, "last_seen", START + YEAR, 10)


def test_a_creation_that_never_ends_is_an_alarm(ticking: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody began a version by hand that waits for a signature for ever: after a quarter of an hour that is a failure."""
    ask(ticking.store, Asked.GENERATE, "n", ticking.clock())

    def pending(_name: str, _tag: str) -> None:
        raise Conflict

    monkeypatch.setattr(ticking.vault, "create_certificate", pending)
    state = later(ticking, minutes=1)
    assert (state.phase, state.attempts) == (Phase.CREATE, 0)
    for _ in range(6):
        state = later(ticking, minutes=20)
    assert "failing" in conditions(state, ticking.clock())
    assert any(event["event"] == "renewal.alarm.failing" for event in renewal_events(ticking))


def renewal_events(house: House) -> list[dict[str, object]]:
    """Read what the renewal has written to the audit table."""
    return [dict(row.values) for row in house.store.query(Table.AUDIT, "renewal")]


def test_a_right_that_is_missing_is_not_a_refused_certificate(ticking: House) -> None:
    """A 403 of the vault for another reason than the key says nothing about what Microsoft knows."""

    def forbidden(*_: object) -> bytes:
        raise UpstreamUnavailable("vault", "http 403", retriable=False)

    ticking.vault.sign = forbidden  # type: ignore[method-assign,assignment] # the vault of this test
    for _ in range(2):
        later(ticking, days=1)
    state = later(ticking, days=1)
    assert state.current is not None
    assert state.current.refused_run == 0
    assert (state.attempts, state.last_error) == (3, "upstream_unavailable: vault: http 403")


def test_a_credential_error_by_another_number_is_one(ticking: House) -> None:
    """Control flow goes by `error` (RFC 6749, section 5.2): Microsoft's numbers may change."""
    ticking.identity.refusals = [AuthorizationDenied("invalid_client", (7009999,))]
    state = later(ticking, days=1)
    assert state.current is not None
    assert state.current.refused_run == 1


def test_a_clock_that_microsoft_does_not_accept_is_no_refused_certificate(ticking: House) -> None:
    """700024 speaks of the assertion's time: our clock may be wrong, and the certificate good."""
    ticking.identity.refusals = [AuthorizationDenied("invalid_client", (700024,))]
    state = later(ticking, days=1)
    assert state.current is not None
    assert (state.current.refused_run, state.attempts) == (0, 1)


def test_an_unusable_certificate_begins_a_rotation(ticking: House) -> None:
    """After a restore of the store the row names a version that is disabled: a new one can be downloaded the next day."""
    ticking.vault.disabled_versions = {"v1"}
    later(ticking, days=1)
    state = later(ticking, minutes=6)
    assert state.phase in {Phase.CREATE, Phase.REGISTER}


def test_an_alarm_is_said_once(ticking: House, caplog: pytest.LogCaptureFixture) -> None:
    """Also by a tick that has nothing else to do."""
    sign_with(ticking.store, a_version("v1", START + timedelta(days=25)), paused=True)
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            later(ticking, hours=2)
    assert caplog.text.count('"event": "renewal.alarm.expiring"') == 1


def test_strangers_do_not_fill_the_audit_table_while_nobody_can_sign_in(house: House) -> None:
    """Anybody can open `/login`: the maintenance page is a line in the log."""
    house.clock.move(days=366)
    house.services.certificate.get()
    before = len(house.events())
    for _ in range(5):
        assert house.get("/login").status == 503
    assert len(house.events()) == before


def test_a_row_of_a_release_before_the_renewal(house: House) -> None:
    """It is read as nothing, and replaced by the next write."""
    row = house.store.get(Table.SETTINGS, "settings", "certificate")
    assert row is not None
    house.store.replace(Table.SETTINGS, replace(row, values={"version": "v1", "thumbprint": "x"}))
    state = read_state(house.store)
    assert (state.current, state.etag != "") == (None, True)
    save_state(house.store, replace(state, generation=1))


def test_hundreds_of_foreign_keys_do_not_break_the_row(ticking: House) -> None:
    """The row has room for 64 KB: what is listed is bounded."""
    keys = [foreign_key(number) for number in range(500)]
    ticking.directory.keys = lambda *_: keys  # type: ignore[method-assign] # the directory of this test
    settings_with_object_id(ticking)
    state = later(ticking, days=1)
    assert 0 < len(state.foreign) <= 20


def foreign_key(number: int) -> RegisteredKey:
    """Make a registered key that is none of ours."""
    return RegisteredKey(f"key-{number}", f"x5t-foreign-{number}")


def settings_with_object_id(house: House) -> None:
    """Let the Owner name the object id."""
    object_id = "c2d8e914-7b36-4a05-b1f7-94e3a0c58d32"
    save_settings(house.store, replace(read_settings(house.store), object_id=object_id))
