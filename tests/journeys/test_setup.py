"""First run and recovery: the engineer makes a link, the Owner chooses a password with it, once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from local.laptop import Laptop, Worker
from local.playground import OWNER
from shared import accounts, setup
from shared.secret import Secret
from tests.client import Browser, Page
from tests.journeys.town import Town, events, wait_for

pytestmark = pytest.mark.system

GOOD = "seven-lanterns-over-a-quiet-harbour"
BETTER = "nine-herons-under-a-silver-bridge"
DEAD = "This link does not work"


def _link(town: Town) -> str:
    """Ask the engineer's command for a link."""
    made = town.ops("setup-link")
    assert made.returncode == 0
    return made.stdout.strip()


def _choose(browser: Browser, link: str, password: str) -> Page:
    page = browser.open(link)
    return browser.submit(page, username=OWNER.username, password=password, password_again=password)


def test_the_first_run_makes_the_owner(young_town: Town) -> None:
    """From nothing: the link, a weak password with its reasons, a good one, and the door opens; the link is dead after."""
    town, browser = young_town, young_town.browser()
    town.forget_owner()
    link = _link(town)
    assert link.startswith(f"{town.address}/setup?token=")

    page = browser.open(link)
    assert (page.status, page.title) == (200, "Create the Owner account")
    weak = browser.submit(page, username=OWNER.username, password="owner", password_again="owner")
    assert weak.status == 422
    assert "The password has fewer than 15 characters" in weak.text
    assert weak.forms[0].fields["username"] == OWNER.username
    assert weak.forms[0].fields["password"] == ""
    different = browser.submit(weak, username=OWNER.username, password=GOOD, password_again=BETTER)
    assert different.status == 422
    assert "The two passwords are not the same" in different.text
    done = browser.submit(different, username=OWNER.username, password=GOOD, password_again=GOOD)
    assert (done.status, done.title) == (200, "Your password is saved")

    assert town.sign_in_password(browser, OWNER.username, GOOD).status == 303
    assert town.session_of(browser)["level"] == "owner"
    assert (browser.open(link).status, browser.open(link).title) == (403, DEAD)
    assert events(town.lines(), "owner.password_set")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "15"),
        ("passwordpassword", ""),
        ("aaaaaaaaaaaaaaaaaaaa", ""),
        (f"{OWNER.username} sos sign-in", ""),
        ("x" * 300, ""),
    ],
    ids=["short", "common", "one letter", "the names", "very long"],
)
def test_a_weak_password_is_explained(young_town: Town, password: str, reason: str) -> None:
    """Each kind of weak password is refused with a sentence beside the form, and nothing is saved."""
    town = young_town
    page = _choose(town.browser(), _link(town), password)
    assert page.status == 422
    assert 'role="alert"' in page.response.text
    assert reason in page.text
    assert town.sign_in_password(town.browser(), OWNER.username, password).status == 403
    town.empty_throttle()
    assert town.enter(town.browser(), OWNER).status == 303


def test_recovery_ends_every_session_of_the_owner(young_town: Town) -> None:
    """A new password by a new link: the old one is refused, and who was signed in as Owner is not any more."""
    town, before = young_town, young_town.browser()
    assert town.enter(before, OWNER).status == 303
    browser, link = town.browser(), _link(town)
    page = browser.open(link)
    assert page.title == "Set a new Owner password"
    assert page.forms[0].fields["username"] == OWNER.username
    changed = browser.submit(page, username="somebody-else", password=BETTER, password_again=BETTER)
    assert changed.title == "Your password is saved"

    town.age_session(before, timedelta(minutes=6))
    assert town.session_of(before) == {}
    assert town.enter(town.browser(), OWNER).status == 403
    assert town.sign_in_password(town.browser(), OWNER.username, BETTER).status == 303
    assert town.sign_in_password(town.browser(), "somebody-else", BETTER).status == 403


def test_recovery_ends_the_wait_of_the_owner(young_town: Town) -> None:
    """Whoever was guessing does not keep the Owner waiting at the new password."""
    town = young_town
    for _ in range(5):
        town.sign_in_password(town.browser(), OWNER.username, "a-guess-that-is-wrong")
    assert town.enter(town.browser(), OWNER).status == 429
    assert _choose(town.browser(), _link(town), GOOD).title == "Your password is saved"
    assert town.sign_in_password(town.browser(), OWNER.username, GOOD).status == 303


