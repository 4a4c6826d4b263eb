"""The identity provider's contract: the adapter on real MSAL, against the stand-in or a real tenant."""

import hashlib
import os
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.server import Addresses, serving
from shared.azure.entra import Entra
from shared.azure.http import pooled_session
from shared.certificate import ClientAssertions
from shared.config import Config
from shared.errors import AuthorizationDenied, InvalidIdToken, UpstreamUnavailable
from shared.id_token import Expectation, VerifiedClaims, validate_id_token
from shared.ports import Application, AuthorizationRequest, IdentityProvider, VaultCertificate
from shared.public_part import describe
from shared.secret import Secret
from shared.signing_keys import KeySet
from tests.local.clients import NURSE, REDIRECT_URI, Browser, Control, http_session, made_certificate

pytestmark = pytest.mark.system

UNKNOWN_TENANT = "99999999-9999-4999-8999-999999999999"
STATE = "the-state-of-this-sign-in"


@dataclass(frozen=True, slots=True)
class Provider:
    """The adapter and its application. `control` steers the stand-in."""

    entra: Entra
    config: Config
    application: Application
    control: Control
    passwords: dict[str, str]
    assertion: Callable[[str], str]

    def start(self, **hints: str) -> tuple[str, AuthorizationRequest]:
        """Begin a sign-in."""
        return self.entra.start(self.application, REDIRECT_URI, state=STATE, **hints)

    def answer(self, url: str, username: str = NURSE) -> dict[str, str]:
        """Sign in at Microsoft; gives what comes back to the application."""
        browser = Browser()
        page = browser.submit(browser.open(url), account=username)
        return browser.submit(page, password=self.passwords[username]).answer

    def redeem(self, request: AuthorizationRequest, answer: dict[str, str]) -> str:
        """Exchange a code."""
        return self.entra.redeem(self.application, REDIRECT_URI, request, answer, self.assertion)

    def validate(self, token: str, request: AuthorizationRequest) -> VerifiedClaims:
        """Validate an ID token as the product does."""
        expected = Expectation(
            issuer=self.entra.metadata(self.application).issuer,
            client_id=self.application.client_id,
            tenant_id=self.application.tenant_id,
            nonce=request.nonce_in_token,
        )
        keys = KeySet.parse(self.entra.fetch_keys(self.application))
        return validate_id_token(token, keys=keys, expected=expected, now=datetime.now(UTC))

    def calls(self) -> dict[str, int]:
        """How often each operation of Microsoft was called since the test began."""
        counted: dict[str, int] = self.control("GET", "/calls")["entra"]
        return counted


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A cloud for this file alone."""
    with serving(tmp_path_factory.mktemp("identity")) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def credential(cloud: Addresses) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """A certificate that is registered on the application."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate, der_base64 = made_certificate(key)
    with http_session(cloud) as http:
        control = Control(cloud.control_url, http)
        control("POST", "/certificates", {"der_base64": der_base64})
        application = control("GET", "/application")
        control("PUT", "/application", application | {"redirect_uris": [REDIRECT_URI]})
    return key, certificate


@pytest.fixture
def provider(cloud: Addresses, credential: tuple[rsa.RSAPrivateKey, x509.Certificate]) -> Iterator[Provider]:
    """An adapter that knows nothing yet, with a registered certificate."""
    config = config_for(cloud.authority_host, cloud.ca_file)
    key, certificate = credential
    version = describe(VaultCertificate("v1", certificate.public_bytes(Encoding.DER), enabled=True))

    def sign(version: str, digest: bytes) -> bytes:
        del version
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        return key.sign(digest, pss, Prehashed(hashes.SHA256()))

    with http_session(cloud) as http, pooled_session(config) as session:
        control = Control(cloud.control_url, http)
        control("POST", "/reset")
        facts = control("GET", "/application")
        application = Application(facts["tenant_id"], facts["client_id"])
        passwords = {person["username"]: person["password"] for person in control("GET", "/people")}
        assertions = ClientAssertions(sign, lambda: datetime.now(UTC))
        yield Provider(
            entra=Entra(config, session, lambda: datetime.now(UTC)),
            config=config,
            application=application,
            control=control,
            passwords=passwords,
            assertion=lambda endpoint: assertions.make(application.client_id, endpoint, version),
        )
        control("POST", "/reset")


