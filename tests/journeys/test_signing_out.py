"""Signing out, and the ways back that lead nowhere wrong: the Back button, many tabs, lost cookies."""

from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from local.playground import OWNER
from shared.ports import Table
from shared.session import provider_partition
from tests.client import Browser, Page
from tests.journeys.town import DOCTOR, NURSE, SESSION, Town, events

pytestmark = pytest.mark.system

AGED = timedelta(minutes=6)
TRANSACTION = "__Host-sos-login-"


def _transactions(town: Town, browser: Browser) -> dict[str, str]:
    cookies = browser.cookies(town.address)
    return {name: value for name, value in cookies.items() if name.startswith(TRANSACTION)}


def _sign_out(town: Town, browser: Browser) -> Page:
    """Press the button on our start page; redirects not followed."""
    return browser.send("POST", f"{town.address}/logout", came_from=f"{town.address}/")


def _front_channel(town: Town, sid: str, issuer: str) -> Page:
    query = urlencode({"sid": sid, "iss": issuer})
    return town.browser().get(f"{town.address}/logout/microsoft?{query}")


def _issuer(town: Town) -> str:
    return f"{town.laptop.cloud.authority_host}/{town.application['tenant_id']}/v2.0"


# Signing out


def test_signing_out_goes_on_to_microsoft_and_comes_back(town: Town) -> None:
    """A Microsoft session is ended here, then there: the way back is our page, and the next sign-in asks for a password."""
    browser = town.browser()
    home = town.sign_in_microsoft(browser)
    leaving = browser.submit(home, follow=False)
    assert leaving.status == 303
    assert parse_qs(urlsplit(leaving.location).query)["post_logout_redirect_uri"] == [town.redirect_uri]
    assert SESSION not in browser.cookies(town.address)
    at_microsoft = browser.follow(leaving)
    assert at_microsoft.title == "You signed out of your account"
    back = browser.open(town.redirect_uri, came_from=at_microsoft.url)
    assert (back.status, back.title) == (200, "You are signed out")
    assert browser.open(f"{town.address}/").title == "Pick an account"


def test_signing_out_ends_the_session_on_the_server(town: Town) -> None:
    """The row is gone, so that a copy of the old cookie is refused at its renewal; the event is logged."""
    browser, thief = town.browser(), town.browser()
    town.sign_in_microsoft(browser)
    account = town.session_of(browser)["account"]
    thief.set_cookie(town.address, SESSION, browser.cookies(town.address)[SESSION])
    before = len(town.sessions_of(account))
    _sign_out(town, browser)
    assert len(town.sessions_of(account)) == before - 1
    town.age_session(thief, AGED)
    assert town.session_of(thief) == {}
    assert thief.get(f"{town.address}/login").location.startswith(town.laptop.cloud.browser_url)
    assert any(account in line for line in events(town.lines(), "signout"))


def test_the_owner_by_password_signs_out_here_alone(town: Town) -> None:
    """A password session has nothing at Microsoft to end: our own page comes at once."""
    browser = town.browser()
    town.enter(browser, OWNER)
    page = _sign_out(town, browser)
    assert (page.status, page.title) == (200, "You are signed out")
    assert town.session_of(browser) == {}


def test_signing_out_twice_is_fine(town: Town) -> None:
    """Without a session the answer is the same page, not an error."""
    page = _sign_out(town, town.browser())
    assert (page.status, page.title) == (200, "You are signed out")


def test_signing_out_leaves_other_sessions_alone(town: Town) -> None:
    """The same person on another computer stays signed in there."""
    here, there = town.browser(), town.browser()
    town.sign_in_microsoft(here)
    town.sign_in_microsoft(there)
    _sign_out(town, here)
    town.age_session(there, AGED)
    assert town.session_of(there)["name"] == NURSE.name


