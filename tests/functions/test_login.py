"""`/` and `/login`: straight on with a session, else to Microsoft, else to the password door."""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from functions.http import SESSION_COOKIE
from shared import accounts, settings, signin
from shared.key_ring import SECRET_NAME
from shared.ports import Row, Table, VaultSecret
from shared.secret import Secret
from shared.transaction import COOKIE_PREFIX, MAX_AT_ONCE
from tests.house import ADDRESS, APPLICATION, START, House, a_version, sign_with

MICROSOFT = "https://login.microsoftonline.com/authorize"


def asked(location: str) -> dict[str, str]:
    """Read what an authorization request asks for."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def transactions(house: House) -> list[str]:
    """Name the transaction cookies that the browser keeps."""
    return [name for name in house.cookies if name.startswith(COOKIE_PREFIX)]


# Without a session


def test_home_sends_a_stranger_to_the_sign_in(house: House) -> None:
    """Opening the Address without a session leads to /login, and from there to Microsoft."""
    first = house.get("/")
    assert (first.status, first.location) == (303, "/login")
    second = house.get(first.location)
    assert second.status == 302
    assert second.location.startswith(MICROSOFT)


def test_login_asks_microsoft_with_what_the_owner_set(house: House) -> None:
    """The request names the Owner's application and the redirect URI of the Address, whatever the Host says."""
    answer = house.get("/login", host="evil.example", **{"x-forwarded-host": "evil.example"})
    query = asked(answer.location)
    assert query["client_id"] == APPLICATION.client_id
    assert query["redirect_uri"] == f"{ADDRESS}/azure"
    assert len(query["state"]) >= 22


def test_login_needs_neither_network_nor_store(house: House) -> None:
    """Once warm, a start asks nobody: store, vault and Microsoft may all be away."""
    house.get("/login")
    house.store.away = house.vault.away = house.identity.away = True
    assert house.get("/login").status == 302


def test_login_passes_hints_on(house: House) -> None:
    """What the application knows of the person reaches Microsoft, at most 256 characters of it."""
    query = asked(house.get(f"/login?login_hint=nurse%40clinic.example&domain_hint={'d' * 300}").location)
    assert query["login_hint"] == "nurse@clinic.example"
    assert query["domain_hint"] == "d" * 256
    assert "prompt" not in query
    assert asked(house.get(f"/login?login_hint={'n' * 300}").location)["login_hint"] == "n" * 256


@pytest.mark.parametrize(
    ("prompt", "passed_on"), [("select_account", True), ("none", False), ("login", False)]
)
def test_login_passes_on_one_prompt_alone(house: House, prompt: str, passed_on: bool) -> None:  # noqa: FBT001 - a case
    """Only the choice of another account may be asked for from outside."""
    assert ("prompt" in asked(house.get(f"/login?prompt={prompt}").location)) is passed_on


def test_login_without_sso_leads_to_the_password_door(house: House) -> None:
    """While SSO is off, /login is the way to /signin, and where the person wanted to go goes along."""
    house.set_sso(active=False)
    answer = house.get("/login?next=/lists/today")
    assert (answer.status, answer.location) == (303, "/signin?next=%2Flists%2Ftoday")
    assert transactions(house) == []


def test_login_before_the_first_settings_leads_to_the_password_door(cheap_passwords: None) -> None:
    """A new system has no application: the password form is the default sign-in."""
    del cheap_passwords
    assert House().get("/login").location == "/signin"


def test_sso_without_a_certificate_begins_but_says_so_at_the_end(cheap_passwords: None) -> None:
    """An instance that has not read the row yet asks Microsoft in vain; then the page says that it is not set up."""
    del cheap_passwords
    house = House()
    house.set_sso(active=True)
    answer = house.sign_in_with_microsoft()
    assert answer.status == 503
    assert answer.title == "Sign-in is not set up yet"
    assert house.events()[-1] | {"at": ""} == {
        "event": "not_configured",
        "at": "",
        "reference": answer.reference,
        "reason": "certificate",
    }


