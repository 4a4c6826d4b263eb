"""The authorization endpoint: who is asked what, and what goes back to the application."""

import jwt
import pytest

from tests.local.clients import (
    DOCTOR,
    NURSE,
    REDIRECT_URI,
    VISITOR,
    Browser,
    Client,
    Control,
    Page,
)


def aadsts(page: Page) -> str:
    """Give the start of the error that the application receives."""
    return page.answer.get("error_description", "").partition(":")[0]


def test_form_post_hands_over_code_state_and_session(client: Client) -> None:
    """The page that posts to the application holds the answer and a button for a browser without scripts."""
    page = client.sign_in(Browser(), client_info="1")
    assert page.action == REDIRECT_URI
    assert page.answer.keys() == {"code", "state", "session_state", "client_info"}
    assert page.answer["state"] == "the-state"
    assert "<noscript>" in page.text
    assert "<button>Continue</button>" in page.text


def test_query_hands_over_by_redirect(client: Client) -> None:
    """`response_mode=query`, which is also the default for a code, answers with a redirect."""
    for mode in ("query", ""):
        page = client.sign_in(Browser(), response_mode=mode)
        assert page.location.startswith(REDIRECT_URI + "?code=")
        assert page.answer["state"] == "the-state"


def test_people_are_offered_as_labelled_choices(client: Client) -> None:
    """The first page has a button per person; the second a labelled password field."""
    browser = Browser()
    page = browser.open(client.authorize_url())
    assert f'<button name="account" value="{NURSE}">' in page.text
    page = browser.submit(page, account=NURSE)
    assert '<label for="password">Password</label>' in page.text
    assert "<button>Sign in</button>" in page.text


def test_a_wrong_password_is_asked_again(client: Client) -> None:
    """A wrong password signs nobody in, now or silently later."""
    browser = Browser()
    page = browser.submit(browser.open(client.authorize_url()), account=NURSE)
    page = browser.submit(page, password="wrong")
    assert "AADSTS50126" in page.text
    assert aadsts(browser.open(client.authorize_url(prompt="none"))) == "AADSTS50058"


def test_an_unknown_account_is_refused(client: Client) -> None:
    """An account of nowhere sees AADSTS50034 on Entra's own page."""
    browser = Browser()
    page = browser.submit(browser.open(client.authorize_url()), account="stranger@elsewhere.example")
    assert "AADSTS50034" in page.text
    assert not page.answer


def test_a_person_with_a_session_is_signed_in_silently(client: Client) -> None:
    """The second sign-in shows no page, and `sid` stays; another browser has another."""
    browser = Browser()
    first = client.id_token(browser)
    code = browser.open(client.authorize_url()).answer["code"]
    second = jwt.decode(client.redeem(code)["id_token"], options={"verify_signature": False})
    assert second["sid"] == first["sid"]
    assert client.id_token(Browser())["sid"] != first["sid"]


def test_prompt_none_never_shows_a_page(client: Client) -> None:
    """`prompt=none` answers with a code for one session, and with errors for none and for two."""
    browser = Browser()
    page = browser.open(client.authorize_url(prompt="none"))
    assert (page.answer["error"], aadsts(page)) == ("login_required", "AADSTS50058")
    client.sign_in(browser)
    assert "code" in browser.open(client.authorize_url(prompt="none")).answer
    client.sign_in(browser, DOCTOR, prompt="select_account")
    page = browser.open(client.authorize_url(prompt="none"))
    assert (page.answer["error"], aadsts(page)) == ("interaction_required", "AADSTS16000")
    assert "code" in browser.open(client.authorize_url(prompt="none", login_hint=NURSE)).answer


def test_prompt_login_asks_for_the_password_again(client: Client) -> None:
    """A session does not spare the password when the application asks for it."""
    browser = Browser()
    client.sign_in(browser)
    page = browser.submit(browser.open(client.authorize_url(prompt="login")), account=NURSE)
    assert "Enter password" in page.text
    assert "code" in browser.submit(page, password=client.passwords[NURSE]).answer


def test_prompt_select_account_offers_the_choice(client: Client) -> None:
    """The choice comes back in spite of a session; who is signed in already needs no password."""
    browser = Browser()
    client.sign_in(browser)
    page = browser.open(client.authorize_url(prompt="select_account"))
    assert "Pick an account" in page.text
    assert "code" in browser.submit(page, account=NURSE).answer


def test_max_age_ends_silence(client: Client, control: Control) -> None:
    """A session older than `max_age` seconds needs the password again, even when it is picked."""
    browser = Browser()
    client.sign_in(browser)
    assert "code" in browser.open(client.authorize_url(max_age="60")).answer
    control("POST", "/clock", {"offset_seconds": 61})
    page = browser.open(client.authorize_url(max_age="60"))
    assert "Enter password" in browser.submit(page, account=NURSE).text


def test_login_hint_chooses_the_account(client: Client) -> None:
    """A user name or the `login_hint` claim skips the choice; a domain hint changes nothing."""
    claim = client.id_token()["login_hint"]
    for hint in (NURSE, claim):
        page = Browser().open(client.authorize_url(login_hint=hint, domain_hint="clinic.example"))
        assert "Enter password" in page.text
        assert page.hidden["account"] == NURSE