def test_an_expired_session_can_be_ended_too(town: Town) -> None:
    """Signing out with a token that has run out still ends the row behind it."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    account = town.session_of(browser)["account"]
    before = len(town.sessions_of(account))
    town.age_session(browser, timedelta(minutes=30))
    _sign_out(town, browser)
    assert len(town.sessions_of(account)) == before - 1


# Front-channel sign-out


def test_signing_out_at_microsoft_signs_out_here(town: Town) -> None:
    """Microsoft's sign-out page loads our address in a frame with the `sid`; every session that came from it ends."""
    browser, bystander = town.browser(), town.browser()
    for _ in range(2):
        bystander.forget(town.address)
        town.sign_in_microsoft(bystander, DOCTOR)
    town.sign_in_microsoft(browser)
    first = browser.cookies(town.address)[SESSION]
    browser.forget(town.address)
    town.sign_in_microsoft(browser)
    tenant = town.application["tenant_id"]
    page = browser.open(f"{town.laptop.cloud.browser_url}/{tenant}/oauth2/v2.0/logout")
    assert len(page.frames) == 1
    frame = town.browser().get(page.frames[0])  # a frame on another site: our Lax cookie does not come along
    assert frame.status == 200
    assert frame.response.headers["cache-control"] == "no-store"
    for cookie in (first, browser.cookies(town.address)[SESSION]):
        other = town.browser()
        other.set_cookie(town.address, SESSION, cookie)
        town.age_session(other, AGED)
        assert town.session_of(other) == {}
    town.age_session(bystander, AGED)
    assert town.session_of(bystander)["name"] == DOCTOR.name


def test_front_channel_sign_out_can_be_framed_by_microsoft(town: Town) -> None:
    """The answer carries no header that forbids the frame it is loaded in."""
    headers = _front_channel(town, "a-session-of-nobody", _issuer(town)).response.headers
    assert "x-frame-options" not in headers
    assert "frame-ancestors" not in headers.get("content-security-policy", "")


@pytest.mark.parametrize(("sid", "issuer"), [("", None), ("a-sid", "https://evil.example"), ("a-sid", "")])
def test_front_channel_sign_out_of_somebody_else_is_refused(town: Town, sid: str, issuer: str | None) -> None:
    """Without a sid, or with the issuer of somebody else, nothing ends."""
    assert _front_channel(town, sid, _issuer(town) if issuer is None else issuer).status == 400


def test_front_channel_sign_out_of_a_stranger_ends_nothing(town: Town) -> None:
    """An unknown sid is answered as a known one, and every session lives on."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    before = len(town.rows(Table.SESSIONS))
    assert _front_channel(town, "a-session-of-nobody", _issuer(town)).status == 200
    assert len(town.rows(Table.SESSIONS)) == before
    assert not [r for r in town.rows(Table.SESSIONS) if r["PartitionKey"] == provider_partition("")]


# The Back button, tabs, lost cookies


def test_the_back_button_sends_a_signed_in_person_on(town: Town) -> None:
    """The callback posted again, in a browser that is signed in, ends at the start page without a new sign-in."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    browser.submit(answer)
    before = browser.cookies(town.address)[SESSION]
    town.calm()
    page = browser.submit(answer)
    assert (page.status, page.title) == (200, "You are signed in")
    assert browser.cookies(town.address)[SESSION] == before
    assert "token" not in town.calls("entra")


def test_the_back_button_sends_a_signed_out_person_through_login_once(town: Town) -> None:
    """The callback posted again after signing out: one new sign-in at Microsoft, and no error page on the way."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    browser.submit(answer)
    browser.forget(town.address)
    again = browser.submit(answer)
    assert [form.action for form in again.forms] == [town.redirect_uri]
    assert browser.submit(again).title == "You are signed in"


def test_a_replayed_callback_makes_no_second_session(town: Town) -> None:
    """With its transaction cookie kept and a new code for the same request, a transaction is still good only once."""
    browser = town.browser()
    login = browser.get(f"{town.address}/login")
    transaction = _transactions(town, browser)
    answer = town.prove(browser, browser.open(login.location), NURSE)
    assert browser.submit(answer).title == "You are signed in"
    account = town.session_of(browser)["account"]
    before = len(town.sessions_of(account))
    browser.forget(town.address)
    for name, value in transaction.items():
        browser.set_cookie(town.address, name, value, "none")
    second = browser.open(login.location)  # Microsoft knows the browser and gives out a new code
    page = browser.submit(second, follow=False)
    assert page.location == f"{town.address}/login?again=1"
    assert SESSION not in browser.cookies(town.address)
    assert len(town.sessions_of(account)) == before


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the other way round"])
def test_two_tabs_do_not_collide(town: Town, order: tuple[int, int]) -> None:
    """Two sign-ins under way in one browser both end where their tab wanted, in either order."""
    browser = town.browser()
    answers = [town.to_microsoft(browser, NURSE, f"/login?next=/tab/{number}") for number in (0, 1)]
    assert len(_transactions(town, browser)) == 2
    for number in order:
        done = browser.submit(answers[number], follow=False)
        assert done.location == f"{town.address}/tab/{number}"
    assert _transactions(town, browser) == {}


def test_fifty_tabs_keep_five_transactions_and_the_newest_works(town: Town) -> None:
    """However many tabs open at once, five cookies stay; the newest finishes, the oldest is started again."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    browser.forget(town.address)
    logins = []
    for number in range(50):
        logins.append(browser.get(f"{town.address}/login?next=/tab/{number}").location)
        assert len(_transactions(town, browser)) <= 5
    newest = browser.submit(browser.open(logins[-1]), follow=False)
    assert newest.location == f"{town.address}/tab/49"
    browser.forget(town.address, SESSION)
    oldest = browser.submit(browser.open(logins[0]), follow=False)
    assert oldest.location == f"{town.address}/login?again=1"
    assert browser.submit(browser.follow(oldest)).title == "You are signed in"


