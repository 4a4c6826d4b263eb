"""The directory's contract: the adapter for Microsoft Graph, against the stand-in or a real application.

Each test leaves the application as it found it: a key that it adds it removes again, by its key id, and no other.
"""

import hashlib
import os
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import pytest
import requests
from azure.identity import DefaultAzureCredential
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.server import Addresses, serving
from shared.aadsts import CREDENTIAL_ERRORS
from shared.azure import http
from shared.azure.entra import Entra
from shared.azure.graph import Graph
from shared.azure.http import pooled_session, transport
from shared.azure.key_vault import KeyVault
from shared.base64url import base64url
from shared.certificate import ClientAssertions
from shared.config import Config
from shared.errors import AuthorizationDenied, DirectoryRefused, UpstreamUnavailable
from shared.ports import Application, Directory, IdentityProvider, RegisteredKey, VaultCertificate
from shared.proof import make_proof
from shared.public_part import describe
from shared.secret import Secret
from tests.contracts.conftest import FOUND
from tests.local.clients import Control, http_session, made_certificate

pytestmark = pytest.mark.system

NEEDED = ("TENANT_ID", "CLIENT_ID", "OBJECT_ID", "KEY_VAULT_URL", "CERTIFICATE_NAME", "CERTIFICATE_VERSION")
"""The CONTRACT_… variables that name a real application and its certificate."""
PATIENCE_SECONDS = 600.0
"""How long a real tenant may take to know what was changed."""
PAUSE_SECONDS = 5.0
IN_A_ROW = 5
"""Replicas differ: one answer says little."""