def test_sso_without_a_certificate_is_said_at_once_where_it_is_known(cheap_passwords: None) -> None:
    """Nobody is sent to Microsoft in vain."""
    del cheap_passwords
    house = House()
    house.set_sso(active=True)
    house.services.certificate.get()
    answer = house.get("/login")
    assert (answer.status, answer.title) == (503, "Sign-in is not set up yet")


def test_an_expired_certificate_is_a_maintenance_page_with_the_next_try(house: House) -> None:
    """No loop through Microsoft: the page names the time of the next try, and the Owner's door, which is open."""
    house.clock.move(days=365)
    now = house.clock.now
    sign_with(house.store, a_version("v1"), next_attempt_at=now + timedelta(minutes=4))
    house.services.certificate.get()
    answer = house.get("/login")
    assert (answer.status, answer.title) == (503, "Signing in is being repaired")
    assert answer.header("Retry-After") == "240"
    assert f"{now + timedelta(minutes=4):%H:%M} UTC, in 4 minutes" in answer.text
    assert 'href="/signin"' in answer.text
    assert house.sign_in().status == 303


def test_a_certificate_that_expires_while_somebody_is_at_microsoft(house: House) -> None:
    """The answer of Microsoft finds the same page, without a token request."""
    house.clock.now = START + timedelta(days=365, seconds=-1)
    state = house.start_at_microsoft()
    house.clock.move(seconds=1)
    answer = house.finish_at_microsoft(state)
    assert (answer.status, answer.title) == (503, "Signing in is being repaired")
    assert house.identity.redeemed == []


@pytest.mark.parametrize("away", ["store", "vault"])
def test_a_cold_start_says_what_is_away(house: House, away: str) -> None:
    """An instance that has read nothing yet cannot begin: a page names the part that does not answer."""
    house.move_to(house.instance())
    getattr(house, away).away = True
    answer = house.get("/login")
    assert answer.status == 503
    assert {"store": "data store", "vault": "key store"}[away] in answer.title
    assert answer.reference


# Where to


@pytest.mark.parametrize(
    "hostile",
    [
        "//evil.example",
        "https:evil.example",
        "https://evil.example/",
        r"/\evil.example",
        "/%09/evil.example",
        "/%0d%0aSet-Cookie:%20a=b",
        "javascript:alert(1)",
        "/login",
        "/logout",
        "/azure?code=x",
        "/..//evil.example",
        "lists",
        "/" + "a" * 1100,
    ],
)
def test_a_hostile_next_is_forgotten(house: House, hostile: str) -> None:
    """A place that is not on our own Address, or loops, is no place to go: the person ends at the start page."""
    state = house.start_at_microsoft(f"?next={hostile}")
    answer = house.finish_at_microsoft(state)
    assert (answer.status, answer.location) == (303, "/")


def test_next_is_reached_after_microsoft(house: House) -> None:
    """A local path is kept through Microsoft, sealed in the browser."""
    state = house.start_at_microsoft("?next=/lists/3%3Fward%3Deast%23top")
    assert house.finish_at_microsoft(state).location == "/lists/3?ward=east#top"


def test_a_session_goes_straight_to_next(house: House) -> None:
    """Who is signed in does not see Microsoft again."""
    house.sign_in_with_microsoft()
    answer = house.get("/login?next=/lists")
    assert (answer.status, answer.location) == (303, "/lists")


def test_asking_for_another_account_passes_the_session_by(house: House) -> None:
    """`prompt=select_account` goes to Microsoft even with a session: that is what was asked for."""
    house.sign_in_with_microsoft()
    assert house.get("/login?prompt=select_account").location.startswith(MICROSOFT)


def test_home_leads_to_the_application(cheap_passwords: None) -> None:
    """With an application set, home and a sign-in without `next` end there."""
    del cheap_passwords
    house = House(SOS_APP_URL="https://sos.clinic.example/lists")
    house.furnish()
    assert house.sign_in_with_microsoft().location == "https://sos.clinic.example/lists"
    assert house.get("/").location == "https://sos.clinic.example/lists"


