"""What is known of the certificate and its renewal: one row in the store, changed by compare-and-swap alone.

A sign-in reads from it which version signs; everything else belongs to the renewal (`renewal`, `renewal_tick`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from shared.errors import CertificateExpired, NotConfigured
from shared.ports import Row, Store, Table

_PARTITION, _KEY = "settings", "certificate"
_COLUMN: Final = "state"
_SOONEST_TRY: Final = timedelta(minutes=1)
LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Phase(StrEnum):
    """Where a rotation stands."""

    IDLE = "idle"
    CREATE = "create"
    REGISTER = "register"
    PROVE = "prove"
    OVERLAP = "overlap"
    RETIRE = "retire"


class Role(StrEnum):
    """Which version: a field of the row."""

    CURRENT = "current"
    NEXT = "next"
    PREVIOUS = "previous"


class Asked(StrEnum):
    """What the Owner can ask for. ROTATE and REVOKE are in a hurry."""

    GENERATE = "generate"
    ROTATE = "rotate"
    REVOKE = "revoke"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class CertificateVersion:
    """One version of the certificate in the vault, and what has been seen of it.

    `thumbprint` is its `x5t#S256` and `x5t` its SHA-1 (RFC 7515, sections 4.1.8 and 4.1.7).
    """

    version: str
    thumbprint: str
    x5t: str
    not_before: datetime
    not_after: datetime
    key_id: str = ""
    """The id of its key credential at Microsoft; empty where we were not told: uploaded by hand, or the answer lost."""
    registered_at: datetime | None = None
    """When it was registered, or first seen to be."""
    run_from: datetime | None = None
    """Since when it has never been refused."""
    ok_run: int = 0
    """Probes that succeeded in a row."""
    ok_at: datetime | None = None
    probed_at: datetime | None = None
    refused_run: int = 0
    switched_at: datetime | None = None
    """Since when it signs, or signed."""
    removed_at: datetime | None = None
    """When it was taken off the application, or left there for good."""
    disabled: bool = False
    """The vault signs with it no more."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the Owner asked for, until it is done. `target` is the version that signed then; `nonce` makes it once."""

    kind: Asked
    nonce: str
    target: str


@dataclass(frozen=True, slots=True)
class Intent:
    """A write to the outside that was about to be made, and whose outcome is not known yet."""

    operation: str
    step: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be said in the log and the audit table, written down with the change that it tells of."""

    key: str
    name: str
    at: datetime
    reason: str = ""
    operation: str = ""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class RenewalState:
    """The whole row."""

    phase: Phase = Phase.IDLE
    phase_since: datetime = LONG_AGO
    generation: int = 0
    paused: bool = False
    refusal: str = ""
    """Why the directory does not register certificates for us in this generation; empty: it may."""
    current: CertificateVersion | None = None
    next: CertificateVersion | None = None
    previous: CertificateVersion | None = None
    retired: tuple[str, ...] = ()
    """SHA-1 thumbprints (`x5t`) that never sign again, the latest last."""
    abandoned: tuple[str, ...] = ()
    """Versions in the vault that were never switched to, and that the vault shall disable."""
    foreign: tuple[str, ...] = ()
    """SHA-1 thumbprints on the application that are none of ours."""
    still_works: str = ""
    """A version that was taken off the application and is accepted all the same."""
    add_keys: int = 0
    """How often this generation has asked the directory to register its certificate."""
    count: int = 0
    """Numbers the operations and notes of this generation."""
    attempts: int = 0
    """Failures since the last success."""
    last_error: str = ""
    next_attempt_at: datetime = LONG_AGO
    blocked_until: datetime = LONG_AGO
    """A service asked not to be called before (`Retry-After`)."""
    lease_owner: str = ""
    lease_until: datetime = LONG_AGO
    last_tick_at: datetime = LONG_AGO
    chores_at: datetime = LONG_AGO
    """When the chores that are due once a day were done."""
    keys_at: datetime = LONG_AGO
    """When to list the registered keys next."""
    clock_skew: timedelta = timedelta(0)
    """How far our clock is ahead of Microsoft's."""
    request: Request | None = None
    answered: tuple[str, ...] = ()
    """Nonces of the latest requests, so that a request delivered twice is one."""
    intent: Intent | None = None
    notes: tuple[Note, ...] = ()
    alarms: tuple[str, ...] = ()
    """The conditions that have been raised and still hold."""
    etag: str = field(default="", compare=False)

    @property
    def other(self) -> CertificateVersion | None:
        """The version that a sign-in tries when Microsoft refuses the current one; None when there is none.

        Replicas of Microsoft may not know a new version yet, or the current one any more.
        """
        if self.next is not None and self.next.registered_at is not None:
            return self.next
        registered = self.previous is not None and self.previous.removed_at is None
        return self.previous if registered and self.phase in {Phase.OVERLAP, Phase.RETIRE} else None

    def version(self, role: Role) -> CertificateVersion | None:
        """Give the version in this role."""
        match role:
            case Role.CURRENT:
                return self.current
            case Role.NEXT:
                return self.next
            case Role.PREVIOUS:
                return self.previous

    def with_version(self, role: Role, version: CertificateVersion) -> Self:
        """Give the state with another version in this role."""
        changed: dict[str, Any] = {role.value: version}
        return replace(self, **changed)

    def asked(self, *kinds: Asked) -> bool:
        """Tell whether the Owner waits for one of these."""
        return self.request is not None and self.request.kind in kinds

    @property
    def is_answered(self) -> bool:
        """Whether the version that signed when the Owner asked signs no more."""
        request, current = self.request, self.current
        return request is not None and current is not None and request.target != current.version

    def signing(self, now: datetime) -> CertificateVersion:
        """Give the version that signs: the current one, or once that has expired another one that is registered.

        Raises NotConfigured while there is none, CertificateExpired when all is over.
        """
        if self.current is None:
            raise NotConfigured("certificate")
        for version in (self.current, self.other):
            if version is not None and now < version.not_after:
                return version
        next_try = max(self.next_attempt_at, now + _SOONEST_TRY)
        raise CertificateExpired(next_try, next_try - now)

    def moved(self, phase: Phase, now: datetime, **changes: Any) -> Self:  # noqa: ANN401 - fields of this record
        """Give the state in another phase. What failed before counts no more."""
        return replace(self, phase=phase, phase_since=now, attempts=0, last_error="", **changes)

    def noted(
        self, name: str, now: datetime, reason: str = "", *, operation: str = "", warning: bool = False
    ) -> Self:
        """Give the state with one more note to be said. The key is the operation's, or the next free number."""
        count = self.count if operation else self.count + 1
        key = f"{operation or operation_id(self, count)}:{name}"
        note = Note(key, name, now, reason, operation, warning)
        return replace(self, notes=(*self.notes, note), count=count)


