"""The doors on rules without a network: a store in memory, a vault and an identity provider of paper, a clock to move.

For tests of what the doors and the rules do. What the real parts do is tested in `contracts` and `journeys`.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import azure.functions as func
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import encode as encode_jwt
from jwt.algorithms import RSAAlgorithm

from functions.app import build_app
from shared import accounts, settings
from shared.access import Level
from shared.audit import AuditLog
from shared.config import Config
from shared.errors import AuthorizationDenied, UpstreamUnavailable
from shared.password import CHEAPEST, hash_password
from shared.ports import (
    Application,
    AuthorizationRequest,
    ProviderMetadata,
    RegisteredKey,
    Table,
    VaultCertificate,
    VaultSecret,
)
from shared.principal import Principal
from shared.renewal_state import CertificateVersion, read_state, save_state
from shared.renewal_watch import RenewalWatch
from shared.secret import Secret
from shared.services import Services
from tests.memory import MemoryStore

ADDRESS = "https://sign-in.clinic.example"
APPLICATION = Application("7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10", "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21")
ISSUER = f"https://login.microsoftonline.com/{APPLICATION.tenant_id}/v2.0"
NURSE = Principal(APPLICATION.tenant_id, "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a01")
OWNER_PASSWORD = "open-the-owners-door-by-night"
USER_PASSWORD = "a-user-walks-along-the-ward"
START = datetime(2027, 3, 1, 8, 0, tzinfo=UTC)
"""Monday morning. Aware, and far from the real time, so that a clock that was not handed in shows."""


class MovableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def move(self, **delta: float) -> None:
        """Move the clock on (or back)."""
        self.now += timedelta(**delta)


@dataclass
class PaperVault:
    """Secrets in a dict, and signatures that nobody checks. `away` makes every call fail."""

    secrets: dict[str, VaultSecret] = field(default_factory=dict)
    signed: list[str] = field(default_factory=list)
    certificates: dict[str, VaultCertificate] = field(default_factory=dict)
    disabled_versions: set[str] = field(default_factory=set)
    make_der: Callable[[], bytes] = bytes
    away: bool = False

    def secret(self, name: str) -> VaultSecret | None:
        """Read a secret."""
        self._check()
        return self.secrets.get(name)

    def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
        """Write a secret."""
        self._check()
        self.secrets[name] = VaultSecret(value, expires_on)

    def sign(self, key: str, version: str, algorithm: Literal["PS256", "RS256"], digest: bytes) -> bytes:
        """Sign with a stamp."""
        self._check()
        self.signed.append(version)
        if version in self.disabled_versions:
            raise UpstreamUnavailable("vault", "http 403", retriable=False, key_unusable=True)
        return hmac.digest(b"paper", f"{key}{version}{algorithm}".encode() + digest, "sha256")

    def create_certificate(self, name: str, tag: str) -> None:
        """Make a version at once."""
        self._check()
        version = f"{name}-{len(self.certificates) + 1}"
        self.certificates[tag] = VaultCertificate(version, self.make_der(), enabled=True)

    def find_certificate(self, name: str, tag: str) -> VaultCertificate | None:
        """Find a version by its tag."""
        del name
        self._check()
        return self.certificates.get(tag)

    def certificate(self, name: str, version: str) -> VaultCertificate | None:
        """Read a version."""
        del name
        self._check()
        return next((made for made in self.certificates.values() if made.version == version), None)

    def disable_certificate(self, name: str, version: str) -> None:
        """Sign with a version no more."""
        del name
        self._check()
        self.disabled_versions.add(version)

    def _check(self) -> None:
        if self.away:
            raise UpstreamUnavailable("vault", "away")


_PROVIDER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class PaperIdentity:
    """An identity provider without a network: it signs real ID tokens for whoever `person` is.

    `refusals` are raised, one per redemption; `claims` overrides claims of the token (None leaves one out), and
    `tamper` changes the token itself. `away` makes every call fail that needs a network.
    """

    clock: Callable[[], datetime]
    person: Principal = NURSE
    name: str = "Nurse"
    claims: dict[str, Any] = field(default_factory=dict)
    refusals: list[Exception] = field(default_factory=list)
    redeemed: list[str] = field(default_factory=list)
    keys_fetched: int = 0
    tamper: Callable[[str], str] = str
    away: bool = False
    skew: timedelta = timedelta(0)

    def start(
        self,
        application: Application,
        redirect_uri: str,
        *,
        state: str,
        login_hint: str = "",
        domain_hint: str = "",
        prompt: str = "",
    ) -> tuple[str, AuthorizationRequest]:
        """Make an authorization request."""
        query = {
            "client_id": application.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "login_hint": login_hint,
            "domain_hint": domain_hint,
            "prompt": prompt,
        }
        request = AuthorizationRequest(state, Secret("a nonce"), Secret("a verifier"))
        return f"https://login.microsoftonline.com/authorize?{urlencode(query)}", request

    def redeem(
        self,
        application: Application,
        redirect_uri: str,
        request: AuthorizationRequest,
        answer: Mapping[str, str],
        assertion: Callable[[str], str],
    ) -> str:
        """Answer an ID token for `person`."""
        del redirect_uri
        self.redeemed.append(assertion("https://login.microsoftonline.com/token"))
        self._reach()
        if self.refusals:
            raise self.refusals.pop(0)
        if answer.get("code") != "a code":
            raise AuthorizationDenied("invalid_grant", (54005,))
        now = int(self.clock().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": application.client_id,
            "tid": self.person.tenant_id,
            "oid": self.person.object_id,
            "sub": "a-pairwise-subject",
            "name": self.name,
            "nonce": hashlib.sha256(request.nonce.reveal().encode()).hexdigest(),
            "ver": "2.0",
            "sid": "a-session-at-microsoft",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
        } | self.claims
        present = {name: value for name, value in claims.items() if value is not None}
        return self.tamper(encode_jwt(present, _PROVIDER_KEY, algorithm="RS256", headers={"kid": "k1"}))

    def metadata(self, application: Application) -> ProviderMetadata:
        """Answer the metadata."""
        del application
        return ProviderMetadata(ISSUER, "https://login.microsoftonline.com/logout")

    def fetch_keys(self, application: Application) -> Mapping[str, object]:
        """Answer the key set."""
        del application
        self._reach()
        self.keys_fetched += 1
        jwk = json.loads(RSAAlgorithm.to_jwk(_PROVIDER_KEY.public_key()))
        return {"keys": [jwk | {"kid": "k1", "use": "sig"}]}

    def authenticate(self, application: Application, assertion: Callable[[str], str]) -> Secret:
        """Answer a token for the directory."""
        del application
        assertion("https://login.microsoftonline.com/token")
        self._reach()
        if self.refusals:
            raise self.refusals.pop(0)
        return Secret("a token for the directory")

    def clock_skew(self) -> timedelta | None:
        """Say how far our clock is ahead."""
        return self.skew

    def _reach(self) -> None:
        if self.away:
            raise UpstreamUnavailable("microsoft", "away")


@dataclass
class PaperDirectory:
    """A directory that takes every certificate and gives away what it was asked."""

    asked: list[str] = field(default_factory=list)

    def add_key(self, object_id: str, token: Secret, der: bytes, proof: str) -> str:
        """Register a certificate."""
        del object_id, token, der, proof
        self.asked.append("add_key")
        return f"key-{len(self.asked)}"

    def remove_key(self, object_id: str, token: Secret, key_id: str, proof: str) -> bool:
        """Remove a certificate."""
        del object_id, token, key_id, proof
        self.asked.append("remove_key")
        return True

    def keys(self, object_id: str, token: Secret) -> list[RegisteredKey] | None:
        """Tell nothing: the application may not read itself."""
        del object_id, token
        return None


@dataclass(frozen=True)
class Answer:
    """What a door answered."""

    response: func.HttpResponse

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.response.status_code)

    @property
    def text(self) -> str:
        """The body."""
        return self.response.get_body().decode()

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body, parsed."""
        return json.loads(self.response.get_body())

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return str(self.response.headers.get("Location", ""))

    @property
    def title(self) -> str:
        """The heading of a page, as a person reads it."""
        return unescape(self.text.partition("<h1>")[2].partition("</h1>")[0])

    @property
    def reference(self) -> str:
        """The reference number on a page that says what went wrong."""
        return self.text.partition("Reference: <code>")[2].partition("</code>")[0]

    @property
    def csrf_token(self) -> str:
        """The token in a form."""
        return self.text.partition('name="csrf_token" value="')[2].partition('"')[0]

    def header(self, name: str) -> str:
        """A header; empty when it is absent."""
        return str(self.response.headers.get(name, ""))

    @property
    def set_cookies(self) -> list[str]:
        """Every Set-Cookie header, whole."""
        return [str(value) for value in self.response.headers.get_all("Set-Cookie")]


