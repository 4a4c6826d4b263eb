import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.errors import UpstreamUnavailable
from shared.refreshed import BACK_OFF
from shared.signing_keys import KeySet, SigningKeys
from tests.vectors.make_id_tokens import Keys, b64

KEYS = Keys()
FIRST, SECOND, STRANGER = KEYS.jwk("first"), KEYS.jwk("second"), KEYS.jwk("stranger")
REFRESH_EVERY, COOL_DOWN = timedelta(hours=1), timedelta(minutes=5)
INSTANT = timedelta(microseconds=1)
PATIENCE = 10
"""Seconds after which a test that waits for another thread gives up."""


def jwks(*keys: object) -> dict[str, object]:
    """Write a key set document."""
    return {"keys": list(keys)}


def ids(keys: KeySet) -> list[str | None]:
    """List the ids of a key set."""
    return [key.key_id for key in keys.keys]


def number(value: int) -> str:
    """Write a Base64urlUInt (RFC 7518, section 2)."""
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


def without(name: str) -> dict[str, object]:
    """Take a member away from a good key."""
    return {member: value for member, value in FIRST.items() if member != name}


def test_a_key_set_holds_the_rsa_keys() -> None:
    """The keys come out as they went in, in order."""
    keys = KeySet.parse(jwks(FIRST, SECOND))
    assert ids(keys) == ["first", "second"]
    assert keys.keys[0].public_key == KEYS.first.public_key()


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(FIRST | {"alg": "RS256"}, id="alg RS256"),
        pytest.param(without("use"), id="no use"),
        pytest.param(without("kid"), id="no kid"),
        pytest.param(FIRST | {"x5c": ["…"], "issuer": "https://…"}, id="members that we do not use"),
        pytest.param(FIRST | {"e": number(2**255 + 1)}, id="256 bits of exponent"),
        pytest.param(FIRST | {"n": number(2**2047 + 1)}, id="2,048 bits of modulus"),
        pytest.param(FIRST | {"n": number(2**8191 + 1)}, id="8,192 bits of modulus"),
    ],
)
def test_keys_that_are_used(key: dict[str, object]) -> None:
    """What may verify RS256 is taken."""
    assert len(KeySet.parse(jwks(key)).keys) == 1


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(KEYS.curve_jwk(), id="an EC key"),
        pytest.param({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}, id="a symmetric key"),
        pytest.param(FIRST | {"kty": "EC"}, id="an EC key with the members of an RSA key"),
        pytest.param(without("kty"), id="kty absent"),
        pytest.param(FIRST | {"use": "enc"}, id="for encryption"),
        pytest.param(FIRST | {"use": None}, id="use null"),
        pytest.param(FIRST | {"alg": "RS512"}, id="for RS512"),
        pytest.param(FIRST | {"alg": "PS256"}, id="for PS256"),
        pytest.param(FIRST | {"alg": "HS256"}, id="for HS256"),
        pytest.param(FIRST | {"alg": "none"}, id="for none"),
        pytest.param(FIRST | {"kid": 1}, id="kid a number"),
        pytest.param(FIRST | {"n": number(2**2047 - 1)}, id="2,047 bits"),
        pytest.param(FIRST | {"n": number(2**8192 + 1)}, id="8,193 bits"),
        pytest.param(FIRST | {"n": number(2**2047)}, id="an even modulus"),
        pytest.param(FIRST | {"n": ""}, id="no modulus"),
        pytest.param(without("n"), id="n absent"),
        pytest.param(FIRST | {"n": 7}, id="n a number"),
        pytest.param(FIRST | {"n": f"{FIRST['n']}=="}, id="n padded"),
        pytest.param(FIRST | {"n": "*" * 342}, id="n not base64url"),
        pytest.param(FIRST | {"e": number(1)}, id="exponent 1"),
        pytest.param(FIRST | {"e": number(3)}, id="exponent 3"),
        pytest.param(FIRST | {"e": number(65535)}, id="exponent 65535"),
        pytest.param(FIRST | {"e": number(65538)}, id="an even exponent"),
        pytest.param(FIRST | {"e": number(2**256 + 1)}, id="a huge exponent"),
        pytest.param(without("e"), id="e absent"),
        pytest.param("first", id="a string"),
        pytest.param(None, id="null"),
        pytest.param([], id="a list"),
    ],
)
def test_keys_that_are_passed_over(key: object) -> None:
    """CVE-2026-102274: an entry we cannot use, or that makes no sense, does not spoil those beside it."""
    assert ids(KeySet.parse(jwks(key, SECOND))) == ["second"]
    with pytest.raises(UpstreamUnavailable, match="none for RS256"):
        KeySet.parse(jwks(key))


