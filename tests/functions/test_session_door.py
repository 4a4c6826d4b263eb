"""`/session`, `/logout`, `/logout/microsoft` and the key set, with a clock that moves."""

import hmac
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from functions.http import SESSION_COOKIE
from shared import accounts, session
from shared.access import Level
from shared.errors import UpstreamUnavailable
from shared.jws import attach, signing_input
from shared.key_ring import SECRET_NAME, KeyRing, RingKey
from shared.ports import ProviderMetadata, Row, Table, VaultSecret
from tests.house import ADDRESS, ISSUER, NURSE, START, Answer, House

SID = "a-session-at-microsoft"


def logout(house: House, **headers: str) -> Answer:
    """Send the form of the start page."""
    return house.call("POST", "/logout", headers={"origin": ADDRESS} | headers)


def sid(house: House) -> str:
    """Read the session id from the visitor's token."""
    claims = jwt.decode(house.cookies[SESSION_COOKIE], options={"verify_signature": False})
    return str(claims["sid"])


def rotate(house: House, signs_in: timedelta = timedelta(0)) -> KeyRing:
    """Put a ring with one more key into the vault; nobody is told."""
    ring = KeyRing.from_secret(house.vault.secrets[SECRET_NAME].value)
    fresh = replace(KeyRing.generate(house.clock()).keys[0], signs_from=house.clock() + signs_in)
    longer = KeyRing((*ring.keys, fresh))
    house.vault.secrets[SECRET_NAME] = VaultSecret(longer.to_secret())
    return longer


def public_pem(house: House) -> str:
    """Write the key that verifies session tokens as PEM."""
    public_key = house.services.key_ring.get().keys[0].public_key
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


# Who is signed in


def test_a_session_is_told_as_json_and_headers(house: House) -> None:
    """An application or a proxy learns account, level, name, method and times."""
    house.identity.name = "Schwester Zoë"
    house.sign_in_with_microsoft()
    answer = house.get("/session")
    assert answer.status == 200
    assert answer.json == {
        "account": NURSE.account_id,
        "level": "user",
        "name": "Schwester Zoë",
        "method": "microsoft",
        "auth_time": int(START.timestamp()),
        "expires_at": int(START.timestamp()) + 600,
    }
    headers = [answer.header(f"X-SOS-{name}") for name in ("Account", "Level", "Name", "Method")]
    assert headers == [NURSE.account_id, "user", quote("Schwester Zoë"), "microsoft"]


def test_no_session_is_a_401_with_a_way_in(house: House) -> None:
    """RFC 9110, 11.6.1: a 401 names a scheme; the JSON names the door. Nothing is logged: it is everyday noise."""
    answer = house.get("/session")
    assert answer.status == 401
    assert answer.json == {"error": "invalid_session", "login": f"{ADDRESS}/login"}
    assert answer.header("WWW-Authenticate") == 'Cookie realm="sos"'
    assert house.events() == []


def test_the_token_is_what_the_architecture_says(house: House) -> None:
    """ES256, typed, signed by a published key, ten minutes, under a kilobyte, and no claim more than needed."""
    house.identity.name = "𐌰" * 200
    house.sign_in_with_microsoft()
    token = house.cookies[SESSION_COOKIE]
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("session+jwt", "ES256")
    keys = jwt.PyJWKSet.from_dict(house.get("/.well-known/jwks.json").json)
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    claims = jwt.decode(
        token, keys[header["kid"]], algorithms=["ES256"], audience=ADDRESS, issuer=ADDRESS, options=options
    )
    names = {"iss", "aud", "sub", "sid", "level", "name", "method", "auth_time", "iat", "exp"}
    assert set(claims) == names
    assert claims["exp"] - claims["iat"] == 600
    assert len(token) < 1024


