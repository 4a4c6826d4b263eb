"""What the tenant holds, kept in one JSON file: the application, its certificates, people, signing keys."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
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
from local.cloud.web import Json

type Consent = Literal["granted", "required", "admin_required"]


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
            self.certificates = tuple(RegisteredCertificate(**c) for c in document["certificates"])
            self.signing_keys = tuple(SigningKey(**k) for k in document["signing_keys"])
        else:
            self.application = SEED.application
            self.people = _by_username(SEED.people)
            self.certificates = ()
            self.signing_keys = (new_signing_key(clock.now()),)
            self.save()

    def save(self) -> None:
        """Write the file."""
        document = {
            "application": asdict(self.application),
            "people": [asdict(p) for p in self.people.values()],
            "certificates": [asdict(c) for c in self.certificates],
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

    def register_certificate(self, der: bytes) -> RegisteredCertificate:
        """Add a key credential; one that is there already stays as it is. Raises ValueError for a bad one."""
        certificate = x509.load_der_x509_certificate(der)
        sha1 = certificate.fingerprint(hashes.SHA1())  # noqa: S303 - x5t is SHA-1 by definition
        for known in self.certificates:
            if known.certificate() == certificate:
                return known
        registered = RegisteredCertificate(
            key_id=str(uuid4()),
            der_base64=base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
            thumbprint=sha1.hex().upper(),
            x5t=to_base64url(sha1),
            x5t_s256=to_base64url(certificate.fingerprint(hashes.SHA256())),
        )
        registered.public_key()
        self.certificates += (registered,)
        self.save()
        return registered

    def remove_certificate(self, identifier: str) -> bool:
        """Drop the key credential with this key id or thumbprint; say whether there was one."""
        kept = tuple(
            c for c in self.certificates if identifier not in {c.key_id, c.thumbprint, c.x5t, c.x5t_s256}
        )
        found = len(kept) < len(self.certificates)
        self.certificates = kept
        self.save()
        return found

    def roll_signing_key(self, *, keep_old: bool) -> None:
        """Sign with a new key from now on; the old ones stay published or vanish."""
        self.signing_keys = (
            new_signing_key(self._clock.now()),
            *(self.signing_keys if keep_old else ()),
        )
        self.save()


def changed[T: (Application, Person)](record: T, values: Mapping[str, object]) -> T:
    """Give the record with the named fields set. Raises ValueError for one unknown or of another type."""
    known = {f.name: getattr(record, f.name) for f in fields(record)}
    new: dict[str, object] = {}
    for name, value in values.items():
        if name not in known:
            message = f"{name!r} is not one of {sorted(known)}"
            raise ValueError(message)
        fitting = tuple(value) if isinstance(value, list) else value
        if type(fitting) is not type(known[name]):
            message = f"{name} is a {type(known[name]).__name__}, not {value!r}"
            raise ValueError(message)
        new[name] = fitting
    return replace(record, **new)  # type: ignore[arg-type] # the types were compared above


def _person(values: Json) -> Person:
    person = changed(Person(""), values)
    if not person.username:
        message = "a person has a username"
        raise ValueError(message)
    return replace(person, object_id=person.object_id or str(uuid4()), name=person.name or person.username)


def _by_username(people: Iterable[Person]) -> dict[str, Person]:
    return {p.username: p for p in people}
