import atexit
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from shared.audit import Event
from shared.certificate import CERTIFICATE_NAME
from shared.errors import NotConfigured, UpstreamUnavailable
from shared.key_ring import SECRET_NAME, KeyRing
from shared.ports import Application, Table, VaultSecret
from shared.refreshed import Refreshed
from shared.services import Services
from shared.session import Issuer
from shared.settings import SsoSettings, read_settings, save_settings
from tests.house import ADDRESS, APPLICATION, START, House, a_version, sign_with

if TYPE_CHECKING:
    from collections.abc import Callable

ASKED_EVERY = timedelta(seconds=5)
ROOT = Path(__file__).parents[2]
SECOND_VERSION = a_version("v2")


def furnished(**overrides: str) -> House:
    """Make a house with people, settings and a certificate."""
    house = House(**overrides)
    house.furnish()
    return house


def test_the_issuer_of_sessions() -> None:
    """The Address, and the application where one is set."""
    assert House().services.issuer == Issuer(ADDRESS, ADDRESS)
    app = "https://sos.clinic.example/lists"
    assert House(SOS_APP_URL=app).services.issuer == Issuer(ADDRESS, app)


def test_what_is_kept_comes_from_its_port() -> None:
    """Settings and certificate from the store, key ring and pepper from the vault."""
    house = furnished()
    services = house.services
    assert services.settings.get() == read_settings(house.store)
    assert services.certificate.get().signing(START).version == "v1"
    made = services.key_ring.get()
    assert made.public_jwks() == KeyRing.from_secret(house.vault.secrets[SECRET_NAME].value).public_jwks()
    assert services.pepper.get().password.reveal() == house.vault.secrets["sos-pepper"].value.reveal()


def test_what_is_kept_needs_no_port_again() -> None:
    """With everything in memory, a warm request makes no call; the last good values outlive a bad day."""
    house = furnished()
    services = house.services
    first = (
        services.settings.get(),
        services.certificate.get(),
        services.key_ring.get(),
        services.pepper.get(),
    )
    house.store.away = house.vault.away = True
    again = (
        services.settings.get(),
        services.certificate.get(),
        services.key_ring.get(),
        services.pepper.get(),
    )
    assert [a is b for a, b in zip(first, again, strict=True)] == [True] * 4


def kept_values(services: Services) -> dict[str, Refreshed[Any]]:
    """Name what is read once and kept."""
    return {
        "settings": services.settings,
        "certificate": services.certificate,
        "key_ring": services.key_ring,
        "pepper": services.pepper,
    }


@pytest.mark.parametrize(
    ("kept", "fresh_for"),
    [
        ("settings", timedelta(seconds=60)),
        ("certificate", timedelta(seconds=60)),
        ("key_ring", timedelta(minutes=10)),
        ("pepper", timedelta(hours=24)),
    ],
)
def test_how_long_a_value_is_fresh(kept: str, fresh_for: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then no port is asked; then it is read again behind the request, which does not wait."""
    house = furnished()
    value = kept_values(house.services)[kept]
    monkeypatch.setattr(threading.Thread, "start", lambda thread: thread.run())
    value.forget()
    first = value.get()
    house.clock.now += fresh_for - timedelta(microseconds=1)
    assert value.get() is first
    assert value.get() is first
    house.clock.move(microseconds=1)
    assert value.get() is first
    assert value.get() is not first


@pytest.mark.parametrize(("kept", "minutes"), [("settings", 15), ("certificate", 5), ("key_ring", 15)])
def test_an_instance_that_rested_reads_before_it_answers(
    kept: str, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so long without a request, and no earlier, what it knows may be far from true."""
    house = furnished()
    value = kept_values(house.services)[kept]
    first = value.get()
    house.clock.move(minutes=minutes)
    second = value.get()
    assert second is not first
    monkeypatch.setattr(threading.Thread, "start", lambda _thread: None)
    house.clock.move(minutes=minutes, microseconds=-1)
    assert value.get() is second


def test_a_change_of_the_owner_reaches_other_instances() -> None:
    """SSO is switched off by one; the other reads it."""
    house = furnished()
    other = house.instance()
    assert other.settings.get().sso_active
    save_settings(house.store, replace(read_settings(house.store), sso_active=False))
    assert not other.settings.refresh().sso_active


def test_without_a_certificate() -> None:
    """It is said what is missing, when it is needed and not before."""
    services = House().services
    with pytest.raises(NotConfigured):
        services.certificate.get().signing(START)
    assert services.settings.get() == SsoSettings()


# The key ring of another instance


def test_a_newer_key_ring_is_read() -> None:
    """A token names a key that another instance knows already."""
    house = furnished()
    seen = house.services.key_ring.get()
    newer = KeyRing((*seen.keys, *KeyRing.generate(START).keys))
    house.vault.secrets[SECRET_NAME] = VaultSecret(newer.to_secret())
    found = house.services.newer_key_ring(seen)
    assert found.public_jwks() == newer.public_jwks()
    assert house.services.key_ring.get() is found


def test_a_newer_key_ring_is_asked_for_once_a_minute() -> None:
    """Forged tokens with invented key ids do not become calls to the vault."""
    house = furnished()
    services = house.services
    seen = services.key_ring.get()
    reads = count_reads(house)
    services.newer_key_ring(seen)
    assert reads == [SECRET_NAME]
    for _ in range(50):
        house.clock.move(seconds=1)
        assert services.newer_key_ring(seen) is seen
    house.clock.move(seconds=10, microseconds=-1)
    assert services.newer_key_ring(seen) is seen
    assert reads == [SECRET_NAME]
    house.clock.move(microseconds=1)
    assert services.newer_key_ring(seen) is not seen
    assert reads == [SECRET_NAME] * 2


def test_a_clock_that_goes_back_does_not_stop_the_asking() -> None:
    """An hour back must not mean an hour without the new keys."""
    house = furnished()
    seen = house.services.key_ring.get()
    house.services.newer_key_ring(seen)
    house.clock.move(hours=-1)
    assert house.services.newer_key_ring(seen) is not seen


def test_a_vault_that_is_away_is_asked_once_a_minute_too() -> None:
    """The failure is passed on once; whoever comes in the same minute gets what is known."""
    house = furnished()
    seen = house.services.key_ring.get()
    house.vault.away = True
    with pytest.raises(UpstreamUnavailable):
        house.services.newer_key_ring(seen)
    assert house.services.newer_key_ring(seen) is seen
    assert house.services.key_ring.get() is seen


def count_reads(house: House) -> list[str]:
    """Note which secrets are read from now on."""
    reads: list[str] = []
    original = house.vault.secret

    def secret(name: str) -> VaultSecret | None:
        reads.append(name)
        return original(name)

    house.vault.secret = secret  # type: ignore[method-assign] # the spy stands in for the method
    return reads


# Whether the vault answers


def test_the_vault_is_asked_every_few_seconds_at_most() -> None:
    """Whoever wants to know whether this instance is ready costs the vault one read in five seconds."""
    house = furnished()
    reads = count_reads(house)
    for _ in range(5):
        house.services.ask_vault()
    assert reads == ["sos-pepper"]
    house.clock.now += ASKED_EVERY - timedelta(microseconds=1)
    house.services.ask_vault()
    assert len(reads) == 1
    house.clock.move(microseconds=1)
    house.services.ask_vault()
    assert len(reads) == 2
    house.clock.move(hours=-1)
    house.services.ask_vault()
    assert len(reads) == 3


def test_a_vault_that_does_not_answer_is_told_to_everyone() -> None:
    """From one read, and no longer than until the next."""
    house = furnished()
    house.vault.away = True
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable) as caught:
            house.services.ask_vault()
        assert caught.value.port == "vault"
    house.vault.away = False
    with pytest.raises(UpstreamUnavailable):
        house.services.ask_vault()
    house.clock.now += ASKED_EVERY
    house.services.ask_vault()
    house.vault.away = True
    house.services.ask_vault()


