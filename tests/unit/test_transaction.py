import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.next_path import MAX_LENGTH, local_path
from shared.ports import Application, AuthorizationRequest
from shared.secret import Secret
from shared.transaction import (
    COOKIE_PREFIX,
    LIFETIME,
    LoginTransaction,
    cookie_name,
    is_second_try,
    new_state,
    open_sealed,
    seal,
)

KEY, KEY_ID = bytes(range(32)), "key-one_"
OLD_KEY, OLD_KEY_ID = bytes(32), "key-old_"
KEYS = {KEY_ID: KEY, OLD_KEY_ID: OLD_KEY}
STATE = "sAbCdEfGhIjKlMnOpQrStUv"
NAME = cookie_name(STATE)
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def login(next_path: str = "/lists?day=1", state: str = STATE) -> LoginTransaction:
    """Make a transaction as `signin.start` makes it, with values as long as MSAL's."""
    return LoginTransaction(
        AuthorizationRequest(state, Secret("nOnCe" * 4), Secret("verifier-" * 7)),
        Application("7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10", "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"),
        next_path,
        datetime(2027, 3, 1, 8, 0, 7, tzinfo=UTC),
        "session-key-of-22-char",
    )


def opened(cookie: str, name: str = NAME) -> LoginTransaction | None:
    """Open a cookie with the keys of the ring."""
    return open_sealed(cookie, name, KEYS, len(KEY_ID))


SEALED = seal(login(), KEY, KEY_ID)
SEALED_BYTES = base64.urlsafe_b64decode(SEALED[8:] + "=" * (-len(SEALED[8:]) % 4))


def with_bytes(data: bytes) -> str:
    """Write a cookie of these sealed bytes."""
    return KEY_ID + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_what_was_sealed_is_opened() -> None:
    """Every field comes back."""
    found = opened(SEALED)
    assert found is not None
    assert found.request.state == STATE
    assert found.request.nonce.reveal() == "nOnCe" * 4
    assert found.request.code_verifier.reveal() == "verifier-" * 7
    assert found.application == login().application
    assert found.next == "/lists?day=1"
    assert found.issued_at == login().issued_at
    assert found.session_key == "session-key-of-22-char"


def test_a_key_that_signs_no_more_still_opens() -> None:
    """The ring turns while people are at Microsoft."""
    assert opened(seal(login(), OLD_KEY, OLD_KEY_ID)) is not None


def test_a_transaction_opens_under_its_own_name_only() -> None:
    """A browser that is given somebody else's cookie under another name has nothing."""
    assert opened(SEALED, cookie_name("another state")) is None
    assert opened(SEALED, "") is None
    assert opened(SEALED, NAME.lower()) is None
    assert opened(SEALED, "\ud800") is None


def test_a_transaction_opens_with_its_own_key_only() -> None:
    """Neither a key that is gone nor another key of the ring opens it."""
    assert open_sealed(SEALED, NAME, {}, len(KEY_ID)) is None
    assert open_sealed(SEALED, NAME, {KEY_ID: OLD_KEY}, len(KEY_ID)) is None
    assert opened(OLD_KEY_ID + SEALED[8:]) is None


def test_two_seals_of_one_transaction_differ() -> None:
    """Each has a nonce of its own: with AES-GCM a repeated one would give the key stream away (SP 800-38D)."""
    cookies = {seal(login(), KEY, KEY_ID) for _ in range(50)}
    assert len(cookies) == 50
    assert len({cookie[8:24] for cookie in cookies}) == 50


