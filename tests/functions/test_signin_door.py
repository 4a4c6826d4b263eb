"""`/signin`: one page for every kind of no, a throttle that spares the browser it knows, and sessions that end."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from functions.http import SESSION_COOKIE
from shared import accounts, device, password_signin
from shared.password import CHEAPEST, Verification, verify_password
from shared.ports import Store
from shared.secret import Secret
from tests.house import NURSE, OWNER_PASSWORD, START, USER_PASSWORD, Answer, House

DEVICE_COOKIE = "__Host-sos-device"
WRONG = "a-wrong-password-for-anybody"


def shown(answer: Answer) -> str:
    """Give a page without what the visitor made different: the token, the name that was typed, the focus after it."""
    text = answer.text.replace(answer.csrf_token, "").replace(answer.reference, "").replace(" autofocus", "")
    return re.sub(r'name="username" value="[^"]*"', "", text)


def account(house: House, user_name: str) -> accounts.Account:
    """Read an account that must be there."""
    found = accounts.account_by_user_name(house.store, user_name)
    assert found is not None
    return found


def fail(house: House, times: int, user_name: str = "owner", **headers: str) -> Answer:
    """Type a wrong password so often; gives the last answer."""
    answer = house.get("/signin")
    for _ in range(times):
        form = {"csrf_token": house.get("/signin").csrf_token, "username": user_name, "password": WRONG}
        answer = house.post("/signin", form, **headers)
    return answer


# The page


def test_the_form_offers_microsoft_while_sso_is_active(house: House) -> None:
    """With SSO the page says that it is the Owner's, and shows the way to Microsoft with the same destination."""
    answer = house.get("/signin?next=/lists")
    assert (answer.status, answer.title) == (200, "Owner sign-in")
    assert 'href="/login?next=%2Flists"' in answer.text
    assert 'name="next" value="/lists"' in answer.text


def test_the_form_is_for_everybody_without_sso(house: House) -> None:
    """Without SSO there is no Microsoft on the page."""
    house.set_sso(active=False)
    answer = house.get("/signin?next=//evil.example")
    assert answer.title == "Sign in"
    assert "Microsoft" not in answer.text
    assert "evil" not in answer.text


# Who may sign in


def test_the_owner_signs_in_while_sso_is_active(house: House) -> None:
    """The Owner's door works with SSO on, and its use is an event worth an alert."""
    answer = house.sign_in(next_path="/lists")
    assert (answer.status, answer.location) == (303, "/lists")
    told = house.get("/session").json
    assert (told["account"], told["level"], told["method"]) == ("owner", "owner", "password")


def test_a_hostile_destination_in_the_form_is_forgotten(house: House) -> None:
    """The hidden field is read with as much suspicion as the query."""
    assert house.sign_in(next_path="//evil.example").location == "/"


