"""Make `id_tokens.json`: `python -m tests.vectors.make_id_tokens`, from the root of the project.

The tokens are put together here from bytes and `cryptography`, and not with `shared.jws`, so that a mistake
there cannot hide in them. The private keys are made anew each time and thrown away.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILE = Path(__file__).with_name("id_tokens.json")
NOW = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
TENANT = "a0000000-0000-4000-8000-00000000a001"
CLIENT = "b0000000-0000-4000-8000-00000000b002"
PERSON = "c0000000-0000-4000-8000-00000000c003"
AUTHORITY = "https://login.microsoftonline.com"
EXPECTED = {
    "issuer": f"{AUTHORITY}/{TENANT}/v2.0",
    "client_id": CLIENT,
    "tenant_id": TENANT,
    "nonce": hashlib.sha256(b"the nonce that was kept").hexdigest(),
}
CLAIMS: Mapping[str, object] = {
    "iss": EXPECTED["issuer"],
    "aud": CLIENT,
    "exp": SECONDS + 3600,
    "nbf": SECONDS - 300,
    "iat": SECONDS - 300,
    "nonce": EXPECTED["nonce"],
    "tid": TENANT,
    "ver": "2.0",
    "oid": PERSON,
    "sub": "ZkXz8iSlNvMkd9Q5m1nT4uQ0vI2bG6yE",
    "name": "Ward Nurse",
    "preferred_username": "nurse@clinic.example",
}
VALID = "valid"
CORE = "OpenID Connect Core 1.0"
OIDF = "OpenID Foundation, relying-party tests"
ENTRA = "Microsoft Entra, ID token claims reference"

type Signer = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Vector:
    """One token and the class of its outcome: `valid`, or the kind of the refusal. `keys` names a key set."""

    name: str
    source: str
    outcome: str
    token: str
    keys: str = "published"


class Keys:
    """Fresh keys, and the signatures that can be made with them."""

    def __init__(self) -> None:
        self.first = rsa.generate_private_key(65537, 2048)
        self.second = rsa.generate_private_key(65537, 2048)
        self.stranger = rsa.generate_private_key(65537, 2048)
        self.curve = ec.generate_private_key(ec.SECP256R1())

    def sets(self) -> dict[str, dict[str, object]]:
        """Answer the key sets that the vectors name."""
        first, second, curve = self.jwk("first"), self.jwk("second"), self.curve_jwk()
        return {
            "published": {"keys": [first, second, curve]},
            "single": {"keys": [first]},
            "single without kid": {"keys": [{name: v for name, v in first.items() if name != "kid"}]},
            "single beside another kind": {"keys": [first, curve, {**second, "use": "enc"}]},
        }

    def jwk(self, name: str) -> dict[str, object]:
        """Answer a public RSA key as Entra publishes it."""
        numbers = getattr(self, name).public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": name,
            "n": b64(numbers.n.to_bytes(256)),
            "e": b64(numbers.e.to_bytes(3)),
        }

    def curve_jwk(self) -> dict[str, object]:
        """Answer the public key on P-256."""
        numbers = self.curve.public_key().public_numbers()
        x, y = b64(numbers.x.to_bytes(32)), b64(numbers.y.to_bytes(32))
        return {"kty": "EC", "use": "sig", "kid": "curve", "crv": "P-256", "x": x, "y": y}

    def rsa(self, name: str, digest: HashAlgorithm | None = None) -> Signer:
        """Sign with RSASSA-PKCS1-v1_5 (RS256 unless another digest is given)."""
        key: rsa.RSAPrivateKey = getattr(self, name)
        return lambda data: key.sign(data, padding.PKCS1v15(), digest or SHA256())

    def pss(self, name: str) -> Signer:
        """Sign with PS256."""
        key: rsa.RSAPrivateKey = getattr(self, name)
        return lambda data: key.sign(data, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())

    def es256(self) -> Signer:
        """Sign with ES256."""

        def sign(data: bytes) -> bytes:
            r, s = utils.decode_dss_signature(self.curve.sign(data, ec.ECDSA(SHA256())))
            return r.to_bytes(32) + s.to_bytes(32)

        return sign


def b64(data: bytes) -> str:
    """Encode base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(secret: bytes) -> Signer:
    """Sign with HS256."""
    return lambda data: hmac.digest(secret, data, "sha256")


