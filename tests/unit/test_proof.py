"""The proof of possession for the directory: what it says, how long it is good, and who signed it."""

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UpstreamUnavailable
from shared.proof import make_proof
from tests.unit.renewal_samples import NOW

OBJECT = "5d0e2f14-8c6b-4a39-9b7d-2e1f3a4c5b60"
X5T = "Fd0rV5aQ3bYx8mHk2sW9uT1oZcE"
DIRECTORY = "00000002-0000-0000-c000-000000000000"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sign(digest: bytes) -> bytes:
    """Sign a SHA-256 digest as the vault does for RS256 (RFC 7518, section 3.3)."""
    return KEY.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))


def part(token: str, index: int) -> dict[str, object]:
    """Decode the header (0) or the claims (1), by another way than the module under test."""
    text = token.split(".")[index]
    decoded = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(decoded, dict)
    return decoded


def test_header_and_claims() -> None:
    """Exactly what Graph asks for (application-rollkey-prooftoken), and nothing else."""
    proof = make_proof(OBJECT, X5T, NOW, sign)
    assert part(proof, 0) == {"alg": "RS256", "typ": "JWT", "x5t": X5T}
    now = int(NOW.timestamp())
    assert part(proof, 1) == {"aud": DIRECTORY, "iss": OBJECT, "nbf": now - 120, "exp": now + 480}


def test_the_signature_is_good() -> None:
    """PyJWT, which had no part in it, verifies it with the public key, and with no other."""
    now = datetime.now(UTC)
    proof = make_proof(OBJECT, X5T, now, sign)
    claims = jwt.decode(proof, KEY.public_key(), algorithms=["RS256"], audience=DIRECTORY, issuer=OBJECT)
    assert claims["exp"] == int(now.timestamp()) + 480
    another = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(proof, another.public_key(), algorithms=["RS256"], audience=DIRECTORY, issuer=OBJECT)


@given(
    st.uuids().map(str),
    st.binary(min_size=20, max_size=20),
    st.datetimes(datetime(2026, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the time zone stands beside them
    st.binary(min_size=1, max_size=300),
)
def test_a_proof_lives_ten_minutes_at_most(
    object_id: str, sha1: bytes, now: datetime, signature: bytes
) -> None:
    """At any time, for any application; it is good already for a clock that is 2 minutes behind. No part is padded."""
    x5t = base64.urlsafe_b64encode(sha1).rstrip(b"=").decode()
    digests: list[bytes] = []

    def signed(digest: bytes) -> bytes:
        digests.append(digest)
        return signature

    proof = make_proof(object_id, x5t, now, signed)
    claims = part(proof, 1)
    begins, ends = (datetime.fromtimestamp(int(str(claims[name])), UTC) for name in ("nbf", "exp"))
    assert ends - begins <= timedelta(minutes=10)
    assert begins <= now - timedelta(minutes=2) < now + timedelta(minutes=7) < ends
    assert "=" not in proof
    assert proof.count(".") == 2
    assert [len(digest) for digest in digests] == [32]
    assert part(proof, 0)["x5t"] == x5t
    assert claims["iss"] == object_id
    last = proof.split(".")[2]
    assert base64.urlsafe_b64decode(last + "=" * (-len(last) % 4)) == signature


def test_a_vault_that_does_not_sign() -> None:
    """There is no proof without its signature."""

    def away(_: bytes) -> bytes:
        raise UpstreamUnavailable("vault", "away")

    with pytest.raises(UpstreamUnavailable):
        make_proof(OBJECT, X5T, NOW, away)
