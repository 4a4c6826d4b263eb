"""A world for the renewal: vault, directory, store, workers with clocks of their own, an Owner, and outsiders.

Everything is in memory and deterministic; time stands still until it is moved. The invariants are checked whenever anything
changes, in the middle of a tick as well.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared import renewal_requests as requests
from shared.audit import AuditLog
from shared.base64url import base64url
from shared.config import Config
from shared.errors import Conflict, NotConfigured, UpstreamUnavailable
from shared.ports import Table
from shared.renewal import POLICY, is_hurried, start_of
from shared.renewal_row import AUDIT_PARTITION
from shared.renewal_state import Asked, Phase, RenewalState, read_state
from shared.renewal_tick import tick
from shared.services import Services
from shared.settings import SsoSettings, read_settings, save_settings
from tests.memory import MemoryStore
from tests.renewal import invariants
from tests.renewal.cloud import Key as RegisteredKey
from tests.renewal.cloud import TrueDirectory, TrueVault, Version, make_der
from tests.renewal.gate import Crash, Gate, Happening, Outside, Weather
from tests.renewal.invariants import POINTER_AGE, Broken
from tests.renewal.workers import WorkerDirectory, WorkerIdentity, WorkerStore, WorkerVault

START: Final = datetime(2027, 3, 1, 8, 0, tzinfo=UTC)
TENANT = "7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10"
CLIENT = "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"
OBJECT = "c1d2e3f4-0a1b-4c2d-8e3f-4a5b6c7d8e9f"
CONFIG: Final = Config.from_environ(
    {
        "SOS_ADDRESS": "https://sign-in.clinic.example",
        "KEY_VAULT_URL": "https://vault.example",
        "TABLES_URL": "https://tables.example",
    }
)
LONGEST_LAG: Final = timedelta(seconds=60)
"""As slow as replicas may be for invariant 6."""


class Worker:
    """One instance of the product: its ports, its clock, and what it has in memory."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.offset = timedelta(0)
        self.last_written = RenewalState()
        self.told: dict[Outside, datetime] = {}
        self.began_at_write = 0
        self._unwritten: list[tuple[str, bool]] = []
        self._world = world
        self.gate = Gate(lambda: world.now, world.weather, self.told.__setitem__, self._called)
        self.store = WorkerStore(world, self, self.gate)
        self.vault = WorkerVault(world, self, self.gate)
        self.identity = WorkerIdentity(world, self, self.gate)
        self.directory = WorkerDirectory(world, self, self.gate)
        self.services = self._start()

    def clock(self) -> datetime:
        """Tell the time as this worker sees it."""
        return self._world.now + self.offset

    def restart(self) -> None:
        """Lose everything that was in memory."""
        self.services = self._start()

    def begin(self) -> None:
        """Forget what the last tick was about."""
        self._unwritten.clear()
        self.told.clear()
        self.began_at_write = self._world.writes

    def probed(self, version: str, *, ok: bool) -> None:
        """Remember a probe until it is written down."""
        self._unwritten.append((version, ok))

    def written(self) -> None:
        """Count the probes that are written down by now."""
        for version, ok in self._unwritten:
            self._world.probes[version].append(ok)
        self._unwritten.clear()

    def _start(self) -> Services:
        services = Services(CONFIG, self.clock, self.store, self.vault, self.identity, self.directory)
        services.audit = AuditLog(self.store, spawn=lambda _work: None)
        return services

    def _called(self, outside: Outside) -> None:
        if self is not self._world.owner:  # a person may ask again
            with self._world.judging():
                invariants.waited(self._world, self, outside)


