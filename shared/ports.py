"""What the rules ask of the world, as protocols. `shared.azure` answers them for real; tests may answer from memory.

Each port has one contract suite (`tests/contracts`) that every implementation passes. Every method may raise
`UpstreamUnavailable`: it has done its own bounded retries by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
    """Rows with compare-and-swap. No listing across partitions, no transaction over more than one."""

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


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """A secret of the vault and when it stops being valid (None: never)."""

    value: Secret
    expires_on: datetime | None = None


class Vault(Protocol):
    """Secrets, and signatures by keys that never leave the vault."""

    def secret(self, name: str) -> VaultSecret | None:
        """Read the newest version of a secret; None when there is none. A disabled one is unavailable, not absent."""
        ...

    def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
        """Write a new version of a secret."""
        ...

    def sign(self, key: str, version: str, algorithm: Literal["PS256", "RS256"], digest: bytes) -> bytes:
        """Sign a SHA-256 digest (32 bytes) with the named version of a certificate's key."""
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