@pytest.mark.parametrize("minutes", [0, 4.9])
def test_a_fresh_token_is_not_renewed(house: House, minutes: float) -> None:
    """In the first half of its life nothing is read and nothing is set."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=minutes)
    house.store.away = True
    answer = house.get("/session")
    assert (answer.status, answer.set_cookies) == (200, [])


@pytest.mark.parametrize("minutes", [5, 9.9, 10, 59])
def test_an_older_token_is_renewed_from_its_row(house: House, minutes: float) -> None:
    """Past half its life, and after its end while the row lives, the answer brings a new token for ten minutes."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=minutes)
    answer = house.get("/session")
    assert answer.status == 200
    assert answer.json["expires_at"] == int((house.clock.now + timedelta(minutes=10)).timestamp())
    assert answer.json["auth_time"] == int(START.timestamp())
    assert len(answer.set_cookies) == 1
    house.store.away = True
    assert house.get("/session").set_cookies == []


def test_an_expired_token_is_not_believed_while_the_store_is_away(house: House) -> None:
    """503, as JSON with a reference that stands in the log; it is not a 401, which would send people to sign in."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=10)
    house.store.away = True
    answer = house.get("/session")
    assert answer.status == 503
    assert answer.json["error"] == "upstream_unavailable"
    house.store.away = False
    assert house.events()[-1]["reference"] == answer.json["reference"]


def test_a_token_before_its_end_outlives_the_store(house: House) -> None:
    """Nine minutes and 59 seconds old, and the row cannot be read: good."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=9, seconds=59)
    house.store.away = True
    assert house.get("/session").status == 200


def test_an_idle_hour_ends_a_session(house: House) -> None:
    """59:59 without a request is not too long, one hour is."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=59, seconds=59)
    assert house.get("/session").status == 200
    house.clock.move(hours=1)
    assert house.get("/session").status == 401


def test_twelve_hours_are_the_end(house: House) -> None:
    """However busy, a session ends twelve hours after its sign-in, and its last token with it."""
    house.sign_in_with_microsoft()
    for _ in range(24 * 6 - 2):
        house.clock.move(minutes=5)
        assert house.get("/session").status == 200
    house.clock.move(minutes=5)
    answer = house.get("/session")
    assert answer.json["expires_at"] == int((START + timedelta(hours=12)).timestamp())
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


def test_deactivation_ends_a_microsoft_session(house: House) -> None:
    """At most ten minutes after the account is deactivated its sessions are over; half that where it is used."""
    house.sign_in_with_microsoft()
    made = accounts.account_by_principal(house.store, NURSE)
    assert made is not None
    accounts.deactivate(house.store, made, house.clock())
    house.clock.move(minutes=4, seconds=59)
    assert house.get("/session").status == 200
    house.clock.move(seconds=1)
    assert house.get("/session").status == 401


def test_switching_sso_off_ends_microsoft_sessions(house: House) -> None:
    """The table of methods is asked again at each renewal, in both directions."""
    house.sign_in_with_microsoft()
    house.set_sso(active=False)
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


def test_a_new_level_arrives_with_the_renewal(house: House) -> None:
    """Who is made an Admin is one at the next renewal, and no longer one after being made a User again."""
    house.sign_in_with_microsoft()
    made = accounts.account_by_principal(house.store, NURSE)
    assert made is not None
    raised = accounts.save(house.store, replace(made, level=Level.ADMIN))
    house.clock.move(minutes=5)
    assert house.get("/session").json["level"] == "admin"
    accounts.save(house.store, replace(raised, level=Level.USER))
    house.clock.move(minutes=5)
    assert house.get("/session").json["level"] == "user"


def test_two_tabs_that_renew_at_once_both_go_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that lost the race against another tab is as good as the one that won."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=5)
    replace_row = house.store.replace

    def slow(table: Table, row: Row) -> Row:
        replace_row(table, row)
        return replace_row(table, row)  # the row that was read is old by now

    monkeypatch.setattr(house.store, "replace", slow)
    assert house.get("/session").status == 200


def test_a_session_that_is_ended_during_its_renewal_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign-out between the look and the write wins."""
    house.sign_in_with_microsoft()
    house.clock.move(minutes=5)
    replace_row = house.store.replace

    def too_late(table: Table, row: Row) -> Row:
        session.end(house.store, f"{row.partition}.{row.key}")
        return replace_row(table, row)

    monkeypatch.setattr(house.store, "replace", too_late)
    assert house.get("/session").status == 401


