"""The password door: before SSO for every account that may log in, with SSO for the Owner alone."""

import re

import pytest

from local.playground import ACCOUNTS, OWNER
from shared.ports import Table
from tests.client import Page
from tests.journeys.town import NURSE, SESSION, Town, events

pytestmark = pytest.mark.system

ADMIN, USER, FORMER = ACCOUNTS
REFUSED = "The user name or the password is wrong, or this account does not sign in with a password."
DEVICE = "__Host-sos-device"


def _comparable(page: Page, user_name: str) -> str:
    """Answer the page without what differs at every visit: the form's token, the reference, the name that was typed."""
    text = re.sub(r'name="csrf_token" value="[^"]*"', "", page.text).replace(page.reference, "")
    return text.replace(f'value="{user_name}"', "")


def test_the_owner_gets_in_by_password_while_sso_is_active(town: Town) -> None:
    """M10: the Owner signs in at `/signin`, for a session of level Owner made by password, and an alert is logged."""
    browser = town.browser()
    done = town.enter(browser, OWNER)
    assert done.status == 303
    assert done.location == f"{town.address}/"
    session = town.session_of(browser)
    assert (session["account"], session["level"], session["method"]) == ("owner", "owner", "password")
    assert events(town.lines(), "signin.succeeded")


def test_everybody_else_gets_the_same_refusal(town: Town) -> None:
    """M10: User, Admin, deactivated, unknown and a wrong password are answered by one page, status and set of headers."""
    attempts = [
        (USER.username, USER.password),
        (ADMIN.username, ADMIN.password),
        (FORMER.username, FORMER.password),
        ("nobody", "nobody-has-this-password"),
        (OWNER.username, "not-the-password-of-the-owner"),
        (USER.username, "not-the-password-of-the-user"),
        (OWNER.username, ""),
    ]
    pages, header_names = set(), set()
    for user_name, password in attempts:
        browser = town.browser()
        page = town.sign_in_password(browser, user_name, password)
        assert (page.status, page.location) == (403, "")
        assert REFUSED in page.text
        assert SESSION not in browser.cookies(town.address)
        assert DEVICE not in browser.cookies(town.address)
        pages.add(_comparable(page, user_name))
        header_names.add(tuple(sorted(page.response.headers.keys())))
    assert len(pages) == 1
    assert len(header_names) == 1


def test_the_log_knows_why_each_was_refused(town: Town) -> None:
    """What the page keeps to itself stands in the log, without the name that was typed."""
    town.sign_in_password(town.browser(), "nobody-by-this-name", "nobody-has-this-password")
    town.enter(town.browser(), USER)
    town.enter(town.browser(), FORMER)
    town.sign_in_password(town.browser(), OWNER.username, "not-the-password-of-the-owner")
    lines = events(town.lines(), "signin.refused")
    for reason in ("unknown_account", "must_use_microsoft", "deactivated", "wrong_password"):
        assert any(f'"reason": "{reason}"' in line for line in lines), reason
    assert not [line for line in lines if "nobody-by-this-name" in line]


def test_the_page_points_to_the_microsoft_button(town: Town) -> None:
    """M8: while SSO is active the page says that it is the Owner's, and offers Microsoft with the same destination."""
    page = town.browser().open(f"{town.address}/signin?next=/ward/7")
    assert page.title == "Owner sign-in"
    assert "Only the Owner signs in with a password here" in page.text
    assert 'href="/login?next=%2Fward%2F7"' in page.response.text


def test_a_refusal_keeps_the_name_and_never_the_password(town: Town) -> None:
    """After a wrong password the name stands in the form again; the password does not."""
    page = town.sign_in_password(town.browser(), "a-name", "a-password-nobody-has")
    assert page.forms[0].fields["username"] == "a-name"
    assert page.forms[0].fields["password"] == ""
    assert "a-password-nobody-has" not in page.text


def test_the_name_is_found_in_any_spelling(town: Town) -> None:
    """Capitals and full-width letters name the same account; the password is taken as it is."""
    assert town.sign_in_password(town.browser(), "ＯＷＮＥＲ", OWNER.password).status == 303
    assert town.sign_in_password(town.browser(), "owner", OWNER.password.upper()).status == 403


def test_the_owner_is_brought_to_where_they_wanted(town: Town) -> None:
    """The `next` of `/signin` survives the form."""
    browser = town.browser()
    page = browser.open(f"{town.address}/signin?next=/ward/7")
    done = browser.submit(page, follow=False, username=OWNER.username, password=OWNER.password)
    assert done.location == f"{town.address}/ward/7"


def test_after_five_failures_everybody_waits(town: Town) -> None:
    """The sixth attempt on a name waits 30 seconds, even with the right password, and says for how long."""
    for _ in range(5):
        assert town.sign_in_password(town.browser(), OWNER.username, "a-guess-that-is-wrong").status == 403
    page = town.enter(town.browser(), OWNER)
    assert page.status == 429
    assert 1 <= int(page.response.headers["retry-after"]) <= 30
    assert "Too many attempts. Wait" in page.text
    assert events(town.lines(), "throttled")