type Algorithm = Literal["PS256", "RS256"]


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate, and what signs a SHA-256 digest with its key."""

    der: bytes
    sign: Callable[[Algorithm, bytes], bytes] = field(repr=False)

    @property
    def x5t(self) -> str:
        """The SHA-1 thumbprint (RFC 7515, section 4.1.7)."""
        return base64url(hashlib.sha1(self.der, usedforsecurity=False).digest())

    def assertion(self, application: Application) -> Callable[[str], str]:
        """Give a maker of client assertions, each of them new."""
        version = describe(VaultCertificate("v1", self.der, enabled=True))
        assertions = ClientAssertions(lambda _, digest: self.sign("PS256", digest), now)
        return lambda endpoint: assertions.make(application.client_id, endpoint, version)


@dataclass(slots=True)
class Registration:
    """An application at Microsoft, whose certificate `registered` signs the proofs."""

    graph: Directory
    entra: IdentityProvider
    application: Application
    object_id: str
    registered: Signer
    patience: float
    added: set[str] = field(default_factory=set)

    def token(self) -> Secret:
        """Get an access token."""
        return self.entra.authenticate(self.application, self.registered.assertion(self.application))

    def proof(self, signer: Signer | None = None, *, at: datetime | None = None, issuer: str = "") -> str:
        """Prove the possession of a registered certificate."""
        by = signer or self.registered
        return make_proof(
            issuer or self.object_id, by.x5t, at or now(), lambda digest: by.sign("RS256", digest)
        )

    def add(self, der: bytes) -> str:
        """Register a certificate, which goes again when the test is over."""
        key_id = self.graph.add_key(self.object_id, self.token(), der, self.proof())
        self.added.add(key_id)
        return key_id

    def remove(self, key_id: str) -> bool:
        """Remove a certificate."""
        done = self.graph.remove_key(self.object_id, self.token(), key_id, self.proof())
        if done:
            self.added.discard(key_id)
        return done

    def keys(self) -> list[RegisteredKey] | None:
        """List the certificates."""
        return self.graph.keys(self.object_id, self.token())

    def knows(self, signer: Signer) -> bool:
        """Probe a certificate as the renewal does."""
        try:
            self.entra.authenticate(self.application, signer.assertion(self.application))
        except AuthorizationDenied as refusal:
            if not CREDENTIAL_ERRORS & set(refusal.aadsts):
                raise
            return False
        return True

    def eventually(self, question: Callable[[], bool]) -> float | None:
        """Ask until the answer is yes: gives the seconds that took, None when it took too long."""
        began = time.monotonic()
        while not question():
            if time.monotonic() - began >= self.patience:
                return None
            time.sleep(PAUSE_SECONDS)
        return time.monotonic() - began

    def clean(self) -> None:
        """Remove what the test has left."""
        for key_id in tuple(self.added):
            assert self.eventually(lambda key_id=key_id: self.remove(key_id)) is not None, (  # type: ignore[misc] # bound now
                f"remove the key {key_id} by hand"
            )


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def made_signer() -> Signer:
    """Make a certificate that nobody knows; its key is in this process and goes with it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    paddings = {
        "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32),
        "RS256": padding.PKCS1v15(),
    }
    certificate, _ = made_certificate(key)
    return Signer(
        certificate.public_bytes(Encoding.DER),
        lambda algorithm, digest: key.sign(digest, paddings[algorithm], Prehashed(hashes.SHA256())),
    )


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A cloud for this file alone."""
    with serving(tmp_path_factory.mktemp("directory")) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def ours() -> Signer:
    """The certificate that is registered at the stand-in."""
    return made_signer()


@pytest.fixture(scope="module")
def foreign() -> Signer:
    """A certificate that somebody else put there."""
    return made_signer()


@pytest.fixture(scope="module")
def another() -> Signer:
    """A certificate that is not registered."""
    return made_signer()


@pytest.fixture
def control(cloud: Addresses, ours: Signer, foreign: Signer) -> Iterator[Control]:
    """Steers the stand-in, which knows two certificates."""
    with http_session(cloud) as session:
        control = Control(cloud.control_url, session)
        control("POST", "/reset")
        for known in control("GET", "/certificates"):
            control("DELETE", f"/certificates/{known['key_id']}")
        for signer in (foreign, ours):
            control("POST", "/certificates", {"der_base64": b64encode(signer.der).decode()})
        control("POST", "/reset")
        yield control
        control("POST", "/reset")


@pytest.fixture
def stand_in(cloud: Addresses, control: Control, ours: Signer) -> Iterator[Registration]:
    """The adapter on the stand-in."""
    facts = control("GET", "/application")
    config = config_for(
        ENTRA_AUTHORITY_HOST=cloud.authority_host, GRAPH_URL=cloud.graph_url, TRUSTED_CA_FILE=cloud.ca_file
    )
    with pooled_session(config) as session:
        application = Application(facts["tenant_id"], facts["client_id"])
        yield Registration(
            Graph(config, session), Entra(config, session, now), application, facts["object_id"], ours, 0
        )


@pytest.fixture
def tenant() -> Iterator[Registration]:
    """The adapter on a real application, signed for by a real vault."""
    given = {name: os.environ.get(f"CONTRACT_{name}", "") for name in NEEDED}
    if missing := [f"CONTRACT_{name}" for name, value in given.items() if not value]:
        pytest.skip(f"{', '.join(missing)}: not set (docs/contracts.md)")
    config = config_for(
        ENTRA_AUTHORITY_HOST=os.environ.get("CONTRACT_AUTHORITY_HOST", ""),
        GRAPH_URL=os.environ.get("CONTRACT_GRAPH_URL", ""),
        KEY_VAULT_URL=given["KEY_VAULT_URL"],
    )
    name, version = given["CERTIFICATE_NAME"], given["CERTIFICATE_VERSION"]
    with pooled_session(config) as session, DefaultAzureCredential() as credential:
        vault = KeyVault(config, credential, transport(session))
        certificate = vault.certificate(name, version)
        assert certificate is not None, "the vault has no such version"
        registered = Signer(
            certificate.der, lambda algorithm, digest: vault.sign(name, version, algorithm, digest)
        )
        application = Application(given["TENANT_ID"], given["CLIENT_ID"])
        registration = Registration(
            Graph(config, session),
            Entra(config, session, now),
            application,
            given["OBJECT_ID"],
            registered,
            PATIENCE_SECONDS,
        )
        yield registration
        registration.clean()


@pytest.fixture(params=["stand-in", "tenant"])
def registration(request: pytest.FixtureRequest) -> Registration:
    """The stand-in and, where one is named, a real application."""
    found: Registration = request.getfixturevalue(request.param.replace("-", "_"))
    return found


@pytest.fixture
def find(registration: Registration, record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Note what was found out, where it was Microsoft that answered."""
    return lambda line: record_property(FOUND, line) if registration.patience else None