# Clocks


def test_a_clock_that_jumps_ahead_ends_what_is_over(house: House) -> None:
    """A jump of a day ends the session; when the clock is right again nothing worse has happened."""
    house.sign_in_with_microsoft()
    house.clock.move(days=1)
    assert house.get("/session").status == 401
    house.clock.move(days=-1)
    assert house.get("/session").status == 200


def test_a_token_from_the_future_is_no_token(house: House) -> None:
    """Made by a clock more than a minute ahead, it would live too long: refused until its time comes."""
    house.clock.move(minutes=30)
    house.sign_in_with_microsoft()
    house.clock.move(minutes=-30)
    assert house.get("/session").status == 401
    house.clock.move(minutes=29)
    assert house.get("/session").status == 200


def test_a_clock_that_is_set_back_does_not_make_a_session_idle_early(house: House) -> None:
    """`last_seen` never goes back: an instance whose clock is behind does not undo what another one saw."""
    house.sign_in_with_microsoft()
    of_another_tab = dict(house.cookies)
    house.clock.move(minutes=30)
    assert house.get("/session").status == 200
    house.cookies = of_another_tab
    house.clock.move(minutes=-1)
    assert len(house.get("/session").set_cookies) == 1
    house.clock.move(minutes=60, seconds=30)
    assert house.get("/session").status == 200


# Keys


def test_rotation_ends_no_session(house: House) -> None:
    """A key is published, then signs; tokens of the old one stay good, and the next renewal uses the new one."""
    house.sign_in_with_microsoft()
    ring = rotate(house, signs_in=timedelta(minutes=30))
    old, new = (key.key_id for key in ring.keys)
    for _ in range(13):
        house.clock.move(minutes=5)
        assert house.get("/session").status == 200
    assert jwt.get_unverified_header(house.cookies[SESSION_COOKIE])["kid"] == new
    published = [key["kid"] for key in house.get("/.well-known/jwks.json").json["keys"]]
    assert published == [old, new]


def test_a_token_of_a_newer_ring_is_understood_at_once(house: House) -> None:
    """Another instance signs with a key that we have not read yet: the ring is read again, and the person stays."""
    house.sign_in_with_microsoft()
    mine = house.services
    rotate(house)
    house.move_to(house.instance())
    house.clock.move(minutes=5)
    assert house.get("/session").status == 200
    house.move_to(mine)
    assert house.get("/session").status == 200


def test_a_sign_in_begun_at_an_instance_with_a_newer_ring_can_finish(house: House) -> None:
    """A transaction sealed with a key that this instance does not know yet is opened after reading the ring again."""
    house.get("/login")
    mine = house.services
    rotate(house)
    house.move_to(house.instance())
    house.another_browser()
    state = house.start_at_microsoft()
    house.move_to(mine)
    assert house.finish_at_microsoft(state).location == "/"