def test_the_owners_use_of_the_door_is_a_warning(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """With SSO active a sign-in by password is logged as a warning; without SSO it is ordinary."""
    with caplog.at_level("INFO", logger="sos"):
        house.sign_in()
        house.set_sso(active=False)
        house.another_browser()
        house.sign_in()
    levels = [record.levelname for record in caplog.records if "signin.succeeded" in record.getMessage()]
    assert levels == ["WARNING", "INFO"]


def test_a_user_signs_in_without_sso(house: House) -> None:
    """SSO off: every account that may log in does so by password."""
    house.set_sso(active=False)
    assert house.sign_in("user", USER_PASSWORD).location == "/"
    assert house.get("/session").json["level"] == "user"


@pytest.mark.parametrize("spelling", ["OWNER", " owner ", "Ｏｗｎｅｒ"])
def test_a_user_name_has_many_spellings(house: House, spelling: str) -> None:
    """Case, space around and width do not matter in a user name."""
    assert house.sign_in(spelling).status == 303


def test_a_changed_setting_is_seen_at_once(house: House) -> None:
    """Whether the door is the Owner's alone is read from the store, not from a memory of a minute ago."""
    house.set_sso(active=False)
    house.get("/signin")
    other = House()
    other.store, other.vault = house.store, house.vault
    other.set_sso(active=True)
    assert house.sign_in("user", USER_PASSWORD).status == 403


# One answer for every kind of no


def test_every_kind_of_no_looks_the_same(house: House) -> None:
    """Wrong password, unknown, impossible and empty names, deactivated, must use Microsoft: one page, one status."""
    deactivated = account(house, "user")
    answers = [
        house.sign_in("owner", WRONG),
        house.sign_in("nobody", WRONG),
        house.sign_in("user", USER_PASSWORD),
    ]
    accounts.deactivate(house.store, deactivated, house.clock())
    answers.append(house.sign_in("user", USER_PASSWORD))
    answers += [house.sign_in("", ""), house.sign_in("a\u0000b", WRONG), house.sign_in("x" * 500, "y" * 9000)]
    assert {answer.status for answer in answers} == {403}
    assert len({shown(answer) for answer in answers}) == 1
    assert SESSION_COOKIE not in house.cookies
    assert DEVICE_COOKIE not in house.cookies


def test_the_reason_stands_in_the_log_alone(house: House) -> None:
    """Who runs the system can tell the kinds of no apart; no name that was typed is written anywhere."""
    house.sign_in("owner", WRONG)
    house.sign_in("nobody-knows-me", WRONG)
    house.sign_in("user", USER_PASSWORD)
    events = house.events()
    assert [event["reason"] for event in events] == [
        "wrong_password",
        "unknown_account",
        "must_use_microsoft",
    ]
    assert events[0]["account"] == "owner"
    assert "nobody-knows-me" not in str(events)


def test_a_failed_attempt_on_the_owner_is_a_warning(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody at the Owner's door is worth a look; a mistyped name is not."""
    with caplog.at_level("INFO", logger="sos"):
        house.sign_in("owner", WRONG)
        house.sign_in("nobody", WRONG)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    ("user_name", "password"),
    [
        ("owner", OWNER_PASSWORD),
        ("owner", WRONG),
        ("nobody", WRONG),
        ("user", USER_PASSWORD),
        ("user", WRONG),
    ],
)
def test_exactly_one_verification(
    house: House, monkeypatch: pytest.MonkeyPatch, user_name: str, password: str
) -> None:
    """Whatever the answer is, it costs one verification: neither the name nor the rules can be told by time."""
    calls = []

    def counted(password: Secret, phc: str | None, pepper: Secret) -> Verification:
        calls.append(phc)
        return verify_password(password, phc, pepper, CHEAPEST)

    monkeypatch.setattr(password_signin, "verify_password", counted)
    house.sign_in(user_name, password)
    assert len(calls) == 1


def test_an_account_of_microsoft_has_no_password(house: House) -> None:
    """An account without a password hash cannot be entered with an empty password."""
    house.sign_in_with_microsoft()
    made = accounts.account_by_principal(house.store, NURSE)
    assert made is not None
    house.set_sso(active=False)
    house.another_browser()
    for password in ("", " ", "Secret(…)"):
        assert house.sign_in(made.name, password).status == 403
        assert house.sign_in(made.id, password).status == 403


def test_what_was_typed_comes_back_without_the_password(house: House) -> None:
    """The name is kept in the form, cut to a sane length and escaped; the password is not."""
    answer = house.sign_in('"><b>' + "x" * 300, WRONG)
    assert WRONG not in answer.text
    assert "&gt;&lt;b&gt;" in answer.text
    assert "x" * 129 not in answer.text


# The throttle


def test_five_failures_are_free_and_the_sixth_waits(house: House) -> None:
    """After five failures in a row the door waits 30 seconds, and says so in words and in Retry-After."""
    assert fail(house, 5).status == 403
    answer = house.sign_in("owner", OWNER_PASSWORD)
    assert answer.status == 429
    assert answer.header("Retry-After") == "30"
    assert "Too many attempts" in answer.text
    assert SESSION_COOKIE not in house.cookies
    assert house.events()[-1]["event"] == "throttled"


def test_retry_after_is_enough(house: House) -> None:
    """Who waits exactly as long as Retry-After says is not sent away again."""
    fail(house, 5)
    house.clock.move(seconds=0.6)
    seconds = int(house.sign_in("owner", OWNER_PASSWORD).header("Retry-After"))
    house.clock.move(seconds=seconds)
    assert house.sign_in("owner", OWNER_PASSWORD).status == 303


def test_knocking_during_the_wait_costs_nothing(house: House) -> None:
    """The impatient are not punished: the wait ends when it would have ended."""
    fail(house, 5)
    for _ in range(20):
        assert house.sign_in("owner", OWNER_PASSWORD).status == 429
    house.clock.move(seconds=30)
    assert house.sign_in("owner", OWNER_PASSWORD).status == 303


def test_an_unknown_name_waits_like_a_known_one(house: House) -> None:
    """Names are counted, not accounts: the wait tells nobody whether an account exists."""
    fail(house, 5, "nobody")
    assert house.sign_in("nobody", WRONG).status == 429


def test_a_throttled_page_is_the_same_for_right_and_wrong(house: House) -> None:
    """During the wait the right password is not even looked at."""
    fail(house, 5)
    assert shown(house.sign_in("owner", OWNER_PASSWORD)) == shown(house.sign_in("owner", WRONG))


def test_a_success_clears_the_failures(house: House) -> None:
    """Four failures and a success, and again: nobody ever waits."""
    for _ in range(4):
        fail(house, 4)
        house.another_browser()
        assert house.sign_in().status == 303
        house.another_browser()


def test_guessing_from_elsewhere_does_not_keep_a_known_browser_out(house: House) -> None:
    """The device cookie of an earlier sign-in lets the Owner in while others are made to wait."""
    house.sign_in()
    known = {DEVICE_COOKIE: house.cookies[DEVICE_COOKIE]}
    house.another_browser()
    fail(house, 6, **{"x-forwarded-for": "198.51.100.9:1234"})
    assert house.sign_in().status == 429
    house.cookies = dict(known)
    assert house.sign_in().status == 303


def test_a_known_browser_is_throttled_by_itself(house: House) -> None:
    """A device cookie is no free pass: after five failures it waits as well."""
    house.sign_in()
    fail(house, 5)
    assert house.sign_in().status == 429


def test_a_device_cookie_is_for_one_account(house: House) -> None:
    """The User's device cookie does not help anybody at the Owner's account."""
    house.set_sso(active=False)
    house.sign_in("user", USER_PASSWORD)
    of_the_user = {DEVICE_COOKIE: house.cookies[DEVICE_COOKIE]}
    house.another_browser()
    fail(house, 5)
    house.cookies = dict(of_the_user)
    assert house.sign_in().status == 429


def test_the_device_cookie_lasts_four_hundred_days(house: House) -> None:
    """It is kept as long as browsers keep cookies, and is believed no longer."""
    answer = house.sign_in()
    (header,) = [one for one in answer.set_cookies if one.startswith(DEVICE_COOKIE)]
    assert "Max-Age=34560000" in header
    kept = {DEVICE_COOKIE: house.cookies[DEVICE_COOKIE]}
    house.clock.move(days=400)
    house.another_browser()
    fail(house, 5)
    house.cookies = dict(kept)
    assert house.sign_in().status == 429
    assert timedelta(days=400) == device.LIFETIME


def test_one_address_has_a_budget(house: House) -> None:
    """Thirty failures from one address on as many names use it up; another address goes on."""
    for n in range(30):
        assert fail(house, 1, f"name-{n}").status == 403
    assert house.sign_in("user", USER_PASSWORD).status == 429
    assert fail(house, 1, "name-31", **{"x-forwarded-for": "198.51.100.9:1234"}).status == 403


def test_the_throttle_never_touches_microsoft(house: House) -> None:
    """Whatever happens at the password door, Microsoft sign-ins go on."""
    fail(house, 6)
    assert house.sign_in_with_microsoft().location == "/"


def test_the_door_fails_closed(house: House) -> None:
    """While the store is away no password is verified, not even the right one."""
    page = house.get("/signin")
    house.store.away = True
    form = {"csrf_token": page.csrf_token, "username": "owner", "password": OWNER_PASSWORD}
    answer = house.post("/signin", form)
    assert answer.status == 503
    assert SESSION_COOKIE not in house.cookies


def test_the_form_needs_the_vault_once(house: House) -> None:
    """An instance that never read the pepper cannot make a form: it says what is away."""
    house.move_to(house.instance())
    house.vault.away = True
    answer = house.get("/signin")
    assert (answer.status, answer.title) == (503, "The key store is not answering")


# Forms of others


@pytest.mark.parametrize("token", ["", "0" * 64, "é", "x" * 5000])
def test_a_form_without_its_token_is_refused(house: House, token: str) -> None:
    """A form that lost its token, or guesses it, does nothing: not even the throttle is asked."""
    house.get("/signin")
    form = {"csrf_token": token, "username": "owner", "password": OWNER_PASSWORD}
    answer = house.post("/signin", form)
    assert (answer.status, answer.title) == (403, "Please send the form again")
    assert SESSION_COOKIE not in house.cookies
    assert house.events()[-1]["reason"] == "forged_request"


def test_a_form_without_the_cookie_is_refused(house: House) -> None:
    """The token alone is not enough: it belongs to a cookie."""
    token = house.get("/signin").csrf_token
    house.another_browser()
    form = {"csrf_token": token, "username": "owner", "password": OWNER_PASSWORD}
    assert house.post("/signin", form).status == 403


def test_a_form_of_another_browser_is_refused(house: House) -> None:
    """A token that an attacker got for a cookie of their own is worth nothing in another browser."""
    token = house.get("/signin").csrf_token
    house.another_browser()
    house.get("/signin")
    form = {"csrf_token": token, "username": "owner", "password": OWNER_PASSWORD}
    assert house.post("/signin", form).status == 403


def test_a_form_is_good_on_every_instance(house: House) -> None:
    """The token is derived from the pepper, so another instance accepts it."""
    token = house.get("/signin").csrf_token
    house.move_to(house.instance())
    form = {"csrf_token": token, "username": "owner", "password": OWNER_PASSWORD}
    assert house.post("/signin", form).status == 303


def test_two_tabs_share_a_form_cookie(house: House) -> None:
    """Opening the page again does not spoil the form in the first tab."""
    first = house.get("/signin").csrf_token
    house.get("/signin")
    form = {"csrf_token": first, "username": "owner", "password": OWNER_PASSWORD}
    assert house.post("/signin", form).status == 303


# Sessions by password


def test_the_owner_by_password_has_one_hour(house: House) -> None:
    """However busy: an hour after the sign-in the Owner's session by password is over."""
    house.sign_in()
    for _ in range(11):
        house.clock.move(minutes=5)
        assert house.get("/session").status == 200
    house.clock.move(minutes=4, seconds=59)
    assert house.get("/session").status == 200
    house.clock.move(seconds=1)
    assert house.get("/session").status == 401


def test_the_owners_token_never_outlives_the_hour(house: House) -> None:
    """A token that is renewed shortly before the end ends with the session, not ten minutes later."""
    house.sign_in()
    house.clock.move(minutes=55)
    told = house.get("/session").json
    ends = datetime.fromtimestamp(told["expires_at"], tz=START.tzinfo)
    assert ends == START + timedelta(hours=1)
    house.clock.move(minutes=5)
    house.store.away = True
    assert house.get("/session").status == 503


def test_switching_sso_on_ends_a_users_password_session(house: House) -> None:
    """A User's session by password ends at its renewal once SSO is mandatory; the Owner's goes on."""
    house.set_sso(active=False)
    house.sign_in("user", USER_PASSWORD)
    house.set_sso(active=True)
    house.clock.move(minutes=4)
    assert house.get("/session").status == 200
    house.clock.move(minutes=1)
    assert house.get("/session").status == 401
    house.another_browser()
    house.sign_in()
    house.clock.move(minutes=5)
    assert house.get("/session").status == 200


def test_deactivation_ends_a_password_session(house: House) -> None:
    """A deactivated User is out at the next renewal, and cannot come back in."""
    house.set_sso(active=False)
    house.sign_in("user", USER_PASSWORD)
    accounts.deactivate(house.store, account(house, "user"), house.clock())
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401
    assert house.sign_in("user", USER_PASSWORD).status == 403


def test_reactivation_does_not_revive_sessions(house: House) -> None:
    """Sessions from before a deactivation stay over when the account is allowed again."""
    house.set_sso(active=False)
    house.sign_in("user", USER_PASSWORD)
    house.clock.move(minutes=1)
    gone = accounts.deactivate(house.store, account(house, "user"), house.clock())
    accounts.save(house.store, replace(gone, allow_login=True))
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


def test_a_password_of_old_parameters_is_hashed_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a sign-in with an outdated hash the row holds a new one, and the password still works."""
    before = account(house, "owner").password_hash.reveal()

    def outdated(*_: object) -> Verification:
        return Verification(matches=True, rehash_needed=True)

    with monkeypatch.context() as patched:
        patched.setattr(password_signin, "verify_password", outdated)
        house.sign_in()
    assert account(house, "owner").password_hash.reveal() != before
    house.another_browser()
    assert house.sign_in().status == 303


def test_a_rehash_that_fails_does_not_fail_the_sign_in(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changed the account at the same moment: the person is signed in all the same."""
    monkeypatch.setattr(
        password_signin, "verify_password", lambda *_: Verification(matches=True, rehash_needed=True)
    )
    real = accounts.save

    def changed_meanwhile(store: Store, one: accounts.Account) -> accounts.Account:
        real(store, one)
        return real(store, one)

    monkeypatch.setattr(accounts, "save", changed_meanwhile)
    assert house.sign_in().status == 303
