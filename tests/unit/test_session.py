import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared import accounts, callback, jws, session, signin
from shared.access import AuthenticationMethod, Level
from shared.accounts import Account
from shared.base64url import base64url, random_id
from shared.errors import Conflict, InvalidSession
from shared.key_ring import KeyRing, RingKey
from shared.ports import Row, Store, Table
from shared.secret import Secret
from shared.services import Services
from shared.session import Issuer, Session, SignedIn
from tests.house import NURSE, START, House, MovableClock
from tests.memory import MemoryStore
from tests.unit.spy_store import SpyStore

MICROSOFT, PASSWORD = AuthenticationMethod.MICROSOFT, AuthenticationMethod.PASSWORD
USER, ADMIN, OWNER = Level.USER, Level.ADMIN, Level.OWNER
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
TICK = timedelta(microseconds=1)

ISSUER = Issuer("https://signin.clinic.example", "https://sos.clinic.example/lists")
RING = KeyRing(
    (
        RingKey("key-old_", ec.generate_private_key(ec.SECP256R1()), START - HOUR),
        RingKey("key-now_", ec.generate_private_key(ec.SECP256R1()), START),
        RingKey("key-next", ec.generate_private_key(ec.SECP256R1()), START + 24 * HOUR),
    )
)
OLD_KEY, NOW_KEY, NEXT_KEY = RING.keys


class Ward:
    """A store with one account, a clock, and SSO active or not."""

    def __init__(
        self, level: Level = USER, method: AuthenticationMethod = MICROSOFT, *, name: str = "Nurse"
    ) -> None:
        self.store = SpyStore()
        self.clock = MovableClock()
        self.method = method
        self.sso_active = method is MICROSOFT
        if level is OWNER:
            self.account = accounts.set_owner(self.store, "owner", Secret("x"), "token", START)
        else:
            self.account = accounts.create(self.store, "nurse", name, level, Secret("x"), START)

    def sign_in(self, level: Level | None = None, provider_session: str = "") -> Session:
        """Make a session now."""
        level = self.account.level if level is None else level
        signed_in = SignedIn(self.account, level, self.method, random_id(), "SOS.Admin", provider_session)
        return session.create(self.store, signed_in, self.clock())

    def renew(self, made: Session) -> Session:
        """Renew a session now."""
        return session.renew(
            self.store, made.id, self.clock(), sso_active=self.sso_active, admin_role="SOS.Admin"
        )

    def why_not(self, made: Session) -> str:
        """Say why a session is not renewed; empty when it is."""
        try:
            self.renew(made)
        except InvalidSession as error:
            return error.kind
        return ""

    def keep_alive(self, made: Session, duration: timedelta) -> Session:
        """Renew a session every 50 minutes until some time has passed."""
        end = self.clock.now + duration
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + 50 * MINUTE, end)
            if self.clock.now < end:
                made = self.renew(made)
        return made


def row_of(store: Store, made: Session) -> Row | None:
    """Read the row of a session."""
    partition, _, key = made.id.partition(".")
    return store.get(Table.SESSIONS, partition, key)


def token_of(made: Session, ring: KeyRing = RING) -> str:
    """Write the token of a session."""
    return session.write_token(made, ring, ISSUER, made.issued_at)


def refused(token: str, now: datetime = START, **options: bool) -> str:
    """Say why a token is refused; empty when it is not."""
    try:
        session.read_token(token, RING, ISSUER, now, **options)
    except InvalidSession as error:
        return error.kind
    return ""


def claims_of(token: str) -> dict[str, object]:
    """Read the claims without a look at anything else."""
    return dict(jws.read(token).claims)


# Tokens


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("method", AuthenticationMethod)
def test_a_token_says_who_is_signed_in(level: Level, method: AuthenticationMethod) -> None:
    """What was written is read."""
    ward = Ward(level, method)
    made = ward.sign_in()
    assert (made.account_id, made.level, made.name, made.method) == (
        ward.account.id,
        level,
        ward.account.name,
        method,
    )
    assert (made.auth_time, made.issued_at, made.expires_at) == (START, START, START + 10 * MINUTE)
    assert session.read_token(token_of(made), RING, ISSUER, START) == made


