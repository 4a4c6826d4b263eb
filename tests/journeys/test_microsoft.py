"""Signing in with Microsoft: the way of everyone once SSO is active."""

from urllib.parse import parse_qs, urlsplit

import pytest

from shared import accounts
from shared.ports import Table
from shared.principal import Principal
from tests.journeys.town import DOCTOR, NURSE, SESSION, VISITOR, Person, Town, events

pytestmark = pytest.mark.system

CREDENTIAL_ERRORS = [700027, 700024, 7000214, 1000502, 7000274, 7000277]


def _account(town: Town, person: Person) -> accounts.Account:
    principal = Principal(town.application["tenant_id"], person.object_id)
    account = accounts.account_by_principal(town.services.store, principal)
    assert account is not None
    return account


def test_the_redirect_uri_is_the_address_and_azure(town: Town) -> None:
    """M3: the request to Microsoft names exactly `<address>/azure`, asks for a form post, and uses PKCE with S256."""
    page = town.browser().get(f"{town.address}/login")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(page.location).query).items()}
    assert page.status == 302
    assert asked["redirect_uri"] == f"{town.address}/azure"
    assert asked["client_id"] == town.application["client_id"]
    assert asked["response_type"] == "code"
    assert asked["response_mode"] == "form_post"
    assert asked["code_challenge_method"] == "S256"
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    assert "openid" in asked["scope"].split()
    assert "offline_access" not in asked["scope"].split()


def test_opening_the_address_leads_to_the_login_screen_of_microsoft(town: Town) -> None:
    """M9: somebody without any session ends at Microsoft's page and is signed in after it."""
    browser = town.browser()
    page = browser.open(f"{town.address}/")
    assert page.url.startswith(town.laptop.cloud.browser_url)
    assert page.title == "Pick an account"
    done = browser.submit(town.prove(browser, page, NURSE))
    assert done.url == f"{town.address}/"
    assert done.title == "You are signed in"
    assert NURSE.name in done.text
    assert town.session_of(browser)["method"] == "microsoft"


def test_a_session_at_microsoft_leads_straight_in(town: Town) -> None:
    """M9: who has a Microsoft session already sees no page where something is asked."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    browser.forget(town.address)
    answer = browser.open(f"{town.address}/")
    assert [form.action for form in answer.forms] == [town.redirect_uri]
    assert browser.submit(answer).title == "You are signed in"


def test_a_person_is_brought_to_where_they_wanted(town: Town) -> None:
    """The `next` of `/login`, query and all, is where the sign-in ends."""
    browser = town.browser()
    answer = town.to_microsoft(browser, NURSE, "/login?next=/ward/7%3Fbed%3D2")
    done = browser.submit(answer, follow=False)
    assert done.status == 303
    assert done.location == f"{town.address}/ward/7?bed=2"


def test_a_signed_in_person_goes_straight_on(town: Town) -> None:
    """`/login` with a live session leads on at once, without Microsoft."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    town.calm()
    assert browser.get(f"{town.address}/login?next=/ward/7").location == f"{town.address}/ward/7"
    assert town.calls("entra") == {}


def test_the_code_never_stands_in_an_address(town: Town) -> None:
    """Microsoft's answer arrives as a form post, so that no history, log or referrer holds the code."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    assert answer.forms[0].method == "post"
    assert "code=" not in answer.url
    assert len(answer.forms[0].fields["code"]) > 20


def test_microsoft_tells_a_person_who_is_not_assigned(town: Town) -> None:
    """M7: where assignment is required, Microsoft's own page says so, and nothing of ours lets them in."""
    browser = town.browser()
    page = town.to_microsoft(browser, VISITOR)
    assert "AADSTS50105" in page.text
    assert SESSION not in browser.cookies(town.address)


def test_a_person_who_is_not_assigned_reads_it_on_our_page_too(town: Town) -> None:
    """M7: when Microsoft sends 50105 back to us, our page says what happened and offers another account."""
    town.control("PUT", "application", {"assignment_error_to_callback": True})
    browser = town.browser()
    page = town.sign_in_microsoft(browser, VISITOR)
    assert page.status == 403
    assert page.title == "You have no access yet"
    assert "Use another account" in page.text
    assert town.log_of(page.reference)
    assert town.session_of(browser) == {}
    again = browser.open(f"{town.address}/login?prompt=select_account")
    assert browser.submit(town.prove(browser, again, NURSE)).title == "You are signed in"