def config_for(**settings: str) -> Config:
    """Make a configuration that differs in where Microsoft and the vault are."""
    return Config.from_environ(
        {
            "SOS_ADDRESS": "https://sign-in.clinic.example",
            "KEY_VAULT_URL": "https://vault.example",
            "TABLES_URL": "https://tables.example",
        }
        | settings
    )


# Stand-in or tenant


def test_a_key_is_added_works_and_is_removed(registration: Registration) -> None:
    """From addKey on the token endpoint takes the certificate; after removeKey there is nothing more to remove."""
    new = made_signer()
    assert not registration.knows(new)
    key_id = registration.add(new.der)
    assert registration.eventually(lambda: registration.knows(new)) is not None
    assert registration.eventually(lambda: registration.remove(key_id)) is not None
    assert registration.eventually(lambda: not registration.remove(key_id)) is not None
    assert registration.knows(registration.registered)


def test_a_key_that_is_not_there_is_not_removed(registration: Registration) -> None:
    """An unknown key id is False, not an error: somebody has removed it already."""
    assert registration.remove(str(uuid4())) is False
    assert registration.knows(registration.registered)


@pytest.mark.parametrize("wrong", ["signer", "issuer", "expired", "padded", "rubbish"])
def test_a_wrong_proof_changes_nothing(registration: Registration, another: Signer, wrong: str) -> None:
    """A proof by an unknown certificate, by the client id, of yesterday, or misspelt: refused with 401, both ways."""
    proof = {
        "signer": registration.proof(another),
        "issuer": registration.proof(issuer=registration.application.client_id),
        "expired": registration.proof(at=now() - timedelta(days=1)),
        "padded": f"{registration.proof()}=",
        "rubbish": "a.b.c",
    }[wrong]
    token = registration.token()
    with pytest.raises(DirectoryRefused) as adding:
        registration.graph.add_key(registration.object_id, token, another.der, proof)
    with pytest.raises(DirectoryRefused) as removing:
        registration.graph.remove_key(registration.object_id, token, str(uuid4()), proof)
    for caught in (adding.value, removing.value):
        assert (caught.status, caught.reason) == (401, "Authentication_MissingOrMalformed")
        assert_silent(caught, proof, token.reveal())
    assert not registration.knows(another)


def test_a_wrong_token_is_refused(registration: Registration, another: Signer) -> None:
    """An access token that Graph did not ask for opens nothing, and is not shown."""
    token, proof = Secret(f"not-a-token-{secrets.token_hex(8)}"), registration.proof()
    for work in (
        lambda: registration.graph.add_key(registration.object_id, token, another.der, proof),
        lambda: registration.graph.remove_key(registration.object_id, token, str(uuid4()), proof),
        lambda: registration.graph.keys(registration.object_id, token),
    ):
        with pytest.raises(DirectoryRefused) as caught:
            work()
        assert caught.value.status == 401
        assert_silent(caught.value, proof, token.reveal())


def test_an_unknown_application_is_not_an_absent_key(registration: Registration) -> None:
    """A wrong object id is refused: it must not look as if the key were gone."""
    object_id = str(uuid4())
    with pytest.raises(DirectoryRefused):
        registration.graph.remove_key(
            object_id, registration.token(), str(uuid4()), registration.proof(issuer=object_id)
        )


def test_the_keys_are_listed_or_may_not_be(registration: Registration) -> None:
    """Without a permission the application cannot read itself, which is None; with it, our certificate is there."""
    keys = registration.keys()
    assert keys is None or registration.registered.x5t in {key.x5t for key in keys}


def test_what_a_second_add_of_the_same_certificate_does(
    registration: Registration, find: Callable[[str], None]
) -> None:
    """Unverified by Microsoft's pages. Refused or a second key: either way the certificate works, and can be removed."""
    new = made_signer()
    first = registration.add(new.der)
    try:
        second = registration.add(new.der)
    except DirectoryRefused as refusal:
        find(f"duplicate addKey: refused with {refusal}")
    else:
        find(f"duplicate addKey: {'the same key id' if second == first else 'a second key'}")
    assert registration.eventually(lambda: registration.knows(new)) is not None


