import base64
import hashlib
import itertools
import json
import traceback
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from shared import jws, session, transaction
from shared.key_ring import (
    KEPT_FOR,
    KEY_ID_LENGTH,
    PUBLISHED_AHEAD,
    SECRET_NAME,
    SIGNS_FOR,
    KeyRing,
    RingKey,
)
from shared.secret import Secret

START = datetime(2027, 3, 1, 8, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TICK = timedelta(microseconds=1)
MARK = "QZXQZXQZX"


def key(key_id: str, signs_from: datetime = START) -> RingKey:
    """Make a key; the same one in every run, so that the names of the tests are the same."""
    scalar = int.from_bytes(hashlib.sha256(key_id.encode()).digest())
    return RingKey(key_id, ec.derive_private_key(scalar, ec.SECP256R1()), signs_from)


OLD, NOW, NEXT = key("key-old_", START - HOUR), key("key-now_"), key("key-next", START + HOUR)
RING = KeyRing((OLD, NOW, NEXT))
ENTRY = json.loads(RING.to_secret().reveal())["keys"][0]


def secret_with(**changes: object) -> Secret:
    """Write a secret whose only key has some members changed (None: left out)."""
    entry = {name: value for name, value in (ENTRY | changes).items() if value is not None}
    return Secret(json.dumps({"keys": [entry]}))


def test_a_ring_survives_the_vault() -> None:
    """Ids, times and both kinds of keys come back from the secret."""
    found = KeyRing.from_secret(RING.to_secret())
    assert [each.key_id for each in found.keys] == ["key-old_", "key-now_", "key-next"]
    assert [each.signs_from for each in found.keys] == [START - HOUR, START, START + HOUR]
    assert found.public_jwks() == RING.public_jwks()
    assert found.sealing_keys == RING.sealing_keys
    assert json.loads(found.to_secret().reveal()) == json.loads(RING.to_secret().reveal())


def test_a_ring_is_sorted_whatever_the_secret_says() -> None:
    """Oldest first: the choice of the signing key rests on it."""
    mixed = KeyRing((NEXT, OLD, NOW)).to_secret()
    assert [each.key_id for each in KeyRing.from_secret(mixed).keys] == ["key-old_", "key-now_", "key-next"]


def test_a_scalar_that_begins_with_zeros_survives() -> None:
    """One key in 256 has a short number; its secret and its coordinates keep their full length."""
    small = ec.derive_private_key(7, ec.SECP256R1())
    ring = KeyRing((RingKey("key-tiny", small, START),))
    found = KeyRing.from_secret(ring.to_secret())
    assert found.keys[0].private_key.private_numbers().private_value == 7
    jwk = found.public_jwks()["keys"][0]
    assert (len(jwk["x"]), len(jwk["y"])) == (43, 43)
    assert found.keys[0].sealing_key == ring.keys[0].sealing_key


def test_the_first_ring() -> None:
    """One new key of P-256, which signs at once."""
    ring, other = KeyRing.generate(START), KeyRing.generate(START)
    (only,) = ring.keys
    assert len(only.key_id) == KEY_ID_LENGTH
    assert isinstance(only.private_key.curve, ec.SECP256R1)
    assert ring.signing_key(START) is only
    assert KeyRing.from_secret(ring.to_secret()).keys[0].key_id == only.key_id
    assert only.key_id != other.keys[0].key_id
    assert only.public_jwk()["x"] != other.keys[0].public_jwk()["x"]


@given(st.integers(0, 999_999))
def test_a_ring_read_back_signs_at_once(microsecond: int) -> None:
    """The secret knows whole seconds; no fraction of one makes a key that does not sign yet."""
    now = START.replace(microsecond=microsecond)
    made = KeyRing((RingKey("key-now_", NOW.private_key, now), NEXT))
    assert KeyRing.from_secret(made.to_secret()).signing_key(now).key_id == "key-now_"


@pytest.mark.parametrize(
    "text",
    [
        "",
        MARK,
        f'"{MARK}"',
        f'["{MARK}"]',
        f'{{"{MARK}": 1}}',
        '{"keys": []}',
        '{"keys": null}',
        '{"keys": 7}',
        f'{{"keys": "{MARK}"}}',
        f'{{"keys": ["{MARK}"]}}',
        '{"keys": [null]}',
        f'{{"keys": {{"{MARK}": 1}}}}',
        f'{{"keys": [{{"kid": "{MARK}"}}]}}',
        f'{{"keys": [{{"d": "{MARK}"',
        "\ud800",
    ],
)
def test_what_is_not_a_ring_is_refused(text: str) -> None:
    """Another secret, half of one, or none at all."""
    assert_refused_in_silence(Secret(text))


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": None},
        {"d": None},
        {"signs_from": None},
        {"kid": "short"},
        {"kid": f"{MARK}-too-long"},
        {"kid": ""},
        {"d": ""},
        {"d": MARK},
        {"d": f"é{ENTRY['d'][1:]}"},
        {"d": "A" * 43},
        {"d": "_" * 43},
        {"d": ENTRY["d"] * 2},
        {"d": 7},
        {"d": [MARK]},
        {"signs_from": MARK},
        {"signs_from": [MARK]},
        {"signs_from": 10**14},
        {"signs_from": 10**30},
        {"signs_from": -(10**30)},
        {"signs_from": 1.5},
    ],
    ids=repr,
)
def test_a_key_that_is_not_one_is_refused(changes: dict[str, object]) -> None:
    """Scalars off the curve, other lengths, other types, times that no calendar has."""
    assert_refused_in_silence(secret_with(**changes))


