"""`/azure`: what comes back from Microsoft makes a session, or a page that says why not."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import decode_complete, encode

from functions.http import SESSION_COOKIE
from shared import accounts, settings, transaction
from shared.aadsts import CREDENTIAL_ERRORS
from shared.access import Level
from shared.errors import AuthorizationDenied
from shared.ports import Store, Table
from shared.principal import Principal
from shared.transaction import COOKIE_PREFIX
from tests.house import ISSUER, NURSE, START, Answer, House, a_version, sign_with

OTHER_TENANT = "11111111-2222-4333-8444-555555555555"
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def rows(house: House, table: Table) -> int:
    """Count the rows of a table."""
    return sum(1 for kept, _, _ in house.store._rows if kept is table)  # noqa: SLF001 - the store cannot list


def no_session(house: House, answer: Answer) -> None:
    """Assert that nobody has been signed in: no cookie, no row, and no transaction left to try again."""
    assert SESSION_COOKIE not in house.cookies
    assert rows(house, Table.SESSIONS) == 0
    assert not any(name.startswith(COOKIE_PREFIX) for name in house.cookies)
    assert not any(header.startswith(f"{SESSION_COOKIE}=") for header in answer.set_cookies)


def last_event(house: House) -> dict[str, str]:
    """Read the newest audit event without its time."""
    return {name: value for name, value in house.events()[-1].items() if name != "at"}


# It works


def test_a_sign_in_makes_an_account_a_session_and_an_event(house: House) -> None:
    """The first sign-in of an approved Microsoft account makes a User; the log holds its id and no name."""
    answer = house.sign_in_with_microsoft()
    assert (answer.status, answer.location) == (303, "/")
    account = accounts.account_by_id(house.store, NURSE.account_id)
    assert account is not None
    assert (account.level, account.name, account.principal) == (Level.USER, "Nurse", NURSE)
    event = last_event(house)
    assert (event["event"], event["account"], event["method"]) == (
        "signin.succeeded",
        NURSE.account_id,
        "microsoft",
    )
    assert "Nurse" not in str(house.events())


def test_a_second_sign_in_finds_the_account(house: House) -> None:
    """The same person is the same account; two sessions, one account."""
    house.sign_in_with_microsoft()
    before = rows(house, Table.ACCOUNTS)
    house.another_browser()
    house.sign_in_with_microsoft()
    assert rows(house, Table.ACCOUNTS) == before
    assert rows(house, Table.SESSIONS) == 2


def test_an_answer_in_the_query_works_too(house: House) -> None:
    """A browser that sends the answer as a GET is signed in as well."""
    state = house.start_at_microsoft("?next=/lists")
    assert house.get(f"/azure?code=a%20code&state={state}").location == "/lists"
    assert SESSION_COOKIE in house.cookies


def test_the_transaction_is_dropped_on_success(house: House) -> None:
    """What has been used is gone from the browser."""
    house.sign_in_with_microsoft()
    assert list(house.cookies) == [SESSION_COOKIE]


def test_a_warm_sign_in_signs_no_second_assertion(house: House) -> None:
    """The assertion is reused while fresh: ten sign-ins in five minutes cost one signature, then one more."""
    for _ in range(10):
        house.another_browser()
        house.sign_in_with_microsoft()
        house.clock.move(seconds=29)
    assert house.vault.signed == ["v1"]
    house.clock.move(seconds=10)
    house.another_browser()
    house.sign_in_with_microsoft()
    assert house.vault.signed == ["v1", "v1"]


def test_an_assertion_from_the_future_is_not_reused(house: House) -> None:
    """After the clock was set back, Microsoft would see the assertion at hand as one that is not valid yet."""
    house.sign_in_with_microsoft()
    house.clock.move(hours=-1)
    house.another_browser()
    house.sign_in_with_microsoft()
    assert house.vault.signed == ["v1", "v1"]


def test_keys_of_microsoft_are_fetched_once(house: House) -> None:
    """Ten sign-ins within the hour need the key set once."""
    for _ in range(10):
        house.another_browser()
        house.sign_in_with_microsoft()
    assert house.identity.keys_fetched == 1


def test_microsofts_sign_out_lands_on_a_page(house: House) -> None:
    """The redirect URI without an answer is where Microsoft sends people after signing out."""
    answer = house.get("/azure")
    assert answer.status == 200
    assert answer.title == "You are signed out"


def test_a_form_that_is_no_answer_is_refused(house: House) -> None:
    """A post without code and error is a bad request."""
    assert house.post("/azure", {"hello": "there"}).status == 400


# Who may sign in


def test_roles_raise_to_admin_and_no_further(house: House) -> None:
    """The configured app role makes an Admin for this session; the account stays what it is."""
    before = settings.read_settings(house.store)
    settings.save_settings(house.store, replace(before, admin_role="SOS.Admin"))
    house.services.settings.forget()
    house.identity.claims = {"roles": ["SOS.Admin", "Owner", "owner"]}
    house.sign_in_with_microsoft()
    assert house.get("/session").json["level"] == "admin"
    account = accounts.account_by_id(house.store, NURSE.account_id)
    assert account is not None
    assert account.level is Level.USER


def test_the_raised_level_lasts_as_long_as_the_session(house: House) -> None:
    """A renewed token still says Admin, and a new sign-in without the role says User."""
    before = settings.read_settings(house.store)
    settings.save_settings(house.store, replace(before, admin_role="SOS.Admin"))
    house.services.settings.forget()
    house.identity.claims = {"roles": ["SOS.Admin"]}
    house.sign_in_with_microsoft()
    house.clock.move(minutes=6)
    assert house.get("/session").json["level"] == "admin"
    house.identity.claims = {}
    house.another_browser()
    house.sign_in_with_microsoft()
    assert house.get("/session").json["level"] == "user"


@pytest.mark.parametrize("roles", [["SOS.Admin"], ["Admin"], ["owner", "admin"]])
def test_roles_do_nothing_where_none_is_configured(house: House, roles: list[str]) -> None:
    """Without a configured role no app role raises anybody."""
    house.identity.claims = {"roles": roles}
    house.sign_in_with_microsoft()
    assert house.get("/session").json["level"] == "user"


def test_a_first_sign_in_with_sso_off_makes_no_account(house: House) -> None:
    """A sign-in that was begun before SSO was switched off is refused, and leaves nothing behind."""
    state = house.start_at_microsoft()
    house.set_sso(active=False)
    before = rows(house, Table.ACCOUNTS)
    answer = house.finish_at_microsoft(state)
    assert answer.status == 403
    assert answer.title == "Microsoft sign-in is not switched on"
    assert rows(house, Table.ACCOUNTS) == before
    no_session(house, answer)


def test_a_known_account_is_refused_while_sso_is_off(house: House) -> None:
    """SSO off means off for those who signed in with Microsoft before, too."""
    house.sign_in_with_microsoft()
    house.another_browser()
    state = house.start_at_microsoft()
    house.set_sso(active=False)
    answer = house.finish_at_microsoft(state)
    assert answer.status == 403
    assert SESSION_COOKIE not in house.cookies
    assert last_event(house)["reason"] == "sso_not_active"
    assert last_event(house)["account"] == NURSE.account_id


def test_a_deactivated_account_is_told_so_and_stays_out(house: House) -> None:
    """Microsoft's yes does not open a deactivated account."""
    made = accounts.provision(house.store, NURSE, "Nurse", START)
    accounts.deactivate(house.store, made, START)
    answer = house.sign_in_with_microsoft()
    assert answer.status == 403
    assert answer.title == "This account is switched off"
    assert last_event(house)["reason"] == "deactivated"
    assert last_event(house)["reference"] == answer.reference
    no_session(house, answer)