class World:
    """The true state of everything, and what the tests do to it."""

    def __init__(self) -> None:
        self.now = START
        self.store = MemoryStore()
        self.vault = TrueVault()
        self.directory = TrueDirectory()
        self.weather = Weather()
        self.true_object_id = OBJECT
        self.row = RenewalState()
        self.writes = 0
        self.probes: defaultdict[str, list[bool]] = defaultdict(list)
        self.adds: Counter[int] = Counter()
        self.operations: dict[str, str] = {}
        self.switched_at: list[tuple[str, datetime]] = []
        self.retired: set[str] = set()
        self.raised: set[tuple[int, str]] = set()
        self.told: dict[Outside, datetime] = {}
        self.told_at_write: dict[Outside, int] = {}
        self.foreign: set[str] = set()
        self.excused: set[str] = set()
        self.accidents = 0
        self.overtaken = 0
        self.broken: Broken | None = None
        self.was_revoked = False
        self.lags_are_long = False
        self.pinned_replica: int | None = None
        self.workers = [Worker(self, "first"), Worker(self, "second")]
        self.owner = Worker(self, "owner")
        self._earliest = self._latest = timedelta(0)
        self._turn = 0
        self._overwritten: deque[tuple[datetime, RenewalState]] = deque()
        self._nonces = 0
        save_settings(self.store, SsoSettings(TENANT, CLIENT, OBJECT, sso_active=True))

    # What is true

    @property
    def off(self) -> timedelta:
        """How far the clocks of the workers have differed."""
        return self._latest - self._earliest

    def next_replica(self) -> int:
        """Say who answers: one after the other, or always the same."""
        self._turn += 1
        return self._turn % len(self.directory.lags) if self.pinned_replica is None else self.pinned_replica

    def is_in_its_time(self, version: str) -> bool:
        """Tell whether a version is valid now."""
        found = self.vault.versions.get(version)
        return found is not None and found.not_before <= self.now < found.not_after

    def is_excused(self, version: str) -> bool:
        """Tell whether it has expired, or an outsider removed it and not every replica knows it again."""
        replicas = range(len(self.directory.lags))
        if self.directory.registered(version) and all(
            self.directory.knows(version, replica, self.now) for replica in replicas
        ):
            self.excused.discard(version)
        return version in self.excused or not self.is_in_its_time(version)

    def thumbprint(self, version: str) -> str:
        """Give the x5t#S256 of a version."""
        found = self.vault.versions.get(version)
        return "" if found is None else base64url(sha256(found.der).digest())

    def is_hurried(self, state: RenewalState) -> bool:
        """Tell whether the short rules of PROVE applied, by any clock."""
        object_id = read_settings(self.store).object_id
        times = (self.now + self._earliest, self.now, self.now + self._latest)
        return any(is_hurried(state, object_id, POLICY, time) for time in times)

    def is_audited(self, key: str) -> bool:
        """Tell whether there is such a row in the audit table."""
        return self.store.get(Table.AUDIT, AUDIT_PARTITION, key) is not None

    def pointers(self) -> Iterator[RenewalState]:
        """List what a sign-in may believe: the row as it was at any moment of the last 60 s."""
        while self._overwritten and self._overwritten[0][0] < self.now - POINTER_AGE:
            self._overwritten.popleft()
        yield self.row
        for _, state in self._overwritten:
            yield state

    # What is checked

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Remember what is broken first: the product may swallow what is raised in the midst of it."""
        try:
            yield
        except Broken as broken:
            if self.broken is None:
                self.broken = invariants.with_clocks_off(self, broken)
            raise self.broken from None

    def raise_broken(self) -> None:
        """Raise what was broken in the midst of the product."""
        if self.broken is not None:
            raise self.broken

    def check(self) -> None:
        """Check what must hold at every moment."""
        with self.judging():
            invariants.foreign_keys_stay(self)
            invariants.two_keys_in_the_overlap(self)
            invariants.active_key_works(self)
            invariants.sign_ins_succeed(self)
            invariants.one_rotation(self)

    def row_written(self, worker: Worker) -> None:
        """Look at the row that was just written."""
        before, after = self.row, read_state(self.store)
        self.writes += 1
        worker.written()
        worker.last_written = after
        if not after.lease_owner:
            for outside, until in worker.told.items():
                self.told[outside], self.told_at_write[outside] = until, self.writes
        self.row = after
        self._follow(before, after)
        with self.judging():
            invariants.switch_is_proven(self, before, after)
            invariants.overlap_was_kept(self, before, after)
            invariants.generations_grow(self, before, after)
            invariants.alarm_is_new(self, before, after)
        self._overwritten.append((self.now, before))
        self.check()

    def _follow(self, before: RenewalState, after: RenewalState) -> None:
        if after.current is not None and invariants.name(before.current) != after.current.version:
            self.switched_at.append((after.current.version, self.now))
        if before.previous is not None and after.phase is Phase.IDLE:
            self.retired.add(before.previous.version)
        if before.next is not None and after.next is None and after.phase is Phase.CREATE:
            self.retired.add(before.next.version)
        if after.asked(Asked.REVOKE):
            self.was_revoked = True
        elif after.phase is Phase.IDLE:
            self.was_revoked = False

    def about_to_write(self, worker: Worker, step: str, key_id: str = "") -> None:
        """Look at a write to the outside that is about to take effect."""
        with self.judging():
            invariants.has_intent(self, worker, step)
            if step in {"add_key", "remove_key"}:
                invariants.may_write_to_graph(worker, read_settings(self.store).object_id)
            if step == "remove_key":
                invariants.removal_is_recorded(self, worker, key_id)
            if step == "add_key":
                generation = worker.last_written.generation
                self.adds[generation] += 1
                invariants.three_registrations(self, generation)
        if worker.last_written.etag != self.row.etag:
            self.accidents += 1
            self.overtaken += step == "create"

    def created(self, worker: Worker, made: Version) -> None:
        """Look at a version that was made."""
        del worker, made
        self.check()

    def register(self, der: bytes) -> RegisteredKey:
        """Put a certificate on the application."""
        version = next((each.name for each in self.vault.versions.values() if each.der == der), "")
        key = self.directory.register(der, version, self.now)
        if not version:
            self.foreign.add(key.key_id)
        return key

    def removed(self, key: RegisteredKey) -> None:
        """Look at a key that we have removed."""
        del key
        self.check()

    # What happens

    def move(self, delta: timedelta) -> None:
        """Let time pass."""
        self.now += delta
        self.check()

    def set_offset(self, worker: Worker, offset: timedelta) -> None:
        """Set a worker's clock."""
        worker.offset = offset
        self._earliest, self._latest = min(self._earliest, offset), max(self._latest, offset)

    def set_lags(self, *lags: timedelta) -> None:
        """Set how slowly the replicas follow from now on."""
        self.directory.lags = list(lags)
        self.lags_are_long = self.lags_are_long or max(lags) > LONGEST_LAG

    def tick(self, worker: Worker, *happenings: Happening) -> bool:
        """Run a tick of a worker to its end, its death, or an outage of the store."""
        worker.begin()
        try:
            with worker.gate.expecting(list(happenings)):
                ran = tick(worker.services, jitter=lambda: 0.5)
        except Crash:
            self.accidents += 1
            worker.restart()
            return False
        except UpstreamUnavailable:
            return False
        finally:
            self.accidents += len(self.weather.deaf)
            self.raise_broken()
        self.check()
        if self.row.last_error.startswith("internal_error"):
            raise AssertionError(self.row.last_error)
        if ran and not self.row.last_error and not self.row.lease_owner:
            invariants.alarms_were_raised(self)
        return ran

    def die(self) -> None:
        """Kill the process."""
        raise Crash

    def hours(self, number: int, every: timedelta = timedelta(hours=1)) -> None:
        """Let the timers of both workers run."""
        for _ in range(number):
            self.move(every)
            for worker in self.workers:
                self.tick(worker)

    # What the Owner does

    def _ask(self, work: Callable[[], object]) -> None:
        with suppress(UpstreamUnavailable, Conflict, ValueError, NotConfigured):
            work()

    def ask(self, kind: Asked, *, times: int = 2) -> None:
        """Ask for something; the form is delivered twice."""
        self._nonces += 1
        nonce = f"nonce {self._nonces}"
        for _ in range(times):
            self._ask(lambda: requests.ask(self.owner.store, kind, nonce, self.owner.clock()))

    def pause(self) -> None:
        """Pause the renewal."""
        self._ask(lambda: requests.pause(self.owner.store, self.owner.clock()))

    def resume(self) -> None:
        """Resume it."""
        self._ask(lambda: requests.resume(self.owner.store, self.owner.clock()))

    def look_now(self) -> None:
        """Press "look now"."""
        self._ask(lambda: requests.look_now(self.owner.store, self.owner.clock()))

    def upload(self) -> None:
        """Download the certificate, and upload it by hand unless it is there."""
        with suppress(UpstreamUnavailable, NotConfigured):
            pem = requests.download(self.owner.store, self.owner.vault)
            invariants.download_is_public(pem)
            der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
            if not any(key.is_registered and key.der == der for key in self.directory.keys.values()):
                self.register(der)
        self.owner.told.clear()  # a person who was asked to wait is not a tick, and tells nobody

    def name_application(self, object_id: str) -> None:
        """Tell, or take away, the object id: without it everything is by hand."""
        before = read_settings(self.store)
        save_settings(self.store, SsoSettings(TENANT, CLIENT, object_id, sso_active=True, etag=before.etag))

    # What outsiders do

    def add_foreign(self) -> None:
        """Let somebody put a key of their own on the application."""
        der = make_der(1000 + len(self.directory.keys), self.now)
        self.register(der)

    def remove_by_hand(self, key: RegisteredKey) -> None:
        """Let somebody remove a key in the portal."""
        self.directory.unregister(key, self.now)
        self.foreign.discard(key.key_id)
        if key.version:
            self.excused.add(key.version)

    # How it ends

    def calm_down(self) -> None:
        """Make the surroundings healthy."""
        self.weather.away.clear()
        self.weather.deaf.clear()
        self.weather.busy_until.clear()
        self.directory.refuses = False
        self.vault.slow = timedelta(0)
        self.pinned_replica = None
        self.set_lags(*[timedelta(0)] * len(self.directory.lags))
        self.directory.catch_up(self.now)
        self.name_application(OBJECT)
        for worker in self.workers:
            self.set_offset(worker, timedelta(0))

    def come_to_rest(self) -> None:
        """Wait, with an Owner who does what is asked, until nothing is left to do; check what holds in the end."""
        self.calm_down()
        for hour in range(24 + 4 * 30):  # a day by the hour, then every six hours: the timer may be slow
            self.hours(1, timedelta(hours=1 if hour < 24 else 6))
            if self.row.paused:
                self.resume()
            asked_to = self.row.phase is Phase.REGISTER or "current_refused" in self.row.alarms
            if asked_to and hour % 3 == 0:
                self.upload()
            if self.row.phase is Phase.IDLE and self.row.request is None and not self.row.abandoned:
                break
        else:
            invariants.comes_to_rest(self)
        self.hours(3)
        invariants.no_orphans(self)
        invariants.has_outcome(self)

    def furnish(self) -> None:
        """Begin with a first certificate, uploaded by hand and in use for a while."""
        self.ask(Asked.GENERATE)
        self.tick(self.workers[0])
        self.upload()
        self.look_now()
        for _ in range(12):
            self.move(timedelta(minutes=1))
            self.tick(self.workers[0])
        self.hours(9, timedelta(days=1))
        assert self.row.phase is Phase.IDLE
        assert self.row.current is not None

    def to_the_start(self) -> None:
        """Go to where the next rotation begins by itself."""
        current = self.row.current
        if current is None or self.row.phase is not Phase.IDLE:
            return
        start = start_of(current, CLIENT, self.row.generation + 1, POLICY)
        while self.now < start and self.row.phase is Phase.IDLE:
            self.hours(1, min(timedelta(days=20), max(timedelta(hours=1), start - self.now)))