def test_home_does_not_circle_behind_a_proxy(cheap_passwords: None) -> None:
    """Where the application has this very Address, home shows the start page instead of sending people to itself."""
    del cheap_passwords
    house = House(SOS_APP_URL=ADDRESS)
    house.furnish()
    house.sign_in_with_microsoft()
    assert house.get("/").title == "You are signed in"


def test_the_start_page_says_who_is_signed_in(house: House) -> None:
    """Name, level, method and time of the sign-in, escaped."""
    house.identity.name = "<b>Nurse</b>"
    house.sign_in_with_microsoft()
    text = house.get("/").text
    assert "&lt;b&gt;Nurse&lt;/b&gt;" in text
    assert "<b>Nurse" not in text
    assert all(word in text for word in ("User", "Microsoft", "01 March 2027, 08:00 UTC"))


# Tokens and their rows


def test_a_fresh_token_is_believed_without_a_call(house: House) -> None:
    """In the first half of its life a token is good while the store is away, and no new one is made."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=4, seconds=59)
    house.store.away = True
    answer = house.get("/login?next=/lists")
    assert (answer.location, answer.set_cookies) == ("/lists", [])


def test_a_token_past_half_its_life_is_renewed(house: House) -> None:
    """At five minutes the row is read and a new token comes along."""
    house.sign_in_with_microsoft()
    before = house.cookies[SESSION_COOKIE]
    house.clock.move(minutes=5)
    assert house.get("/login?next=/lists").location == "/lists"
    assert house.cookies[SESSION_COOKIE] != before


def test_an_expired_token_with_a_live_row_goes_straight_on(house: House) -> None:
    """After 59 idle minutes the token is long over, and the row is not: no Microsoft, a new token."""
    house.sign_in_with_microsoft()
    before = house.cookies[SESSION_COOKIE]
    house.clock.move(minutes=59)
    assert house.get("/login?next=/lists").location == "/lists"
    assert house.cookies[SESSION_COOKIE] != before


def test_an_idle_hour_ends_a_session(house: House) -> None:
    """After an hour without a request the way leads through Microsoft again."""
    house.sign_in_with_microsoft()
    house.clock.move(hours=1)
    assert house.get("/login").location.startswith(MICROSOFT)


def test_an_expired_token_is_not_believed_while_the_store_is_away(house: House) -> None:
    """What cannot be looked up is not let in: a page, and no way past it."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=10)
    house.store.away = True
    answer = house.get("/login?next=/lists")
    assert answer.status == 503
    assert "data store" in answer.title
    assert answer.set_cookies == []