def test_one_bad_key_spoils_the_ring() -> None:
    """Half a ring would refuse tokens that are good."""
    entries = [ENTRY, ENTRY | {"d": MARK}]
    assert_refused_in_silence(Secret(json.dumps({"keys": entries})))


@given(st.text(max_size=50) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_other_secret_is_a_ring(text: str) -> None:
    """Whatever stands in the vault, the answer is a ring or ValueError."""
    with pytest.raises(ValueError, match="not readable"):
        KeyRing.from_secret(Secret(text))


def assert_refused_in_silence(secret: Secret) -> None:
    """Hold a refusal to its promise: ValueError, without a word of the secret, not even in a chained error."""
    with pytest.raises(ValueError, match="the key ring in the vault is not readable") as caught:
        KeyRing.from_secret(secret)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value))
    assert MARK not in shown
    assert ENTRY["d"] not in shown


@pytest.mark.parametrize(
    ("offset", "key_id"),
    [
        (-10 * HOUR, "key-old_"),
        (-HOUR - timedelta(seconds=1), "key-old_"),
        (-HOUR, "key-old_"),
        (-timedelta(microseconds=1), "key-old_"),
        (timedelta(0), "key-now_"),
        (HOUR - timedelta(microseconds=1), "key-now_"),
        (HOUR, "key-next"),
        (1000 * HOUR, "key-next"),
    ],
)
def test_which_key_signs_when(offset: timedelta, key_id: str) -> None:
    """The newest whose time has come; the oldest for a clock that is before all of them."""
    assert RING.signing_key(START + offset).key_id == key_id


def test_finding_a_key() -> None:
    """By its id exactly; a key that is published and does not sign yet is found as well."""
    assert RING.find("key-now_") is NOW
    assert RING.find("key-next") is NEXT
    assert [RING.find(key_id) for key_id in ("", "key-NOW_", "key-now", "unknown_")] == [None] * 4


def test_the_key_set_is_for_verifying_only() -> None:
    """RFC 7517 members, every key of the ring, and no private part."""
    keys = RING.public_jwks()["keys"]
    assert [each["kid"] for each in keys] == ["key-old_", "key-now_", "key-next"]
    for each in keys:
        assert set(each) == {"kty", "crv", "use", "alg", "kid", "x", "y"}
        assert (each["kty"], each["crv"], each["use"], each["alg"]) == ("EC", "P-256", "sig", "ES256")
    published = json.dumps(RING.public_jwks())
    for entry in json.loads(RING.to_secret().reveal())["keys"]:
        assert entry["d"] not in published


