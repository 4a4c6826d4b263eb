import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from shared.aadsts import CREDENTIAL_ERRORS
from shared.certificate import CERTIFICATE_NAME, ClientAssertions
from shared.errors import UpstreamUnavailable
from shared.renewal_state import CertificateVersion
from tests.house import START, MovableClock
from tests.unit.renewal_samples import version

CLIENT = "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"
ENDPOINT = "https://login.microsoftonline.com/7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10/oauth2/v2.0/token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FIRST, SECOND = version("v1"), version("v2")


class Signer:
    """Signs as the vault does, and remembers with which versions it was asked to."""

    def __init__(self) -> None:
        self.versions: list[str] = []
        self.failing = False
        self.failing_versions: set[str] = set()
        self.asked: list[str] = []
        self.slow = False
        self._another = threading.Event()

    def __call__(self, version: str, digest: bytes) -> bytes:
        """Sign a SHA-256 digest with PS256 (RFC 7518, section 3.5)."""
        self.asked.append(version)
        if self.failing or version in self.failing_versions:
            raise UpstreamUnavailable("vault", version)
        self.versions.append(version)
        if self.slow:  # long enough for another thread to come in, where nothing keeps it out
            self._another.set() if len(self.versions) > 1 else self._another.wait(0.2)
        pss = padding.PSS(padding.MGF1(SHA256()), salt_length=32)
        return KEY.sign(digest, pss, utils.Prehashed(SHA256()))