def unsigned(_data: bytes) -> bytes:
    """Sign not at all."""
    return b""


def fixed(signature: bytes) -> Signer:
    """Answer one signature for everything."""
    return lambda _data: signature


def token(header: Mapping[str, object] | bytes, claims: Mapping[str, object] | bytes, signer: Signer) -> str:
    """Put a token together; parts that no JSON writer would write are given as bytes."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signing_input = ".".join(b64(part) for part in parts)
    return f"{signing_input}.{b64(signer(signing_input.encode()))}"


def claims(changes: Mapping[str, object] | None = None, without: str = "") -> dict[str, object]:
    """Answer the claims of the good token, with changes."""
    return {name: value for name, value in {**CLAIMS, **(changes or {})}.items() if name != without}


def raw(text: str) -> bytes:
    """Answer the good claims as JSON with `text` added before the closing brace."""
    return f"{json.dumps(dict(CLAIMS))[:-1]}, {text}}}".encode()


def vectors(keys: Keys) -> list[Vector]:
    """Answer all vectors."""
    makers = (relying_party, form, headers, algorithms, borne_keys, parties, times, identity, optional)
    return [vector for maker in makers for vector in maker(keys)]


def header(**changes: object) -> dict[str, object]:
    """Answer the header of the good token, with changes; None takes a member away."""
    members = {"typ": "JWT", "alg": "RS256", "kid": "first", **changes}
    return {name: value for name, value in members.items() if value is not None}


def relying_party(keys: Keys) -> Iterator[Vector]:
    """Give the relying-party tests that concern the token."""
    good, first, second = header(), keys.rsa("first"), keys.rsa("second")
    yield Vector("rs256", f"{OIDF}: idtoken-sig-rs256", VALID, token(good, claims(), first))
    yield Vector(
        "rotated key", f"{OIDF}: signing-key-rotation", VALID, token(header(kid="second"), claims(), second)
    )
    no_kid = token(header(kid=None), claims(), first)
    yield Vector("kid absent, one key", f"{OIDF}: kid-absent-single-jwks", VALID, no_kid, "single")
    yield Vector("kid absent, one key of no name", CORE + ", 10.1", VALID, no_kid, "single without kid")
    beside = "single beside another kind"
    yield Vector("kid absent, one key for signatures", CORE + ", 10.1", VALID, no_kid, beside)
    yield Vector("kid absent, two keys", f"{OIDF}: kid-absent-multiple-jwks", "ambiguous_key", no_kid)
    none = token(header(alg="none"), claims(), unsigned)
    yield Vector("sig none", f"{OIDF}: idtoken-sig-none", "algorithm", none)
    broken = first(b"something else")
    yield Vector(
        "bad signature", f"{OIDF}: invalid-sig-rs256", "signature", token(good, claims(), fixed(broken))
    )
    for name, changes, outcome in (
        ("invalid-iss", {"iss": "https://issuer.example/"}, "issuer"),
        ("invalid-aud", {"aud": "another-client"}, "audience"),
        ("nonce-invalid", {"nonce": "another nonce"}, "nonce"),
    ):
        yield Vector(name, f"{OIDF}: {name}", outcome, token(good, claims(changes), first))
    for name, member in (("missing-sub", "sub"), ("missing-iat", "iat")):
        yield Vector(name, f"{OIDF}: {name}", f"missing_{member}", token(good, claims(without=member), first))


def form(keys: Keys) -> Iterator[Vector]:
    """Give tokens that are not well-formed."""
    sign = keys.rsa("first")
    good = token(header(), claims(), sign)
    head, body, signature = good.split(".")
    last = signature[:-1] + chr(ord(signature[-1]) + 1)  # the same bytes to a lenient decoder
    for name, source, text in (
        ("empty", "RFC 7515, 5.2", ""),
        ("one part", "RFC 7515, 5.2", head),
        ("two parts", "RFC 7515, 5.2", f"{head}.{body}"),
        ("four parts", "RFC 7515, 5.2", f"{good}.{signature}"),
        ("five parts, as a JWE", "RFC 7516, 3.1; RFC 8725, 2.6", f"{good}.{signature}.{signature}"),
        ("JSON serialization", "RFC 7515, 7.2.2", json.dumps({"protected": head, "payload": body})),
        ("padding", "RFC 7515, 2", f"{good}=="),
        ("loose bits at the end", "RFC 4648, 3.5", f"{head}.{body}.{last}"),
        ("a space", "RFC 7515, 2", f" {good}"),
        ("a line feed at the end", "RFC 7515, 2", f"{good}\n"),
        ("a foreign character inside", "RFC 4648, 3.3", f"{head}.{body[:9]}*{body[9:]}.{signature}"),
        ("the other base64 alphabet", "RFC 4648, 4", f"{head}.{body}.{signature[:-2]}+/"),
        ("a letter that is not ASCII", "RFC 7515, 2", f"{head}.{body}.é{signature[1:]}"),
        ("impossible length", "RFC 4648, 4", f"{head}.{body}.{signature[:5]}"),
        ("an empty header", "RFC 7515, 5.2", f".{body}.{signature}"),
        ("empty claims", "RFC 7519, 7.2", f"{head}..{signature}"),
        ("10,000 full stops", "CVE-2025-30204", "." * 10_000),
    ):
        yield Vector(name, source, "malformed", text)
    huge = token(header(), claims({"padding": "x" * 16_384}), sign)
    yield Vector("huge", "RFC 8725, 3.2", "too_large", huge)
    for name, source, payload, outcome in (
        ("claims in an array", "RFC 7519, 7.2", b"[1]", "malformed"),
        ("claims as a string", "RFC 7519, 7.2", b'"claims"', "malformed"),
        ("claims that are no JSON", "RFC 7519, 7.2", b"claims", "malformed"),
        ("text after the claims", "RFC 8259, 2", raw('"x": 1') + b" {}", "malformed"),
        (
            "claims that are not UTF-8",
            "RFC 7519, 7.2",
            raw('"x": "é"').replace("é".encode(), b"\xe9"),
            "malformed",
        ),
        ("a byte order mark", "RFC 8259, 8.1", b"\xef\xbb\xbf" + raw('"x": 1'), "malformed"),
        ("half a surrogate pair", "RFC 7493, 2.1", raw(r'"x": "\ud800"'), "malformed"),
        ("deep arrays", "RFC 8259, 9", raw(f'"x": {"[" * 1000}{"]" * 1000}'), "malformed"),
        ("deep objects", "RFC 8259, 9", raw('"x": ' + '{"a":' * 500 + "1" + "}" * 500), "malformed"),
        ("NaN", "RFC 8259, 6", raw('"x": NaN'), "malformed"),
        ("Infinity", "RFC 8259, 6", raw('"x": -Infinity'), "malformed"),
        ("a number beyond doubles", "RFC 8259, 6", raw('"x": 1e999'), "malformed"),
        ("an integer of 5,000 digits", "CVE-2020-10735", raw(f'"x": {"9" * 5000}'), "malformed"),
        ("a claim twice, the same value", "RFC 7519, 4", raw(f'"oid": "{PERSON}"'), "duplicate_member"),
        ("a claim twice, another value", "RFC 7519, 4", raw(f'"oid": "{TENANT}"'), "duplicate_member"),
        ("a claim twice, once escaped", "RFC 7519, 4", raw(r'"oi\u0064": "somebody"'), "duplicate_member"),
        ("a member twice, deep inside", "RFC 8725, 2.6", raw('"x": [{"a": 1, "a": 2}]'), "duplicate_member"),
    ):
        yield Vector(name, source, outcome, token(header(), payload, sign))


def headers(keys: Keys) -> Iterator[Vector]:
    """Give headers that are not what an ID token has."""
    sign = keys.rsa("first")
    for name, source, members, outcome in (
        ("crit", "CVE-2026-32597; RFC 7515, 4.1.11", header(crit=["exp"], exp=1), "header"),
        ("crit, empty", "RFC 7515, 4.1.11", header(crit=[]), "header"),
        ("b64 false", "RFC 7797; PYSEC-2026-178", header(b64=False, crit=["b64"]), "header"),
        ("b64 without crit", "RFC 7797, 6", header(b64=False), "header"),
        ("alg absent", "RFC 7515, 4.1.1", header(alg=None), "header"),
        ("alg a list", "RFC 7515, 4.1.1", header(alg=["RS256"]), "header"),
        ("typ a number", "RFC 7515, 4.1.9", header(typ=1), "header"),
        ("kid a number", "RFC 7515, 4.1.4", header(kid=1), "header"),
        ("kid an object", "RFC 7515, 4.1.4", header(kid={"$ne": None}), "header"),
        ("kid empty", "RFC 7515, 4.1.4", header(kid=""), "header"),
        ("kid huge", "RFC 7515, 4.1.4", header(kid="k" * 256), "header"),
        ("kid null", "RFC 7515, 4.1.4", b'{"alg": "RS256", "kid": null}', "header"),
        ("kid of a path", "RFC 8725, 3.10", header(kid="../../dev/null"), "unknown_key"),
        ("kid in another case", "RFC 7515, 4.1.4", header(kid="FIRST"), "unknown_key"),
        ("kid of another key of the set", "RFC 7515, 4.1.4", header(kid="second"), "signature"),
        ("a header member twice", "RFC 7515, 4", b'{"alg": "none", "alg": "RS256"}', "duplicate_member"),
        ("a header in an array", "RFC 7515, 4", b"[]", "malformed"),
        ("typ absent", "RFC 7519, 5.1", header(typ=None), VALID),
        ("an access token", "RFC 9068, 4; RFC 8725, 3.11", header(typ="at+jwt"), "type"),
        ("a logout token", "OpenID Connect Back-Channel Logout 1.0, 2.4", header(typ="logout+jwt"), "type"),
        ("a session token of ours", "RFC 8725, 3.11", header(typ="session+jwt"), "type"),
        ("typ in lower case", "RFC 7519, 5.1", header(typ="jwt"), "type"),
        ("a member that nobody knows", "RFC 7515, 4", header(nonce="unused"), VALID),
    ):
        yield Vector(name, source, outcome, token(members, claims(), sign))


def algorithms(keys: Keys) -> Iterator[Vector]:
    """Give tokens that name another algorithm, or are signed with one."""
    for spelling in ("none", "None", "NONE", "nOnE", "none ", ""):
        text = token(header(alg=spelling), claims(), unsigned)
        yield Vector(f"alg '{spelling}', unsigned", "CVE-2022-23540; RFC 8725, 3.2", "algorithm", text)
    yield Vector(
        "alg none with a good signature",
        "RFC 8725, 3.2",
        "algorithm",
        token(header(alg="none"), claims(), keys.rsa("first")),
    )
    yield Vector("RS256 unsigned", "CVE-2020-28042", "signature", token(header(), claims(), unsigned))
    public = keys.first.public_key()
    pem, pkcs1 = (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    for name, source, secret in (
        ("the public key (PEM)", "CVE-2015-9235", public.public_bytes(Encoding.PEM, pem)),
        ("the public key (PKCS #1)", "CVE-2017-11424", public.public_bytes(Encoding.PEM, pkcs1)),
        ("the public key (DER)", "CVE-2015-9235", public.public_bytes(Encoding.DER, pem)),
        (
            "the public key (OpenSSH)",
            "CVE-2022-29217",
            public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        ),
        ("the public key (JWK)", "CVE-2026-102273", json.dumps(keys.jwk("first")).encode()),
        ("no secret", "RFC 8725, 3.5", b""),
    ):
        for algorithm in ("HS256", "RS256"):
            outcome = "algorithm" if algorithm == "HS256" else "signature"
            text = token(header(alg=algorithm), claims(), hs256(secret))
            yield Vector(f"HMAC with {name}, called {algorithm}", source, outcome, text)
    for algorithm, signer in (
        ("PS256", keys.pss("first")),
        ("RS384", keys.rsa("first", SHA384())),
        ("RS512", keys.rsa("first", SHA512())),
        ("ES256", keys.es256()),
    ):
        key_id = "curve" if algorithm == "ES256" else "first"
        text = token(header(alg=algorithm, kid=key_id), claims(), signer)
        yield Vector(f"a good {algorithm} signature", "RFC 8725, 3.1", "algorithm", text)
        if algorithm != "ES256":
            text = token(header(), claims(), signer)
            yield Vector(f"{algorithm} called RS256", "RFC 8725, 3.1", "signature", text)
    text = token(header(kid="curve"), claims(), keys.es256())
    yield Vector("ES256 called RS256, by an EC key of the set", "RFC 8725, 3.1", "unknown_key", text)
    text = token(header(alg="ES256", kid="curve"), claims(), fixed(bytes(64)))
    yield Vector("an ECDSA signature of zeros", "CVE-2022-21449", "algorithm", text)
    for name, signature in (("zeros", bytes(256)), ("one byte", b"\1"), ("4,096 bytes", b"\1" * 4096)):
        text = token(header(), claims(), fixed(signature))
        yield Vector(f"a signature of {name}", "RFC 8017, 8.2.2", "signature", text)


def borne_keys(keys: Keys) -> Iterator[Vector]:
    """Give tokens of a stranger, who brings a key along; and the same members on a good token, unused."""
    jwk = {**keys.jwk("stranger"), "kid": "first"}
    for member, value, source in (
        ("jwk", jwk, "CVE-2018-0114"),
        ("jku", "https://keys.example/jwks.json", "RFC 8725, 3.10"),
        ("x5u", "https://keys.example/chain.pem", "RFC 8725, 3.10"),
        ("x5c", [base64.b64encode(b"a certificate").decode()], "RFC 8725, 3.10"),
    ):
        bearing = header(**{member: value})
        by_stranger = token(bearing, claims(), keys.rsa("stranger"))
        yield Vector(f"{member} of a stranger", source, "signature", by_stranger)
        unknown = token({**bearing, "kid": "stranger"}, claims(), keys.rsa("stranger"))
        yield Vector(f"{member} of a stranger, with its own kid", source, "unknown_key", unknown)
        yield Vector(f"{member} unused", "ASVS 9.1.3", VALID, token(bearing, claims(), keys.rsa("first")))


def changed(keys: Keys, source: str, *cases: tuple[str, Mapping[str, object], str]) -> Iterator[Vector]:
    """Give well-signed tokens with changed claims."""
    for name, changes, outcome in cases:
        yield Vector(name, source, outcome, token(header(), claims(changes), keys.rsa("first")))


def missing(keys: Keys, source: str, *members: str) -> Iterator[Vector]:
    """Give well-signed tokens that lack a claim."""
    for member in members:
        text = token(header(), claims(without=member), keys.rsa("first"))
        yield Vector(f"{member} absent", source, f"missing_{member}", text)


def parties(keys: Keys) -> Iterator[Vector]:
    """Give tokens between other parties, or for another request."""
    issuer = EXPECTED["issuer"]
    yield from missing(keys, CORE + ", 2", "iss", "aud", "nonce")
    yield from changed(
        keys,
        f"{CORE}, 3.1.3.7 (2)",
        ("iss with a slash at the end", {"iss": issuer + "/"}, "issuer"),
        ("iss without its end", {"iss": issuer.removesuffix("/v2.0")}, "issuer"),
        ("iss in capitals", {"iss": issuer.upper()}, "issuer"),
        ("iss of version 1", {"iss": f"https://sts.windows.net/{TENANT}/"}, "issuer"),
        ("iss of another tenant", {"iss": f"{AUTHORITY}/{PERSON}/v2.0"}, "issuer"),
        ("iss of the template", {"iss": f"{AUTHORITY}/{{tenantid}}/v2.0"}, "issuer"),
        ("iss null", {"iss": None}, "issuer"),
    )
    yield from changed(
        keys,
        "CVE-2024-53861",
        ("iss a part of the issuer", {"iss": "login.microsoftonline.com"}, "issuer"),
        ("iss empty", {"iss": ""}, "issuer"),
        ("iss a list", {"iss": [issuer]}, "issuer"),
    )
    yield from changed(
        keys,
        f"{CORE}, 3.1.3.7 (3)",
        ("aud in a list of one", {"aud": [CLIENT]}, VALID),
        ("aud with somebody else", {"aud": [CLIENT, "another-client"]}, "audience"),
        ("aud twice", {"aud": [CLIENT, CLIENT]}, "audience"),
        ("aud in capitals", {"aud": CLIENT.upper()}, "audience"),
        ("aud of the API form", {"aud": f"api://{CLIENT}"}, "audience"),
        ("aud begins like ours", {"aud": CLIENT + "0"}, "audience"),
        ("aud an object", {"aud": {CLIENT: True}}, "audience"),
        ("aud null", {"aud": None}, "audience"),
        ("aud in a list in a list", {"aud": [[CLIENT]]}, "audience"),
    )
    yield from changed(
        keys,
        "CVE-2020-26160",
        ("aud an empty list", {"aud": []}, "audience"),
        ("aud empty", {"aud": ""}, "audience"),
    )
    yield from changed(
        keys,
        f"{CORE}, 3.1.3.7 (4, 5)",
        ("azp ours", {"azp": CLIENT}, VALID),
        ("azp another client", {"azp": "another-client"}, "azp"),
        ("azp empty", {"azp": ""}, "azp"),
        ("azp null", {"azp": None}, "azp"),
        ("azp a list", {"azp": [CLIENT]}, "azp"),
    )
    nonce = EXPECTED["nonce"]
    yield from changed(
        keys,
        f"{CORE}, 3.1.3.7 (11)",
        ("nonce empty", {"nonce": ""}, "nonce"),
        ("nonce a part", {"nonce": nonce[:-1]}, "nonce"),
        ("nonce in capitals", {"nonce": nonce.upper()}, "nonce"),
        ("nonce a list", {"nonce": [nonce]}, "nonce"),
        ("nonce null", {"nonce": None}, "nonce"),
        ("nonce not ASCII", {"nonce": "ñ" * 32}, "nonce"),
    )


def times(keys: Keys) -> Iterator[Vector]:
    """Give tokens at and beyond the limits of time: 60 s of leeway, 15 minutes of age."""
    yield from missing(keys, "RFC 7519, 4.1", "exp", "nbf")
    yield from changed(
        keys,
        f"{CORE}, 3.1.3.7 (9)",
        ("expired within the leeway", {"exp": SECONDS - 59}, VALID),
        ("expired", {"exp": SECONDS - 60}, "expired"),
        ("expired in 1970", {"exp": 1}, "expired"),
        ("exp negative", {"exp": -SECONDS}, "expired"),
        ("exp in the year 285,000,000", {"exp": 9_007_199_254_740_991}, VALID),
    )
    yield from changed(
        keys,
        "RFC 7519, 4.1.5",
        ("nbf within the leeway", {"nbf": SECONDS + 60}, VALID),
        ("nbf ahead", {"nbf": SECONDS + 61}, "not_yet_valid"),
    )
    yield from changed(
        keys,
        f"{CORE}, 3.1.3.7 (10)",
        ("iat within the leeway", {"iat": SECONDS + 60}, VALID),
        ("iat ahead", {"iat": SECONDS + 61}, "issued_in_future"),
        ("iat in the year 285,000,000", {"iat": 9_007_199_254_740_991}, "issued_in_future"),
        ("iat of 15 minutes ago", {"iat": SECONDS - 900}, VALID),
        ("iat older", {"iat": SECONDS - 901}, "too_old"),
        ("iat negative", {"iat": -1}, "too_old"),
    )
    for member in ("exp", "nbf", "iat"):
        yield from changed(
            keys,
            "RFC 7519, 2; RFC 8725, 3.2",
            (f"{member} a string", {member: str(SECONDS)}, f"malformed_{member}"),
            (f"{member} with a fraction", {member: SECONDS + 0.5}, f"malformed_{member}"),
            (f"{member} with an exponent", {member: 1e12}, f"malformed_{member}"),
            (f"{member} true", {member: True}, f"malformed_{member}"),
            (f"{member} null", {member: None}, f"malformed_{member}"),
            (f"{member} a list", {member: [SECONDS]}, f"malformed_{member}"),
            (f"{member} of 17 digits", {member: 10**16}, "malformed"),
            (f"{member} of 400 digits", {member: 10**399}, "malformed"),
        )
    yield from changed(
        keys,
        f"{CORE}, 2 (auth_time)",
        ("auth_time", {"auth_time": SECONDS - 7200}, VALID),
        ("auth_time within the leeway", {"auth_time": SECONDS + 60}, VALID),
        ("auth_time of 1970", {"auth_time": 0}, VALID),
        ("auth_time ahead", {"auth_time": SECONDS + 61}, "malformed_auth_time"),
        ("auth_time negative", {"auth_time": -1}, "malformed_auth_time"),
        ("auth_time a string", {"auth_time": str(SECONDS)}, "malformed_auth_time"),
        ("auth_time true", {"auth_time": True}, "malformed_auth_time"),
        ("auth_time null", {"auth_time": None}, "malformed_auth_time"),
    )


def identity(keys: Keys) -> Iterator[Vector]:
    """Give tokens of another tenant or version, or of nobody."""
    yield from missing(keys, ENTRA, "tid", "ver", "oid")
    yield from changed(
        keys,
        ENTRA,
        ("tid of another tenant", {"tid": PERSON}, "tenant"),
        ("tid in capitals", {"tid": TENANT.upper()}, "tenant"),
        ("tid of personal accounts", {"tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}, "tenant"),
        ("tid null", {"tid": None}, "tenant"),
        ("ver 1.0", {"ver": "1.0"}, "version"),
        ("ver a number", {"ver": 2.0}, "version"),
    )
    for member in ("oid", "sub"):
        yield from changed(
            keys,
            f"{ENTRA}; {CORE}, 2",
            (f"{member} of 255 characters", {member: "a" * 255}, VALID),
            (f"{member} of 256 characters", {member: "a" * 256}, f"malformed_{member}"),
            (f"{member} empty", {member: ""}, f"malformed_{member}"),
            (f"{member} a space", {member: " "}, f"malformed_{member}"),
            (f"{member} with a line feed", {member: "a\nb"}, f"malformed_{member}"),
            (f"{member} not ASCII", {member: "аdmin"}, f"malformed_{member}"),
            (f"{member} a number", {member: 1}, f"malformed_{member}"),
            (f"{member} a list", {member: [PERSON]}, f"malformed_{member}"),
            (f"{member} null", {member: None}, f"malformed_{member}"),
        )


def optional(keys: Keys) -> Iterator[Vector]:
    """Give the claims that need not be there."""
    yield from changed(
        keys,
        ENTRA,
        ("roles", {"roles": ["sos.admin", "sos.user"]}, VALID),
        ("roles empty", {"roles": []}, VALID),
        ("roles a string", {"roles": "sos.admin"}, "malformed_roles"),
        ("roles an object", {"roles": {"sos.admin": True}}, "malformed_roles"),
        ("roles null", {"roles": None}, "malformed_roles"),
        ("a role that is a number", {"roles": ["sos.user", 1]}, "malformed_roles"),
        ("a role that is empty", {"roles": [""]}, "malformed_roles"),
        ("a role with a space", {"roles": ["sos admin"]}, "malformed_roles"),
        ("sid", {"sid": "00a1-b2c3"}, VALID),
        ("sid empty", {"sid": ""}, "malformed_sid"),
        ("sid a number", {"sid": 7}, "malformed_sid"),
        ("login_hint", {"login_hint": "O." + "x" * 1022}, VALID),
        ("login_hint too long", {"login_hint": "O." + "x" * 1023}, "malformed_login_hint"),
        ("login_hint a list", {"login_hint": []}, "malformed_login_hint"),
        ("name empty", {"name": ""}, VALID),
        ("name with control characters", {"name": "Ward\u0000 \u202eNurse"}, VALID),
        ("name a list", {"name": ["Ward Nurse"]}, "malformed_name"),
        ("name null", {"name": None}, "malformed_name"),
        ("mail of somebody else", {"email": "owner@clinic.example", "upn": "owner@clinic.example"}, VALID),
    )


def document() -> dict[str, object]:
    """Answer the whole file, with new keys."""
    keys = Keys()
    return {
        "about": "ID tokens and what must come of each. See README.md.",
        "now": NOW.isoformat(),
        "expected": EXPECTED,
        "key_sets": keys.sets(),
        "vectors": [vars(vector) for vector in vectors(keys)],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