def test_how_long_a_removed_key_works(registration: Registration, find: Callable[[str], None]) -> None:
    """Unverified by Microsoft's pages. A removed certificate is refused in the end, five times in a row."""
    new = made_signer()
    key_id = registration.add(new.der)
    assert registration.eventually(lambda: registration.knows(new)) is not None
    assert registration.eventually(lambda: registration.remove(key_id)) is not None
    seconds = registration.eventually(lambda: not any(registration.knows(new) for _ in range(IN_A_ROW)))
    assert seconds is not None, f"a removed certificate still works after {registration.patience:.0f} s"
    find(f"removeKey: refused {IN_A_ROW} times in a row after {seconds:.0f} s")


def test_a_probe_needs_no_permission(registration: Registration, find: Callable[[str], None]) -> None:
    """Unverified by Microsoft's pages. With delegated User.Read alone the probe succeeds, or is not blamed on the key."""
    try:
        assert registration.knows(registration.registered)
    except AuthorizationDenied as refusal:  # for another reason than the certificate
        find(f"probe: refused with {refusal}")
        return
    reads = "may" if registration.keys() is not None else "may not"
    find(f"probe: succeeds; the application {reads} read itself")


def test_what_removing_the_last_key_does(
    request: pytest.FixtureRequest, registration: Registration, find: Callable[[str], None]
) -> None:
    """Unverified by Microsoft's pages. The last key goes, and then only a person can help; or Graph refuses.

    On a tenant only where CONTRACT_LAST_KEY_ID allows it: the key id of CONTRACT_CERTIFICATE_VERSION on an application
    that nobody needs. The other tests fail there until the certificate has been uploaded again.
    """
    key_id = os.environ.get("CONTRACT_LAST_KEY_ID", "") if registration.patience else only_ours(request)
    if not key_id:
        pytest.skip("CONTRACT_LAST_KEY_ID is not set (docs/contracts.md)")
    try:
        removed = registration.remove(key_id)
    except DirectoryRefused as refusal:
        find(f"removing the last key: refused with {refusal}")
        assert registration.knows(registration.registered)
        return
    find(f"removing the last key: {'done' if removed else 'there is no such key'}")
    assert removed
    assert registration.eventually(lambda: not registration.knows(registration.registered)) is not None


def only_ours(request: pytest.FixtureRequest) -> str:
    """Leave the stand-in with our certificate alone; gives its key id."""
    control: Control = request.getfixturevalue("control")
    ours: Signer = request.getfixturevalue("ours")
    key_ids = {known["x5t"]: str(known["key_id"]) for known in control("GET", "/certificates")}
    key_id = key_ids.pop(ours.x5t)
    for other in key_ids.values():
        control("DELETE", f"/certificates/{other}")
    return key_id


# The stand-in


def registered_ids(control: Control) -> dict[str, str]:
    """Read which key ids are registered, and their thumbprints."""
    return {known["key_id"]: known["x5t"] for known in control("GET", "/certificates")}


def calls(control: Control, operation: str) -> int:
    """How often Graph was called since the test began."""
    return int(control("GET", "/calls")["graph"].get(operation, 0))


def fail(control: Control, **fault: object) -> None:
    """Make Graph fail."""
    control("POST", "/faults", {"service": "graph", "faults": [fault]})


def test_no_other_key_is_touched(stand_in: Registration, control: Control, another: Signer) -> None:
    """Add and remove change one key; the others keep their ids and their order. One request each."""
    before = registered_ids(control)
    key_id = stand_in.add(another.der)
    assert list(registered_ids(control).items()) == [*before.items(), (key_id, another.x5t)]
    assert stand_in.remove(key_id)
    assert list(registered_ids(control).items()) == list(before.items())
    assert (calls(control, "addKey"), calls(control, "removeKey"), calls(control, "patch")) == (1, 1, 0)


@pytest.mark.parametrize("policy", ["second", "refused"])
def test_a_duplicate_may_end_either_way(
    stand_in: Registration, control: Control, another: Signer, policy: str
) -> None:
    """Where a second key is made it has an id of its own, by which it can be removed; a refusal is a refusal."""
    control("PUT", "/graph", {"duplicates": policy})
    first = stand_in.add(another.der)
    if policy == "refused":
        with pytest.raises(DirectoryRefused) as caught:
            stand_in.add(another.der)
        assert (caught.value.status, caught.value.reason) == (400, "Request_BadRequest")
        return
    second = stand_in.add(another.der)
    assert stand_in.remove(second)
    assert first in registered_ids(control)