def test_login_hint_of_somebody_else_is_not_silent(client: Client) -> None:
    """A session of one person does not answer for another."""
    browser = Browser()
    client.sign_in(browser)
    assert "Enter password" in browser.open(client.authorize_url(login_hint=DOCTOR)).text


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"prompt": "select_account", "login_hint": NURSE}, "AADSTS90023"),
        ({"prompt": "sometimes"}, "AADSTS90023"),
        ({"max_age": "soon"}, "AADSTS90023"),
        ({"response_type": ""}, "AADSTS900144"),
        ({"response_type": "id_token"}, "AADSTS700054"),
        ({"scope": "profile"}, "AADSTS900144"),
        ({"code_challenge_method": "plain"}, "AADSTS50149"),
        ({"code_challenge": "short"}, "AADSTS501491"),
    ],
)
def test_a_malformed_request_goes_back_with_its_error(
    client: Client, changes: dict[str, str], number: str
) -> None:
    """What is wrong with a request is told to the application, with its state."""
    page = Browser().open(client.authorize_url(**changes))
    assert aadsts(page) == number
    assert page.answer["state"] == "the-state"


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"redirect_uri": REDIRECT_URI + "/"}, "AADSTS50011"),
        ({"redirect_uri": "https://evil.example/azure"}, "AADSTS50011"),
        ({"redirect_uri": ""}, "AADSTS50011"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, "AADSTS700016"),
    ],
)
def test_an_unknown_client_or_address_is_never_redirected_to(
    client: Client, changes: dict[str, str], number: str
) -> None:
    """Client and redirect URI are compared exactly; the error stays on a page of Entra's."""
    page = Browser().open(client.authorize_url(**changes))
    assert number in page.text
    assert not page.location
    assert not page.action


def test_an_unknown_tenant_is_a_page(client: Client) -> None:
    """A tenant that does not exist answers AADSTS90002."""
    url = client.authorize_url().replace(client.application["tenant_id"], "nowhere.example")
    page = Browser().open(url)
    assert "AADSTS90002" in page.text
    assert not page.location


def test_who_is_not_assigned_sees_a_page_of_entra(client: Client) -> None:
    """AADSTS50105 does not reach the application, and is not silent either."""
    browser = Browser()
    for page in (client.sign_in(browser, VISITOR), browser.open(client.authorize_url(prompt="none"))):
        assert "AADSTS50105" in page.text
        assert not page.answer


def test_assignment_error_can_reach_the_application(client: Client, control: Control) -> None:
    """A switch of the application sends AADSTS50105 to the callback as access_denied."""
    control("PUT", "/application", {"assignment_error_to_callback": True})
    page = client.sign_in(Browser(), VISITOR)
    assert (page.answer["error"], aadsts(page)) == ("access_denied", "AADSTS50105")


def test_assignment_decides_only_where_it_is_required(client: Client, control: Control) -> None:
    """Without "Assignment required", or once assigned, the same person gets in."""
    control("PUT", "/application", {"assignment_required": False})
    assert "code" in client.sign_in(Browser(), VISITOR).answer
    control("PUT", "/application", {"assignment_required": True})
    control("PATCH", f"/people/{VISITOR}", {"assigned": True})
    assert "code" in client.sign_in(Browser(), VISITOR).answer


def test_consent_is_asked_once(client: Client, control: Control) -> None:
    """Accepting consent gives a code and is remembered."""
    control("PUT", "/application", {"consent": "required"})
    browser = Browser()
    page = client.sign_in(browser)
    assert "Permissions requested" in page.text
    missing = browser.open(client.authorize_url(prompt="none"))
    assert (missing.answer["error"], aadsts(missing)) == ("interaction_required", "AADSTS65001")
    assert "code" in browser.submit(page, decision="accept").answer
    assert "code" in browser.open(client.authorize_url()).answer


def test_consent_can_be_declined(client: Client, control: Control) -> None:
    """Cancelling goes back as access_denied, AADSTS65004, and nothing is remembered."""
    control("PUT", "/application", {"consent": "required"})
    browser = Browser()
    page = browser.submit(client.sign_in(browser), decision="decline")
    assert (page.answer["error"], aadsts(page)) == ("access_denied", "AADSTS65004")
    assert "Permissions requested" in browser.open(client.authorize_url()).text


def test_prompt_consent_asks_again(client: Client) -> None:
    """`prompt=consent` shows the page even where consent was granted."""
    browser = Browser()
    page = client.sign_in(browser, prompt="consent")
    assert "Permissions requested" in page.text
    assert "code" in browser.submit(page, decision="accept").answer


def test_admin_consent_can_only_be_turned_away_from(client: Client, control: Control) -> None:
    """Where an administrator must consent, accepting does not help; the way back is AADSTS90094."""
    control("PUT", "/application", {"consent": "admin_required"})
    browser = Browser()
    page = client.sign_in(browser)
    assert "Need admin approval" in page.text
    for decision in ("accept", "decline"):
        back = browser.submit(page, decision=decision)
        assert (back.answer["error"], aadsts(back)) == ("access_denied", "AADSTS90094")


@pytest.mark.parametrize(
    ("switch", "error", "number"),
    [
        ("blocked_by_conditional_access", "access_denied", "AADSTS53003"),
        ("second_factor_missing", "interaction_required", "AADSTS50076"),
    ],
)
def test_policy_errors_reach_the_application(
    client: Client, control: Control, switch: str, error: str, number: str
) -> None:
    """Conditional Access and a missing second factor are told to the callback, per person."""
    control("PATCH", f"/people/{NURSE}", {switch: True})
    page = client.sign_in(Browser())
    assert (page.answer["error"], aadsts(page)) == (error, number)
    assert "code" in client.sign_in(Browser(), DOCTOR).answer
