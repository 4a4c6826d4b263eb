import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import jws
from shared.jws import InvalidToken, Kind

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
HEADER: Mapping[str, object] = {"typ": "session+jwt", "kid": "k1"}
CLAIMS: Mapping[str, object] = {"sub": "account", "name": "Dr. Ærø", "exp": 1_768_467_600}
TOKEN = jws.sign(HEADER, CLAIMS, KEY)
ORDER = int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
"""The order of P-256 (FIPS 186-5, NIST SP 800-186)."""


def kind(token: str, key: ec.EllipticCurvePrivateKey = KEY) -> Kind | None:
    """Answer why a token is refused, or None."""
    try:
        jws.verify(jws.read(token), key.public_key(), "ES256")
    except InvalidToken as error:
        return error.kind
    return None


def with_claims(text: str) -> str:
    """Sign claims that are given as text."""
    unsigned = ".".join(encode(part) for part in (b'{"alg":"ES256"}', text.encode()))
    return jws.attach(unsigned.encode(), raw_signature(unsigned.encode()))


def encode(data: bytes) -> str:
    """Encode base64url, by another way than the module under test."""
    return jwt.utils.base64url_encode(data).decode()


def raw_signature(data: bytes) -> bytes:
    """Sign with ES256, by another way than the module under test."""
    r, s = utils.decode_dss_signature(KEY.sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def with_signature(signature: bytes) -> str:
    """Put another signature on the token."""
    return f"{TOKEN.rpartition('.')[0]}.{encode(signature)}"


def test_what_is_signed_can_be_read_and_verified() -> None:
    """Header and claims come back, and the right key confirms them."""
    token = jws.read(TOKEN)
    assert (token.algorithm, token.type, token.key_id) == ("ES256", "session+jwt", "k1")
    assert token.claims == CLAIMS
    assert kind(TOKEN) is None
    assert kind(TOKEN, OTHER) is Kind.SIGNATURE


def test_another_implementation_accepts_our_tokens() -> None:
    """PyJWT's own reader agrees with what we sign."""
    options: Any = {"verify_exp": False}
    claims = jwt.decode(TOKEN, KEY.public_key(), algorithms=["ES256"], options=options)
    assert claims == CLAIMS


def test_sign_says_which_algorithm_it_used() -> None:
    """A header cannot claim another algorithm than the one that signed."""
    assert jws.read(jws.sign({"alg": "none"}, {}, KEY)).algorithm == "ES256"


def test_a_signature_from_elsewhere_is_attached() -> None:
    """What a vault signs becomes a token that another implementation accepts."""
    key = rsa.generate_private_key(65537, 2048)
    unsigned = jws.signing_input({"alg": "PS256", "x5t#S256": "thumbprint"}, {"iss": "client"})
    signature = key.sign(unsigned, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
    token = jws.attach(unsigned, signature)
    assert "=" not in token
    assert jwt.decode(token, key.public_key(), algorithms=["PS256"]) == {"iss": "client"}
    assert jwt.get_unverified_header(token)["x5t#S256"] == "thumbprint"


def test_the_caller_fixes_the_algorithm() -> None:
    """A token cannot choose: RS256 asked for and ES256 brought is refused before any key is looked at."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    with pytest.raises(InvalidToken, match="algorithm"):
        jws.verify(jws.read(TOKEN), key, "RS256")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
    ],
    ids=["RSA", "P-384", "secp256k1"],
)
def test_a_key_of_another_kind_is_the_callers_fault(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
) -> None:
    """ES256 means P-256 (RFC 7518, section 3.4); another key is not a verdict about the token."""
    with pytest.raises((TypeError, jwt.InvalidKeyError)):
        jws.verify(jws.read(TOKEN), key, "ES256")


def test_signing_needs_the_right_curve() -> None:
    """A token that nobody could verify is not made."""
    with pytest.raises(jwt.InvalidKeyError):
        jws.sign(HEADER, CLAIMS, ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        ORDER.to_bytes(32) * 2,
        b"\xff" * 64,
        bytes(63) + b"\1",
        raw_signature(TOKEN.rpartition(".")[0].encode())[:63],
        raw_signature(TOKEN.rpartition(".")[0].encode()) + b"\0",
        KEY.sign(TOKEN.rpartition(".")[0].encode(), ec.ECDSA(SHA256())),
    ],
    ids=["none", "zeros", "the order", "ones", "r of zero", "too short", "too long", "DER"],
)
def test_cve_2022_21449_signatures_out_of_range(signature: bytes) -> None:
    """An ECDSA signature is two numbers between 1 and the order of the curve, in 64 bytes."""
    assert kind(with_signature(signature)) is Kind.SIGNATURE


def test_cve_2025_30204_a_token_of_full_stops_costs_nothing() -> None:
    """A token is taken apart at the first three full stops, and not at all when it is too long."""
    assert kind("." * jws.MAX_TOKEN_CHARACTERS) is Kind.MALFORMED
    assert kind("." * 10_000_000) is Kind.TOO_LARGE


def test_a_token_may_be_as_long_as_the_limit() -> None:
    """16 KB are allowed, one character more is not."""
    rest = len(with_claims('{"x":""}')) - len(encode(b'{"x":""}'))
    room = (jws.MAX_TOKEN_CHARACTERS - rest) // 4 * 3 - len('{"x":""}')
    longest = with_claims(json.dumps({"x": "x" * room}, separators=(",", ":")))
    assert len(longest) == 16_384
    assert kind(longest) is None
    assert kind(longest + "A") is Kind.TOO_LARGE


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ('{"x": ' + "[" * 255 + "]" * 255 + "}", None),
        ('{"x": ' + "[" * 256 + "]" * 256 + "}", Kind.MALFORMED),
        ('{"x": ' + '{"x": ' * 255 + "1" + "}" * 256, None),
        ('{"x": ' + '{"x": ' * 256 + "1" + "}" * 257, Kind.MALFORMED),
        ('{"x": 9007199254740993}', None),
        ('{"x": 99999999999999999}', Kind.MALFORMED),
        ('{"x": -999999999999999}', None),
        ('{"x": 1.5e3}', None),
        ('{"x": -1e400}', Kind.MALFORMED),
        ('{"x": NaN}', Kind.MALFORMED),
        ('{"x": "\\ud83d\\ude00"}', None),
        ('{"x": "\\ude00"}', Kind.MALFORMED),
        ('{"\\udfff": 1}', Kind.MALFORMED),
        ('{"x": ["\\uD800"]}', Kind.MALFORMED),
        ('{"x": {"y": 1, "y": 1}}', Kind.DUPLICATE_MEMBER),
        ("{}", None),
        (" {} ", None),
        ("{'x': 1}", Kind.MALFORMED),
        ('{"x": 1,}', Kind.MALFORMED),
        ('{"x": 01}', Kind.MALFORMED),
        ('{"x": "\t"}', Kind.MALFORMED),
    ],
)
def test_the_json_is_read_strictly(claims: str, expected: Kind | None) -> None:
    """What two readers could read differently is refused (RFC 8259, RFC 7493), however well it is signed."""
    assert kind(with_claims(claims)) is expected


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize(
    "spoil", ["{}=", "{}\n", " {}", "{}*", "{}é", "{}AAAAA", "\N{FULLWIDTH LATIN SMALL LETTER E}{}"]
)
def test_each_part_is_strict_base64url(part: int, spoil: str) -> None:
    """There is one spelling of each part (RFC 7515, section 2), in all three of them."""
    parts = TOKEN.split(".")
    parts[part] = spoil.format(parts[part])
    assert kind(".".join(parts)) in {Kind.MALFORMED, Kind.SIGNATURE}
    if spoil != "{}AAAAA":
        assert kind(".".join(parts)) is Kind.MALFORMED


@pytest.mark.parametrize(
    ("text", "data"), [("", b""), ("AA", b"\0"), ("_-8", b"\xff\xef"), ("AAAA", b"\0\0\0")]
)
def test_base64url_decodes(text: str, data: bytes) -> None:
    """The URL-safe alphabet, without padding."""
    assert jws.decode_base64url(text) == data


@pytest.mark.parametrize("text", ["A", "AB", "_-9", "AA==", "AA=", "+/8", "A A", "AAA\n", "é", "AAAAA"])
def test_base64url_refuses_other_spellings(text: str) -> None:
    """Loose bits, padding, other alphabets, spaces and impossible lengths are refused."""
    with pytest.raises(InvalidToken, match="malformed"):
        jws.decode_base64url(text)


def test_headers_of_different_tokens_do_not_mix() -> None:
    """A header that was read before is not taken for another one, nor a refusal forgotten."""
    for key_id in ("k1", "k2", "k1"):
        assert jws.read(jws.sign({"kid": key_id}, CLAIMS, KEY)).key_id == key_id
    crit = jws.sign({"crit": ["b64"], "b64": False}, CLAIMS, KEY)
    assert [kind(crit), kind(crit)] == [Kind.HEADER, Kind.HEADER]


def test_what_is_shown_of_an_unverified_token_holds_no_claims() -> None:
    """A token that gets into a log by its repr leaves nothing usable there."""
    shown = repr(jws.read(TOKEN))
    assert not [
        text for text in ("account", "signature", "claims", TOKEN.rpartition(".")[2]) if text in shown
    ]


def test_pyjwt_is_imported_by_the_first_signature_only() -> None:
    """Reading the modules stays cheap for a process that has no token to check yet."""
    program = "import shared.jws, shared.id_token, sys; print('jwt' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - our own words
    assert done.stdout.strip() == "False"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15) + 1, 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(claims=st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=5))
def test_any_claims_survive_signing_and_reading(claims: dict[str, object]) -> None:
    """What is signed is what is read, for every JSON object of sane size."""
    token = jws.sign(HEADER, claims, KEY)
    assert jws.read(token).claims == claims
    assert kind(token) is None


@settings(deadline=None, max_examples=300)
@given(
    at=st.integers(0, len(TOKEN) - 1), letter=st.characters(codec="utf-8") | st.sampled_from("ABab01-_=. \n")
)
def test_any_changed_character_is_refused(at: int, letter: str) -> None:
    """No other text stands for a good session token."""
    changed = TOKEN[:at] + letter + TOKEN[at + 1 :]
    assert (kind(changed) is None) == (changed == TOKEN)
