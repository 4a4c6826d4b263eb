"""What the tenant holds, kept in one JSON file: the application, its certificates, people, signing keys."""

import base64
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, get_args
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.clock import ShiftedClock
from local.cloud.encoding import to_base64url
from local.cloud.entra.signing_keys import SigningKey, new_signing_key
from local.cloud.files import write_json
from local.cloud.records import changed
from local.cloud.web import Json

type Consent = Literal["granted", "required", "admin_required"]

LONGEST_DELAY: Final = timedelta(days=1)
"""A removed certificate is remembered this long for the replicas that have not heard of it."""


@dataclass(frozen=True, slots=True)
class Application:
    """The application registration."""

    tenant_id: str = "7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10"
    client_id: str = "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"
    object_id: str = "c2d8e914-7b36-4a05-b1f7-94e3a0c58d32"
    name: str = "SOS"
    redirect_uris: tuple[str, ...] = ()
    """Exact. The address that sign-out returns to must be one of them as well."""
    front_channel_logout_url: str = ""
    assignment_required: bool = True
    assignment_error_to_callback: bool = False
    """AADSTS50105 goes back to the application as access_denied, not to a page of Microsoft's own."""
    consent: Consent = "granted"
    optional_claims: tuple[str, ...] = ("auth_time", "login_hint", "sid")


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the tenant."""

    username: str
    name: str = ""
    password: str = ""
    object_id: str = ""
    assigned: bool = True
    roles: tuple[str, ...] = ()
    consented: bool = False
    blocked_by_conditional_access: bool = False
    second_factor_missing: bool = False


@dataclass(frozen=True, slots=True)
class RegisteredCertificate:
    """A key credential of the application, known by its thumbprints (RFC 7515, 4.1.7 and 4.1.8)."""

    key_id: str
    der_base64: str
    thumbprint: str
    """SHA-1, upper-case hexadecimal, as the portal shows it."""
    x5t: str
    x5t_s256: str
    added_at: float
    """Seconds since 1970 by Entra's clock, as `removed_at`."""
    removed_at: float | None = None

    def certificate(self) -> x509.Certificate:
        """Parse it."""
        return x509.load_der_x509_certificate(base64.b64decode(self.der_base64))

    def public_key(self) -> RSAPublicKey:
        """Give its key. Raises ValueError when it is not an RSA key."""
        key = self.certificate().public_key()
        if not isinstance(key, RSAPublicKey):
            message = "only RSA certificates can be registered"
            raise ValueError(message)  # noqa: TRY004 - a wrong certificate, not a wrong type in the code
        return key


@dataclass(frozen=True, slots=True)
class Seed:
    """What a new tenant begins with."""

    application: Application
    people: tuple[Person, ...]


SEED: Final = Seed(
    Application(),
    (
        Person(
            "nurse@clinic.example",
            "Nurse",
            "nurse-on-a-laptop",
            "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a01",
        ),
        Person(
            "doctor@clinic.example",
            "Doctor",
            "doctor-on-a-laptop",
            "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a02",
            roles=("SOS.Admin",),
        ),
        Person(
            "owner@clinic.example",
            "Owner",
            "owner-on-a-laptop",
            "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a03",
        ),
        Person(
            "visitor@clinic.example",
            "Visitor",
            "visitor-on-a-laptop",
            "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a04",
            assigned=False,
        ),
    ),
)