@pytest.fixture(params=["stand-in", "tenant"])
def known(request: pytest.FixtureRequest) -> Iterator[tuple[IdentityProvider, Application, str]]:
    """The stand-in and, where one is named, a real tenant: an adapter, its application, the authority host."""
    if request.param == "stand-in":
        provider: Provider = request.getfixturevalue("provider")
        yield provider.entra, provider.application, provider.config.authority_host
        return
    tenant_id, client_id = (os.environ.get(f"CONTRACT_{name}", "") for name in ("TENANT_ID", "CLIENT_ID"))
    if not (tenant_id and client_id):
        pytest.skip("CONTRACT_TENANT_ID and CONTRACT_CLIENT_ID name no tenant (docs/contracts.md)")
    host = os.environ.get("CONTRACT_AUTHORITY_HOST", "https://login.microsoftonline.com")
    config = config_for(host)
    with pooled_session(config) as session:
        application = Application(tenant_id, client_id)
        yield Entra(config, session, lambda: datetime.now(UTC)), application, host


def config_for(authority_host: str, ca_file: str = "") -> Config:
    """Make a configuration that differs in where Microsoft is."""
    return Config.from_environ(
        {
            "SOS_ADDRESS": "https://sign-in.clinic.example",
            "KEY_VAULT_URL": "https://vault.example",
            "TABLES_URL": "https://tables.example",
            "ENTRA_AUTHORITY_HOST": authority_host,
            "TRUSTED_CA_FILE": ca_file,
        }
    )


