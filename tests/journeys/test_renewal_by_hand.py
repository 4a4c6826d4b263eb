"""Certificates that a person uploads: the first one, where the directory does not let us, and after everything expired."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from local.laptop import Laptop
from local.playground import OWNER
from shared.public_part import FILE_NAME
from shared.renewal_state import Asked, Phase
from tests.journeys.test_renewal_killed import ask
from tests.journeys.timed_town import MINUTE, TimedTown
from tests.journeys.town import NURSE, wait_for

pytestmark = pytest.mark.system

IN = "You are signed in"


def status(town: TimedTown) -> dict[str, Any]:
    """Read what `ops certificate status` says."""
    shown: dict[str, Any] = json.loads(town.ops("certificate", "status").stdout)
    return shown


def downloaded(town: TimedTown, directory: Path) -> bytes:
    """Download the certificate; gives what is to be uploaded (DER). Fails when there is anything else in the file."""
    file = directory / FILE_NAME
    done = town.ops("certificate", "download", "--to", str(file))
    assert done.returncode == 0, done.stderr
    text = file.read_text(encoding="ascii")
    assert text.startswith("-----BEGIN CERTIFICATE-----\n")
    assert text.endswith("-----END CERTIFICATE-----\n")
    assert (text.count("-----BEGIN"), text.count("PRIVATE")) == (1, 0)
    (certificate,) = x509.load_pem_x509_certificates(text.encode())
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture
def empty_town(tmp_path: Path) -> Iterator[TimedTown]:
    """The day of the installation: nothing in the store, nothing in the vault, and one worker."""
    with Laptop(tmp_path) as laptop:
        town = TimedTown(laptop, tmp_path / "clock", empty=True)
        yield town
        leaks = town.leaks() + town.loose_words()
        town.close()
    assert leaks == []


def test_the_first_certificate(empty_town: TimedTown, tmp_path: Path) -> None:
    """Tenant and client id are all that is known: generate, download, upload; it is found, proven and used by itself."""
    town, ids = empty_town, empty_town.application
    town.open_for_business()
    nothing_yet = town.ops("certificate", "download", "--to", str(tmp_path / "none.pem"))
    assert (nothing_yet.returncode, nothing_yet.stderr) == (1, "not_configured: certificate\n")
    town.ops("settings", "--tenant-id", ids["tenant_id"], "--client-id", ids["client_id"], "--sso", "on")
    generated = town.ops("certificate", "generate", "--wait", "1").stdout.splitlines()
    assert generated[-1].startswith(f"Upload {FILE_NAME}")
    told = status(town)
    assert (told["phase"], told["mode"], told["why"]) == ("register", "manual", "no_object_id")
    der = downloaded(town, tmp_path)
    ready = town.browser().get(f"{town.address}/readyz")
    assert (ready.status, ready.response.json()["certificate"]) == (503, "not_configured")
    town.upload(der)
    uploaded_at = town.now
    assert "prove" in town.ops("certificate", "look").stdout
    town.pass_until(lambda state: state.phase is Phase.IDLE, at_most=15)
    assert town.now - uploaded_at < timedelta(minutes=5)
    town.move(MINUTE)
    # An instance that has not been asked for a minute answers from memory once more, and reads the row behind that.
    browser = town.browser()
    wait_for(lambda: browser.open(f"{town.address}/login").status == 200)
    assert town.sign_in_microsoft(browser).title == IN
    assert town.calls("graph") == {}
    assert downloaded(town, tmp_path) == der


@pytest.mark.parametrize(
    ("refused", "tries", "reason"),
    [
        ("lifetime", 1, "graph_400_CredentialInvalidLifetimeAsPerAppPolicy"),
        ("forbidden", 3, "graph_403_Authorization_RequestDenied"),
    ],
)
def test_a_directory_that_refuses(
    timed_town: TimedTown, tmp_path: Path, refused: str, tries: int, reason: str
) -> None:
    """A policy forbids `addKey`, or it fails three times: the reason stands in the status, and an upload does instead."""
    town = timed_town
    old = town.current
    town.control("PUT", "graph", {"refuse_add": refused})
    ask(town, Asked.GENERATE)
    town.settle()
    town.pass_until(lambda state: bool(state.refusal))
    told = status(town)
    assert (told["phase"], told["mode"], told["why"]) == ("register", "manual", reason)
    town.move(timedelta(hours=2))
    town.settle()
    assert town.current.thumbprint == old.thumbprint
    assert town.sign_in_microsoft(town.browser()).title == IN
    town.upload(downloaded(town, tmp_path))
    town.move(timedelta(hours=1))
    town.pass_until(lambda state: state.phase is Phase.OVERLAP)
    assert town.calls("graph")["addKey"] == tries
    town.move(MINUTE)
    assert town.sign_in_microsoft(town.browser()).title == IN
    # The old one was ours, with a key id: once its time has come it is removed, whoever uploaded the new one.
    town.finish()
    assert town.current.thumbprint in town.registered()


def test_recovery_after_everything_expired(timed_town: TimedTown, tmp_path: Path) -> None:
    """The timer was dead for a year. People see when to come back, the Owner gets in, an upload heals it; no deployment."""
    town = timed_town
    assert town.sign_in_microsoft(town.browser()).title == IN
    town.move(timedelta(days=366))
    town.a_minute_of_visits()  # requests alone start the ticks from here on
    assert town.state.phase is Phase.REGISTER

    page = town.browser().open(f"{town.address}/login")
    assert (page.status, page.title) == (503, "Signing in is being repaired")
    state = town.state
    wait = int(page.response.headers["retry-after"])
    assert 0 < wait <= 5 * 60
    assert f"{max(state.next_attempt_at, town.now + MINUTE):%H:%M} UTC" in page.text
    assert "The Owner can sign in with the password" in page.text
    assert town.enter(town.browser(), OWNER).status == 303
    assert status(town)["why"] == "current_unusable"

    town.upload(downloaded(town, tmp_path))
    uploaded_at = town.now
    browser = town.browser()
    while (page := town.to_microsoft(browser)).status == 503:
        assert town.enter(town.browser(), OWNER).status == 303
        assert town.now - uploaded_at < timedelta(minutes=10)
        town.a_minute_of_visits()
    assert browser.submit(page).title == IN
    assert town.session_of(browser)["name"] == NURSE.name
    assert town.calls("graph").get("addKey", 0) == 0