def operation_id(state: RenewalState, count: int) -> str:
    """Name an operation: generation, number within it, phase. Sorts by time."""
    return f"{state.generation:06}:{count:05}:{state.phase}"


def read_state(store: Store) -> RenewalState:
    """Read the row; the beginning of everything while there is none."""
    row = store.get(Table.SETTINGS, _PARTITION, _KEY)
    if row is None:
        return RenewalState()
    if _COLUMN not in row.values:  # written by a release before the renewal: the next write replaces it
        return RenewalState(etag=row.etag)
    return replace(_from_json(json.loads(str(row.values[_COLUMN]))), etag=row.etag)


def save_state(store: Store, state: RenewalState) -> RenewalState:
    """Write the row over the version it was read from. Raises Conflict when it changed since."""
    document = _shallow(state)
    del document["etag"]
    row = Row(_PARTITION, _KEY, {_COLUMN: json.dumps(document, default=_to_json)}, state.etag)
    saved = store.replace(Table.SETTINGS, row) if state.etag else store.insert(Table.SETTINGS, row)
    return replace(state, etag=saved.etag)


def _shallow(record: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Give the fields of a record as they are: `asdict` would copy every time in it, which takes a millisecond."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _to_json(value: object) -> str | float | dict[str, Any]:
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case CertificateVersion() | Request() | Intent() | Note():
            return _shallow(value)
        case _:
            raise TypeError(type(value).__name__)


def _from_json(document: Mapping[str, Any]) -> RenewalState:
    values = _known(RenewalState, document)
    values |= {name: datetime.fromisoformat(values[name]) for name in _TIMES & values.keys()}
    values |= {name: tuple(values[name]) for name in _LISTS & values.keys()}
    values["phase"] = Phase(values["phase"])
    values["clock_skew"] = timedelta(seconds=values["clock_skew"])
    for name in ("current", "next", "previous"):
        values[name] = _version(values[name])
    if values["request"] is not None:
        asked = _known(Request, values["request"])
        values["request"] = Request(**asked | {"kind": Asked(asked["kind"])})
    if values["intent"] is not None:
        values["intent"] = Intent(**_timed(Intent, values["intent"], "at"))
    values["notes"] = tuple(Note(**_timed(Note, note, "at")) for note in values["notes"])
    return RenewalState(**values)


_TIMES: Final = {each.name for each in fields(RenewalState) if each.type is datetime}
_LISTS: Final = {"retired", "abandoned", "foreign", "answered", "alarms"}
_VERSION_TIMES: Final = [
    each.name for each in fields(CertificateVersion) if each.type in {datetime, datetime | None}
]


def _version(document: Mapping[str, Any] | None) -> CertificateVersion | None:
    if document is None:
        return None
    return CertificateVersion(**_timed(CertificateVersion, document, *_VERSION_TIMES))


def _timed(record: type, document: Mapping[str, Any], *times: str) -> dict[str, Any]:
    values = _known(record, document)
    return values | {name: datetime.fromisoformat(values[name]) for name in times if values.get(name)}


def _known(record: Any, document: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Leave out what a newer release has written: two releases share the row while one is deployed."""
    names = {each.name for each in fields(record)}
    return {name: value for name, value in document.items() if name in names}