@pytest.mark.parametrize(
    ("policy", "status", "reason"),
    [
        ("lifetime", 400, "CredentialInvalidLifetimeAsPerAppPolicy"),
        ("trusted_ca", 400, "CredentialInvalidTypeAsPerAppPolicy"),
        ("forbidden", 403, "Authorization_RequestDenied"),
    ],
)
def test_a_policy_that_refuses_is_told_by_its_code(
    stand_in: Registration, control: Control, another: Signer, policy: str, status: int, reason: str
) -> None:
    """The Owner can be told why: the code of the error goes on, its sentence does not."""
    control("PUT", "/graph", {"refuse_add": policy})
    with pytest.raises(DirectoryRefused) as caught:
        stand_in.add(another.der)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert str(caught.value) == f"{status} {reason}"
    assert calls(control, "addKey") == 1


def test_the_keys_are_told_by_their_thumbprints(
    stand_in: Registration, control: Control, foreign: Signer
) -> None:
    """Where the application may read itself, every certificate is listed, also those of others."""
    assert stand_in.keys() is None
    control("PUT", "/graph", {"graph_may_read": True})
    listed = stand_in.keys()
    assert listed is not None
    assert {key.key_id: key.x5t for key in listed} == registered_ids(control)
    assert {key.x5t for key in listed} == {foreign.x5t, stand_in.registered.x5t}


