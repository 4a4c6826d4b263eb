"""What the vault holds, kept in one JSON file."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

from cryptography import x509

from local.cloud.clock import ShiftedClock
from local.cloud.encoding import from_base64url
from local.cloud.files import write_json
from local.cloud.key_vault.errors import deleted, not_found
from local.cloud.web import Json

RETENTION_DAYS: Final = 90
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Attributes:
    """What every version has; times are seconds since 1970."""

    created: int
    updated: int
    enabled: bool = True
    nbf: int | None = None
    exp: int | None = None

    def document(self) -> Json:
        """Give them as Key Vault writes them: absent rather than null."""
        present = {name: value for name, value in asdict(self).items() if value is not None}
        return present | {"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": RETENTION_DAYS}


@dataclass(frozen=True, slots=True)
class CertificateVersion:
    """A certificate and its key. The key has no way out of the vault."""

    version: str
    der: str
    """base64url of the DER."""
    pem: str
    attributes: Attributes
    tags: dict[str, str]

    def certificate(self) -> x509.Certificate:
        """Parse the certificate."""
        return x509.load_der_x509_certificate(from_base64url(self.der))


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """A value of a secret."""

    version: str
    value: str
    attributes: Attributes
    tags: dict[str, str]
    content_type: str | None = None


class _Version(Protocol):
    @property
    def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """A certificate on its way: all but the last step is done."""

    started: int
    csr: str
    """base64 of the DER."""
    ready: CertificateVersion
    polls: int = 0
    completed: bool = False


@dataclass(slots=True)
class Entry[V: _Version]:
    """All versions under one name, newest last; for a certificate also policy and pending operation."""

    name: str
    versions: list[V] = field(default_factory=list)
    deleted_on: int | None = None
    policy: Json = field(default_factory=dict)
    pending: Pending | None = None

    def version(self, version: str, kind: str) -> V:
        """Give one version, or the newest where none is named. Raises VaultError (404)."""
        found = [v for v in self.versions if version in {"", v.version}]
        if not found:
            raise not_found(kind, f"{self.name}/{version}" if version else self.name)
        return found[-1]

    def put(self, changed: V) -> None:
        """Put a changed version in the place of the one it was."""
        self.versions = [changed if v.version == changed.version else v for v in self.versions]

    def deletion(self) -> Json:
        """Give when it was deleted and when it would vanish; empty while it is alive."""
        if self.deleted_on is None:
            return {}
        purge = self.deleted_on + RETENTION_DAYS * _DAY_SECONDS
        return {"deletedDate": self.deleted_on, "scheduledPurgeDate": purge}


@dataclass(frozen=True, slots=True)
class CreationPace:
    """A certificate completes at the poll after `polls` others, or when `seconds` have passed."""

    polls: int = 1
    seconds: float = 1.0

    def changed(self, values: Json) -> "CreationPace":
        """Give a pace with the named fields set. Raises ValueError for others and for no number."""
        if not values.keys() <= {"polls", "seconds"} or not all(
            isinstance(v, int | float) for v in values.values()
        ):
            message = "polls and seconds are numbers"
            raise ValueError(message)
        return replace(self, **values)


class Shelf[V: _Version]:
    """The entries of one kind. Names are compared without case, as Key Vault does."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, Entry[V]] = {}

    def alive(self, name: str) -> Entry[V]:
        """Give an entry. Raises VaultError (404) when there is none or it is deleted."""
        entry = self.entries.get(name.lower())
        if entry is None or entry.deleted_on is not None:
            raise not_found(self.kind, name)
        return entry

    def in_soft_delete(self, name: str) -> Entry[V]:
        """Give a deleted entry. Raises VaultError (404) when there is none."""
        entry = self.entries.get(name.lower())
        if entry is None or entry.deleted_on is None:
            raise not_found(self.kind, name)
        return entry

    def for_writing(self, name: str) -> Entry[V]:
        """Give an entry, new where there was none. Raises VaultError (409) when it is deleted."""
        entry = self.entries.get(name.lower())
        if entry is not None and entry.deleted_on is not None:
            raise deleted(self.kind, name)
        return entry or self.entries.setdefault(name.lower(), Entry(name))

    def listed(self, *, in_soft_delete: bool) -> list[Entry[V]]:
        """Give the entries that have a version, by name, alive or deleted."""
        entries = sorted(self.entries.values(), key=lambda e: e.name)
        return [e for e in entries if e.versions and (e.deleted_on is not None) is in_soft_delete]


class Vault:
    """The vault as it is now."""

    def __init__(self, file: Path, clock: ShiftedClock, url: str) -> None:
        self._file = file
        self.clock = clock
        self.url = url
        self.creation_pace = CreationPace()
        self.certificates: Shelf[CertificateVersion] = Shelf("certificate")
        self.secrets: Shelf[SecretVersion] = Shelf("secret")
        if file.exists():
            document = json.loads(file.read_bytes())
            self.certificates.entries = {n: _certificates(e) for n, e in document["certificates"].items()}
            self.secrets.entries = {n: _secrets(e) for n, e in document["secrets"].items()}

    def save(self) -> None:
        """Write the file; every operation that changes something ends with this."""
        document = {
            shelf: {name: asdict(entry) for name, entry in entries.items()}
            for shelf, entries in (
                ("certificates", self.certificates.entries),
                ("secrets", self.secrets.entries),
            )
        }
        write_json(self._file, document)


def new_version() -> str:
    """Give a name for a new version."""
    return uuid4().hex


def _certificates(values: Json) -> Entry[CertificateVersion]:
    pending = values["pending"]
    return Entry(
        name=values["name"],
        versions=[_certificate_version(v) for v in values["versions"]],
        deleted_on=values["deleted_on"],
        policy=values["policy"],
        pending=Pending(**pending | {"ready": _certificate_version(pending["ready"])}) if pending else None,
    )


def _certificate_version(values: Json) -> CertificateVersion:
    return CertificateVersion(**values | {"attributes": Attributes(**values["attributes"])})


def _secrets(values: Json) -> Entry[SecretVersion]:
    versions = [
        SecretVersion(**v | {"attributes": Attributes(**v["attributes"])}) for v in values["versions"]
    ]
    return Entry(values["name"], versions, values["deleted_on"])