def test_unknown_keys_make_us_read_the_ring_once_a_minute(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forged key ids cannot make us call the vault at will."""
    house.sign_in_with_microsoft()
    key = KeyRing.generate(START).keys[0]
    claims = jwt.decode(house.cookies[SESSION_COOKIE], options={"verify_signature": False})
    header = {"typ": "session+jwt", "kid": key.key_id}
    forged = jwt.encode(claims, key.private_key, algorithm="ES256", headers=header)
    house.cookies[SESSION_COOKIE] = forged
    reads: list[str] = []
    secret = house.vault.secret

    def counted(name: str) -> VaultSecret | None:
        reads.append(name)
        return secret(name)

    monkeypatch.setattr(house.vault, "secret", counted)
    for _ in range(10):
        assert house.get("/session").status == 401
    assert reads == [SECRET_NAME]
    house.clock.move(seconds=59)
    house.get("/session")
    assert reads == [SECRET_NAME]
    house.clock.move(seconds=1)
    house.get("/session")
    assert reads == [SECRET_NAME] * 2
    # A clock that was set back does not stop the reading for as long as it was ahead.
    house.clock.move(hours=-1)
    house.services.key_ring.get()
    reads.clear()
    house.get("/session")
    assert reads == [SECRET_NAME]


def test_a_broken_token_makes_us_read_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an unknown key is a reason to ask the vault: a broken or forged token under a known one is not."""
    house.sign_in_with_microsoft()
    token = house.cookies[SESSION_COOKIE]
    reads: list[str] = []
    monkeypatch.setattr(house.vault, "secret", reads.append)
    for broken in ("a.b.c", f"{token[:-4]}AAAA", token * 20):
        house.cookies[SESSION_COOKIE] = broken
        assert house.get("/session").status == 401
    assert reads == []


def test_a_key_that_was_dropped_ends_its_tokens(house: House) -> None:
    """After an emergency (a ring with new keys only) old tokens are worth nothing, within the ten minutes."""
    house.sign_in_with_microsoft()
    house.vault.secrets[SECRET_NAME] = VaultSecret(KeyRing.generate(house.clock()).to_secret())
    house.services.key_ring.forget()
    assert house.get("/session").status == 401


def test_another_kind_of_token_is_no_session(house: House) -> None:
    """RFC 8725, 3.11: a token that our key signed for another purpose opens nothing."""
    house.sign_in_with_microsoft()
    claims = jwt.decode(house.cookies[SESSION_COOKIE], options={"verify_signature": False})
    key: RingKey = house.services.key_ring.get().keys[0]
    header = {"typ": "something+jwt", "kid": key.key_id}
    house.cookies[SESSION_COOKIE] = jwt.encode(claims, key.private_key, algorithm="ES256", headers=header)
    assert house.get("/session").status == 401


def test_the_public_key_does_not_sign(house: House) -> None:
    """Algorithm confusion (RFC 8725, 2.1): a token signed by HMAC with the published key as the secret is nothing."""
    house.sign_in_with_microsoft()
    token = house.cookies[SESSION_COOKIE]
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    header = {"typ": "session+jwt", "kid": kid}
    for secret in (house.get("/.well-known/jwks.json").text, public_pem(house)):
        unsigned = signing_input(header | {"alg": "HS256"}, claims | {"level": "owner"})
        house.cookies[SESSION_COOKIE] = attach(unsigned, hmac.digest(secret.encode(), unsigned, "sha256"))
        assert house.get("/session").status == 401
    house.cookies[SESSION_COOKIE] = jwt.encode(claims, "", "none", headers=header)
    assert house.get("/session").status == 401


def test_the_key_set_is_public_and_holds_no_private_key(house: House) -> None:
    """RFC 7517 for anybody, for an hour; `d` is not in it."""
    answer = house.get("/.well-known/jwks.json")
    assert answer.status == 200
    assert answer.header("Cache-Control") == "public, max-age=3600"
    assert answer.header("Access-Control-Allow-Origin") == "*"
    (key,) = answer.json["keys"]
    assert set(key) == {"kty", "crv", "use", "alg", "kid", "x", "y"}


def test_the_key_set_is_answered_while_the_vault_is_away(house: House) -> None:
    """Applications can verify for as long as this instance remembers the keys; a cold one says 503 as JSON."""
    house.get("/.well-known/jwks.json")
    house.vault.away = True
    house.clock.move(hours=5)
    assert house.get("/.well-known/jwks.json").status == 200
    house.move_to(house.instance())
    answer = house.get("/.well-known/jwks.json")
    assert (answer.status, answer.json["error"]) == (503, "upstream_unavailable")


# Signing out


def test_signing_out_ends_the_session_on_the_server(house: House) -> None:
    """A copy of the token is worth nothing at its next renewal, and the browser forgets it at once."""
    house.sign_in()
    copy = house.cookies[SESSION_COOKIE]
    answer = logout(house)
    assert (answer.status, answer.title) == (200, "You are signed out")
    assert SESSION_COOKIE not in house.cookies
    assert house.events()[-1]["event"] == "signout"
    house.cookies[SESSION_COOKIE] = copy
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


def test_signing_out_of_microsoft_as_well(house: House) -> None:
    """A session from Microsoft goes on to Microsoft's sign-out, and comes back to the redirect URI."""
    house.sign_in_with_microsoft()
    answer = logout(house)
    assert answer.status == 303
    target = urlsplit(answer.location)
    assert f"{target.scheme}://{target.netloc}{target.path}" == "https://login.microsoftonline.com/logout"
    assert parse_qs(target.query) == {"post_logout_redirect_uri": [f"{ADDRESS}/azure"]}
    assert SESSION_COOKIE not in house.cookies


def test_signing_out_with_an_expired_token_ends_the_session(house: House) -> None:
    """The row of a token that expired in the browser is ended as well."""
    house.sign_in()
    copy = house.cookies[SESSION_COOKIE]
    house.clock.move(minutes=30)
    logout(house)
    house.cookies[SESSION_COOKIE] = copy
    assert house.get("/session").status == 401


def test_signing_out_with_a_token_of_a_newer_ring_ends_the_session(house: House) -> None:
    """An instance that does not know the key yet reads the ring again instead of only saying that it is done."""
    house.get("/login")
    mine = house.services
    rotate(house)
    house.move_to(house.instance())
    house.another_browser()
    house.sign_in()
    copy = house.cookies[SESSION_COOKIE]
    house.move_to(mine)
    logout(house)
    house.cookies[SESSION_COOKIE] = copy
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


@pytest.mark.parametrize("cookie", ["", "junk"])
def test_signing_out_without_a_session_is_fine(house: House, cookie: str) -> None:
    """Twice is as good as once."""
    house.cookies[SESSION_COOKIE] = cookie
    assert logout(house).title == "You are signed out"
    assert SESSION_COOKIE not in house.cookies


def test_signing_out_while_the_store_is_away_says_so_and_clears_the_browser(house: House) -> None:
    """The session could not be ended on the server, which the page says; this computer forgets it all the same."""
    house.sign_in()
    house.store.away = True
    answer = logout(house)
    assert answer.status == 503
    assert SESSION_COOKIE not in house.cookies


def test_signing_out_while_microsoft_is_away_ends_it_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign-out here does not depend on Microsoft."""
    house.sign_in_with_microsoft()

    def away(application: object) -> object:
        del application
        raise UpstreamUnavailable("microsoft")

    monkeypatch.setattr(house.identity, "metadata", away)
    assert logout(house).title == "You are signed out"


def test_a_provider_without_a_sign_out_is_left_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the metadata names no `end_session_endpoint`, the sign-out ends here."""
    house.sign_in_with_microsoft()
    monkeypatch.setattr(house.identity, "metadata", lambda _: ProviderMetadata(ISSUER, ""))
    assert logout(house).title == "You are signed out"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ADDRESS + ".evil.example"}, 403),
        ({"origin": "", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": ""}, 200),
        ({"origin": ADDRESS}, 200),
    ],
)
def test_another_site_cannot_sign_a_person_out(house: House, headers: dict[str, str], status: int) -> None:
    """Only our own page, or the application's, may send the sign-out."""
    house.sign_in()
    assert logout(house, **headers).status == status
    assert (SESSION_COOKIE in house.cookies) is (status == 403)