@given(st.integers(0, len(SEALED_BYTES) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit: int) -> None:
    """Nonce, ciphertext and tag are all covered."""
    data = bytearray(SEALED_BYTES)
    data[bit // 8] ^= 1 << bit % 8
    assert opened(with_bytes(bytes(data))) is None


@pytest.mark.parametrize("filler", ["", "x", "xx"])
def test_any_changed_letter_is_noticed(filler: str) -> None:
    """One transaction has one spelling, loose bits at its end included."""
    sealed = seal(login(f"/{filler}"), KEY, KEY_ID)
    assert opened(sealed) is not None
    for place, letter in enumerate(sealed):
        for other in {"A", "b", "7", "-", "+", "/", "=", " ", chr(ord(letter) ^ 1)} - {letter}:
            assert opened(sealed[:place] + other + sealed[place + 1 :]) is None, (place, letter, other)
    last = [opened(sealed[:-1] + other) for other in BASE64URL if other != sealed[-1]]
    assert last == [None] * 63


@pytest.mark.parametrize("tail", ["=", "==", "===", "A", "AA", "\n", " ", "!", "é", "\0"])
def test_nothing_may_follow(tail: str) -> None:
    """Padding, white space and foreign characters behind the text make it another text."""
    for filler in ("", "x", "xx"):
        assert opened(seal(login(f"/{filler}"), KEY, KEY_ID) + tail) is None


def test_a_truncated_transaction_is_worth_nothing() -> None:
    """Cut anywhere, at either end."""
    assert [opened(SEALED[:length]) for length in range(len(SEALED))] == [None] * len(SEALED)
    assert [opened(KEY_ID + SEALED[start:]) for start in range(9, len(SEALED))] == [None] * (len(SEALED) - 9)


@given(st.text(max_size=200) | st.text(BASE64URL, max_size=200) | st.binary(max_size=80).map(with_bytes))
def test_foreign_cookies_are_worth_nothing(text: str) -> None:
    """Whatever a browser brings, the answer is None and never an exception."""
    assert opened(text) is None
    assert opened(KEY_ID + text) is None


def test_a_huge_cookie_is_not_even_decoded() -> None:
    """More than a cookie can hold cannot be ours, even when it is sealed well."""
    assert opened(KEY_ID + "A" * 1_000_000) is None
    huge = seal(login("/" + "x" * 4000), KEY, KEY_ID)
    assert len(huge) > 4096
    assert opened(huge) is None


LONGEST = ["x", '"', "'", "%", "&", "é", "<", " ", "/a", "名"]


@pytest.mark.parametrize("unit", LONGEST)
def test_the_longest_transaction_fits_a_cookie(unit: str) -> None:
    """With the longest path and verifier that there are, the sealed text has less than 3,600 characters."""
    candidates = (local_path("/x" + unit * count) for count in range(MAX_LENGTH, 0, -1))
    path = next(path for path in candidates if path)
    assert len(path) > MAX_LENGTH - 10
    request = AuthorizationRequest(STATE, Secret("n" * 43), Secret("v" * 128))
    sealed = seal(replace(login(path), request=request), KEY, KEY_ID)
    assert len(sealed) < 3600
    attributes = "=; Path=/; Secure; HttpOnly; SameSite=None; Max-Age=600"
    assert len(NAME) + len(sealed) + len(attributes) <= 4096
    assert (found := opened(sealed)) is not None
    assert found.next == path


@given(st.text(max_size=300).map(local_path))
def test_a_cookie_is_base64url_and_nothing_else(path: str) -> None:
    """The only characters that every hop leaves alone; and every path that can be asked for comes back."""
    sealed = seal(login(path), KEY, KEY_ID)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sealed)
    assert sealed.startswith(KEY_ID)
    assert (found := opened(sealed)) is not None
    assert found.next == path


def test_the_facts_cannot_be_read_from_the_cookie() -> None:
    """It is sealed, not signed: neither nonce nor verifier nor path stands in it."""
    for secret in (b"nOnCe", b"verifier-", b"/lists", b"session-key", b"7e0f1d52"):
        assert secret not in SEALED_BYTES
        assert base64.b64encode(secret).rstrip(b"=").decode() not in SEALED


def test_a_transaction_does_not_show_its_secrets() -> None:
    """Neither the nonce nor the verifier stands in its repr."""
    shown = repr(opened(SEALED))
    assert "nOnCe" not in shown
    assert "verifier-" not in shown


@given(st.text(max_size=40) | st.text(st.characters(categories=["Cs", "Cc", "Zs"]), max_size=5))
def test_names_are_safe_in_a_header(state: str) -> None:
    """A state comes from the network; its cookie's name is ours (RFC 6265, section 4.1.1)."""
    assert re.fullmatch(re.escape(COOKIE_PREFIX) + r"[A-Za-z0-9_-]{16}", cookie_name(state))


@given(st.text(max_size=10), st.text(max_size=10))
def test_tabs_do_not_collide(state: str, other: str) -> None:
    """Two states have two cookies, and the same state always the same."""
    assert (cookie_name(state) == cookie_name(other)) == (state == other)


def test_the_prefix_binds_the_cookie_to_the_host() -> None:
    """No sibling domain can plant one (RFC 6265bis, section 4.1.3.2)."""
    assert COOKIE_PREFIX.startswith("__Host-")


@pytest.mark.parametrize("second_try", [False, True])
def test_states_are_random_and_remember_the_try(*, second_try: bool) -> None:
    """128 random bits behind one letter that says which try it is."""
    states = {new_state(second_try=second_try) for _ in range(200)}
    assert len({state[1:] for state in states}) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{23}", state) for state in states)
    assert {is_second_try(state) for state in states} == {second_try}


@pytest.mark.parametrize("state", ["", "s", "xyz", "R", " r"])
def test_a_foreign_state_is_no_second_try(state: str) -> None:
    """Only our letter counts."""
    assert not is_second_try(state)


def test_a_transaction_lives_as_long_as_a_code() -> None:
    """Ten minutes, like an authorization code of Microsoft."""
    assert timedelta(minutes=10) == LIFETIME