def asked(url: str) -> dict[str, str]:
    """Read the query of an authorization request."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# Stand-in or tenant


def test_a_start_asks_for_exactly_this(known: tuple[IdentityProvider, Application, str]) -> None:
    """A code by form_post, PKCE S256, a nonce; scopes for signing in only; nothing else stands in the URL."""
    entra, application, _host = known
    url, request = entra.start(application, REDIRECT_URI, state=STATE)
    query = asked(url)
    challenge = hashlib.sha256(request.code_verifier.reveal().encode()).digest()
    assert set(query.pop("scope").split()) == {"openid", "profile"}
    assert query.pop("code_challenge") == urlsafe_b64encode(challenge).rstrip(b"=").decode()
    assert query.pop("nonce") == request.nonce_in_token
    assert query == {
        "client_id": application.client_id,
        "response_type": "code",
        "response_mode": "form_post",
        "redirect_uri": REDIRECT_URI,
        "state": STATE,
        "code_challenge_method": "S256",
        "client_info": "1",
    }
    assert request.state == STATE
    assert len(request.code_verifier.reveal()) >= 43
    assert urlsplit(url).path == f"/{application.tenant_id}/oauth2/v2.0/authorize"


def test_each_start_is_new(known: tuple[IdentityProvider, Application, str]) -> None:
    """Nonce and verifier are never used twice, and neither stands in the URL."""
    entra, application, _host = known
    started = [entra.start(application, REDIRECT_URI, state=STATE) for _ in range(5)]
    for secret in ("nonce", "code_verifier"):
        values = {getattr(request, secret).reveal() for _, request in started}
        assert len(values) == 5
        assert not any(value in url for value in values for url, _ in started)


def test_hints_are_passed_on(known: tuple[IdentityProvider, Application, str]) -> None:
    """What is known of the person reaches Microsoft."""
    entra, application, _host = known
    hints = {"login_hint": "nurse@clinic.example", "domain_hint": "clinic.example"}
    url, _ = entra.start(application, REDIRECT_URI, state=STATE, prompt="select_account", **hints)
    assert asked(url).items() >= (hints | {"prompt": "select_account"}).items()


def test_the_metadata_is_the_tenants(known: tuple[IdentityProvider, Application, str]) -> None:
    """The issuer is made of the authority and the tenant; there is a place to sign out."""
    entra, application, host = known
    metadata = entra.metadata(application)
    assert metadata.issuer == f"{host}/{application.tenant_id}/v2.0"
    assert metadata.end_session_endpoint.endswith("/oauth2/v2.0/logout")


def test_the_keys_can_verify(known: tuple[IdentityProvider, Application, str]) -> None:
    """The key set holds at least one key for RS256."""
    entra, application, _host = known
    assert KeySet.parse(entra.fetch_keys(application)).keys


def test_an_unknown_tenant_is_told_by_its_number(known: tuple[IdentityProvider, Application, str]) -> None:
    """AADSTS90002: the help text can say that the tenant id is wrong."""
    entra, application, _host = known
    other = replace(application, tenant_id=UNKNOWN_TENANT)
    with pytest.raises(AuthorizationDenied) as caught:
        entra.start(other, REDIRECT_URI, state=STATE)
    assert caught.value.aadsts == (90002,)
    assert entra.start(application, REDIRECT_URI, state=STATE)


def test_a_code_that_microsoft_did_not_give_is_refused(
    known: tuple[IdentityProvider, Application, str],
) -> None:
    """Whatever is wrong first (the code, the credential), the refusal has a code and a number, and shows no value."""
    entra, application, _host = known
    _url, request = entra.start(application, REDIRECT_URI, state=STATE)
    answer = {"code": "no-such-code", "state": STATE}
    with pytest.raises(AuthorizationDenied) as caught:
        entra.redeem(application, REDIRECT_URI, request, answer, lambda _: "a.b.c")
    assert caught.value.error in {"invalid_grant", "invalid_client", "invalid_request"}
    assert caught.value.aadsts
    assert "no-such-code" not in str(caught.value)


def test_an_unknown_certificate_is_told_by_its_number(
    known: tuple[IdentityProvider, Application, str],
) -> None:
    """AADSTS700027: a probe asks whether Microsoft knows a certificate, and this is the no. Each time anew."""
    entra, application, _host = known
    for _ in range(2):
        with pytest.raises(AuthorizationDenied) as caught:
            entra.authenticate(application, assertion_by_nobody(application))
        assert caught.value.error == "invalid_client"
        assert 700027 in caught.value.aadsts


def test_an_unknown_tenant_cannot_be_authenticated_at(
    known: tuple[IdentityProvider, Application, str],
) -> None:
    """AADSTS90002, before any assertion is made."""
    entra, application, _host = known
    with pytest.raises(AuthorizationDenied) as caught:
        entra.authenticate(replace(application, tenant_id=UNKNOWN_TENANT), lambda _: pytest.fail("asked for"))
    assert caught.value.aadsts == (90002,)


def test_the_clocks_are_compared(known: tuple[IdentityProvider, Application, str]) -> None:
    """A refusal tells the time as well; before the first token request nothing is known."""
    entra, application, _host = known
    entra.metadata(application)
    assert entra.clock_skew() is None
    with pytest.raises(AuthorizationDenied):
        entra.authenticate(application, assertion_by_nobody(application))
    skew = entra.clock_skew()
    assert skew is not None
    assert abs(skew) < timedelta(minutes=5)


def assertion_by_nobody(application: Application) -> Callable[[str], str]:
    """Give a maker of assertions whose certificate is not registered."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate, _ = made_certificate(key)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    assertions = ClientAssertions(
        lambda _, digest: key.sign(digest, pss, Prehashed(hashes.SHA256())), lambda: datetime.now(UTC)
    )
    version = describe(VaultCertificate("v1", certificate.public_bytes(Encoding.DER), enabled=True))
    return lambda endpoint: assertions.make(application.client_id, endpoint, version)


# The application itself: the stand-in