def test_a_foreign_transaction_cookie_is_dropped_first(town: Town) -> None:
    """Cookies under our names that we did not seal never push out a sign-in that is under way."""
    browser = town.browser()
    for number in range(4):
        browser.set_cookie(town.address, f"{TRANSACTION}foreign-{number}", "x" * 300, "none")
    first = town.to_microsoft(browser, NURSE, "/login?next=/tab/1")
    second = browser.open(f"{town.address}/login?next=/tab/2")
    assert len(_transactions(town, browser)) <= 5
    assert browser.submit(first, follow=False).location == f"{town.address}/tab/1"
    assert browser.submit(second, follow=False).location == f"{town.address}/tab/2"


def test_a_lost_transaction_is_started_again_once(town: Town) -> None:
    """A cookie lost on the way: the person is signed in by the new try and sees no error."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    browser.forget(town.address)
    again = browser.submit(answer)
    assert browser.submit(again).title == "You are signed in"


def test_a_browser_that_refuses_cookies_sees_a_page_and_no_loop(town: Town) -> None:
    """Without cookies of ours the second try ends at a page that says so; Microsoft is seen twice, not for ever."""
    browser = town.browser()
    browser.refused.add(town.address)
    answer = town.to_microsoft(browser)
    town.calm()
    second = browser.submit(answer)
    assert [form.action for form in second.forms] == [town.redirect_uri]
    page = browser.submit(second)
    assert (page.status, page.title) == (400, "Your browser forgot the sign-in")
    assert "Allow cookies for this address" in page.text
    assert town.calls("entra") == {"authorize": 1}
    assert town.log_of(page.reference)


def test_cookies_refused_everywhere_end_at_a_page_too(town: Town) -> None:
    """Even where Microsoft remembers nobody, the person is asked twice at most, then told."""
    browser = town.browser()
    browser.refused |= {town.address, town.laptop.cloud.browser_url}
    answer = town.to_microsoft(browser)
    second = town.prove(browser, browser.submit(answer))
    page = browser.submit(second)
    assert page.title == "Your browser forgot the sign-in"


def test_the_transaction_cookie_goes_with_its_answer(town: Town) -> None:
    """On success and on failure alike the transaction is dropped from the browser."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    assert len(_transactions(town, browser)) == 1
    data = {name: value for name, value in answer.forms[0].fields.items() if name != "code"}
    page = browser.send(
        "POST", town.redirect_uri, data=data | {"error": "access_denied"}, came_from=answer.url
    )
    assert page.title == "The sign-in was cancelled"
    assert _transactions(town, browser) == {}


def test_the_transaction_cookie_survives_the_way_by_microsoft(town: Town) -> None:
    """It is SameSite=None and Secure, or a form post from Microsoft would arrive without it; and lives 10 minutes."""
    page = town.browser().get(f"{town.address}/login")
    (line,) = [c for c in page.response.headers.get_list("set-cookie") if c.startswith(TRANSACTION)]
    attributes = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"secure", "httponly", "samesite=none", "path=/", "max-age=600"} <= attributes
    assert len(line) < 4096