def test_what_stands_in_a_token() -> None:
    """The claims that were promised and no others; the header says what it is and who signed it."""
    made = Ward().sign_in()
    token = token_of(made)
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "session+jwt", "kid": "key-now_", "alg": "ES256"}
    start = int(START.timestamp())
    assert claims_of(token) == {
        "iss": "https://signin.clinic.example",
        "aud": "https://sos.clinic.example/lists",
        "sub": made.account_id,
        "sid": made.id,
        "level": "user",
        "name": "Nurse",
        "method": "microsoft",
        "auth_time": start,
        "iat": start,
        "exp": start + 600,
    }


def test_an_application_verifies_a_token_by_itself() -> None:
    """PyJWT and the published key set are enough."""
    made = Ward().sign_in()
    made = replace(made, issued_at=datetime.now(UTC), expires_at=datetime.now(UTC) + 10 * MINUTE)
    keys = jwt.PyJWKSet.from_dict(RING.public_jwks())
    token = session.write_token(made, RING, ISSUER, START)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options: jwt.types.Options = {"require": ["exp", "iat", "iss", "aud", "sub"]}
    decoded = jwt.decode(
        token, key, algorithms=["ES256"], audience=ISSUER.audience, issuer=ISSUER.issuer, options=options
    )
    assert decoded["sub"] == made.account_id


def test_fractions_of_a_second_are_dropped() -> None:
    """A NumericDate is whole here: a token never lives longer than its session says."""
    ward = Ward()
    ward.clock.move(microseconds=999_999)
    made = ward.sign_in()
    read = session.read_token(token_of(made), RING, ISSUER, ward.clock())
    assert (read.auth_time, read.issued_at, read.expires_at) == (START, START, START + 10 * MINUTE)


def cut(name: str, made: Session) -> str:
    """Answer a name as a session has it: whole, or its first 60 characters or a few more."""
    assert min(len(name), 60) <= len(made.name) <= 64
    return name[: len(made.name)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Nurse",
        "Krankenpflegerin Ünlü-Çelik",
        '"\\/',
        "名簿",
        "👩‍⚕️",
        "a\u200db",
        "[" * 64,
        "{" * 64,
        "</script>",
        "\t\n\0",
    ],
)
def test_every_name_comes_back(name: str) -> None:
    """What a person is called must not keep them out."""
    made = Ward(name=name).sign_in()
    assert session.read_token(token_of(made), RING, ISSUER, START).name == cut(name, made)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_comes_back_or_its_beginning(name: str) -> None:
    """A long one is cut, for the sake of the cookie."""
    made = Ward(name=name).sign_in()
    assert session.read_token(token_of(made), RING, ISSUER, START).name == cut(name, made)


@pytest.mark.parametrize("letter", ["x", "ä", "名", "😀", '"', "\\", "\u200d"])
def test_a_cookie_has_less_than_a_kilobyte(letter: str) -> None:
    """With long addresses, and a long name of letters that take one to four bytes or a backslash."""
    issuer = Issuer(
        "https://signin.sos.university-hospital.example", "https://sos.university-hospital.example/lists"
    )
    made = Ward(ADMIN, name=letter * 500).sign_in(provider_session="a session at Microsoft")
    cookie = f"__Host-sos-session={session.write_token(made, RING, issuer, START)}"
    assert len(cookie.encode()) < 1024
    assert re.fullmatch(r"__Host-sos-session=[A-Za-z0-9_.-]+", cookie)


@pytest.mark.parametrize(
    "issuer",
    [
        Issuer("https://other.example", ISSUER.audience),
        Issuer(ISSUER.issuer, "https://other.example"),
        Issuer(ISSUER.audience, ISSUER.issuer),
        Issuer(f"{ISSUER.issuer}/", ISSUER.audience),
        Issuer(ISSUER.issuer, ISSUER.audience.upper()),
        Issuer("", ""),
    ],
)
def test_a_token_of_another_house_is_refused(issuer: Issuer) -> None:
    """Another issuer or another audience, although the signature is good."""
    token = session.write_token(Ward().sign_in(), RING, issuer, START)
    assert refused(token) == "audience"