def test_a_token_is_one_request_each_time(provider: Provider) -> None:
    """Success and refusal cost one request to the token endpoint and no other: nothing comes from a cache."""
    provider.entra.metadata(provider.application)
    provider.control("POST", "/reset")
    tokens = [provider.entra.authenticate(provider.application, provider.assertion) for _ in range(3)]
    assert len({token.reveal() for token in tokens}) == 3
    assert provider.calls() == {"token": 3}
    provider.control("POST", "/certificate-errors", {"code": 700027, "times": 2})
    for _ in range(2):
        with pytest.raises(AuthorizationDenied):
            provider.entra.authenticate(provider.application, provider.assertion)
    assert provider.entra.authenticate(provider.application, provider.assertion).reveal()
    assert provider.calls() == {"token": 6}


def test_the_metadata_is_kept_for_probes_as_well(provider: Provider) -> None:
    """A timer that never starts a sign-in asks for it once."""
    for _ in range(3):
        provider.entra.authenticate(provider.application, provider.assertion)
    assert provider.calls() == {"metadata": 1, "token": 3}


def test_a_token_is_hidden(provider: Provider) -> None:
    """Nobody logs it by accident."""
    token = provider.entra.authenticate(provider.application, provider.assertion)
    assert token.reveal() not in f"{token} {token!r}"


@pytest.mark.parametrize(("status", "retry_after"), [(429, 30), (503, 7)])
def test_a_busy_token_endpoint_is_no_refusal(provider: Provider, status: int, retry_after: int) -> None:
    """What Microsoft asks us to wait goes on; the next probe is not held back by MSAL's own throttling."""
    fault = {"kind": "status", "status": status, "retry_after": retry_after, "match": "/token", "times": 1}
    provider.control("POST", "/faults", {"service": "entra", "faults": [fault]})
    with pytest.raises(UpstreamUnavailable) as caught:
        provider.entra.authenticate(provider.application, provider.assertion)
    assert caught.value.retry_after == timedelta(seconds=retry_after)
    assert provider.entra.authenticate(provider.application, provider.assertion).reveal()