def test_the_tied_owner_signs_in_with_microsoft(house: House) -> None:
    """The Owner's Microsoft account opens the Owner's account, for twelve hours, and keeps its name."""
    owner = accounts.account_by_id(house.store, accounts.OWNER_ID)
    assert owner is not None
    accounts.tie(house.store, owner, NURSE)
    house.identity.name = "Somebody else"
    house.sign_in_with_microsoft()
    told = house.get("/session").json
    assert (told["account"], told["level"], told["name"]) == ("owner", "owner", "Owner")


def test_the_untied_owner_is_a_user_at_microsoft(house: House) -> None:
    """Once untied, the Owner's Microsoft account no longer opens the Owner's account, though a pointer is left."""
    owner = accounts.account_by_id(house.store, accounts.OWNER_ID)
    assert owner is not None
    accounts.tie(house.store, accounts.tie(house.store, owner, NURSE), None)
    house.sign_in_with_microsoft()
    told = house.get("/session").json
    assert (told["account"], told["level"]) == (NURSE.account_id, "user")


def test_a_name_decides_nothing(house: House) -> None:
    """A Microsoft account with the Owner's name, e-mail and user name gets an account of its own, level User."""
    house.identity.name = "Owner"
    house.identity.claims = {"email": "owner", "preferred_username": "owner", "upn": "owner"}
    house.sign_in_with_microsoft()
    told = house.get("/session").json
    assert (told["account"], told["level"]) == (NURSE.account_id, "user")


