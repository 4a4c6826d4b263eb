"""Ticks over a paper vault and a paper directory that refuse, lie and forget: what becomes of the row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from jwt import decode_complete

from shared.errors import AuthorizationDenied, DirectoryRefused
from shared.ports import Table, VaultCertificate
from shared.renewal_requests import ask
from shared.renewal_state import Asked, Phase, RenewalState, read_state, save_state
from shared.renewal_tick import tick
from shared.secret import Secret
from shared.settings import read_settings, save_settings
from tests.house import START, House, a_version, sign_with
from tests.renewal.cloud import make_der

OBJECT_ID = "c2d8e914-7b36-4a05-b1f7-94e3a0c58d32"


@pytest.fixture
def ticking(house: House) -> House:
    """A house whose renewal needs nobody: the object id is named, and a moment ago all was well."""
    save_settings(house.store, replace(read_settings(house.store), object_id=OBJECT_ID))
    numbers = iter(range(1, 100))
    house.vault.make_der = lambda: make_der(next(numbers), house.clock.now)
    later(house)
    return house


def later(house: House, **delta: float) -> RenewalState:
    """Let time pass, and the timer come; gives the row."""
    house.clock.move(**delta)
    tick(house.services, jitter=lambda: 0.0)
    return read_state(house.store)


def often(house: House, times: int, **delta: float) -> RenewalState:
    """Let the timer come so many times; gives the row."""
    for _ in range(times - 1):
        later(house, **delta)
    return later(house, **delta)


def said(house: House) -> list[str]:
    """List what the renewal has written to the audit table, oldest first."""
    return [str(row.values["event"]) for row in house.store.query(Table.AUDIT, "renewal")]


def test_a_version_that_the_vault_made_disabled_is_given_up(ticking: House) -> None:
    """Another one is made, later each time; the useless one is disabled in the end."""
    make = ticking.vault.create_certificate

    def disabled(name: str, tag: str) -> None:
        make(name, tag)
        made = ticking.vault.certificates[tag]
        ticking.vault.certificates[tag] = VaultCertificate(made.version, made.der, enabled=False)

    ticking.vault.create_certificate = disabled  # type: ignore[method-assign] # the vault of this test
    ask(ticking.store, Asked.GENERATE, "n", ticking.clock())
    state = later(ticking, minutes=1)
    assert (state.phase, state.attempts, len(state.abandoned)) == (Phase.CREATE, 1, 1)
    state = later(ticking, minutes=2)
    assert (state.attempts, len(state.abandoned)) == (2, 2)
    assert said(ticking).count("renewal.given_up") == 2
    del ticking.vault.create_certificate
    state = later(ticking, minutes=5)
    assert state.phase is not Phase.CREATE


def test_a_removal_that_is_refused_for_good_leaves_the_key(ticking: House) -> None:
    """After some tries the key stays on the application, and the vault stops signing with it: the rotation ends."""

    def refuse(*_: object) -> bool:
        raise DirectoryRefused(404, "Request_ResourceNotFound")

    ticking.directory.remove_key = refuse  # type: ignore[method-assign,assignment] # the directory of this test
    old = replace(a_version("v0"), key_id="key-0")
    sign_with(ticking.store, a_version("v1"), previous=old, phase=Phase.RETIRE, next_attempt_at=START)
    state = often(ticking, 7, minutes=10)
    assert "renewal.leave_key" in said(ticking)
    assert state.last_error == ""
    state = often(ticking, 30, hours=1)
    assert (state.phase, state.previous) == (Phase.IDLE, None)
    assert "v0" in ticking.vault.disabled_versions


def test_a_proof_that_a_replica_refuses_is_made_again(ticking: House) -> None:
    """A 401 of Graph is tried again, three times a generation; a policy's 400 at once leads to the upload by hand."""
    asked: list[int] = []

    def refuse(*_: object) -> str:
        asked.append(1)
        raise DirectoryRefused(401, "Authentication_MissingOrMalformed")

    refuses_next(ticking)
    ticking.directory.add_key = refuse  # type: ignore[method-assign,assignment] # the directory of this test
    ask(ticking.store, Asked.GENERATE, "n", ticking.clock())
    state = often(ticking, 12, minutes=10)
    assert len(asked) == 3
    assert (state.phase, state.refusal) == (
        Phase.REGISTER,
        "graph_401_Authentication_MissingOrMalformed",
    )


def refuses_next(house: House) -> None:
    """Let Microsoft know v1 alone."""

    def authenticate(_application: object, assertion: Callable[[str], str]) -> Secret:
        made = assertion("https://login.microsoftonline.com/token")
        header = decode_complete(made, options={"verify_signature": False})["header"]
        if header["x5t#S256"] != "x5t256-v1":
            raise AuthorizationDenied("invalid_client", (700027,))
        return Secret("a token")

    house.identity.authenticate = authenticate  # type: ignore[method-assign,assignment] # the provider of this test


def test_a_next_version_that_has_gone_from_the_vault(ticking: House) -> None:
    """Somebody deleted it: that is said, and the old one goes on signing."""
    refuses_next(ticking)
    gone = replace(a_version("v2"), registered_at=None)
    before = read_state(ticking.store)
    save_state(ticking.store, replace(before, next=gone, phase=Phase.REGISTER, next_attempt_at=START))
    state = later(ticking, minutes=1)
    assert (state.attempts, state.last_error) == (1, "the next version is not in the vault")


def test_a_key_id_finds_its_version_after_the_lease_was_lost(ticking: House) -> None:
    """The worker overslept between the directory's answer and the row: what it learned is not lost."""
    refuses_next(ticking)
    add = ticking.directory.add_key

    def oversleep(*arguments: object) -> str:
        key_id = add(*arguments)  # type: ignore[arg-type] # as they come
        row = read_state(ticking.store)
        save_state(ticking.store, replace(row, lease_owner="another", intent=None))
        return key_id

    ticking.directory.add_key = oversleep  # type: ignore[method-assign,assignment] # the directory of this test
    ask(ticking.store, Asked.GENERATE, "n", ticking.clock())
    state = later(ticking, minutes=1)
    assert state.lease_owner == "another"
    assert state.next is not None
    assert state.next.key_id == "key-1"


def test_a_defect_of_ours_is_an_alarm_and_not_the_end(ticking: House) -> None:
    """Whatever it is, the lease is let go, the row says where it was, and after five times somebody is told."""

    def broken(*_: object) -> object:
        raise TypeError("a defect")

    ticking.identity.authenticate = broken  # type: ignore[method-assign,assignment] # the provider of this test
    state = often(ticking, 6, days=1)
    assert state.lease_owner == ""
    assert state.last_error.startswith("internal_error: TypeError at test_renewal_tick.py:")
    assert "a defect" not in state.last_error
    assert "renewal.alarm.failing" in said(ticking)
    assert state.last_tick_at == ticking.clock() >= START + timedelta(days=5)
