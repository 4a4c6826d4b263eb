"""Sessions: what an application learns from the token and from `/session`, and when a session is over."""

import base64
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.playground import ACCOUNTS, OWNER
from shared import accounts, session
from shared.access import AuthenticationMethod
from shared.base64url import random_id
from shared.ports import Table
from tests.client import Browser, Page
from tests.journeys.town import NURSE, SESSION, Town

pytestmark = pytest.mark.system

MINUTE = timedelta(minutes=1)


def _token(town: Town, browser: Browser) -> str:
    return browser.cookies(town.address)[SESSION]


def _verify(town: Town, token: str) -> dict[str, Any]:
    """Verify a token as an application does: PyJWT and the published keys, nothing of ours."""
    keys = town.browser().get(f"{town.address}/.well-known/jwks.json").response.json()
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token,
        key.key,
        algorithms=["ES256"],
        audience=town.address,
        issuer=town.address,
        options={"require": ["exp", "iat", "sub", "iss", "aud"]},
    )
    return claims


def _with_shared_secret(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """Sign with HMAC by hand: PyJWT refuses to take a public key for a secret, an attacker does not."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.digest(secret, b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def _with_token(town: Town, token: str, path: str = "/session") -> Page:
    browser = town.browser()
    browser.set_cookie(town.address, SESSION, token)
    return browser.get(town.address + path)


def _row(town: Town, browser: Browser) -> tuple[str, str]:
    partition, _, key = _verify(town, _token(town, browser))["sid"].partition(".")
    return partition, key


def test_an_application_verifies_the_token_by_itself(town: Town) -> None:
    """PyJWT with the published key set reads who is signed in: 10 minutes long, explicitly typed, under 1 KB."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    token = _token(town, browser)
    claims = _verify(town, token)
    assert jwt.get_unverified_header(token)["typ"] == "session+jwt"
    assert claims["exp"] - claims["iat"] == 600
    assert (claims["level"], claims["name"], claims["method"]) == ("user", NURSE.name, "microsoft")
    assert claims["sub"] == town.session_of(browser)["account"]
    assert set(claims) == {
        "iss", "aud", "sub", "sid", "level", "name", "method", "auth_time", "iat", "exp",
    }  # fmt: skip
    assert len(token) < 1024


def test_the_key_set_shows_public_keys_only(town: Town) -> None:
    """`/.well-known/jwks.json` holds no private part, and may be cached and read from any origin."""
    page = town.browser().get(f"{town.address}/.well-known/jwks.json")
    keys = page.response.json()["keys"]
    assert keys
    assert all({"kty", "crv", "x", "y", "kid", "use", "alg"} == set(key) for key in keys)
    assert page.response.headers["access-control-allow-origin"] == "*"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(town: Town) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite=Lax, the whole path, no domain, and gone with the browser."""
    answer = town.to_microsoft(browser := town.browser())
    done = browser.submit(answer, follow=False)
    line = next(c for c in done.response.headers.get_list("set-cookie") if c.startswith(SESSION))
    attributes = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not [a for a in attributes if a.startswith(("max-age", "expires"))]
    assert not [a for a in attributes if a.startswith("domain=") and a != "domain="]


def test_session_says_who_is_signed_in(town: Town) -> None:
    """`/session` answers as JSON and as headers for a proxy, the name percent-encoded because headers are ASCII."""
    person = town.new_person(name="Ärztin im Nachtdienst")
    browser = town.browser()
    town.sign_in_microsoft(browser, person)
    page = browser.get(f"{town.address}/session")
    body, headers = page.response.json(), page.response.headers
    assert page.status == 200
    assert body["name"] == "Ärztin im Nachtdienst"
    assert headers["x-sos-name"] == "%C3%84rztin%20im%20Nachtdienst"
    assert headers["x-sos-account"] == body["account"]
    assert headers["x-sos-level"] == body["level"] == "user"
    assert headers["x-sos-method"] == body["method"] == "microsoft"
    assert body["expires_at"] - body["auth_time"] == 600


def test_without_a_session_the_answer_is_401(town: Town) -> None:
    """401 with a challenge and the address of the sign-in, and no X-SOS header."""
    page = town.browser().get(f"{town.address}/session")
    assert page.status == 401
    assert page.response.headers["www-authenticate"]
    assert page.response.json()["login"] == f"{town.address}/login"
    assert not [name for name in page.response.headers if name.startswith("x-sos")]


def test_a_fresh_session_costs_no_call(town: Town) -> None:
    """`/session` with a young token asks neither the store nor the vault nor Microsoft, and sets no cookie."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    town.calm()
    page = browser.get(f"{town.address}/session")
    assert page.status == 200
    assert "set-cookie" not in page.response.headers
    assert not [name for name in town.calls("store") if "audit" not in name and "settings" not in name]
    assert town.calls("vault") == town.calls("entra") == {}


def test_a_forged_token_is_refused(town: Town) -> None:
    """No algorithm, a foreign key, the public key as a shared secret, changed claims: 401 for each."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    token = _token(town, browser)
    header, claims = jwt.get_unverified_header(token), _verify(town, token)
    raised = claims | {"level": "owner", "sub": "owner"}
    key = town.services.key_ring.get().keys[0].public_key
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    segments = token.split(".")
    body = base64.urlsafe_b64encode(json.dumps(raised).encode()).rstrip(b"=").decode()
    forged = [
        jwt.encode(raised, "", algorithm="none", headers=header | {"alg": "none"}),
        jwt.encode(raised, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers=header),
        _with_shared_secret(header | {"alg": "HS256"}, raised, public),
        f"{segments[0]}.{body}.{segments[2]}",
        f"{segments[0]}.{segments[1]}.",
        f"{segments[0]}.{segments[1]}",
    ]
    assert [_with_token(town, other).status for other in forged] == [401] * len(forged)
    assert _with_token(town, token).status == 200


def test_a_token_of_another_purpose_is_refused(town: Town) -> None:
    """Our own key is not enough: issuer, audience and type must be those of a session."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    token = _token(town, browser)
    header, claims = jwt.get_unverified_header(token), _verify(town, token)
    private = town.services.key_ring.get().keys[0].private_key

    def sign(changes: dict[str, object], kind: str = "session+jwt") -> str:
        return jwt.encode(claims | changes, private, algorithm="ES256", headers=header | {"typ": kind})

    wrong = [sign({"iss": "https://evil.example"}), sign({"aud": "https://evil.example"}), sign({}, "JWT")]
    assert [_with_token(town, other).status for other in wrong] == [401] * 3
    assert _with_token(town, sign({})).status == 200


def test_a_session_is_renewed_past_half_of_its_life(town: Town) -> None:
    """After five minutes `/session` and `/` bring the next token along, from the row, for ten minutes more."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    town.age_session(browser, 6 * MINUTE)
    old = _verify(town, _token(town, browser))
    assert browser.get(f"{town.address}/session").status == 200
    new = _verify(town, _token(town, browser))
    assert new["exp"] > old["exp"]
    assert {name: new[name] for name in ("sub", "sid", "auth_time", "level")} == {
        name: old[name] for name in ("sub", "sid", "auth_time", "level")
    }


def test_the_very_first_session_of_a_person_is_renewed_too(town: Town) -> None:
    """The sign-in that makes the account makes a session that lives as long as any other."""
    person, browser = town.new_person(), town.browser()
    town.sign_in_microsoft(browser, person)
    town.age_session(browser, 6 * MINUTE)
    assert town.session_of(browser).get("name") == person.name


def test_an_expired_token_with_a_live_row_goes_straight_on(town: Town) -> None:
    """`/login` with a token that has run out, while its session lives: a new token, and no way by Microsoft."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    town.age_session(browser, 20 * MINUTE)
    town.calm()
    page = browser.get(f"{town.address}/login?next=/ward/7")
    assert page.location == f"{town.address}/ward/7"
    assert "authorize" not in town.calls("entra")
    assert town.session_of(browser)["name"] == NURSE.name


def test_an_idle_session_is_over(town: Town) -> None:
    """One hour without a renewal ends a session."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    long_ago = town.services.clock() - 61 * MINUTE
    town.change_row(Table.SESSIONS, *_row(town, browser), last_seen=long_ago)
    town.age_session(browser, 6 * MINUTE)
    assert town.session_of(browser) == {}


@pytest.mark.parametrize(("hours", "alive"), [(11, True), (12, False)])
def test_a_session_ends_after_twelve_hours(town: Town, hours: int, alive: bool) -> None:  # noqa: FBT001 - the expectation
    """However busy it is, a session by Microsoft ends 12 hours after its sign-in."""
    browser = town.browser()
    person = town.new_person()
    town.sign_in_microsoft(browser, person)
    row = _row(town, browser)
    signed_in_at = town.services.clock() - timedelta(hours=hours, minutes=1)
    town.change_row(Table.SESSIONS, *row, auth_time=signed_in_at)
    account = str(town.session_of(browser)["account"])
    town.change_row(Table.ACCOUNTS, "account", account, sessions_from=signed_in_at - MINUTE)
    town.age_session(browser, 6 * MINUTE)
    assert bool(town.session_of(browser)) is alive


@pytest.mark.parametrize(("minutes", "alive"), [(50, True), (61, False)])
def test_the_owners_password_session_ends_after_an_hour(town: Town, minutes: int, alive: bool) -> None:  # noqa: FBT001 - as above
    """The Owner by password has one hour, and no renewal makes it longer."""
    browser = town.browser()
    town.enter(browser, OWNER)
    signed_in_at = town.services.clock() - timedelta(minutes=minutes)
    owner = town.services.store.get(Table.ACCOUNTS, "account", accounts.OWNER_ID)
    assert owner is not None
    town.change_row(Table.SESSIONS, *_row(town, browser), auth_time=signed_in_at)
    town.change_row(Table.ACCOUNTS, "account", accounts.OWNER_ID, sessions_from=signed_in_at - MINUTE)
    town.age_session(browser, 6 * MINUTE)
    found = town.session_of(browser)
    town.change_row(Table.ACCOUNTS, "account", accounts.OWNER_ID, sessions_from=owner.values["sessions_from"])
    assert bool(found) is alive
    if alive:
        assert found["expires_at"] == int((signed_in_at + timedelta(hours=1)).timestamp())


def test_deactivating_an_account_ends_its_sessions(town: Town) -> None:
    """Allow Login unticked: the running session is refused at its next renewal."""
    person = town.new_person()
    town.sign_in_microsoft(town.browser(), person)
    browser = town.browser()
    town.sign_in_microsoft(browser, person)
    account = accounts.account_by_id(town.services.store, town.session_of(browser)["account"])
    assert account is not None
    town.age_session(browser, 6 * MINUTE)
    assert town.session_of(browser)
    accounts.deactivate(town.services.store, account, town.services.clock())
    town.age_session(browser, 6 * MINUTE)
    assert town.session_of(browser) == {}
    assert browser.get(f"{town.address}/").location == f"{town.address}/login"


def test_a_password_session_ends_when_sso_is_active(town: Town) -> None:
    """Whoever had signed in by password before SSO became mandatory is sent to Microsoft at the next renewal."""
    user = accounts.account_by_user_name(town.services.store, ACCOUNTS[1].username)
    assert user is not None
    now = town.services.clock()
    signed_in = session.SignedIn(user, user.level, AuthenticationMethod.PASSWORD, random_id())
    made = session.create(town.services.store, signed_in, now)
    browser = town.browser()
    token = session.write_token(made, town.services.key_ring.get(), town.services.issuer, now)
    browser.set_cookie(town.address, SESSION, token)
    assert town.session_of(browser)["level"] == "user"
    town.age_session(browser, 6 * MINUTE)
    assert town.session_of(browser) == {}


def test_a_change_of_level_reaches_a_running_session(town: Town) -> None:
    """The level is read from the account at each renewal."""
    person, browser = town.new_person(), town.browser()
    town.sign_in_microsoft(browser, person)
    account = str(town.session_of(browser)["account"])
    town.change_row(Table.ACCOUNTS, "account", account, level="admin")
    town.age_session(browser, 6 * MINUTE)
    assert town.session_of(browser)["level"] == "admin"


def test_each_sign_in_makes_a_session_of_its_own(town: Town) -> None:
    """A new session id at every sign-in (ASVS 7.2.4): none is taken from the browser."""
    browser = town.browser()
    ids = []
    for _ in range(2):
        town.sign_in_microsoft(browser)
        ids.append(_verify(town, _token(town, browser))["sid"])
        browser.forget(town.address, SESSION)
    assert ids[0] != ids[1]