def test_a_newer_link_ends_an_older_one(young_town: Town) -> None:
    """Only the link that was made last works."""
    first, second = _link(young_town), _link(young_town)
    assert young_town.browser().open(first).title == DEAD
    assert young_town.browser().open(second).status == 200


def test_an_expired_link_does_not_work(young_town: Town) -> None:
    """After its 24 hours a link is dead, for looking and for saving."""
    town, token = young_town, "a-token-of-yesterday-that-nobody-used-in-time"
    browser = town.browser()
    page = browser.open(_link(town))
    now = town.services.clock()
    expired = now - timedelta(seconds=1)
    with town.as_the_app():
        town.services.vault.set_secret(setup.SETUP_TOKEN_NAME, Secret(token), expires_on=expired)
    assert (town.browser().open(f"{town.address}/setup?token={token}").title) == DEAD
    saved = browser.submit(page, username=OWNER.username, password=GOOD, password_again=GOOD, token=token)
    assert (saved.status, saved.title) == (403, DEAD)
    assert town.enter(town.browser(), OWNER).status == 303


@pytest.mark.parametrize("token", ["", "wrong", "x" * 43])
def test_a_wrong_link_does_not_work(young_town: Town, token: str) -> None:
    """403 and no form, with the way to a new link, whatever stands in the address."""
    _link(young_town)
    page = young_town.browser().get(f"{young_town.address}/setup?token={token}")
    assert (page.status, page.title, page.forms) == (403, DEAD, [])
    assert "Ask the engineer for a new link" in page.text


def test_the_link_cannot_take_the_name_of_another_account(young_town: Town) -> None:
    """At the first run a user name that somebody has already is not taken over, and their password stays."""
    town, browser = young_town, young_town.browser()
    town.forget_owner()
    page = browser.open(_link(town))
    answer = browser.submit(page, username="user", password=GOOD, password_again=GOOD)
    assert answer.title != "Your password is saved"
    assert accounts.account_by_id(town.services.store, accounts.OWNER_ID) is None


def test_an_installation_from_nothing(tmp_path: Path) -> None:
    """Three instances that start at once on an empty cloud agree on their secrets; then all is set up as the guide says."""
    with Laptop(tmp_path) as laptop:
        town = Town(laptop, empty=True)
        try:
            _install(town)
        finally:
            town.close()


def _ready(town: Town, worker: Worker) -> bool:
    told = town.browser(worker).get(f"{town.address}/readyz").response.json()
    return bool(told["vault"] == "ok")


def _install(town: Town) -> None:
    workers = [town.start_worker() for _ in range(3)]
    town.fail(
        "vault", "delay", "PUT /secrets", seconds=1
    )  # so that the three meet while a secret is being made
    with ThreadPoolExecutor(3) as pool:
        first = list(pool.map(lambda w: town.browser(w).get(f"{town.address}/signin").status, workers))
    assert set(first) <= {200, 503}
    assert 200 in first
    for worker in workers:  # who was told to try again gets its page in a moment
        wait_for(partial(_ready, town, worker), 15)
    names = ("sos-session-keys", "sos-pepper")
    with (
        town.as_the_app(),
        ManagedIdentityCredential() as credential,
        SecretClient(town.laptop.cloud.key_vault_url, credential, connection_verify=town.ca_file) as vault,
    ):
        assert [len(list(vault.list_properties_of_secret_versions(name))) for name in names] == [1, 1]
    key_sets = [town.browser(w).get(f"{town.address}/.well-known/jwks.json").text for w in workers]
    assert len(set(key_sets)) == 1

    assert _choose(town.browser(workers[0]), _link(town), GOOD).title == "Your password is saved"
    owner = town.browser(workers[1])
    assert town.sign_in_password(owner, OWNER.username, GOOD).status == 303
    for worker in workers:
        owner.served_by[town.address] = worker.url
        assert town.session_of(owner)["level"] == "owner"

    town.use_a_new_certificate()
    ids = {name: town.application[name] for name in ("tenant_id", "client_id", "object_id")}
    options = [word for name, value in ids.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert town.ops("settings", *options, "--sso", "on").returncode == 0
    nurse = town.browser(town.start_worker())
    assert town.sign_in_microsoft(nurse).title == "You are signed in"