def test_hints_of_the_application_reach_microsoft(town: Town) -> None:
    """`login_hint` opens the password page of that account; `domain_hint` is passed on as it is."""
    browser = town.browser()
    page = browser.open(f"{town.address}/login?login_hint={NURSE.username}&domain_hint=clinic.example")
    assert page.title == "Enter password"
    assert NURSE.username in page.text
    assert "domain_hint=clinic.example" in page.url


def test_the_first_sign_in_makes_an_account_of_level_user(town: Town) -> None:
    """An approved Microsoft account that comes for the first time gets one account, and keeps it."""
    person, found = town.new_person(), []
    for _ in range(2):
        browser = town.browser()
        town.sign_in_microsoft(browser, person)
        found.append(town.session_of(browser))
    assert found[0]["level"] == "user"
    assert found[0]["name"] == person.name
    assert found[0]["account"] == found[1]["account"] == _account(town, person).id


def test_an_account_follows_the_person_not_the_name(town: Town) -> None:
    """A person is the tenant and the object id: whoever takes over a name or an e-mail address gets another account."""
    first = town.new_person(name="Night shift")
    browser = town.browser()
    town.sign_in_microsoft(browser, first)
    second = town.new_person(name="Night shift")
    other = town.browser()
    town.sign_in_microsoft(other, second)
    assert town.session_of(browser)["account"] != town.session_of(other)["account"]


def test_a_microsoft_account_named_like_the_owner_is_not_the_owner(town: Town) -> None:
    """Nothing is matched by name: the Microsoft account called Owner is a User until it is tied."""
    person = town.new_person(name="Owner")
    browser = town.browser()
    town.sign_in_microsoft(browser, person)
    assert town.session_of(browser)["level"] == "user"
    assert town.session_of(browser)["account"] != accounts.OWNER_ID


def test_the_app_role_makes_an_admin(town: Town) -> None:
    """The configured app role raises to Admin, for the session and not in the account."""
    browser = town.browser()
    town.sign_in_microsoft(browser, DOCTOR)
    assert town.session_of(browser)["level"] == "admin"
    assert _account(town, DOCTOR).level.slug == "user"


def test_no_app_role_makes_an_owner(town: Town) -> None:
    """Roles named after the Owner raise nobody to it, alone or beside the Admin's."""
    levels = []
    for roles in (["Owner", "owner", "SOS.Owner"], ["SOS.Admin", "Owner", "SOS.Owner"]):
        browser = town.browser()
        town.sign_in_microsoft(browser, town.new_person(roles=roles))
        levels.append(town.session_of(browser)["level"])
    assert levels == ["user", "admin"]


def test_a_deactivated_account_stays_outside_with_microsoft(town: Town) -> None:
    """Allow Login unticked holds for Microsoft sign-ins too, even for an Admin by role, and the page says it."""
    person = town.new_person(roles=["SOS.Admin"])
    browser = town.browser()
    town.sign_in_microsoft(browser, person)
    account = _account(town, person)
    accounts.deactivate(town.services.store, account, town.services.clock())
    outside = town.browser()
    page = town.sign_in_microsoft(outside, person)
    assert page.status == 403
    assert page.title == "This account is switched off"
    assert town.session_of(outside) == {}
    assert any('"reason": "deactivated"' in line for line in town.log_of(page.reference))


def test_a_warm_sign_in_costs_one_call_to_microsoft_and_two_to_the_store(town: Town) -> None:
    """Keys, metadata, settings and the client assertion are remembered: one token request, two rows, no vault."""
    browser = town.browser()
    town.sign_in_microsoft(town.browser())
    answer = town.to_microsoft(browser)
    town.calm()
    browser.submit(answer, follow=False)
    asked = town.calls("store")
    assert town.calls("entra") == {"token": 1}
    assert town.calls("vault") == {}
    rows = {name: count for name, count in asked.items() if "audit" not in name and "settings" not in name}
    assert rows == {"GET sosaccounts": 1, "POST sossessions": 1}


def test_login_costs_no_call_at_all(town: Town) -> None:
    """Sending a person to Microsoft asks nobody: neither the vault nor Microsoft nor the store."""
    browser = town.browser()
    town.sign_in_microsoft(town.browser())
    town.calm()
    assert browser.get(f"{town.address}/login").status == 302
    assert town.calls("entra") == town.calls("vault") == {}
    assert not [name for name in town.calls("store") if "audit" not in name and "settings" not in name]