@pytest.mark.parametrize(
    "document", [{}, {"keys": []}, {"keys": None}, {"keys": {"first": FIRST}}, {"keys": "x"}]
)
def test_a_document_without_keys_is_an_error(document: Mapping[str, object]) -> None:
    """A key set that could verify nothing is never made; trying again at once would not help."""
    with pytest.raises(UpstreamUnavailable, match="none for RS256") as caught:
        KeySet.parse(document)
    assert not caught.value.retriable
    assert caught.value.port == "microsoft"


def test_an_id_given_twice_is_an_error() -> None:
    """It must be plain which key a token means; keys that are passed over do not count."""
    with pytest.raises(UpstreamUnavailable, match="two with one id"):
        KeySet.parse(jwks(FIRST, SECOND | {"kid": "first"}))
    assert ids(KeySet.parse(jwks(FIRST, KEYS.curve_jwk() | {"kid": "first"}))) == ["first"]
    assert ids(KeySet.parse(jwks(without("kid"), without("kid")))) == [None, None]


def test_candidates() -> None:
    """The one of the id; all for a token that names none; and a key of no name is nobody's id."""
    keys = KeySet.parse(jwks(FIRST, SECOND | {"kid": None}))
    assert [key.key_id for key in keys.candidates("first")] == ["first"]
    assert keys.candidates("second") == ()
    assert [key.key_id for key in keys.candidates(None)] == ["first", None]


class World:
    """A provider whose answer the test sets, a clock to turn, and background work to run by hand."""

    def __init__(self, *keys: object) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.published: tuple[object, ...] = keys
        self.away = False
        self.fetches = 0
        self.background: list[Callable[[], None]] = []
        self.keys = SigningKeys(self.fetch, lambda: self.now, self.background.append)

    def fetch(self) -> Mapping[str, object]:
        """Answer as the provider does now."""
        self.fetches += 1
        if self.away:
            port = "microsoft"
            raise UpstreamUnavailable(port)
        return jwks(*self.published)

    def knows(self, key_id: str | None) -> int:
        """Count the keys that a token with this id may mean."""
        return len(self.keys.candidates(key_id))

    def run_background(self) -> None:
        """Run what was begun in the background so far."""
        work, self.background[:] = list(self.background), []
        for each in work:
            each()

    def refresh(self) -> None:
        """Let the next refresh become due, and happen."""
        self.now += REFRESH_EVERY
        self.knows(None)
        self.run_background()


def test_keys_are_fetched_once_and_then_known() -> None:
    """A token of a known key costs no request."""
    world = World(FIRST, SECOND)
    assert [world.knows("first"), world.knows("second"), world.knows("first"), world.knows(None)] == [
        1,
        1,
        1,
        2,
    ]
    assert (world.fetches, world.background) == (1, [])


def test_an_hour_later_they_are_fetched_in_the_background() -> None:
    """The request that notices does not wait, and there is one refresh at once."""
    world = World(FIRST)
    world.knows("first")
    world.now += REFRESH_EVERY - INSTANT
    world.knows("first")
    assert world.background == []
    world.now += INSTANT
    assert [world.knows("first"), world.knows("first")] == [1, 1]
    assert (world.fetches, len(world.background)) == (1, 1)
    world.published = (FIRST, SECOND)
    world.run_background()
    assert world.knows("second") == 1
    assert world.fetches == 2


def test_a_rollover_is_noticed_at_once() -> None:
    """signing-key-rotation: a token of a key that is not known yet makes us look, and is accepted."""
    world = World(FIRST)
    world.knows("first")
    world.published = (SECOND,)
    assert world.knows("second") == 1
    assert world.fetches == 2


def test_cve_2026_48524_unknown_keys_cannot_make_us_call_at_will() -> None:
    """PyJWKClient asks for every unknown key; here it is once in COOL_DOWN, for all of them together."""
    world = World(FIRST)
    assert [world.knows(f"made up {n}") for n in range(50)] == [0] * 50
    assert world.fetches == 2
    world.now += COOL_DOWN - INSTANT
    assert world.knows("made up") == 0
    assert world.fetches == 2
    world.published = (SECOND,)
    world.now += INSTANT
    assert world.knows("second") == 1
    assert world.fetches == 3


def test_a_search_that_failed_is_repeated_sooner() -> None:
    """A moment's outage in a rollover does not lock people out for the whole COOL_DOWN; nobody hammers either."""
    world = World(FIRST)
    world.knows("first")
    world.away, world.published = True, (SECOND,)
    assert [world.knows("second"), world.knows("second")] == [0, 0]
    assert world.fetches == 2
    world.away = False
    world.now += BACK_OFF - INSTANT
    assert world.knows("second") == 0
    world.now += INSTANT
    assert world.knows("second") == 1
    assert world.fetches == 3


def test_a_clock_set_back_does_not_stop_the_search() -> None:
    """A pause is not kept for longer than COOL_DOWN."""
    world = World(FIRST)
    world.knows("made up")
    world.published = (FIRST, SECOND)
    world.now -= timedelta(days=365)
    assert world.knows("second") == 1