def forged(header: dict[str, object], key: RingKey = NOW_KEY, **claims: object) -> str:
    """Sign a token with a key of the ring, and another header or other claims than ours."""
    good = claims_of(token_of(Ward().sign_in()))
    return jws.sign(header, good | claims, key.private_key)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ({"typ": "JWT", "kid": "key-now_"}, "header"),
        ({"typ": "Session+JWT", "kid": "key-now_"}, "header"),
        ({"kid": "key-now_"}, "header"),
        ({"typ": "session+jwt", "kid": "key-gone"}, "unknown_key"),
        ({"typ": "session+jwt"}, "unknown_key"),
        ({"typ": "session+jwt", "kid": "key-old_"}, "signature"),
        ({"typ": "session+jwt", "kid": "key-now_", "crit": ["exp"]}, "header"),
        ({"typ": "session+jwt", "kid": 7}, "header"),
    ],
)
def test_the_header_must_be_ours(header: dict[str, object], kind: str) -> None:
    """Type and key are checked, although the key is one of the ring."""
    assert refused(forged(header)) == kind


def test_a_key_in_the_header_is_nobodys() -> None:
    """A key that the token brings itself is not used (RFC 8725, section 3.10)."""
    stranger = KeyRing.generate(START)
    (key,) = stranger.keys
    header = {"typ": "session+jwt", "kid": "key-now_", "jwk": key.public_jwk()}
    assert refused(jws.sign(header, claims_of(token_of(Ward().sign_in())), key.private_key)) == "signature"


def test_another_algorithm_is_refused() -> None:
    """Neither none, nor a MAC made with our public key, nor RSA (RFC 8725, section 2.1)."""
    claims = claims_of(token_of(Ward().sign_in()))
    header = {"typ": "session+jwt", "kid": "key-now_"}
    unsigned = jws.signing_input({**header, "alg": "none"}, claims)
    assert refused(f"{unsigned.decode()}.") == "algorithm"
    assert refused(unsigned.decode()) == "malformed"
    raw = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    public = NOW_KEY.public_key.public_bytes(*raw)
    assert refused(jwt.encode(claims, public, "HS256", headers=header)) == "algorithm"
    unsigned = jws.signing_input({**header, "alg": "RS256"}, claims)
    assert refused(jws.attach(unsigned, bytes(256))) == "algorithm"


def test_a_signature_covers_everything() -> None:
    """A claim or the header changed, or the signature of another token."""
    header, claims, signature = token_of(Ward().sign_in()).split(".")
    changed = json.loads(jws.decode_base64url(claims)) | {"level": "owner"}
    as_owner = base64url(json.dumps(changed).encode())
    assert refused(f"{header}.{as_owner}.{signature}") == "signature"
    other = token_of(Ward().sign_in()).split(".")
    assert refused(f"{header}.{claims}.{other[2]}") == "signature"
    assert refused(f"{header}.{claims}.") == "signature"
    assert refused(f"{header}.{claims}.{signature}") == ""


