"""What talks to the laptop cloud in tests: control paths, a browser without scripts, a client with a key."""

import base64
import hashlib
import html
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from uuid import uuid4

import jwt
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.certificates import self_signed
from local.cloud.encoding import to_base64url
from local.cloud.server import Addresses

REDIRECT_URI = "http://localhost:7071/azure"
SIGNED_OUT_URI = "http://localhost:7071/"
FRONT_CHANNEL_URL = "http://localhost:7071/logout/microsoft"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NURSE, DOCTOR, VISITOR = "nurse@clinic.example", "doctor@clinic.example", "visitor@clinic.example"
_VERIFIER = "a-code-verifier-of-at-least-forty-three-characters"


def http_session(addresses: Addresses) -> requests.Session:
    """Give an HTTP session that trusts the throw-away CA and nothing from the environment."""
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would win over `verify`
    session.verify = addresses.ca_file
    return session


@dataclass(frozen=True, slots=True)
class Control:
    """The control paths of a running cloud."""

    url: str
    http: requests.Session

    def __call__(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON of any shape
        """Make a request that must succeed, and return its JSON."""
        answer = self.http.request(method, self.url + path, json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass(frozen=True, slots=True)
class Page:
    """An answer as a browser sees it."""

    url: str
    status: int
    text: str
    location: str

    @property
    def answer(self) -> dict[str, str]:
        """What the page or the redirect hands to the application; empty when it is for the person."""
        if self.location:
            return dict(parse_qsl(urlsplit(self.location).query))
        return self.hidden if self.action == REDIRECT_URI else {}

    @property
    def action(self) -> str:
        """Where the first form goes."""
        found = re.search(r'<form method="post" action="([^"]*)"', self.text)
        return urljoin(self.url, html.unescape(found[1])) if found else ""

    @property
    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page."""
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', self.text)
        return {name: html.unescape(value) for name, value in fields}

    @property
    def frames(self) -> list[str]:
        """The addresses of the page's frames."""
        return [html.unescape(src) for src in re.findall(r'<iframe src="([^"]*)"', self.text)]


class Browser:
    """Keeps cookies, runs no script, follows nothing by itself."""

    def __init__(self) -> None:
        self._http = requests.Session()
        self._http.trust_env = False

    def open(self, url: str) -> Page:
        """Open an address."""
        return self._page(self._http.get(url, allow_redirects=False, timeout=10))

    def submit(self, page: Page, **fields: str) -> Page:
        """Send the first form of a page with its hidden fields and these."""
        data = page.hidden | fields
        return self._page(self._http.post(page.action, data=data, allow_redirects=False, timeout=10))

    @staticmethod
    def _page(response: requests.Response) -> Page:
        location = response.headers.get("location", "")
        return Page(response.url, response.status_code, response.text, location)


@dataclass(frozen=True, slots=True)
class Client:
    """The application: its registration, its key, and raw requests to Entra."""

    addresses: Addresses
    http: requests.Session
    application: dict[str, Any]
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    passwords: dict[str, str] = field(repr=False)

    @property
    def base(self) -> str:
        """The tenant's address."""
        return f"{self.addresses.authority_host}/{self.application['tenant_id']}"

    def authorize_url(self, **changes: str) -> str:
        """Give an authorization request; an empty value leaves the parameter out."""
        parameters = {
            "client_id": self.application["client_id"],
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "response_mode": "form_post",
            "scope": "openid profile",
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": to_base64url(hashlib.sha256(_VERIFIER.encode()).digest()),
            "code_challenge_method": "S256",
        } | changes
        query = urlencode({name: value for name, value in parameters.items() if value})
        tenant_id = self.application["tenant_id"]
        return f"{self.addresses.browser_url}/{tenant_id}/oauth2/v2.0/authorize?{query}"

    def sign_in(self, browser: Browser, username: str = NURSE, **changes: str) -> Page:
        """Pick an account and give its password; return what comes then."""
        page = browser.open(self.authorize_url(**changes))
        page = browser.submit(page, account=username)
        return browser.submit(page, password=self.passwords[username])

    def code(self, browser: Browser | None = None, username: str = NURSE) -> str:
        """Get an authorization code."""
        return self.sign_in(browser or Browser(), username).answer["code"]

    def assertion(self, header: dict[str, Any] | None = None, **claims: object) -> str:
        """Sign a client assertion; a claim or header of None is left out."""
        now, client_id = int(time.time()), self.application["client_id"]
        endpoint = f"{self.base}/oauth2/v2.0/token"
        times = {"nbf": now, "exp": now + 600}
        names = {"aud": endpoint, "iss": client_id, "sub": client_id, "jti": str(uuid4())}
        thumbprint = to_base64url(self.certificate.fingerprint(hashes.SHA256()))
        headers = {"alg": "PS256", "x5t#S256": thumbprint} | (header or {})
        payload = {name: v for name, v in (names | times | claims).items() if v is not None}
        present = {name: v for name, v in headers.items() if v is not None}
        return jwt.encode(payload, self.key, algorithm=headers["alg"], headers=present)

    def redeem(self, code: str = "", /, **changes: str) -> dict[str, Any]:
        """Make a token request; an empty value leaves a parameter out. Returns the answer and its status."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self.application["client_id"],
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": changes.get("client_assertion") or self.assertion(),
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": _VERIFIER,
        } | changes
        data = {name: value for name, value in form.items() if value}
        answer = self.http.post(f"{self.base}/oauth2/v2.0/token", data=data, timeout=10)
        document: dict[str, Any] = answer.json()
        return document | {"status": answer.status_code}

    def id_token(self, browser: Browser | None = None, username: str = NURSE) -> dict[str, Any]:
        """Sign in, and return the claims of an ID token whose signature was checked with the key set."""
        token = self.redeem(self.code(browser, username))["id_token"]
        keys = jwt.PyJWKSet.from_dict(self.http.get(f"{self.base}/discovery/v2.0/keys", timeout=10).json())
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        key = keys[jwt.get_unverified_header(token)["kid"]]
        audience = self.application["client_id"]
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["RS256"], audience=audience, options=options
        )
        return claims


def made_certificate(
    key: rsa.RSAPrivateKey, lifetime: timedelta = timedelta(days=365)
) -> tuple[x509.Certificate, str]:
    """Make a certificate that began a day ago and ends after `lifetime`, and its DER in base64."""
    now = datetime.now(UTC)
    name = x509.Name.from_rfc4514_string(f"CN=Test {secrets.token_hex(4)}")
    certificate = self_signed(key, name, now - timedelta(days=1), now - timedelta(days=1) + lifetime)
    return certificate, base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