def test_a_rename_at_microsoft_is_followed(house: House) -> None:
    """The display name follows Microsoft at the next sign-in; an absent one changes nothing."""
    house.sign_in_with_microsoft()
    house.identity.name = "Head Nurse"
    house.another_browser()
    house.sign_in_with_microsoft()
    assert house.get("/session").json["name"] == "Head Nurse"
    house.identity.claims = {"name": None}
    house.another_browser()
    house.sign_in_with_microsoft()
    assert house.get("/session").json["name"] == "Head Nurse"
    account = accounts.account_by_id(house.store, NURSE.account_id)
    assert account is not None
    assert account.name == "Head Nurse"


def test_a_rename_that_loses_a_race_does_not_fail_the_sign_in(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody changed the account at the same moment: the session has the new name, the account follows next time."""
    house.sign_in_with_microsoft()
    house.another_browser()
    house.identity.name = "Head Nurse"
    save = accounts.save

    def overtaken(store: Store, account: accounts.Account) -> accounts.Account:
        save(store, replace(account, name="Another Name"))
        return save(store, account)

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "save", overtaken)
        assert house.sign_in_with_microsoft().location == "/"
    assert house.get("/session").json["name"] == "Head Nurse"
    account = accounts.account_by_id(house.store, NURSE.account_id)
    assert account is not None
    assert account.name == "Another Name"


def test_two_people_are_two_accounts(house: House) -> None:
    """One object id in each tenant is another person: tid and oid together say who it is."""
    house.sign_in_with_microsoft()
    first = house.get("/session").json["account"]
    house.another_browser()
    house.identity.person = Principal(NURSE.tenant_id, "99999999-52c8-4d19-8e60-1b7d9c3f5a01")
    house.sign_in_with_microsoft()
    assert house.get("/session").json["account"] != first


# Late, lost, foreign and repeated answers


def test_a_transaction_of_ten_minutes_less_a_second_is_good(house: House) -> None:
    """Nine minutes and 59 seconds at Microsoft are not too long."""
    state = house.start_at_microsoft()
    house.clock.move(minutes=9, seconds=59)
    assert house.finish_at_microsoft(state).location == "/"


@pytest.mark.parametrize("minutes", [10, 10 + 1 / 60, 60 * 24])
def test_a_transaction_of_ten_minutes_and_more_is_started_again(house: House, minutes: float) -> None:
    """Who took longer is sent through /login once more, and nothing is redeemed."""
    state = house.start_at_microsoft()
    house.clock.move(minutes=minutes)
    answer = house.finish_at_microsoft(state)
    assert (answer.status, answer.location) == (303, "/login?again=1")
    assert house.identity.redeemed == []
    assert last_event(house)["reason"] == "transaction_expired"
    no_session(house, answer)


def test_a_transaction_from_the_future_is_started_again(house: House) -> None:
    """After the clock went back by more than a minute a transaction is not trusted to end."""
    state = house.start_at_microsoft()
    house.clock.move(seconds=-61)
    assert house.finish_at_microsoft(state).location == "/login?again=1"


def test_a_clock_that_went_back_a_little_does_no_harm(house: House) -> None:
    """Instances may differ by a minute."""
    state = house.start_at_microsoft()
    house.clock.move(seconds=-59)
    assert house.finish_at_microsoft(state).location == "/"


def test_a_transaction_of_other_settings_is_started_again(house: House) -> None:
    """An answer for an application that is no longer the Owner's is not used."""
    state = house.start_at_microsoft()
    before = settings.read_settings(house.store)
    other = replace(before, client_id="99999999-64a5-4f0e-9d0b-5a1c6d1f2b10")
    settings.save_settings(house.store, other)
    house.services.settings.forget()
    answer = house.finish_at_microsoft(state)
    assert answer.location == "/login?again=1"
    assert house.identity.redeemed == []
    no_session(house, answer)


def test_lost_cookies_are_forgiven_once(house: House) -> None:
    """A browser that brings no transaction starts again; the second time in a row it sees a page, never a loop."""
    state = house.start_at_microsoft()
    house.another_browser()
    first = house.finish_at_microsoft(state)
    assert first.location == "/login?again=1"
    second_state = house.start_at_microsoft("?again=1")
    house.another_browser()
    second = house.finish_at_microsoft(second_state)
    assert second.status == 400
    assert second.title == "Your browser forgot the sign-in"
    assert "cookies" in second.text
    assert 'href="/login"' in second.text
    assert last_event(house)["reason"] == "transaction_missing"


def test_the_back_button_leads_on_with_a_session(house: House) -> None:
    """A callback sent again from the history has no transaction any more: its person is signed in and sent on."""
    state = house.start_at_microsoft()
    house.finish_at_microsoft(state)
    again = house.finish_at_microsoft(state)
    assert again.location == "/login?again=1"
    assert house.get(again.location).location == "/"
    assert rows(house, Table.SESSIONS) == 1


def test_a_replayed_transaction_makes_no_second_session(house: House) -> None:
    """A copy of the transaction, kept by somebody, makes no second session even where the code still works."""
    state = house.start_at_microsoft()
    copy = dict(house.cookies)
    house.finish_at_microsoft(state)
    house.cookies = copy
    answer = house.finish_at_microsoft(state)
    assert answer.location == "/login?again=1"
    assert last_event(house)["reason"] == "transaction_replayed"
    assert rows(house, Table.SESSIONS) == 1
    assert SESSION_COOKIE not in house.cookies


def test_a_foreign_state_is_no_answer(house: House) -> None:
    """An answer with a state that this browser did not send touches neither Microsoft nor the transaction."""
    own = house.start_at_microsoft()
    answer = house.finish_at_microsoft("sAAAAAAAAAAAAAAAAAAAAAA")
    assert answer.location == "/login?again=1"
    assert house.identity.redeemed == []
    assert house.finish_at_microsoft(own).location == "/"


@pytest.mark.parametrize("state", ["", "x", "é", "a" * 5000, "\u0000", "s;Path=/", "s\r\nSet-Cookie: a=b"])
def test_any_state_has_an_answer(house: House, state: str) -> None:
    """Whatever stands in `state`, the person starts again, and no header is made of it."""
    answer = house.finish_at_microsoft(state)
    assert answer.location == "/login?again=1"
    assert all("\r" not in header and "Path=/;" in header for header in answer.set_cookies)


def test_a_transaction_under_another_name_is_worth_nothing(house: House) -> None:
    """A sealed transaction that was moved to the cookie of another state does not open."""
    house.start_at_microsoft()
    (sealed,) = house.cookies.values()
    house.start_at_microsoft()
    second = house.start_at_microsoft()
    for name in list(house.cookies):
        house.cookies[name] = sealed
    assert house.finish_at_microsoft(second).location == "/login?again=1"
    assert house.identity.redeemed == []


@pytest.mark.parametrize(
    "change",
    [
        lambda sealed: f"{sealed[:40]}{'B' if sealed[40] == 'A' else 'A'}{sealed[41:]}",
        lambda sealed: sealed[:20],
        lambda sealed: f"{sealed}AAAA",
        lambda sealed: f"{sealed[:30]}é{sealed[31:]}",
        lambda sealed: f"{sealed}{'A' * 4000}",
    ],
    ids=["a letter", "cut", "longer", "foreign letter", "huge"],
)
def test_a_changed_transaction_does_not_open(house: House, change: Callable[[str], str]) -> None:
    """One changed letter, and the transaction is nobody's."""
    state = house.start_at_microsoft()
    ((name, sealed),) = house.cookies.items()
    house.cookies[name] = change(sealed)
    assert house.finish_at_microsoft(state).location == "/login?again=1"
    assert house.identity.redeemed == []


def test_a_transaction_is_compared_with_the_state_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should two states ever share the name of a cookie, the state sealed inside still decides."""
    monkeypatch.setattr(transaction, "cookie_name", lambda _: f"{COOKIE_PREFIX}one-name-for-all")
    house.start_at_microsoft()
    answer = house.finish_at_microsoft("sAAAAAAAAAAAAAAAAAAAAAA")
    assert answer.location == "/login?again=1"
    assert last_event(house)["reason"] == "state_mismatch"
    assert house.identity.redeemed == []


@pytest.mark.parametrize("issuer", ["https://login.evil.example/v2.0", "", ISSUER + "/"])
def test_an_answer_of_another_issuer_is_not_redeemed(house: House, issuer: str) -> None:
    """RFC 9207: a code that names another issuer is not sent to ours (mix-up)."""
    state = house.start_at_microsoft()
    answer = house.finish_at_microsoft(state, iss=issuer)
    assert answer.location == "/login?again=1"
    assert house.identity.redeemed == []
    assert last_event(house)["reason"] == "state_mismatch"
    no_session(house, answer)


def test_an_answer_that_names_our_issuer_is_good(house: House) -> None:
    """RFC 9207: the right issuer is accepted."""
    assert house.finish_at_microsoft(house.start_at_microsoft(), iss=ISSUER).location == "/"


# What Microsoft refuses

HELP = [
    (50105, "access_denied", "You have no access yet", "assign"),
    (65001, "consent_required", "This system is not approved yet", "Grant admin consent"),
    (90094, "consent_required", "This system is not approved yet", "Grant admin consent"),
    (90095, "consent_required", "This system is not approved yet", "Grant admin consent"),
    (65004, "access_denied", "The sign-in was cancelled", "Try again"),
    (50011, "invalid_request", "The return address is not registered", "redirect URI"),
    (700016, "unauthorized_client", "The application is not found at Microsoft", "Application (client) ID"),
    (90002, "invalid_request", "The directory is not found at Microsoft", "Directory (tenant) ID"),
    (700027, "invalid_client", "Microsoft does not accept our certificate", "Certificates & secrets"),
    (700024, "invalid_client", "Microsoft does not accept our certificate", "expired"),
    (1000502, "invalid_client", "Microsoft does not accept our certificate", "expired"),
    (7000214, "invalid_client", "Microsoft does not accept our certificate", "Certificates & secrets"),
    (7000274, "invalid_client", "Microsoft does not accept our certificate", "Certificates & secrets"),
    (7000277, "invalid_client", "Microsoft does not accept our certificate", "Certificates & secrets"),
    (50076, "interaction_required", "Microsoft asks for another proof", "Start the sign-in again"),
    (50079, "interaction_required", "Microsoft asks for another proof", "Start the sign-in again"),
    (53000, "access_denied", "Your organisation's rules do not allow this sign-in", "administrator"),
    (53003, "access_denied", "Your organisation's rules do not allow this sign-in", "administrator"),
    (50020, "invalid_request", "This account belongs somewhere else", "invited"),
    (50034, "invalid_request", "This account belongs somewhere else", "invited"),
    (16000, "interaction_required", "This account belongs somewhere else", "invited"),
    (54005, "invalid_grant", "The sign-in took too long", "Start the sign-in again"),
    (70008, "invalid_grant", "The sign-in took too long", "Start the sign-in again"),
]
"""By AADSTS number: the OAuth error it comes with, the title of the page, and words that tell what to do."""


@pytest.mark.parametrize(("number", "error", "title", "words"), HELP, ids=[str(case[0]) for case in HELP])
def test_each_number_of_microsoft_has_its_help(
    house: House, number: int, error: str, title: str, words: str
) -> None:
    """The number in the text chooses the page; the text itself is not shown, and the reference stands in the log."""
    state = house.start_at_microsoft()
    text = f"AADSTS{number}: <b>something</b> about nurse@clinic.example. Trace ID: 1"
    answer = house.call(
        "POST",
        "/azure",
        {"error": error, "error_description": text, "state": state},
        headers={"origin": "https://login.microsoftonline.com"},
        cross_site=True,
    )
    assert (answer.status, answer.title) == (403, title)
    assert words in answer.text.replace("&amp;", "&")
    assert "nurse@clinic.example" not in answer.text
    event = last_event(house)
    assert event["reference"] == answer.reference
    assert event["reason"] == f"authorization_denied:{error}:{number}"
    no_session(house, answer)


@pytest.mark.parametrize(("number", "error", "title", "words"), HELP, ids=[str(case[0]) for case in HELP])
def test_the_token_request_has_the_same_help(
    house: House, number: int, error: str, title: str, words: str
) -> None:
    """A refusal of the token request shows the same page as one at the authorization endpoint."""
    house.identity.refusals = [AuthorizationDenied(error, (number,)) for _ in range(2)]
    answer = house.sign_in_with_microsoft()
    assert (answer.status, answer.title) == (403, title)
    assert words in answer.text.replace("&amp;", "&")
    no_session(house, answer)


@pytest.mark.parametrize(
    ("error", "title"),
    [
        ("access_denied", "The sign-in was cancelled"),
        ("consent_required", "This system is not approved yet"),
        ("unauthorized_client", "The application is not found at Microsoft"),
        ("something_new", "The sign-in could not be completed"),
        ("<script>alert(1)</script>", "The sign-in could not be completed"),
        ("", "The sign-in could not be completed"),
    ],
)
def test_an_error_without_a_known_number_goes_by_its_code(house: House, error: str, title: str) -> None:
    """The OAuth code chooses the page where no number does; nothing of an unknown one is shown or logged."""
    state = house.start_at_microsoft()
    answer = house.finish_at_microsoft(state, error=error, error_description="AADSTS99999 and AADSTS1x")
    assert (answer.status, answer.title) == (403, title)
    assert "script" not in answer.text + str(last_event(house))


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_microsoft_out_of_order_is_not_a_refusal(house: House, error: str) -> None:
    """RFC 6749, 4.1.2.1: Microsoft says that it is Microsoft's trouble. Wrong is not broken: 503, and the way to wait."""
    state = house.start_at_microsoft()
    answer = house.finish_at_microsoft(state, error=error)
    assert answer.status == 503
    assert answer.title.startswith("Microsoft is not")


def test_an_error_of_a_foreign_state_is_not_believed(house: House) -> None:
    """An error page cannot be put before a person by a link: the state is compared first."""
    answer = house.get("/azure?error=access_denied&error_description=AADSTS50105&state=nobody")
    assert answer.location == "/login?again=1"


@pytest.mark.parametrize("number", sorted(CREDENTIAL_ERRORS))
def test_a_refused_credential_is_tried_once_more_with_a_reloaded_pointer(house: House, number: int) -> None:
    """Another instance has switched the certificate: the pointer is read again, and the person is signed in."""
    house.sign_in_with_microsoft()
    house.another_browser()
    sign_with(house.store, a_version("v2"))
    house.identity.refusals = [AuthorizationDenied("invalid_client", (number,))]
    house.identity.redeemed.clear()
    assert house.sign_in_with_microsoft().location == "/"
    thumbprints = [
        decode_complete(assertion, options={"verify_signature": False})["header"]["x5t#S256"]
        for assertion in house.identity.redeemed
    ]
    assert thumbprints == ["x5t256-v1", "x5t256-v2"]
    assert house.vault.signed == ["v1", "v2"]
    assert any(
        (event["event"], event.get("reason")) == ("credential.refused", str(number))
        for event in house.events()
    )


@pytest.mark.parametrize("number", sorted(CREDENTIAL_ERRORS))
def test_a_credential_that_is_refused_twice_ends_on_a_page(house: House, number: int) -> None:
    """Exactly two redemptions, each with an assertion of its own, then a page that names the Owner's password."""
    house.identity.refusals = [AuthorizationDenied("invalid_client", (number,)) for _ in range(9)]
    answer = house.sign_in_with_microsoft()
    assert answer.status == 403
    assert answer.title == "Microsoft does not accept our certificate"
    assert len(house.identity.redeemed) == len(set(house.identity.redeemed)) == 2
    assert 'href="/signin"' in answer.text
    no_session(house, answer)


def test_other_refusals_are_not_tried_again(house: House) -> None:
    """Only a refused credential is worth a second request."""
    house.identity.refusals = [AuthorizationDenied("invalid_grant", (54005,)) for _ in range(2)]
    house.sign_in_with_microsoft()
    assert len(house.identity.redeemed) == 1


def test_a_wrong_code_is_refused(house: House) -> None:
    """A code that Microsoft did not give ends on a page."""
    answer = house.finish_at_microsoft(house.start_at_microsoft(), code="another code")
    assert answer.title == "The sign-in took too long"
    no_session(house, answer)


# Hostile ID tokens


def unsigned(token: str) -> str:
    """Say that there is no signature (RFC 8725, section 2.1)."""
    claims = decode_complete(token, options={"verify_signature": False})["payload"]
    return encode(claims, "", algorithm="none", headers={"kid": "k1"})


def foreign(token: str) -> str:
    """Sign the same claims with a key that is not Microsoft's."""
    claims = decode_complete(token, options={"verify_signature": False})["payload"]
    return encode(claims, FOREIGN_KEY, algorithm="RS256", headers={"kid": "k1"})


def unknown_key(token: str) -> str:
    """Sign with another key under another id."""
    claims = decode_complete(token, options={"verify_signature": False})["payload"]
    return encode(claims, FOREIGN_KEY, algorithm="RS256", headers={"kid": "k9"})


NOW = int(START.timestamp())
HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "wrong nonce": ({"nonce": "0" * 64}, "nonce"),
    "no nonce": ({"nonce": None}, "missing_nonce"),
    "another issuer": ({"iss": "https://login.microsoftonline.com/evil/v2.0"}, "issuer"),
    "another tenant's issuer": ({"iss": ISSUER.replace(NURSE.tenant_id, OTHER_TENANT)}, "issuer"),
    "another audience": ({"aud": "99999999-64a5-4f0e-9d0b-5a1c6d1f2b10"}, "audience"),
    "two audiences": ({"aud": ["7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10", "x"]}, "audience"),
    "another tenant": ({"tid": OTHER_TENANT}, "tenant"),
    "no tenant": ({"tid": None}, "missing_tid"),
    "expired": ({"exp": NOW - 60}, "expired"),
    "no end": ({"exp": None}, "missing_exp"),
    "not yet valid": ({"nbf": NOW + 61}, "not_yet_valid"),
    "issued in the future": ({"iat": NOW + 61}, "issued_in_future"),
    "too old": ({"iat": NOW - 901}, "too_old"),
    "another version": ({"ver": "1.0"}, "version"),
    "for another client": ({"azp": "x"}, "azp"),
    "no object": ({"oid": None}, "missing_oid"),
    "no subject": ({"sub": None}, "missing_sub"),
    "an object that is a list": ({"oid": ["a"]}, "malformed_oid"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_token_that_breaks_a_rule_ends_on_a_page(house: House, name: str) -> None:
    """Each broken rule: a page with a reference, its kind in the log, no session and no account."""
    claims, kind = HOSTILE[name]
    house.identity.claims = dict(claims)
    before = rows(house, Table.ACCOUNTS)
    answer = house.sign_in_with_microsoft()
    assert answer.status == 400
    assert answer.title == "The sign-in could not be completed"
    event = last_event(house)
    assert (event["reason"], event["reference"]) == (f"invalid_id_token:{kind}", answer.reference)
    assert rows(house, Table.ACCOUNTS) == before
    no_session(house, answer)


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [
        (unsigned, "algorithm"),
        (foreign, "signature"),
        (unknown_key, "unknown_key"),
        (lambda _: "", "malformed"),
        (lambda token: token[:-4] + "AAAA", "signature"),
        (lambda token: token + ".x.y", "malformed"),
        (lambda token: token * 40, "too_large"),
    ],
    ids=["unsigned", "foreign", "unknown key", "empty", "changed", "five parts", "huge"],
)
def test_a_token_that_microsoft_did_not_sign_ends_on_a_page(
    house: House, tamper: Callable[[str], str], kind: str
) -> None:
    """Whatever is not signed with Microsoft's published key, by RS256, signs nobody in."""
    house.identity.tamper = tamper
    answer = house.sign_in_with_microsoft()
    assert answer.status == 400
    assert last_event(house)["reason"] == f"invalid_id_token:{kind}"
    no_session(house, answer)


# Bad days


@pytest.mark.parametrize(
    ("away", "title"),
    [("identity", "Microsoft is not answering"), ("store", "The data store is not answering")],
)
def test_what_is_away_at_the_end_of_a_sign_in_is_named(house: House, away: str, title: str) -> None:
    """A part that goes away while the person is at Microsoft: a page that names it, and no session."""
    house.sign_in_with_microsoft()
    house.another_browser()
    state = house.start_at_microsoft()
    getattr(house, away).away = True
    answer = house.finish_at_microsoft(state)
    assert (answer.status, answer.title) == (503, title)
    house.store.away = False
    assert SESSION_COOKIE not in house.cookies
    assert not any(name.startswith(COOKIE_PREFIX) for name in house.cookies)


def test_the_vault_is_away_when_an_assertion_is_needed(house: House) -> None:
    """No signature, no sign-in: the page names the key store, and the assertion at hand works until it ends."""
    house.sign_in_with_microsoft()
    house.vault.away = True
    house.another_browser()
    assert house.sign_in_with_microsoft().location == "/"
    house.clock.move(minutes=5)
    house.another_browser()
    answer = house.sign_in_with_microsoft()
    assert (answer.status, answer.title) == (503, "The key store is not answering")
    assert SESSION_COOKIE not in house.cookies


def test_two_first_sign_ins_at_once_make_one_account(house: House) -> None:
    """Another instance made the account between our look and our insert: it is used."""
    first = accounts.provision(house.store, NURSE, "Nurse", START)
    second = accounts.provision(house.store, NURSE, "Other", START)
    assert (second.id, second.name, second.etag) == (first.id, "Nurse", first.etag)