WORK: dict[str, tuple[str, Callable[[Registration, Secret, str], object]]] = {
    "add": (
        "addKey",
        lambda on, token, proof: on.graph.add_key(on.object_id, token, b"a certificate", proof),
    ),
    "remove": (
        "removeKey",
        lambda on, token, proof: on.graph.remove_key(on.object_id, token, str(uuid4()), proof),
    ),
    "keys": ("read", lambda on, token, _: on.graph.keys(on.object_id, token)),
}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between tries."""
    monkeypatch.setattr(http, "_PAUSES", (0.0, 0.0))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("what", WORK)
def test_a_busy_graph_has_done_nothing(
    stand_in: Registration, control: Control, what: str, status: int
) -> None:
    """What it asks us to wait goes on, and that the request had no effect."""
    operation, work = WORK[what]
    token, proof = stand_in.token(), stand_in.proof()
    fail(control, kind="status", status=status, retry_after=30)
    with pytest.raises(UpstreamUnavailable) as caught:
        work(stand_in, token, proof)
    assert (caught.value.port, caught.value.retry_after) == ("graph", timedelta(seconds=30))
    assert caught.value.nothing_done
    assert calls(control, operation) == 1
    assert_silent(caught.value, proof, token.reveal())


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 504},
        {"kind": "status", "status": 408},
        {"kind": "cut"},
    ],
    ids=str,
)
@pytest.mark.parametrize("what", ["add", "remove"])
@pytest.mark.usefixtures("no_pauses")
def test_a_change_of_unknown_outcome_is_made_once(
    stand_in: Registration, control: Control, what: str, fault: dict[str, object]
) -> None:
    """It may have taken effect: it is not sent again, and nobody is told that nothing was done."""
    operation, work = WORK[what]
    token, proof = stand_in.token(), stand_in.proof()
    fail(control, **fault)
    with pytest.raises(UpstreamUnavailable) as caught:
        work(stand_in, token, proof)
    assert caught.value.port == "graph"
    assert not caught.value.nothing_done
    assert calls(control, operation) == 1
    assert_silent(caught.value, proof, token.reveal())


def test_an_answer_that_is_lost_was_an_answer(
    stand_in: Registration, control: Control, another: Signer
) -> None:
    """The key is there although nobody said so: a probe finds it, and another try would have made two of it."""
    fail(control, kind="lose_answer", times=1)
    with pytest.raises(UpstreamUnavailable) as caught:
        stand_in.add(another.der)
    assert not caught.value.nothing_done
    assert calls(control, "addKey") == 1
    assert stand_in.knows(another)


@pytest.mark.usefixtures("no_pauses")
def test_reading_is_repeated(stand_in: Registration, control: Control) -> None:
    """Two answers that are lost do not matter where asking again does no harm."""
    control("PUT", "/graph", {"graph_may_read": True})
    fail(control, kind="cut", times=2)
    assert stand_in.keys()
    assert calls(control, "read") == 3


# What Graph does not answer, but somebody in between might


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch, stand_in: Registration) -> Callable[[int, bytes], Secret]:
    """Make Graph answer with this; gives an access token that was made before."""

    def forge(status: int, body: bytes) -> Secret:
        token = stand_in.token()
        real = requests.Session.request

        def forged(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
            response = real(self, method, url, **options)
            response.status_code, response._content = status, body  # noqa: SLF001 - a forged answer
            return response

        monkeypatch.setattr(requests.Session, "request", forged)
        return token

    return forge


@pytest.mark.parametrize("what", WORK)
@pytest.mark.parametrize(
    ("status", "body"), [(302, b""), (200, b"<html>busy</html>"), (200, b"[1]"), (200, b"{}"), (202, b"")]
)
def test_an_answer_that_is_not_graphs_is_an_outage(
    stand_in: Registration, forge: Callable[[int, bytes], Secret], what: str, status: int, body: bytes
) -> None:
    """A proxy's page is neither a success nor a refusal; who knows what became of the request."""
    token, proof = forge(status, body), stand_in.proof()
    with pytest.raises(UpstreamUnavailable) as caught:
        WORK[what][1](stand_in, token, proof)
    assert not caught.value.nothing_done
    assert_silent(caught.value, proof, token.reveal())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>no</html>", "unknown"),
        (b"[]", "unknown"),
        (b'{"error": "no"}', "unknown"),
        (b'{"error": {"code": null}}', "unknown"),
        (
            b'{"error": {"code": "<b>Request_Bad\\nRequest.1</b>", "message": "secret"}}',
            "bRequest_BadRequest.1b",
        ),
        (b'{"error": {"code": "' + b"x" * 200 + b'"}}', "x" * 80),
    ],
)
def test_a_code_is_letters_and_digits(
    stand_in: Registration, forge: Callable[[int, bytes], Secret], body: bytes, reason: str
) -> None:
    """What goes to logs and pages cannot break them, and says nothing of the sentence beside it."""
    token = forge(403, body)
    with pytest.raises(DirectoryRefused) as caught:
        stand_in.graph.remove_key(stand_in.object_id, token, str(uuid4()), stand_in.proof())
    assert str(caught.value) == f"403 {reason}"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "No credentials found to be removed."),
        (404, "no credentials found to be removed"),
        (404, "There is no key {key_id}."),
    ],
)
def test_the_ways_to_say_that_a_key_is_not_there(
    stand_in: Registration, forge: Callable[[int, bytes], Secret], status: int, message: str
) -> None:
    """Graph has no code for it: the sentence is looked at, for this alone."""
    key_id = str(uuid4())
    body = f'{{"error": {{"code": "Request_X", "message": "{message.format(key_id=key_id.upper())}"}}}}'
    token = forge(status, body.encode())
    assert stand_in.graph.remove_key(stand_in.object_id, token, key_id, stand_in.proof()) is False


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (b64encode(b"t" * 20).decode(), base64url(b"t" * 20)),
        ((b"t" * 20).hex().upper(), base64url(b"t" * 20)),
        (b64encode(b"another identifier").decode(), ""),
        ("not base64!", ""),
        (None, ""),
    ],
)
def test_a_thumbprint_is_read_where_the_certificate_is_not_shown(
    stand_in: Registration, forge: Callable[[int, bytes], Secret], named: str | None, expected: str
) -> None:
    """Both spellings of `customKeyIdentifier` are known; what is no thumbprint is none. Keys that sign are not listed."""
    value = "null" if named is None else f'"{named}"'
    key = f'{{"keyId": "k1", "usage": "Verify", "key": null, "customKeyIdentifier": {value}}}'
    token = forge(200, f'{{"keyCredentials": [{key}, {{"keyId": "k2", "usage": "Sign"}}]}}'.encode())
    assert stand_in.graph.keys(stand_in.object_id, token) == [RegisteredKey("k1", expected)]


def assert_silent(error: BaseException, *values: str) -> None:
    """Fail when the error, or one behind it, shows one of these values."""
    behind: BaseException | None = error
    while behind is not None:
        shown = f"{behind} {behind!r} {vars(behind)}"
        assert not any(value in shown for value in values)
        behind = behind.__cause__ or behind.__context__