def test_keys_may_roll_over_between_authorize_and_callback(town: Town) -> None:
    """A token signed by a key that we have not seen, with the old ones gone, is verified after one look at the keys."""
    worker = town.start_worker()
    town.sign_in_microsoft(town.browser(worker))
    browser = town.browser(worker)
    answer = town.to_microsoft(browser)
    town.control("POST", "rollover", {"keep_old": False})
    town.calm()
    assert browser.submit(answer).title == "You are signed in"
    assert town.calls("entra")["keys"] == 1
    worker.stop()


@pytest.mark.parametrize("code", CREDENTIAL_ERRORS)
def test_a_refused_credential_is_mended_in_the_same_request(town: Town, code: int) -> None:
    """Each certificate error once: the person is signed in all the same, with exactly one more token request."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    town.control("POST", "certificate-errors", {"code": code, "times": 1})
    assert browser.submit(answer).title == "You are signed in"
    assert town.calls("entra")["token"] == 2
    assert town.calls("vault")["keys/sign"] == 1
    warned = [line for line in events(town.lines(), "credential.refused") if f'"{code}"' in line]
    assert warned


@pytest.mark.parametrize("code", CREDENTIAL_ERRORS)
def test_a_credential_that_stays_refused_is_explained(town: Town, code: int) -> None:
    """Each certificate error twice: no third request, and a page that says what is wrong and who can mend it."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    town.control("POST", "certificate-errors", {"code": code, "times": 2})
    page = browser.submit(answer)
    assert page.status == 403
    assert page.title == "Microsoft does not accept our certificate"
    assert "Certificates & secrets" in page.text
    assert "The Owner can sign in with the password" in page.text
    assert town.calls("entra")["token"] == 2
    assert any(str(code) in line for line in town.log_of(page.reference))
    assert town.session_of(browser) == {}
    assert town.sign_in_microsoft(browser).title == "You are signed in"


def test_a_certificate_that_was_renewed_elsewhere_fails_no_sign_in(town: Town) -> None:
    """A worker that still knows the old version learns of the new one from Microsoft's refusal, within one request."""
    browser = town.browser()
    town.sign_in_microsoft(town.browser())
    answer = town.to_microsoft(browser)
    town.use_a_new_certificate()
    town.calm()
    assert browser.submit(answer).title == "You are signed in"
    assert town.calls("entra")["token"] == 2


@pytest.mark.parametrize(
    ("consent", "decision", "title", "status"),
    [
        ("required", "decline", "The sign-in was cancelled", 403),
        ("admin_required", "decline", "This system is not approved yet", 403),
    ],
)
def test_a_declined_consent_is_explained(
    town: Town, consent: str, decision: str, title: str, status: int
) -> None:
    """M6: who declines, or needs an administrator first, reads so on our page."""
    town.control("PUT", "application", {"consent": consent})
    person, browser = town.new_person(), town.browser()
    page = browser.submit(town.to_microsoft(browser, person), decision=decision)
    page = browser.submit(page)
    assert (page.status, page.title) == (status, title)
    assert town.log_of(page.reference)


def test_consent_given_leads_in(town: Town) -> None:
    """M6: who accepts the consent is signed in."""
    town.control("PUT", "application", {"consent": "required"})
    person, browser = town.new_person(), town.browser()
    page = browser.submit(town.to_microsoft(browser, person), decision="accept")
    assert browser.submit(page).title == "You are signed in"


@pytest.mark.parametrize(
    ("fact", "title"),
    [
        ("blocked_by_conditional_access", "Your organisation's rules do not allow this sign-in"),
        ("second_factor_missing", "Microsoft asks for another proof"),
    ],
)
def test_a_rule_of_the_organisation_is_explained(town: Town, fact: str, title: str) -> None:
    """Conditional Access (53003) and a missing second factor (50076) become sentences."""
    person, browser = town.new_person(**{fact: True}), town.browser()
    page = town.sign_in_microsoft(browser, person)
    assert (page.status, page.title) == (403, title)
    assert town.log_of(page.reference)


def test_no_token_of_microsoft_is_kept(town: Town) -> None:
    """Neither the session's cookie nor any row holds a token of Microsoft."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    assert len(browser.cookies(town.address)[SESSION]) < 1024
    stored = [str(value) for table in Table for row in town.rows(table) for value in row.values()]
    assert not [text for text in stored if "eyJ" in text]