class EntraState:
    """The tenant as it is now; every change is written to the file at once."""

    def __init__(self, file: Path, clock: ShiftedClock) -> None:
        self._file = file
        self._clock = clock
        if file.exists():
            document = json.loads(file.read_bytes())
            self.application = changed(Application(), document["application"])
            self.people = _by_username(_person(p) for p in document["people"])
            self._certificates = tuple(RegisteredCertificate(**c) for c in document["certificates"])
            self.signing_keys = tuple(SigningKey(**k) for k in document["signing_keys"])
        else:
            self.application = SEED.application
            self.people = _by_username(SEED.people)
            self._certificates = ()
            self.signing_keys = (new_signing_key(clock.now()),)
            self.save()

    def save(self) -> None:
        """Write the file."""
        document = {
            "application": asdict(self.application),
            "people": [asdict(p) for p in self.people.values()],
            "certificates": [asdict(c) for c in self._certificates],
            "signing_keys": [asdict(k) for k in self.signing_keys],
        }
        write_json(self._file, document)

    def change_application(self, values: Json) -> None:
        """Set the named fields. Raises ValueError for one that is unknown or of another type."""
        application = changed(self.application, values)
        if application.consent not in get_args(Consent.__value__):
            message = f"consent is one of {get_args(Consent.__value__)}"
            raise ValueError(message)
        self.application = application
        self.save()

    def replace_people(self, people: list[Json]) -> None:
        """Put other people in place of all. Raises ValueError for a field unknown or of another type."""
        self.people = _by_username(_person(p) for p in people)
        self.save()

    def change_person(self, username: str, values: Json) -> None:
        """Set fields of one person. Raises KeyError for an unknown person, ValueError as above."""
        if "username" in values:
            message = "a username cannot be changed"
            raise ValueError(message)
        self.people[username] = changed(self.people[username], values)
        self.save()

    @property
    def certificates(self) -> tuple[RegisteredCertificate, ...]:
        """The key credentials of the application."""
        return tuple(c for c in self._certificates if c.removed_at is None)

    def certificates_seen(self, delay: timedelta) -> tuple[RegisteredCertificate, ...]:
        """Give the key credentials as a replica knows them that is this far behind."""
        if not delay:
            return self.certificates
        moment = (self._clock.now() - delay).timestamp()
        return tuple(
            c
            for c in self._certificates
            if c.added_at <= moment and (c.removed_at is None or c.removed_at > moment)
        )

    def register_certificate(self, der: bytes) -> RegisteredCertificate:
        """Add a key credential; one that is there already stays as it is. Raises ValueError for a bad one."""
        certificate = x509.load_der_x509_certificate(der)
        known = (c for c in self.certificates if c.certificate() == certificate)
        return next(known, None) or self.add_certificate(der)

    def add_certificate(self, der: bytes) -> RegisteredCertificate:
        """Add a key credential, even for a certificate that has one. Raises ValueError for a bad one."""
        added = self._registered(der)
        self._certificates += (added,)
        self.save()
        return added

    def remove_certificate(self, identifier: str) -> bool:
        """Drop the key credentials with this key id or thumbprint; say whether there were any."""
        named = {
            c.key_id for c in self.certificates if identifier in {c.key_id, c.thumbprint, c.x5t, c.x5t_s256}
        }
        if named:
            self._remove(named)
            self.save()
        return bool(named)

    def replace_certificates(self, kept: Collection[str], added: Iterable[bytes]) -> None:
        """Keep the key credentials with these ids, drop all others, add new ones. Raises ValueError."""
        new = tuple(self._registered(der) for der in added)
        self._remove({c.key_id for c in self.certificates if c.key_id not in kept})
        self._certificates += new
        self.save()

    def _registered(self, der: bytes) -> RegisteredCertificate:
        certificate = x509.load_der_x509_certificate(der)
        sha1 = certificate.fingerprint(hashes.SHA1())  # noqa: S303 - x5t is SHA-1 by definition
        registered = RegisteredCertificate(
            key_id=str(uuid4()),
            der_base64=base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
            thumbprint=sha1.hex().upper(),
            x5t=to_base64url(sha1),
            x5t_s256=to_base64url(certificate.fingerprint(hashes.SHA256())),
            added_at=self._clock.now().timestamp(),
        )
        registered.public_key()
        return registered

    def _remove(self, key_ids: Collection[str]) -> None:
        now = self._clock.now()
        forgotten = (now - LONGEST_DELAY).timestamp()
        self._certificates = tuple(
            replace(c, removed_at=now.timestamp()) if c.key_id in key_ids and c.removed_at is None else c
            for c in self._certificates
            if c.removed_at is None or c.removed_at > forgotten
        )

    def roll_signing_key(self, *, keep_old: bool) -> None:
        """Sign with a new key from now on; the old ones stay published or vanish."""
        self.signing_keys = (
            new_signing_key(self._clock.now()),
            *(self.signing_keys if keep_old else ()),
        )
        self.save()


def _person(values: Json) -> Person:
    person = changed(Person(""), values)
    if not person.username:
        message = "a person has a username"
        raise ValueError(message)
    return replace(person, object_id=person.object_id or str(uuid4()), name=person.name or person.username)


def _by_username(people: Iterable[Person]) -> dict[str, Person]:
    return {p.username: p for p in people}