class Desk:
    """A maker of assertions, its clock and its signer."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.signer = Signer()
        self.assertions = ClientAssertions(self.signer, self.clock)

    def make(
        self, client: str = CLIENT, endpoint: str = ENDPOINT, version: CertificateVersion = FIRST
    ) -> str:
        """Make an assertion."""
        return self.assertions.make(client, endpoint, version)


def part(token: str, index: int) -> dict[str, object]:
    """Decode the header (0) or the claims (1), by another way than the module under test."""
    text = token.split(".")[index]
    decoded = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(decoded, dict)
    return decoded


def jti(token: str) -> object:
    """Answer the id of an assertion."""
    return part(token, 1)["jti"]


def test_header_and_claims() -> None:
    """Exactly what Entra asks for (RFC 7523, section 3; RFC 7515, section 4.1.8), and nothing else."""
    token = Desk().make()
    assert part(token, 0) == {"alg": "PS256", "typ": "JWT", "x5t#S256": FIRST.thumbprint}
    claims = part(token, 1)
    assert len(str(claims.pop("jti"))) == 36
    now = int(START.timestamp())
    assert claims == {
        "aud": ENDPOINT,
        "iss": CLIENT,
        "sub": CLIENT,
        "iat": now,
        "nbf": now - 120,
        "exp": now + 480,
    }
    assert "=" not in token


def test_the_signature_is_good() -> None:
    """PyJWT, which had no part in it, verifies it with the public key."""
    options: jwt.types.Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    decoded = jwt.decode(
        Desk().make(),
        KEY.public_key(),
        algorithms=["PS256"],
        audience=ENDPOINT,
        issuer=CLIENT,
        options=options,
    )
    assert decoded["sub"] == CLIENT


def test_an_assertion_is_reused_while_it_is_fresh() -> None:
    """A warm sign-in does not ask the vault, and an assertion has at least 3 minutes to live whenever it is used."""
    desk = Desk()
    first = desk.make()
    desk.clock.move(minutes=5, microseconds=-1)
    assert desk.make() == first
    assert desk.signer.versions == ["v1"]
    expires = datetime.fromtimestamp(int(str(part(first, 1)["exp"])), UTC)
    assert expires - desk.clock.now >= timedelta(minutes=3)
    desk.clock.move(microseconds=1)
    second = desk.make()
    assert second != first
    assert desk.signer.versions == ["v1", "v1"]
    assert desk.make() == second


def test_a_clock_that_was_set_back_makes_a_new_one() -> None:
    """By the new time the kept one may have expired long ago, or lie in the future."""
    desk = Desk()
    desk.make()
    desk.clock.move(seconds=-1)
    desk.make()
    assert len(desk.signer.versions) == 2
    assert part(desk.make(), 1)["iat"] == int(START.timestamp()) - 1


def test_an_assertion_is_for_one_certificate_application_and_endpoint() -> None:
    """After a change of any of them the kept one is not used."""
    desk = Desk()
    first = desk.make()
    other_version = desk.make(version=SECOND)
    assert desk.signer.versions == ["v1", "v2"]
    assert part(other_version, 0)["x5t#S256"] == SECOND.thumbprint
    other_endpoint = desk.make(endpoint=f"{ENDPOINT}/elsewhere")
    assert part(other_endpoint, 1)["aud"] == f"{ENDPOINT}/elsewhere"
    other_client = desk.make(client="another application")
    assert part(other_client, 1)["iss"] == part(other_client, 1)["sub"] == "another application"
    assert len({jti(token) for token in (first, other_version, other_endpoint, other_client)}) == 4


def test_each_version_keeps_its_own() -> None:
    """A sign-in that tries one version and then the other costs the next one no signature."""
    desk = Desk()
    first, second = desk.make(version=FIRST), desk.make(version=SECOND)
    assert (desk.make(version=FIRST), desk.make(version=SECOND)) == (first, second)
    assert desk.signer.versions == ["v1", "v2"]


def test_what_has_gone_stale_is_dropped() -> None:
    """Of any version: an instance that runs for a year keeps no assertion of every certificate it has seen."""
    desk = Desk()
    for n in range(20):
        desk.make(version=version(f"v{n}"))
        desk.clock.move(minutes=6)
    desk.make()
    assert len(desk.assertions._made) == 1  # noqa: SLF001 - what is kept shows nowhere else


def test_what_microsoft_refused_is_forgotten() -> None:
    """The second try of a sign-in brings another assertion than the first."""
    desk = Desk()
    first = desk.make()
    desk.assertions.forget(FIRST)
    assert desk.make() != first
    assert len(desk.signer.versions) == 2


def test_only_the_refused_version_is_forgotten() -> None:
    """The other one is fresh, and Microsoft has said nothing of it."""
    desk = Desk()
    first, second = desk.make(version=FIRST), desk.make(version=SECOND)
    elsewhere = desk.make(endpoint=f"{ENDPOINT}/elsewhere")
    desk.assertions.forget(FIRST)
    assert desk.make(version=SECOND) == second
    assert desk.make(version=FIRST) != first
    assert desk.make(endpoint=f"{ENDPOINT}/elsewhere") != elsewhere


def test_forgetting_what_was_never_made() -> None:
    """Is no error: another thread may have been faster."""
    desk = Desk()
    desk.assertions.forget(SECOND)
    first = desk.make()
    desk.assertions.forget(SECOND)
    assert desk.make() == first


def test_every_assertion_has_an_id_of_its_own() -> None:
    """A provider may refuse an id that it has seen (RFC 7523, section 3, 7)."""
    desk = Desk()
    seen = set()
    for _ in range(20):
        seen.add(jti(desk.make()))
        desk.assertions.forget(FIRST)
    assert len(seen) == 20


def test_many_at_once_cost_one_signature() -> None:
    """When a hospital signs in at seven, the vault signs once."""
    desk = Desk()
    desk.signer.slow = True
    together = threading.Barrier(20)

    def ask(_: int) -> str:
        together.wait(10)
        return desk.make()

    with ThreadPoolExecutor(20) as pool:
        tokens = set(pool.map(ask, range(20)))
    assert len(tokens) == 1
    assert desk.signer.versions == ["v1"]


def test_a_vault_that_fails_is_asked_again() -> None:
    """A failure is shared for a moment, so that a queue does not wait for one time-out each, and then forgotten."""
    desk = Desk()
    desk.signer.failing = True
    with pytest.raises(UpstreamUnavailable):
        desk.make()
    desk.signer.failing = False
    with pytest.raises(UpstreamUnavailable):
        desk.make()
    desk.clock.move(seconds=5)
    assert jti(desk.make())


def test_a_version_that_fails_does_not_stop_the_other() -> None:
    """The vault has disabled one of them: the other signs."""
    desk = Desk()
    desk.signer.failing_versions = {"v1"}
    with pytest.raises(UpstreamUnavailable):
        desk.make(version=FIRST)
    assert desk.make(version=SECOND)
    assert desk.signer.versions == ["v2"]


def test_a_failure_is_shared_for_each_version() -> None:
    """Sign-ins that try both while the vault is away do not wait for two time-outs each."""
    desk = Desk()
    desk.signer.failing = True
    for _ in range(3):
        for each in (FIRST, SECOND):
            with pytest.raises(UpstreamUnavailable, match=each.version):
                desk.make(version=each)
    assert desk.signer.asked == ["v1", "v2"]


@pytest.mark.parametrize(
    "moved", [timedelta(seconds=5) - timedelta(microseconds=1), timedelta(seconds=5), -timedelta(seconds=1)]
)
def test_how_long_a_failure_is_shared(moved: timedelta) -> None:
    """For less than 5 seconds, and not by a clock that was set back."""
    desk = Desk()
    desk.signer.failing = True
    with pytest.raises(UpstreamUnavailable):
        desk.make()
    desk.clock.now += moved
    with pytest.raises(UpstreamUnavailable):
        desk.make()
    asked_again = not timedelta(0) <= moved < timedelta(seconds=5)
    assert len(desk.signer.asked) == 1 + asked_again


def test_a_vault_that_fails_does_not_spoil_what_is_fresh() -> None:
    """A fresh assertion is used while the vault is away."""
    desk = Desk()
    first = desk.make()
    desk.signer.failing = True
    assert desk.make() == first


def test_names_that_others_rely_on() -> None:
    """The name of the certificate, and the six refusals after which the credential is read anew."""
    assert CERTIFICATE_NAME == "sos-entra"
    assert frozenset({700027, 700024, 1000502, 7000214, 7000274, 7000277}) == CREDENTIAL_ERRORS
