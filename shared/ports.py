"""What the rules ask of the world, as protocols. `shared.azure` answers them for real; tests may answer from memory.

Each port has one contract suite (`tests/contracts`) that every implementation passes. Every method may raise
`UpstreamUnavailable`: it has done its own bounded retries by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Literal, Protocol

from shared.secret import Secret

type Clock = Callable[[], datetime]
"""Answers the time now, aware, in UTC."""

type Value = str | int | bool | datetime


class Table(StrEnum):
    """The tables of the store."""

    ACCOUNTS = "accounts"
    SESSIONS = "sessions"
    SETTINGS = "settings"
    THROTTLE = "throttle"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a partition and a key name it, `etag` is the version that was read (empty for a new one)."""

    partition: str
    key: str
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str = ""

    def time(self, name: str) -> datetime:
        """Give a value that is a time. Raises TypeError when it is none: the row is broken."""
        value = self.values[name]
        if not isinstance(value, datetime):
            raise TypeError(f"a row without its {name}")
        return value


class Store(Protocol):
    """Rows with compare-and-swap. No transaction over more than one partition."""

    def get(self, table: Table, partition: str, key: str) -> Row | None:
        """Read one row, or None."""
        ...

    def insert(self, table: Table, row: Row) -> Row:
        """Add a row and return it with its etag. Raises Conflict when it is there already."""
        ...

    def insert_all(self, table: Table, rows: list[Row]) -> None:
        """Add rows of one partition (1 to 100), all or none. Raises Conflict when one is there already."""
        ...

    def replace(self, table: Table, row: Row) -> Row:
        """Write a row that was read, whole, and return it with its new etag. Raises Conflict when it changed."""
        ...

    def delete(self, table: Table, row: Row) -> None:
        """Remove a row that was read; absent is done. Raises Conflict when it changed."""
        ...

    def query(self, table: Table, partition: str) -> list[Row]:
        """Read all rows of a partition, in the order of their keys."""
        ...

    def older(self, table: Table, column: str, moment: datetime, most: int) -> list[Row]:
        """Read at most `most` rows of any partition whose time `column` lies before `moment`, in no order.

        It may read the whole table: for the sweep, never while a person waits.
        """
        ...


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """A secret of the vault and when it stops being valid (None: never)."""

    value: Secret
    expires_on: datetime | None = None


@dataclass(frozen=True, slots=True)
class VaultCertificate:
    """The public part of one version of a certificate. `enabled`: the vault signs with its key."""

    version: str
    der: bytes
    enabled: bool


class Vault(Protocol):
    """Secrets, certificates, and signatures by keys that never leave the vault."""

    def secret(self, name: str) -> VaultSecret | None:
        """Read the newest version of a secret; None when there is none. A disabled one is unavailable, not absent."""
        ...

    def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
        """Write a new version of a secret."""
        ...

    def sign(self, key: str, version: str, algorithm: Literal["PS256", "RS256"], digest: bytes) -> bytes:
        """Sign a SHA-256 digest (32 bytes) with the named version of a certificate's key."""
        ...

    def create_certificate(self, name: str, tag: str) -> None:
        """Begin to make a version that bears this tag: self-signed, RSA-2048, not exportable, 12 months.

        `find_certificate` tells when it is there. Raises Conflict while another one is in the making. When the answer
        is lost, it may have begun all the same.
        """
        ...

    def find_certificate(self, name: str, tag: str) -> VaultCertificate | None:
        """Find the version that was created with this tag; None while there is none."""
        ...

    def certificate(self, name: str, version: str) -> VaultCertificate | None:
        """Read one version; None when there is none."""
        ...

    def disable_certificate(self, name: str, version: str) -> None:
        """Let the vault sign with this version no more. Done already, or no such version: fine."""
        ...


@dataclass(frozen=True, slots=True)
class Application:
    """The registration at the identity provider that we sign people in through."""

    tenant_id: str
    client_id: str


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What must be kept until the browser comes back (RFC 6749 section 4.1.1, RFC 7636 section 4.1)."""

    state: str
    nonce: Secret
    code_verifier: Secret

    @property
    def nonce_in_token(self) -> str:
        """What the ID token's `nonce` must be: MSAL sends the SHA-256 of the nonce it keeps, in hexadecimal."""
        return sha256(self.nonce.reveal().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """What we use of the provider's discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    end_session_endpoint: str


class IdentityProvider(Protocol):
    """Microsoft Entra ID, as far as a sign-in needs it."""

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
        """Make an authorization request (form_post, PKCE, nonce) and its URL. No network once metadata is known."""
        ...

    def redeem(
        self,
        application: Application,
        redirect_uri: str,
        request: AuthorizationRequest,
        answer: Mapping[str, str],
        assertion: Callable[[str], str],
    ) -> str:
        """Exchange the code in `answer` for an ID token, not yet validated. One request.

        `assertion` is given the token endpoint and returns the client assertion (RFC 7523). Raises
        AuthorizationDenied when the provider refuses.
        """
        ...

    def metadata(self, application: Application) -> ProviderMetadata:
        """Answer the provider's metadata; from memory once known."""
        ...

    def fetch_keys(self, application: Application) -> Mapping[str, object]:
        """Fetch the provider's JSON Web Key Set (RFC 7517, section 5). One request, every time."""
        ...

    def authenticate(self, application: Application, assertion: Callable[[str], str]) -> Secret:
        """Get an access token for the directory as the application itself (RFC 6749, section 4.4). One request.

        Never from a cache: an answer proves that the provider knows the key that signed the assertion. Raises
        AuthorizationDenied when the provider refuses.
        """
        ...

    def clock_skew(self) -> timedelta | None:
        """Say how far our clock is ahead of the provider's, by its latest answer; None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A certificate that is registered on the application. `x5t`: its SHA-1 thumbprint (RFC 7515, section 4.1.7)."""

    key_id: str
    x5t: str


class Directory(Protocol):
    """Microsoft Graph, as far as an application looks after its own certificates.

    `object_id` names the application, `token` comes from `IdentityProvider.authenticate`, and `proof` is a JWT that one
    of the registered certificates signed (Microsoft Graph, application-rollkey-prooftoken). Each method makes one request
    and raises DirectoryRefused when it is refused. UpstreamUnavailable says with `nothing_done` whether the request may
    have taken effect all the same.
    """

    def add_key(self, object_id: str, token: Secret, der: bytes, proof: str) -> str:
        """Register one more certificate, and touch no other; gives its key id."""
        ...

    def remove_key(self, object_id: str, token: Secret, key_id: str, proof: str) -> bool:
        """Remove the certificate with this key id, and touch no other; False when there was none."""
        ...

    def keys(self, object_id: str, token: Secret) -> list[RegisteredKey] | None:
        """List the registered certificates; None when the application may not read itself, which is the default."""
        ...