def test_good_keys_are_kept_while_the_provider_is_away() -> None:
    """PyJWKClient drops its keys when a fetch fails; here they last as long as the outage."""
    world = World(FIRST)
    world.knows("first")
    world.away = True
    for _ in range(72):
        world.refresh()
        assert world.knows("first") == 1
    assert world.fetches == 73


@pytest.mark.parametrize(
    "answer", [(), (FIRST, FIRST), ({"kty": "RSA"},)], ids=["empty", "ambiguous", "unusable"]
)
def test_good_keys_are_kept_when_the_answer_is_nonsense(answer: tuple[object, ...]) -> None:
    """An answer that is no key set changes nothing."""
    world = World(FIRST, SECOND)
    world.knows("first")
    world.published = answer
    world.refresh()
    assert world.fetches == 2
    assert [world.knows("first"), world.knows("second"), world.knows(None)] == [1, 1, 2]


def test_without_any_key_the_provider_is_unavailable() -> None:
    """Only when nothing is known does its absence become an error; it ends by itself."""
    world = World(FIRST)
    world.away = True
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable, match="microsoft"):
            world.knows("first")
    assert world.fetches == 1
    world.away = False
    world.now += BACK_OFF
    assert world.knows("first") == 1


def test_a_key_is_kept_for_a_day_after_it_was_last_seen() -> None:
    """A token signed before a rollover is good; a day later the old key is gone."""
    world = World(FIRST, SECOND)
    world.knows("first")
    world.published = (SECOND,)
    for _ in range(23):
        world.refresh()
        assert world.knows("first") == 1
    world.refresh()
    assert world.knows("first") == 0
    assert world.knows("second") == 1


def test_a_key_that_is_seen_again_is_kept_for_another_day() -> None:
    """The day counts from the last time it was published."""
    world = World(FIRST, SECOND)
    world.knows("first")
    for published in ((SECOND,), (FIRST, SECOND), (SECOND,)):
        world.published = published
        for _ in range(20):
            world.refresh()
    assert world.knows("first") == 1


def test_a_kept_key_does_not_make_the_published_one_ambiguous() -> None:
    """kid-absent-single-jwks, after a rollover: one key is published, and that is the one."""
    world = World(FIRST)
    world.knows("first")
    world.published = (SECOND,)
    world.refresh()
    assert [key.key_id for key in world.keys.candidates(None)] == ["second"]
    assert world.knows("first") == 1


def test_a_key_that_changes_under_its_id_is_replaced() -> None:
    """The newest answer wins."""
    world = World(FIRST)
    world.knows("first")
    world.published = (SECOND | {"kid": "first"},)
    world.refresh()
    assert [key.public_key for key in world.keys.candidates("first")] == [KEYS.second.public_key()]


def test_keys_without_a_name_are_not_kept() -> None:
    """A key that has no id cannot be named later; only those published now count."""
    world = World(without("kid"))
    assert world.knows(None) == 1
    world.published = (SECOND | {"kid": None},)
    world.refresh()
    assert [key.public_key for key in world.keys.candidates(None)] == [KEYS.second.public_key()]


def test_who_waits_for_a_search_gets_what_it_finds() -> None:
    """Sign-ins that meet a new key at the same moment cause one request, and all of them succeed."""
    world = World(FIRST)
    world.knows("first")
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Mapping[str, object]:
        if world.fetches:
            begun.set()
            assert go_on.wait(PATIENCE)
        return world.fetch()

    world.fetches = 0
    keys = SigningKeys(slow, lambda: world.now)
    keys.candidates("first")
    world.published = (SECOND,)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(keys.candidates, "second")
        assert begun.wait(PATIENCE)
        others = [pool.submit(keys.candidates, "second") for _ in range(3)]
        go_on.set()
        assert [len(each.result(PATIENCE)) for each in (first, *others)] == [1, 1, 1, 1]
    assert world.fetches == 2


def test_a_token_of_a_known_key_does_not_wait_for_a_search() -> None:
    """While one sign-in looks for a new key, those with a known one go on."""
    world = World(FIRST)
    found: list[int] = []

    def searching() -> Mapping[str, object]:
        if world.fetches:
            with ThreadPoolExecutor(1) as pool:
                found.append(len(pool.submit(keys.candidates, "first").result(PATIENCE)))
        return world.fetch()

    keys = SigningKeys(searching, lambda: world.now)
    keys.candidates("first")
    keys.candidates("second")
    assert found == [1]


def test_a_key_of_a_thousand_bits_is_not_used() -> None:
    """RFC 7518, section 3.3, with a real key: below 2,048 bits nothing is verified."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505 - it is to be refused
    with pytest.raises(UpstreamUnavailable):
        KeySet.parse(jwks({"kty": "RSA", "kid": "weak", "n": number(numbers.n), "e": number(numbers.e)}))