def test_the_application_may_sign_a_person_out(cheap_passwords: None) -> None:
    """A form on the application's own page works."""
    del cheap_passwords
    house = House(SOS_APP_URL="https://sos.clinic.example/lists")
    house.furnish()
    house.sign_in()
    assert logout(house, origin="https://sos.clinic.example").status == 200


# Microsoft's front channel


def test_microsofts_sign_out_ends_the_sessions_of_its_sid(house: House) -> None:
    """Every session that came from that session of Microsoft is over, in every browser; others go on."""
    house.sign_in_with_microsoft()
    first = dict(house.cookies)
    house.another_browser()
    house.sign_in_with_microsoft()
    second = dict(house.cookies)
    house.another_browser()
    house.identity.claims = {"sid": "another-session"}
    house.sign_in_with_microsoft()
    third = dict(house.cookies)
    house.another_browser()
    assert house.get(f"/logout/microsoft?sid={SID}&iss={quote(ISSUER, safe='')}").status == 200
    house.clock.move(minutes=5)
    statuses = []
    for jar in (first, second, third):
        house.cookies = dict(jar)
        statuses.append(house.get("/session").status)
    assert statuses == [401, 401, 200]
    ended = [event for event in house.events() if event["event"] == "signout"]
    assert [(event["account"], event["reason"]) for event in ended] == [
        (NURSE.account_id, "front_channel")
    ] * 2