def test_a_token_that_has_not_expired_outlives_the_store(house: House) -> None:
    """Between half its life and its end a token stays good when its row cannot be read."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=9, seconds=59)
    house.store.away = True
    answer = house.get("/login?next=/lists")
    assert (answer.location, answer.set_cookies) == ("/lists", [])


@pytest.mark.parametrize("cookie", ["", "x", "a.b.c", "." * 5000, "é", "null", "e30.e30.e30"])
def test_a_broken_session_cookie_is_no_session(house: House, cookie: str) -> None:
    """Whatever stands in the cookie, the person is sent to sign in."""
    house.cookies[SESSION_COOKIE] = cookie
    assert house.get("/login").location.startswith(MICROSOFT)
    assert house.get("/").location == "/login"


@pytest.mark.parametrize(
    "settings_of_the_other",
    [
        {"SOS_ADDRESS": "https://other.clinic.example", "SOS_APP_URL": ADDRESS},
        {"SOS_APP_URL": "https://other.clinic.example"},
    ],
    ids=["another issuer", "another audience"],
)
def test_a_token_of_another_system_is_no_session(house: House, settings_of_the_other: dict[str, str]) -> None:
    """A token of a system that shares the key ring, but has another Address or another application, opens nothing."""
    other = House(**settings_of_the_other)
    other.store, other.vault = house.store, house.vault
    other.move_to(other.instance())
    other.sign_in_with_microsoft()
    house.cookies[SESSION_COOKIE] = other.cookies[SESSION_COOKIE]
    assert house.get("/").location == "/login"


# Transactions in the browser


def test_five_tabs_are_remembered_and_the_oldest_is_dropped(house: House) -> None:
    """Of 50 open tabs the last five can still finish, each in its own cookie; the others have left no trace."""
    states = []
    for _ in range(50):
        states.append(house.start_at_microsoft())
        house.clock.move(seconds=1)
        assert len(transactions(house)) <= MAX_AT_ONCE
    for state in states[-5:]:
        assert house.finish_at_microsoft(state).location == "/"
    assert transactions(house) == []


def test_foreign_cookies_under_our_prefix_are_dropped_first(house: House) -> None:
    """Cookies that we did not seal do not push out a sign-in that is under way."""
    first = house.start_at_microsoft()
    house.cookies |= {f"{COOKIE_PREFIX}{n}": "junk" for n in range(4)}
    house.start_at_microsoft()
    assert len(transactions(house)) == MAX_AT_ONCE
    assert house.finish_at_microsoft(first).location == "/"


def test_the_browser_cannot_read_its_transaction(house: House) -> None:
    """State, nonce, verifier and destination are sealed: none of them stands in the cookie."""
    state = house.start_at_microsoft("?next=/lists/of/the/ward")
    (name,) = transactions(house)
    sealed = name + house.cookies[name]
    for secret in (state, "a nonce", "a verifier", "lists", APPLICATION.client_id):
        assert secret not in sealed


# Settings


def test_last_good_settings_are_kept_while_the_store_is_away(house: House) -> None:
    """An hour after the store went away a sign-in still begins with the settings that were read last."""
    house.get("/login")
    house.store.away = True
    house.clock.move(hours=1)
    assert house.get("/login").location.startswith(MICROSOFT)


def test_a_change_of_settings_arrives_within_a_minute(house: House) -> None:
    """Another instance's change is seen by the second request after a minute, without a restart."""
    house.get("/login")
    before = settings.read_settings(house.store)
    settings.save_settings(house.store, replace(before, sso_active=False))
    house.clock.move(seconds=59)
    assert house.get("/login").status == 302
    house.clock.move(seconds=1)
    house.get("/login")
    assert house.get("/login").location == "/signin"


def test_the_owner_has_not_named_the_application(house: House) -> None:
    """A start without an application is refused as not configured, not as broken."""
    signin_settings = replace(house.services.settings.get(), tenant_id="", client_id="")
    house.store.replace(*_settings_row(house, signin_settings))
    house.services.settings.forget()
    answer = house.get("/login")
    assert answer.status == 503
    assert answer.title == "Sign-in is not set up yet"


def test_a_start_is_bound_to_the_time_it_was_made(house: House) -> None:
    """The transaction carries the clock's time, not the computer's."""
    started = signin.start(house.services, "", signin.Hints())
    house.cookies[started.cookie_name] = started.cookie
    house.clock.now = START + timedelta(minutes=11)
    state = asked(started.url)["state"]
    assert house.finish_at_microsoft(state).location == "/login?again=1"


def test_a_ring_that_is_not_readable_is_an_error_of_ours(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A key ring that somebody overwrote with rubbish gives a page, and nothing of it stands in page or log."""
    house.vault.secrets[SECRET_NAME] = VaultSecret(Secret('{"keys": [{"d": "rubbish-at-night"}]}'))
    house.move_to(house.instance())
    answer = house.get("/login")
    assert answer.status == 500
    assert answer.reference in caplog.text
    assert "rubbish" not in answer.text + caplog.text


def test_an_account_that_is_gone_has_no_session(house: House) -> None:
    """A token whose account has been removed ends at its renewal."""
    house.sign_in_with_microsoft()
    account = accounts.account_by_principal(house.store, house.identity.person)
    assert account is not None
    row = house.store.get(Table.ACCOUNTS, "account", account.id)
    assert row is not None
    house.store.delete(Table.ACCOUNTS, row)
    house.clock.move(minutes=5)
    assert house.get("/").location == "/login"


def _settings_row(house: House, changed: settings.SsoSettings) -> tuple[Table, Row]:
    row = house.store.get(Table.SETTINGS, "settings", "sso")
    assert row is not None
    values = {**row.values, "tenant_id": changed.tenant_id, "client_id": changed.client_id}
    return Table.SETTINGS, replace(row, values=values)