def test_a_probe_of_unknown_outcome_is_made_once(provider: Provider) -> None:
    """A 5xx says nothing of the certificate."""
    fault = {"kind": "status", "status": 500, "match": "/token"}
    provider.control("POST", "/faults", {"service": "entra", "faults": [fault]})
    with pytest.raises(UpstreamUnavailable):
        provider.entra.authenticate(provider.application, provider.assertion)
    assert provider.calls()["token"] == 1


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"{}", b"[]", b'{"token_type": "Bearer"}'])
def test_an_answer_without_a_token_proves_nothing(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """A proxy's page with status 200 is neither a proof of registration nor a refusal."""
    provider.entra.metadata(provider.application)
    real = requests.Session.request

    def broken(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        response._content = body  # noqa: SLF001 - a forged body
        return response

    monkeypatch.setattr(requests.Session, "request", broken)
    with pytest.raises(UpstreamUnavailable):
        provider.entra.authenticate(provider.application, provider.assertion)


@pytest.mark.parametrize("minutes", [-4, 0, 4])
def test_the_skew_is_ours_minus_theirs(provider: Provider, minutes: int) -> None:
    """Positive where our clock is ahead; the latest answer counts, a redeemed code's as well."""
    provider.entra.authenticate(provider.application, provider.assertion)
    provider.control("POST", "/clock", {"service": "entra", "offset_seconds": -minutes * 60})
    provider.entra.authenticate(provider.application, provider.assertion)
    skew = provider.entra.clock_skew()
    assert skew is not None
    assert abs(skew - timedelta(minutes=minutes)) < timedelta(seconds=3)


def test_the_skew_is_that_of_the_middle(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that took long is not a clock that is wrong: half of the round trip is taken off."""
    real = requests.Session.request

    def slow(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        response.elapsed = timedelta(seconds=20)
        return response

    monkeypatch.setattr(requests.Session, "request", slow)
    provider.entra.authenticate(provider.application, provider.assertion)
    skew = provider.entra.clock_skew()
    assert skew is not None
    assert abs(skew + timedelta(seconds=10)) < timedelta(seconds=3)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 23 Nov 2026 12:00:00 -0000", None])
def test_a_date_that_says_nothing_changes_nothing(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, date: str | None
) -> None:
    """Without a time of theirs the last known difference stays."""
    provider.entra.authenticate(provider.application, provider.assertion)
    before = provider.entra.clock_skew()
    real = requests.Session.request

    def undated(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        response.headers.pop("Date")
        response.headers.update({} if date is None else {"Date": date})
        return response

    monkeypatch.setattr(requests.Session, "request", undated)
    assert provider.entra.authenticate(provider.application, provider.assertion).reveal()
    assert provider.entra.clock_skew() == before


# With a person: the stand-in


def test_a_redeemed_code_is_a_valid_id_token(provider: Provider) -> None:
    """What comes back is raw, and passes every rule of `validate_id_token`: one request for the code."""
    url, request = provider.start()
    answer = provider.answer(url)
    before = provider.calls().get("token", 0)
    token = provider.redeem(request, answer)
    assert provider.calls()["token"] == before + 1
    claims = provider.validate(token, request)
    person = next(p for p in provider.control("GET", "/people") if p["username"] == NURSE)
    assert claims.principal.object_id == person["object_id"]
    assert claims.principal.tenant_id == provider.application.tenant_id


def test_a_token_of_another_sign_in_is_not_valid(provider: Provider) -> None:
    """Our own check of the nonce refuses a token that was made for another request."""
    url, request = provider.start()
    token = provider.redeem(request, provider.answer(url))
    _other_url, other = provider.start()
    with pytest.raises(InvalidIdToken) as caught:
        provider.validate(token, other)
    assert caught.value.kind == "nonce"


def test_a_wrong_nonce_is_refused_without_its_value(provider: Provider) -> None:
    """MSAL raises with both nonces in its text: what goes on is a refusal without them."""
    url, request = provider.start()
    swapped = replace(request, nonce=Secret("a-nonce-of-somebody-else"))
    with pytest.raises(AuthorizationDenied) as caught:
        provider.redeem(swapped, provider.answer(url))
    assert caught.value.error == "invalid_response"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert request.nonce_in_token not in str(caught.value)


def test_a_wrong_state_is_refused(provider: Provider) -> None:
    """MSAL compares the state as well: a mix-up ends as a refusal, before any request."""
    url, request = provider.start()
    answer = provider.answer(url) | {"state": "another"}
    with pytest.raises(AuthorizationDenied):
        provider.redeem(request, answer)
    assert "token" not in provider.calls()


def test_a_wrong_verifier_is_refused(provider: Provider) -> None:
    """PKCE: a code is worth nothing without the verifier of its request."""
    url, request = provider.start()
    swapped = replace(request, code_verifier=Secret("x" * 43))
    with pytest.raises(AuthorizationDenied) as caught:
        provider.redeem(swapped, provider.answer(url))
    assert caught.value.error == "invalid_grant"


def test_a_code_works_once(provider: Provider) -> None:
    """A used code is refused with its number."""
    url, request = provider.start()
    answer = provider.answer(url)
    provider.redeem(request, answer)
    with pytest.raises(AuthorizationDenied) as caught:
        provider.redeem(request, answer)
    assert (caught.value.error, caught.value.aadsts) == ("invalid_grant", (54005,))


@pytest.mark.parametrize("number", [700027, 700024, 7000214, 1000502, 7000274, 7000277])
def test_a_refused_credential_is_told_by_its_number(provider: Provider, number: int) -> None:
    """Each of the six numbers comes through, and the code is still good afterwards."""
    url, request = provider.start()
    answer = provider.answer(url)
    provider.control("POST", "/certificate-errors", {"code": number, "times": 1})
    with pytest.raises(AuthorizationDenied) as caught:
        provider.redeem(request, answer)
    assert number in caught.value.aadsts
    assert provider.redeem(request, answer)


def test_the_assertion_is_for_the_token_endpoint(provider: Provider) -> None:
    """The maker of assertions is given the endpoint that the metadata names, once per redemption."""
    url, request = provider.start()
    endpoints: list[str] = []

    def assertion(endpoint: str) -> str:
        endpoints.append(endpoint)
        return provider.assertion(endpoint)

    provider.entra.redeem(provider.application, REDIRECT_URI, request, provider.answer(url), assertion)
    host, tenant = provider.config.authority_host, provider.application.tenant_id
    assert endpoints == [f"{host}/{tenant}/oauth2/v2.0/token"]


def test_an_error_of_the_assertions_maker_comes_through(provider: Provider) -> None:
    """A vault that is away while the assertion is made is not Microsoft's refusal."""
    url, request = provider.start()

    def away(endpoint: str) -> str:
        raise UpstreamUnavailable("vault", endpoint[:0])

    with pytest.raises(UpstreamUnavailable) as caught:
        provider.entra.redeem(provider.application, REDIRECT_URI, request, provider.answer(url), away)
    assert caught.value.port == "vault"


def test_an_answer_without_an_id_token_is_no_token(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token answer that lacks the ID token gives an empty one, which no rule accepts."""
    url, request = provider.start()
    answer = provider.answer(url)
    real = requests.Session.request

    def without(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        if method == "POST":
            response._content = b'{"access_token": "x", "token_type": "Bearer", "expires_in": 3600}'  # noqa: SLF001 - a forged body
        return response

    monkeypatch.setattr(requests.Session, "request", without)
    token = provider.redeem(request, answer)
    monkeypatch.undo()
    with pytest.raises(InvalidIdToken) as caught:
        provider.validate(token, request)
    assert caught.value.kind == "malformed"


def test_nothing_of_microsoft_is_kept(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token and no account remains in a cache of MSAL, after a sign-in and after a refused nonce alike."""
    made: list[msal.ConfidentialClientApplication] = []
    real = msal.ConfidentialClientApplication.__init__

    def remember(self: msal.ConfidentialClientApplication, *args: object, **options: object) -> None:
        made.append(self)
        real(self, *args, **options)

    monkeypatch.setattr(msal.ConfidentialClientApplication, "__init__", remember)
    url, request = provider.start()
    provider.redeem(request, provider.answer(url))
    url, request = provider.start()
    with pytest.raises(AuthorizationDenied):
        provider.redeem(replace(request, nonce=Secret("another")), provider.answer(url))
    starter, *redeemers = made
    assert (
        len({id(client.token_cache) for client in made}) == len(made) == 3
    )  # one for starts, one per redemption
    assert [client for client in made if list(client.token_cache.search("RefreshToken"))] == []
    for kind in ("AccessToken", "IdToken", "Account"):
        assert list(starter.token_cache.search(kind)) == []
    kept = [client for _, client in provider.entra._starters.values()]  # noqa: SLF001 - what is kept is private
    assert kept == [starter]
    assert starter not in redeemers
    assert list(provider.entra._session.cookies) == []  # noqa: SLF001 - what is kept is private


# What is remembered


def test_the_metadata_is_asked_for_once(provider: Provider) -> None:
    """Any number of starts and sign-ins make one discovery request."""
    for _ in range(3):
        url, request = provider.start()
        provider.redeem(request, provider.answer(url))
        provider.entra.metadata(provider.application)
    calls = provider.calls()
    assert calls["metadata"] == 1
    assert calls["token"] == 3
    assert "instance" not in calls


def test_the_metadata_outlives_microsoft(provider: Provider) -> None:
    """Once known, a start needs no network: Microsoft may be away."""
    provider.start()
    provider.control("POST", "/faults", {"service": "entra", "faults": [{"kind": "cut"}]})
    assert provider.start()


def test_each_key_request_is_a_request(provider: Provider) -> None:
    """Keys are not kept here: who asks decides how often."""
    provider.entra.fetch_keys(provider.application)
    provider.entra.fetch_keys(provider.application)
    assert provider.calls()["keys"] == 2


def test_metadata_is_read_anew_after_a_day(provider: Provider) -> None:
    """After 24 hours it is refreshed behind a request, which does not wait for it."""
    now = datetime.now(UTC)
    clock = [now]
    with pooled_session(provider.config) as session:
        entra = Entra(provider.config, session, lambda: clock[0])
        entra.metadata(provider.application)
        clock[0] = now + timedelta(hours=23, minutes=59)
        entra.metadata(provider.application)
        assert provider.calls()["metadata"] == 1
        clock[0] = now + timedelta(hours=24)
        entra.metadata(provider.application)
        for thread in threading.enumerate():
            if thread.name == "refresh":
                thread.join()
        assert provider.calls()["metadata"] == 2


# Metadata that lies


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"issuer": "https://login.evil.example/v2.0"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"issuer": "https://localhost/{tenantid}/v2.0"}, "another issuer"),
        ({"jwks_uri": "http://localhost/keys"}, "jwks_uri"),
        ({"token_endpoint": "http://localhost/token"}, "token_endpoint"),
        ({"token_endpoint": None}, "token_endpoint"),
    ],
)
def test_metadata_that_does_not_speak_for_the_tenant_is_refused(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], says: str
) -> None:
    """Discovery 1.0, section 4.3: the issuer must be the one asked; codes and assertions go to https alone."""
    real = requests.Response.json

    def lying(self: requests.Response, **options: Any) -> object:  # noqa: ANN401 - handed on
        document = real(self, **options)
        changed = {name: value for name, value in change.items() if value is not None}
        return {
            name: value for name, value in (document | changed).items() if change.get(name, "") is not None
        }

    monkeypatch.setattr(requests.Response, "json", lying)
    with pytest.raises(UpstreamUnavailable) as caught:
        provider.start()
    assert says in str(caught.value)
    assert not caught.value.retriable


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"[1, 2]", b"", b"null"])
def test_an_answer_that_is_no_json_object_is_an_outage(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """A page of a proxy in the way, with status 200, is Microsoft out of reach, not a refusal."""
    real = requests.Session.request

    def broken(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        response._content = body  # noqa: SLF001 - a forged body
        return response

    monkeypatch.setattr(requests.Session, "request", broken)
    for ask in (provider.entra.metadata, provider.entra.fetch_keys):
        with pytest.raises(UpstreamUnavailable):
            ask(provider.application)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_token_answer_that_is_no_json_is_not_a_token(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Rubbish from the token endpoint ends the sign-in without showing it."""
    url, request = provider.start()
    answer = provider.answer(url)
    real = requests.Session.request

    def broken(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        if method == "POST":
            response.status_code, response._content = status, b"<html>secret</html>"  # noqa: SLF001 - a forged body
        return response

    monkeypatch.setattr(requests.Session, "request", broken)
    with pytest.raises((AuthorizationDenied, UpstreamUnavailable)) as caught:
        provider.redeem(request, answer)
    assert "secret" not in str(caught.value)


def test_numbers_are_read_from_the_text_where_there_is_no_list(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error without `error_codes` still chooses its help text."""
    url, request = provider.start()
    answer = provider.answer(url)
    real = requests.Session.request

    def plain(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - handed on
        response = real(self, method, url, **options)
        if method == "POST":
            response.status_code = 400
            response._content = b'{"error": "invalid_grant", "error_description": "AADSTS54005: used"}'  # noqa: SLF001 - forged
        return response

    monkeypatch.setattr(requests.Session, "request", plain)
    with pytest.raises(AuthorizationDenied) as caught:
        provider.redeem(request, answer)
    assert (caught.value.error, caught.value.aadsts) == ("invalid_grant", (54005,))


def test_the_state_comes_back(provider: Provider) -> None:
    """The state that was handed in is the one that comes back, whatever it holds."""
    state = f"s{secrets.token_urlsafe(16)}"
    url, request = provider.entra.start(provider.application, REDIRECT_URI, state=state)
    assert provider.answer(url)["state"] == request.state == state