def test_an_application_verifies_with_the_key_set() -> None:
    """PyJWT, as an application would use it, accepts each key's token and refuses those of the others."""
    key_set = jwt.PyJWKSet.from_dict(RING.public_jwks())
    for signer in RING.keys:
        token = jws.sign({"kid": signer.key_id}, {"sub": "nurse"}, signer.private_key)
        for jwk in key_set.keys:
            if jwk.key_id == signer.key_id:
                assert jwt.decode(token, jwk, algorithms=["ES256"]) == {"sub": "nurse"}
            else:
                with pytest.raises(jwt.InvalidSignatureError):
                    jwt.decode(token, jwk, algorithms=["ES256"])


def test_sealing_and_signing_share_no_key() -> None:
    """A sealing key is 256 bits, differs from the scalar it is derived from, and from every other key's."""
    sealing = RING.sealing_keys
    assert set(sealing) == {"key-old_", "key-now_", "key-next"}
    assert all(sealing[each.key_id] == each.sealing_key for each in RING.keys)
    scalars = {
        base64.urlsafe_b64decode(entry["d"] + "=") for entry in json.loads(RING.to_secret().reveal())["keys"]
    }
    assert len({*sealing.values(), *scalars}) == 6
    assert {len(each) for each in sealing.values()} == {32}


def test_the_sealing_key_of_a_key_never_changes() -> None:
    """Other instances, and the next release, open what this one sealed.

    The expected bytes: HKDF-SHA-256 (RFC 5869) by hand, from two HMACs.
    """
    one = RingKey("key-one_", ec.derive_private_key(1, ec.SECP256R1()), START)
    assert one.sealing_key.hex() == "6231152ec30bd12ca16f520597afb59ccefcebb4c7fa0a80bdc9197d958458c4"


def test_nothing_secret_is_shown() -> None:
    """Neither a ring nor a key nor the secret shows what it is made of."""
    secret = RING.to_secret()
    shown = f"{RING!r} {OLD!r} {secret!r} {secret}"
    for entry in json.loads(secret.reveal())["keys"]:
        assert entry["d"] not in shown
        scalar = int.from_bytes(base64.urlsafe_b64decode(entry["d"] + "="))
        assert str(scalar) not in shown
        assert f"{scalar:x}" not in shown
    for each in RING.sealing_keys.values():
        assert each.hex() not in shown


def test_names_that_others_rely_on() -> None:
    """The secret's name in the vault."""
    assert SECRET_NAME == "sos-session-keys"


# Rotation


def rotated(ring: KeyRing, now: datetime) -> KeyRing:
    """Look after a ring, and read it back from the vault: what others see."""
    return KeyRing.from_secret((ring.rotated(now) or ring).to_secret())


def ids(ring: KeyRing) -> list[str]:
    """Name the keys, oldest first."""
    return [each.key_id for each in ring.keys]


def test_a_year_of_a_ring_that_is_looked_after() -> None:
    """Looked after every hour, each key is published 3 days ahead, signs 30 days, and goes a day after the next began."""
    ring = KeyRing((key("key-1st_"),))
    added = dict.fromkeys(ids(ring), START)
    signs = added.copy()
    dropped: dict[str, datetime] = {}
    for hours in range(24 * 365):
        now = START + hours * HOUR
        before, ring = ring, rotated(ring, now)
        added |= {name: now for name in ids(ring) if name not in added}
        dropped |= {name: now for name in ids(before) if name not in ids(ring)}
        signs.setdefault(ring.signing_key(now).key_id, now)
    names = list(signs)
    assert len(names) == 13
    for number, name in enumerate(names):
        assert signs[name] == START + number * 30 * DAY
    for before_that, name in itertools.pairwise(names):
        assert added[name] == signs[name] - 3 * DAY
        assert dropped[before_that] == signs[name] + DAY + HOUR


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), []),
        (27 * DAY - TICK, []),
        (27 * DAY, [30 * DAY]),
        (28 * DAY - timedelta(seconds=1), [30 * DAY]),
        (28 * DAY, [30 * DAY + timedelta(seconds=1)]),
        (30 * DAY, [32 * DAY + timedelta(seconds=1)]),
        (400 * DAY, [402 * DAY + timedelta(seconds=1)]),
        (-5 * DAY, []),
    ],
)
def test_when_the_next_key_is_added(age: timedelta, expected: list[timedelta]) -> None:
    """Three days before its time; in a ring that was neglected two days before it signs, whatever time it is."""
    found = rotated(KeyRing((NOW,)), START + age)
    assert [each.signs_from - START for each in found.keys[1:]] == expected
    assert ids(found)[0] == NOW.key_id