def test_an_unknown_name_waits_like_a_known_one(town: Town) -> None:
    """The throttle counts names, not accounts, so that it tells nobody which exist."""
    answers = {}
    for user_name in (USER.username, "nobody-by-this-name"):
        pages = [town.sign_in_password(town.browser(), user_name, "a-wrong-guess") for _ in range(6)]
        answers[user_name] = [page.status for page in pages]
    assert answers[USER.username] == answers["nobody-by-this-name"] == [403] * 5 + [429]


def test_guessing_does_not_keep_the_owner_out_of_a_known_browser(town: Town) -> None:
    """Whoever guesses from elsewhere locks out strangers only: the device cookie has a counter of its own."""
    known = town.browser()
    assert town.enter(known, OWNER).status == 303
    for _ in range(6):
        town.sign_in_password(town.browser(), OWNER.username, "a-guess-that-is-wrong")
    assert town.enter(town.browser(), OWNER).status == 429
    known.forget(town.address, SESSION)
    assert town.enter(known, OWNER).status == 303


def test_a_known_browser_is_throttled_too(town: Town) -> None:
    """The device cookie is no free pass: its own counter makes the sixth attempt wait."""
    known = town.browser()
    town.enter(known, OWNER)
    statuses = [town.sign_in_password(known, OWNER.username, "a-wrong-guess").status for _ in range(6)]
    assert statuses == [403] * 5 + [429]


def test_guessing_never_touches_microsoft_sign_ins(town: Town) -> None:
    """While the password door waits, everyone still gets in with Microsoft, from the same address."""
    guesses = [town.sign_in_password(town.browser(), NURSE.username, "a-wrong-guess") for _ in range(6)]
    assert guesses[-1].status == 429
    assert town.sign_in_microsoft(town.browser()).title == "You are signed in"


def test_a_success_clears_the_failures(town: Town) -> None:
    """Four failures, a success, four failures: the next attempt need not wait."""
    for _ in range(2):
        for _ in range(4):
            town.sign_in_password(town.browser(), OWNER.username, "a-guess-that-is-wrong")
        assert town.enter(town.browser(), OWNER).status == 303


def test_the_store_learns_no_name_and_no_address(town: Town) -> None:
    """The counters of the throttle are named by keyed hashes."""
    town.sign_in_password(town.browser(), "a-very-odd-name", "a-wrong-guess")
    rows = [str(dict(row)) for row in town.rows(Table.THROTTLE)]
    assert rows
    assert not [row for row in rows if "a-very-odd-name" in row or "127.0.0.1" in row]


@pytest.mark.parametrize("account", [OWNER, ADMIN, USER], ids=lambda account: account.username)
def test_before_sso_every_account_that_may_log_in_does(young_town: Town, account: object) -> None:
    """M12: Owner, Admin and User sign in with their passwords while SSO is not active, each at their level."""
    assert account in (OWNER, ADMIN, USER)
    person = next(known for known in (OWNER, ADMIN, USER) if known == account)
    browser = young_town.browser()
    assert young_town.enter(browser, person).status == 303
    session = young_town.session_of(browser)
    assert (session["level"], session["method"]) == (person.level.slug, "password")
    assert session["name"] == person.name


def test_before_sso_a_deactivated_account_stays_outside(young_town: Town) -> None:
    """M12: Allow Login unticked is a refusal like any other."""
    page = young_town.enter(young_town.browser(), FORMER)
    assert page.status == 403
    assert REFUSED in page.text


def test_before_sso_the_address_leads_to_the_password_form(young_town: Town) -> None:
    """M12: opening the Address ends at the default sign-in, which shows no Microsoft button, and asks Microsoft nothing."""
    page = young_town.browser().open(f"{young_town.address}/login?next=/ward/7")
    assert page.url.startswith(f"{young_town.address}/signin")
    assert page.title == "Sign in"
    assert page.forms[0].fields["next"] == "/ward/7"
    assert "Sign in with Microsoft" not in page.text
    assert young_town.calls("entra") == {}


def test_a_deactivation_counts_at_once(young_town: Town) -> None:
    """An Admin too is outside as soon as Allow Login is unticked, with a password that was right a moment ago."""
    row = next(row for row in young_town.rows(Table.ACCOUNTS) if row.get("user_name") == ADMIN.username)
    name = row["PartitionKey"], row["RowKey"]
    young_town.change_row(Table.ACCOUNTS, *name, allow_login=False)
    refused = young_town.enter(young_town.browser(), ADMIN)
    young_town.change_row(Table.ACCOUNTS, *name, allow_login=True)
    assert refused.status == 403
    assert young_town.enter(young_town.browser(), ADMIN).status == 303