@pytest.mark.parametrize(
    "token", ["", ".", "..", "x", "a.b.c", "a.b.c.d.e", "é.é.é", "A" * 100_000, "\ud800"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Broken cookies have a named answer."""
    assert refused(token) in {"malformed", "too_large"}


@given(st.text() | st.lists(st.binary().map(base64url), min_size=3, max_size=3).map(".".join))
def test_nothing_but_an_invalid_session(token: str) -> None:
    """Whatever a browser brings, the answer is InvalidSession, and it holds nothing of the token."""
    with pytest.raises(InvalidSession) as caught:
        session.read_token(token, RING, ISSUER, START)
    assert caught.value.kind in set(jws.Kind) | {"unknown_key"}
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("offset", "kind"),
    [
        (-MINUTE - SECOND, "issued_in_future"),
        (-MINUTE, ""),
        (timedelta(0), ""),
        (10 * MINUTE - TICK, ""),
        (10 * MINUTE, "expired"),
        (HOUR, "expired"),
    ],
)
def test_when_a_token_is_good(offset: timedelta, kind: str) -> None:
    """Ten minutes, and a minute of tolerance for an instance whose clock is behind."""
    assert refused(token_of(Ward().sign_in()), START + offset) == kind


def test_an_expired_token_can_be_read_for_renewal_alone() -> None:
    """Everything else is still checked."""
    made = Ward().sign_in()
    token = token_of(made)
    found = session.read_token(token, RING, ISSUER, START + 5 * HOUR, allow_expired=True)
    assert found == made
    assert refused(token, START - HOUR, allow_expired=True) == "issued_in_future"
    assert refused(f"{token}A", START + HOUR, allow_expired=True) in {"signature", "malformed"}
    other = session.write_token(made, RING, Issuer(ISSUER.issuer, "https://other.example"), START)
    assert refused(other, START + HOUR, allow_expired=True) == "audience"


@pytest.mark.parametrize("times", [{"iat": "1"}, {"exp": 1.5}, {"auth_time": None}, {"exp": []}])
def test_times_must_be_numbers(times: dict[str, object]) -> None:
    """A time of another type is no time at all."""
    assert refused(forged({"typ": "session+jwt", "kid": "key-now_"}, NOW_KEY, **times)) == "malformed"


@pytest.mark.parametrize("key", [OLD_KEY, NEXT_KEY])
def test_every_published_key_verifies(key: RingKey) -> None:
    """A token of an instance whose ring is older or newer than ours is good."""
    assert refused(forged({"typ": "session+jwt", "kid": key.key_id}, key)) == ""


def test_the_newest_key_signs() -> None:
    """The ring says which one; the token names it."""
    made = Ward().sign_in()
    later = replace(made, issued_at=START + 24 * HOUR)
    assert jwt.get_unverified_header(token_of(made))["kid"] == "key-now_"
    assert jwt.get_unverified_header(token_of(later))["kid"] == "key-next"


# When a token is renewed


@pytest.mark.parametrize(
    ("age", "wanted"),
    [(timedelta(0), False), (5 * MINUTE - TICK, False), (5 * MINUTE, True), (HOUR, True), (-MINUTE, False)],
)
def test_a_token_is_renewed_past_half_its_life(age: timedelta, *, wanted: bool) -> None:
    """A fresh token costs no call."""
    made = Ward().sign_in()
    assert made.wants_renewal(START + age) == wanted


def test_a_short_token_is_renewed_past_half_its_own_life() -> None:
    """Near the end of its session a token lives for less than ten minutes; past its end it is never fresh.

    A token that is over and wants no renewal would be believed by who reads with `allow_expired`.
    """
    ward = Ward(OWNER, PASSWORD)
    made = ward.sign_in()
    ward.clock.move(minutes=58)
    last = ward.renew(made)
    assert last.expires_at == START + HOUR
    assert not last.wants_renewal(START + 58 * MINUTE)
    assert last.wants_renewal(START + 59 * MINUTE)
    assert last.wants_renewal(START + HOUR)
    assert last.wants_renewal(START + HOUR + 2 * MINUTE)


# Rows


def test_a_session_is_one_insert() -> None:
    """A warm sign-in writes once."""
    ward = Ward()
    before = (ward.store.reads, ward.store.writes)
    made = ward.sign_in()
    assert (ward.store.reads, ward.store.writes) == (before[0], before[1] + 1)
    row = row_of(ward.store, made)
    assert row is not None
    assert row.values == {
        "account": ward.account.id,
        "raised_by": "",
        "method": "microsoft",
        "auth_time": START,
        "last_seen": START,
    }


@pytest.mark.parametrize("provider_session", ["", "a session at Microsoft"])
def test_a_key_makes_one_session(provider_session: str) -> None:
    """A login transaction that is replayed finds its session made (the Back button, a second tab)."""
    ward = Ward()
    signed_in = SignedIn(ward.account, USER, MICROSOFT, random_id(), "", provider_session)
    session.create(ward.store, signed_in, START)
    with pytest.raises(Conflict):
        session.create(ward.store, signed_in, START + MINUTE)


def test_ids_are_random_and_fit_a_key() -> None:
    """128 bits (ASVS 7.2.3), of characters that the store takes."""
    keys = {random_id() for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", key) for key in keys)
    made = Ward().sign_in(provider_session="a session at Microsoft / with \\ # ?")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{22}", made.id)


def test_a_renewed_token_is_new() -> None:
    """It lives for another ten minutes, and is of the same session."""
    ward = Ward()
    made = ward.sign_in()
    ward.clock.move(minutes=6)
    renewed = ward.renew(made)
    assert renewed == replace(made, issued_at=START + 6 * MINUTE, expires_at=START + 16 * MINUTE)
    assert session.read_token(token_of(renewed), RING, ISSUER, ward.clock()) == renewed


def test_the_owner_is_asked_for_a_password_every_hour() -> None:
    """The absolute end of the Owner's sessions by password; used or not."""
    ward = Ward(OWNER, PASSWORD)
    made = ward.sign_in()
    ward.clock.move(minutes=30)
    assert ward.why_not(made) == ""
    ward.clock.now = START + HOUR - TICK
    assert ward.renew(made).expires_at == START + HOUR
    ward.clock.move(microseconds=1)
    assert ward.why_not(made) == "absolute_limit"


@pytest.mark.parametrize(
    ("level", "method", "limit"),
    [
        (USER, MICROSOFT, 12 * HOUR),
        (ADMIN, MICROSOFT, 12 * HOUR),
        (OWNER, MICROSOFT, 12 * HOUR),
        (USER, PASSWORD, 12 * HOUR),
        (ADMIN, PASSWORD, 12 * HOUR),
        (OWNER, PASSWORD, HOUR),
    ],
)
def test_the_absolute_limit(level: Level, method: AuthenticationMethod, limit: timedelta) -> None:
    """However busy a session is, it ends (ASVS 7.3.2)."""
    assert session.absolute_limit(method, level) == limit
    ward = Ward(level, method)
    made = ward.sign_in()
    ward.keep_alive(made, limit - TICK)
    last = ward.renew(made)
    assert last.expires_at == START + limit
    ward.clock.move(microseconds=1)
    assert ward.why_not(made) == "absolute_limit"


def test_the_idle_limit() -> None:
    """A computer that was left alone for an hour; each renewal counts as use."""
    ward = Ward()
    made = ward.sign_in()
    ward.clock.move(minutes=59)
    made = ward.renew(made)
    ward.clock.move(hours=1, microseconds=-1)
    made = ward.renew(made)
    ward.clock.move(hours=1)
    assert ward.why_not(made) == "idle_limit"


def test_an_ended_session_is_not_renewed() -> None:
    """Sign-out is final; ending twice is fine."""
    ward = Ward()
    made, other = ward.sign_in(), ward.sign_in()
    session.end(ward.store, made.id)
    session.end(ward.store, made.id)
    assert ward.why_not(made) == "ended"
    assert ward.why_not(other) == ""


@pytest.mark.parametrize("session_id", ["", ".", "x", "x.y", "x.y.z", "no such session"])
def test_ids_that_name_no_session(session_id: str) -> None:
    """They are over, and can be ended."""
    ward = Ward()
    with pytest.raises(InvalidSession) as caught:
        session.renew(ward.store, session_id, START, sso_active=True, admin_role="")
    assert caught.value.kind == "ended"
    session.end(ward.store, session_id)


def test_a_deactivated_account_is_out() -> None:
    """By either method; and a session from before does not come back with the account."""
    for method in AuthenticationMethod:
        ward = Ward(USER, method)
        made = ward.sign_in()
        ward.clock.move(minutes=6)
        gone = accounts.deactivate(ward.store, ward.account, ward.clock())
        assert ward.why_not(made) == "deactivated"
        accounts.save(ward.store, replace(gone, allow_login=True))
        assert ward.why_not(made) == "ended"
        assert ward.why_not(ward.sign_in()) == ""


def test_sessions_from_before_a_moment_are_over() -> None:
    """A new password, or a deactivation, ends what began before it and nothing that begins with it."""
    ward = Ward()
    before = ward.sign_in()
    ward.clock.move(minutes=5)
    at_that_moment = ward.sign_in()
    accounts.save(ward.store, replace(ward.account, sessions_from=ward.clock()))
    ward.clock.move(minutes=5)
    after = ward.sign_in()
    assert [ward.why_not(made) for made in (before, at_that_moment, after)] == ["ended", "", ""]


def test_an_account_that_is_gone() -> None:
    """Its identity was tied to another account: whoever is in as the old one is out."""
    ward = Ward()
    ward.account = accounts.provision(ward.store, NURSE, "Nurse", START)
    made = ward.sign_in()
    owner = accounts.set_owner(ward.store, "owner", Secret("x"), "token", START)
    accounts.tie(ward.store, owner, NURSE)
    assert ward.why_not(made) == "account_gone"


@pytest.mark.parametrize(
    ("level", "method", "sso_active", "kind"),
    [
        (USER, PASSWORD, True, "must_use_microsoft"),
        (ADMIN, PASSWORD, True, "must_use_microsoft"),
        (OWNER, PASSWORD, True, ""),
        (USER, PASSWORD, False, ""),
        (USER, MICROSOFT, False, "sso_not_active"),
        (OWNER, MICROSOFT, False, "sso_not_active"),
        (OWNER, MICROSOFT, True, ""),
    ],
)
def test_the_table_of_access_is_asked_again(
    level: Level, method: AuthenticationMethod, kind: str, *, sso_active: bool
) -> None:
    """SSO has become mandatory since the sign-in, or was switched off."""
    ward = Ward(level, method)
    made = ward.sign_in()
    ward.sso_active = sso_active
    assert ward.why_not(made) == kind


@pytest.mark.parametrize(
    ("at_sign_in", "raised_to", "now", "renewed"),
    [
        (USER, USER, USER, USER),
        (USER, USER, ADMIN, ADMIN),
        (USER, ADMIN, USER, ADMIN),
        (USER, ADMIN, ADMIN, ADMIN),
        (ADMIN, ADMIN, USER, USER),
        (ADMIN, ADMIN, ADMIN, ADMIN),
    ],
)
def test_a_level_follows_the_account(at_sign_in: Level, raised_to: Level, now: Level, renewed: Level) -> None:
    """What an app role raised stays raised; what the account gave goes when the account loses it."""
    ward = Ward(at_sign_in)
    made = ward.sign_in(raised_to)
    assert made.level is raised_to
    accounts.save(ward.store, replace(ward.account, level=now))
    assert ward.renew(made).level is renewed


def test_a_level_goes_with_the_role_that_raised_it() -> None:
    """Another app role, or none, in the settings: who was raised by the old one is a User at the next renewal."""
    ward = Ward()
    made = ward.sign_in(ADMIN)
    for admin_role in ("", "Another.Role"):
        renewed = session.renew(ward.store, made.id, START, sso_active=True, admin_role=admin_role)
        assert renewed.level is USER


def test_a_name_follows_the_account() -> None:
    """Whoever marries is called by the new name at the next renewal, cut like the first."""
    ward = Ward()
    made = ward.sign_in()
    accounts.save(ward.store, replace(ward.account, name="N" * 100))
    renewed = ward.renew(made)
    assert renewed.name == cut("N" * 100, renewed)


def test_a_session_of_a_first_sign_in_outlives_its_first_token() -> None:
    """Time passes during a sign-in: the account that is made in it must not be younger than the session."""
    house = House()
    house.furnish()

    def tick() -> datetime:
        house.clock.move(milliseconds=20)
        return house.clock.now

    services = Services(house.config, tick, house.store, house.vault, house.identity, house.directory)
    started = signin.start(services, "", signin.Hints())
    (state,) = parse_qs(urlsplit(started.url).query)["state"]
    answer, cookies = {"state": state, "code": "a code"}, {started.cookie_name: started.cookie}
    made = callback.finish(services, answer, cookies, "a reference").session
    house.clock.move(minutes=6)
    assert (
        session.renew(house.store, made.id, house.clock(), sso_active=True, admin_role="").account_id
        == NURSE.account_id
    )


# Two at once


def test_another_tab_renews_at_the_same_moment() -> None:
    """Both get a token, and the row counts the later use."""
    ward = Ward()
    made = ward.sign_in()
    ward.clock.move(minutes=6)
    ward.store.before_write(1, lambda: ward.renew(made))
    assert ward.why_not(made) == ""
    row = row_of(ward.store, made)
    assert row is not None
    assert row.values["last_seen"] == START + 6 * MINUTE


@pytest.mark.parametrize("moment", ["read", "write"])
def test_a_session_is_ended_while_it_is_renewed(moment: str) -> None:
    """The end wins, before the row is read or before it is written, and the row does not come back."""
    ward = Ward()
    made = ward.sign_in()
    plan = ward.store.before_read if moment == "read" else ward.store.before_write
    plan(1, lambda: session.end(ward.store, made.id))
    assert ward.why_not(made) == "ended"
    assert row_of(ward.store, made) is None


def test_a_session_is_renewed_while_it_is_ended() -> None:
    """The renewed row goes as well."""
    ward = Ward()
    made = ward.sign_in()
    ward.store.before_write(1, lambda: ward.renew(made))
    session.end(ward.store, made.id)
    assert row_of(ward.store, made) is None
    assert ward.why_not(made) == "ended"


def test_a_clock_that_goes_back_ends_nothing_and_lengthens_nothing() -> None:
    """An instance whose clock is behind renews; what was seen later stays seen."""
    ward = Ward()
    made = ward.sign_in()
    ward.clock.move(minutes=30)
    ward.renew(made)
    ward.clock.move(minutes=-45)
    behind = ward.renew(made)
    assert behind.expires_at == ward.clock.now + 10 * MINUTE
    row = row_of(ward.store, made)
    assert row is not None
    assert row.values["last_seen"] == START + 30 * MINUTE
    assert row.values["auth_time"] == START
    ward.clock.now = START + 90 * MINUTE
    assert ward.why_not(made) == "idle_limit"


# Sign-out at Microsoft


def test_the_end_of_a_session_at_microsoft_ends_its_sessions_here() -> None:
    """All of that browser, none of another one."""
    ward = Ward()
    first, second = (ward.sign_in(provider_session="sid one") for _ in range(2))
    other, without = ward.sign_in(provider_session="sid two"), ward.sign_in()
    assert session.end_provider_session(ward.store, "sid one") == [ward.account.id] * 2
    kinds = [ward.why_not(made) for made in (first, second, other, without)]
    assert kinds == ["ended", "ended", "", ""]
    assert session.end_provider_session(ward.store, "sid one") == []


@pytest.mark.parametrize("provider_session", ["", "unknown", "SID ONE"])
def test_a_session_that_microsoft_does_not_know_of(provider_session: str) -> None:
    """An empty or an unknown `sid` ends nobody's."""
    ward = Ward()
    made, without = ward.sign_in(provider_session="sid one"), ward.sign_in()
    assert session.end_provider_session(ward.store, provider_session) == []
    assert [ward.why_not(made), ward.why_not(without)] == ["", ""]


def test_names_of_partitions() -> None:
    """The expected text: `printf "provider abc" | openssl dgst -sha256 -binary | head -c 16 | base64`, as base64url."""
    assert session.provider_partition("abc") == "_wFWUlr3Lyye3yO4mh75hg"
    assert len({session.provider_partition(f"sid {n}") for n in range(100)}) == 100


def test_a_row_that_makes_no_sense_is_an_error_of_ours() -> None:
    """A session without its times is not taken for one that has just begun."""
    for name in ("auth_time", "last_seen"):
        ward = Ward()
        made = ward.sign_in()
        row = row_of(ward.store, made)
        assert row is not None
        ward.store.replace(Table.SESSIONS, replace(row, values={**row.values, name: "yesterday"}))
        with pytest.raises(TypeError, match=f"a row without its {name}"):
            ward.renew(made)


def test_a_session_of_an_account_as_it_was() -> None:
    """A session shows what the account was at the sign-in: id, level, name and method, nothing secret."""
    account = Account("an id", "Nurse", USER, START, START, password_hash=Secret("a hash"))
    made = session.create(MemoryStore(), SignedIn(account, USER, PASSWORD, "a key"), START)
    assert "a hash" not in repr(made)