def a_version(name: str, not_after: datetime = START + timedelta(days=365)) -> CertificateVersion:
    """Make a version that is registered and signs as well as any. `x5t-…` and `x5t256-…` are its thumbprints."""
    return CertificateVersion(
        name, f"x5t256-{name}", f"x5t-{name}", not_after - timedelta(days=365), not_after, registered_at=START
    )


def sign_with(store: MemoryStore, version: CertificateVersion, **facts: Any) -> None:  # noqa: ANN401 - fields of the row
    """Make a version the one that signs."""
    save_state(store, replace(read_state(store), current=version, last_tick_at=START, **facts))


class House:
    """The whole product in one process, and one visitor with a jar of cookies."""

    def __init__(self, **overrides: str) -> None:
        self.clock = MovableClock()
        self._calls = 0
        self.store = MemoryStore(before=self._count)
        self.vault = PaperVault()
        self.identity = PaperIdentity(self.clock)
        self.directory = PaperDirectory()
        self.behind: list[Callable[[], None]] = []
        environment = {
            "SOS_ADDRESS": ADDRESS,
            "KEY_VAULT_URL": "https://vault.example",
            "TABLES_URL": "https://tables.example",
        }
        self.config = Config.from_environ(environment | overrides)
        self.services = self.instance()
        self.doors = _doors(self.services)
        self.cookies: dict[str, str] = {}
        self._cross_site: set[str] = set()

    def instance(self) -> Services:
        """Make the services of one more instance on the same store and vault: nothing in its memory.

        It has no threads: a value that is refreshed behind a request is there when that request is answered, and
        audit rows wait for `events`.
        """
        services = Services(self.config, self.clock, self.store, self.vault, self.identity, self.directory)
        services.audit = AuditLog(self.store, spawn=lambda _work: None)
        services.watch = RenewalWatch(services, spawn=self.behind.append)
        for kept in (services.settings, services.certificate, services.key_ring, services.pepper):
            kept._spawn = lambda work: work()  # noqa: SLF001 - production has no option for tests
        return services

    def store_calls(self) -> int:
        """Count the calls to the store so far."""
        return self._calls

    def _count(self) -> None:
        self._calls += 1

    def move_to(self, services: Services) -> None:
        """Send the visitor's next requests to another instance."""
        self.services = services
        self.doors = _doors(services)

    def another_browser(self) -> None:
        """Go on with an empty jar of cookies."""
        self.cookies = {}

    def furnish(self, *, sso_active: bool = True) -> None:
        """Make an Owner and a User, name the application, and use a certificate."""
        pepper = self.services.pepper.get().password
        people = (("owner", OWNER_PASSWORD, Level.OWNER), ("user", USER_PASSWORD, Level.USER))
        for user_name, password, level in people:
            phc = Secret(hash_password(Secret(password), pepper, CHEAPEST))
            accounts.create(self.store, user_name, user_name.title(), level, phc, self.clock())
        self.set_sso(active=sso_active)
        sign_with(self.store, a_version("v1"))

    def set_sso(self, *, active: bool) -> None:
        """Switch SSO on or off, known to every instance at once."""
        before = settings.read_settings(self.store)
        after = replace(
            before, tenant_id=APPLICATION.tenant_id, client_id=APPLICATION.client_id, sso_active=active
        )
        settings.save_settings(self.store, after)
        self.services.settings.forget()

    def call(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        keep_cookies: bool = True,
        cross_site: bool = False,
    ) -> Answer:
        """Knock at a door with the visitor's cookies, and keep those that come back.

        A form that another site sends (`cross_site`) brings only the cookies that are `SameSite=None`.
        """
        parts = urlsplit(url)
        queries = parse_qs(parts.query, keep_blank_values=True)
        params = {name: ",".join(values) for name, values in queries.items()}
        brought = {
            name: value for name, value in self.cookies.items() if not cross_site or name in self._cross_site
        }
        sent = {"cookie": "; ".join(f"{name}={value}" for name, value in brought.items())}
        sent |= {"x-forwarded-for": "203.0.113.7:50123"}
        if form is not None:
            body = urlencode(form).encode()
            sent |= {"content-type": "application/x-www-form-urlencoded", "origin": ADDRESS}
        door, route_params = _route(self.doors, method, parts.path)
        request = func.HttpRequest(
            method,
            f"{ADDRESS}{url}",
            headers=sent | dict(headers or {}),
            params=params,
            route_params=route_params,
            body=body or b"",
        )
        answer = Answer(door(request))
        if keep_cookies:
            self._keep(answer)
        return answer

    def get(self, url: str, **headers: str) -> Answer:
        """Open an address."""
        return self.call("GET", url, headers=headers)

    def post(self, url: str, form: Mapping[str, str], **headers: str) -> Answer:
        """Send a form."""
        return self.call("POST", url, form, headers=headers)

    def sign_in(
        self, user_name: str = "owner", password: str = OWNER_PASSWORD, next_path: str = ""
    ) -> Answer:
        """Go through the password door."""
        token = self.get("/signin").csrf_token
        form = {"csrf_token": token, "username": user_name, "password": password, "next": next_path}
        return self.post("/signin", form)

    def start_at_microsoft(self, query: str = "") -> str:
        """Begin a Microsoft sign-in; gives the state that the answer must bring back."""
        answer = self.get(f"/login{query}")
        assert answer.status == 302, answer.text
        return parse_qs(urlsplit(answer.location).query)["state"][0]

    def finish_at_microsoft(self, state: str, **fields: str) -> Answer:
        """Post Microsoft's answer to the callback."""
        form = {"code": "a code", "state": state} | fields
        headers = {"origin": "https://login.microsoftonline.com"}
        return self.call("POST", "/azure", form, headers=headers, cross_site=True)

    def sign_in_with_microsoft(self) -> Answer:
        """Go to Microsoft and come back."""
        return self.finish_at_microsoft(self.start_at_microsoft())

    def events(self) -> list[dict[str, Any]]:
        """Read the audit table, oldest first."""
        self.services.audit.flush()
        days = {
            (START + timedelta(days=n)).strftime("%Y-%m-%d") for n in range((self.clock.now - START).days + 2)
        }
        rows = [row for day in days for row in self.store.query(Table.AUDIT, day)]
        # A clock that stands still gives many events one time: the store's count of writes tells their order.
        rows.sort(key=lambda row: int(row.etag.strip('W/"')))
        return [json.loads(str(row.values["line"])) for row in rows]

    def _keep(self, answer: Answer) -> None:
        for header in answer.set_cookies:
            pair, _, attributes = header.partition(";")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
                (self._cross_site.add if "SameSite=None" in attributes else self._cross_site.discard)(name)


type Door = Callable[[func.HttpRequest], func.HttpResponse]


def _doors(services: Services) -> dict[tuple[str, str], Door]:
    """Index the doors by method and route, as the host does."""
    found: dict[tuple[str, str], Door] = {}
    for function in build_app(services).get_functions():
        trigger = function.get_trigger()
        if trigger is not None and trigger.get_binding_name() == "httpTrigger":
            facts = trigger.get_dict_repr()
            for method in facts["methods"]:
                found[str(getattr(method, "value", method)), str(facts["route"])] = (
                    function.get_user_function()
                )
    return found


def _route(doors: Mapping[tuple[str, str], Door], method: str, path: str) -> tuple[Door, dict[str, str]]:
    route, method = path.strip("/"), "GET" if method == "HEAD" else method
    if door := doors.get((method, route or "/")):
        return door, {}
    if route.startswith("assets/") and (door := doors.get((method, "assets/{name}"))):
        return door, {"name": route.removeprefix("assets/")}
    return doors[method, "{*path}"], {"path": route}