def test_many_who_ask_at_once_cost_one_read() -> None:
    """They wait for the same answer."""
    house = furnished()
    reads = count_reads(house)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: house.services.ask_vault(), range(8)))
    assert len(reads) == 1


# What is made once


def test_the_keys_of_microsoft_are_kept_for_one_tenant() -> None:
    """The same object for each sign-in; another tenant has other keys."""
    services = furnished().services
    keys = services.signing_keys(APPLICATION)
    assert services.signing_keys(Application(APPLICATION.tenant_id, "another client")) is keys
    other = services.signing_keys(Application("another tenant", APPLICATION.client_id))
    assert other is not keys
    assert services.signing_keys(APPLICATION) is not keys


def test_the_keys_of_microsoft_come_from_the_provider() -> None:
    """One fetch, when a token is first looked at."""
    house = furnished()
    keys = house.services.signing_keys(APPLICATION)
    assert house.identity.keys_fetched == 0
    assert len(keys.candidates("k1")) == 1
    assert len(house.services.signing_keys(APPLICATION).candidates("k1")) == 1
    assert house.identity.keys_fetched == 1


def test_events_go_to_one_log_which_is_flushed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log is made when it is first needed, writes to the store, and is registered with the interpreter."""
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(threading.Thread, "start", lambda _thread: None)
    house = House()
    services = Services(house.config, house.clock, house.store, house.vault, house.identity, house.directory)
    assert registered == []
    services.audit.record(Event("an event", START, "a reference"))
    assert services.audit is services.audit
    assert house.store.query(Table.AUDIT, "2027-03-01") == []
    (flush,) = registered
    flush()
    assert len(house.store.query(Table.AUDIT, "2027-03-01")) == 1


def test_assertions_are_signed_by_the_vault() -> None:
    """With the version that is in use, and reused by everyone who signs in meanwhile."""
    house = furnished()
    services = house.services
    with ThreadPoolExecutor(8) as pool:
        made = set(
            pool.map(
                lambda _: services.assertions.make(
                    "client", "endpoint", services.certificate.get().signing(START)
                ),
                range(8),
            )
        )
    assert len(made) == 1
    assert house.vault.signed == ["v1"]
    assert services.assertions is services.assertions
    sign_with(house.store, SECOND_VERSION)
    services.assertions.make("client", "endpoint", services.certificate.refresh().signing(START))
    assert house.vault.signed == ["v1", "v2"]


def test_assertions_are_asked_for_as_entra_wants_them() -> None:
    """The certificate's name, and PS256."""
    house = furnished()
    asked: list[tuple[str, str, str, int]] = []

    def sign(key: str, version: str, algorithm: str, digest: bytes) -> bytes:
        asked.append((key, version, algorithm, len(digest)))
        return b"a signature"

    house.vault.sign = sign  # type: ignore[method-assign] # the spy stands in for the method
    house.services.assertions.make("client", "endpoint", house.services.certificate.get().signing(START))
    assert asked == [(CERTIFICATE_NAME, "v1", "PS256", 32)]


def test_the_record_is_cheap_to_import() -> None:
    """It is part of every cold start: no cryptography, no JWT, no SDK before they are needed."""
    code = (
        "import sys, shared.services; "
        "print([m for m in ('cryptography', 'jwt', 'azure', 'msal', 'requests', 'shared.session') if m in sys.modules])"
    )
    shown = subprocess.run(  # noqa: S603 - our own interpreter and our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert shown.strip() == "[]"