@pytest.mark.parametrize(
    "query",
    ["", f"?sid={SID}", f"?sid={SID}&iss=https://evil.example", f"?iss={ISSUER}", f"?sid=&iss={ISSUER}"],
)
def test_a_front_channel_sign_out_must_name_sid_and_issuer(house: House, query: str) -> None:
    """OpenID Connect Front-Channel Logout 1.0, section 2: without them, or with another issuer, nothing happens."""
    house.sign_in_with_microsoft()
    answer = house.get(f"/logout/microsoft{query}")
    assert (answer.status, answer.json["error"]) == (400, "bad_request")
    house.clock.move(minutes=5)
    assert house.get("/session").status == 200


def test_a_made_up_sid_signs_nobody_out(house: House) -> None:
    """The issuer is no secret: a link with a made-up sid must not take the cookie from whoever follows it."""
    house.sign_in_with_microsoft()
    assert house.get(f"/logout/microsoft?sid=made-up&iss={ISSUER}").status == 200
    assert SESSION_COOKIE in house.cookies
    assert house.get("/session").status == 200


def test_a_session_by_password_is_not_microsofts_to_end(house: House) -> None:
    """The front channel finds sessions by Microsoft's sid alone."""
    house.sign_in()
    key = sid(house).partition(".")[2]
    kept = dict(house.cookies)
    for guess in (key, sid(house), "", "owner"):
        house.get(f"/logout/microsoft?sid={guess}&iss={ISSUER}")
    house.cookies = kept
    house.clock.move(minutes=5)
    assert house.get("/session").json["method"] == "password"


def test_front_channel_before_the_set_up_is_refused(cheap_passwords: None) -> None:
    """Without an application there is no Microsoft to listen to."""
    del cheap_passwords
    answer = House().get(f"/logout/microsoft?sid={SID}&iss={ISSUER}")
    assert (answer.status, answer.json["error"]) == (503, "not_configured")


def test_a_secret_is_not_in_a_token(house: House) -> None:
    """No token of Microsoft, no e-mail and no group list goes into the cookie."""
    house.identity.claims = {"email": "nurse@clinic.example", "groups": ["g"], "preferred_username": "nurse"}
    house.sign_in_with_microsoft()
    claims = jwt.decode(house.cookies[SESSION_COOKIE], options={"verify_signature": False})
    assert "nurse" not in str(claims)
    assert "groups" not in claims