@pytest.mark.parametrize(
    ("since", "left"),
    [
        (-DAY, ["key-old_", "key-now_"]),
        (timedelta(0), ["key-old_", "key-now_"]),
        (DAY, ["key-old_", "key-now_"]),
        (DAY + TICK, ["key-now_"]),
    ],
)
def test_when_the_last_key_is_dropped(since: timedelta, left: list[str]) -> None:
    """Once its successor has signed for more than a day."""
    assert ids(rotated(KeyRing((OLD, NOW)), START + since)) == left


def test_a_ring_of_three_keeps_its_next_key() -> None:
    """Previous, current and next: the previous one goes, the next one waits for its time, and none is added."""
    ring = KeyRing((OLD, NOW, key("key-next", START + 30 * DAY)))
    assert ring.rotated(START) is None
    assert ids(rotated(ring, START + 2 * DAY)) == ["key-now_", "key-next"]


def test_several_keys_may_be_over_at_once() -> None:
    """A ring that was neglected is as it should be after one rotation."""
    ring = rotated(RING, START + 300 * DAY)
    assert ids(ring)[0] == "key-next"
    assert len(ring.keys) == 2


def test_what_a_dropped_key_signed_is_worth_nothing() -> None:
    """The time a key stays is longer than anything that it signed or sealed can be used, clocks that differ included."""
    clocks = timedelta(minutes=5)
    for lifetime in (session.TOKEN_LIFETIME, session.IDLE_LIMIT, transaction.LIFETIME):
        assert lifetime + 2 * clocks < KEPT_FOR


@given(
    st.lists(
        st.one_of(
            st.timedeltas(timedelta(0), 3 * HOUR),
            st.timedeltas(timedelta(0), 40 * DAY),
            st.sampled_from([timedelta(0), DAY, PUBLISHED_AHEAD, SIGNS_FOR, SIGNS_FOR - PUBLISHED_AHEAD]),
            st.just(timedelta(minutes=-5)),
        ),
        max_size=60,
    ),
    st.timedeltas(timedelta(0), timedelta(seconds=1)),
)
@example([27 * DAY, 3 * DAY, timedelta(minutes=-5), timedelta(0), DAY, timedelta(minutes=-5)], timedelta(0))
def test_whenever_a_ring_is_looked_after(steps: list[timedelta], fraction: timedelta) -> None:
    """At any sequence of times, also of a clock that goes back five minutes now and then.

    A key was in the ring for two days before it signs, a token of the last day is verified, there are one to three keys,
    and looking twice changes nothing.
    """
    now = START + fraction
    ring = KeyRing.generate(now)
    added, signed = {ids(ring)[0]: now - 3 * DAY}, {ids(ring)[0]: now}  # the very first signs at once
    for step in steps:
        earlier, now = now, now + step
        changes = [at for each in ring.keys for at in (each.signs_from - TICK, each.signs_from)]
        for moment in [*(at for at in changes if earlier < at < now), now]:
            signer = ring.signing_key(moment).key_id
            assert moment - added[signer] >= PUBLISHED_AHEAD
            signed[signer] = max(moment, signed.get(signer, moment))
        ring = rotated(ring, now)
        assert ring.rotated(now) is None
        assert 1 <= len(ring.keys) <= 3
        added = dict.fromkeys(ids(ring), now) | added
        for name, last in signed.items():
            if now - last < DAY:
                assert ring.find(name) is not None
