"""A town whose clocks are moved together, and the crowd that signs in meanwhile.

Three clocks decide something: that of the workers (a file), and those of the stand-ins for Microsoft and for the vault.
"""

import base64
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from local.clock_file import set_offset
from local.cloud.certificates import self_signed
from local.laptop import Laptop, Worker
from local.playground import new_certificate
from shared.azure.key_vault import KeyVault
from shared.certificate import CERTIFICATE_NAME
from shared.errors import Conflict
from shared.ports import Table
from shared.renewal_row import AUDIT_PARTITION, is_leased
from shared.renewal_state import CertificateVersion, Phase, RenewalState, read_state, save_state
from shared.renewal_tick import is_due
from tests.client import Browser
from tests.journeys.town import DOCTOR, NURSE, OWNER_AT_MICROSOFT, Person, Town, wait_for

MINUTE: Final = timedelta(minutes=1)
_LONGEST_STEP: Final = timedelta(minutes=2)
"""A longer way forward is a jump: whoever is on the way to a session gets there first."""
_ON_THE_WAY: Final = timedelta(minutes=3)
"""The clock does not outrun a sign-in that has begun: Microsoft's codes live 10 minutes."""
_PATIENCE_SECONDS: Final = 60
_LONG_WORD: Final = re.compile(r"[\w+=-]{60,}")
"""The longest thing that may be said is a thumbprint, of 43 characters."""


class TimedTown(Town):
    """The clinic, and its time."""

    def __init__(self, laptop: Laptop, clock: Path, *, empty: bool = False) -> None:
        self._clock = clock
        self._offset = timedelta()
        self._crowd: Crowd | None = None
        self.most_keys = 0
        super().__init__(laptop, clock=clock, empty=empty)
        # Nobody waits for the vault, unless that is what a test is about.
        self.control("PUT", "vault", {"polls": 0, "seconds": 0})

    # Time

    @property
    def now(self) -> datetime:
        """The time in this town."""
        return self.services.clock()

    def move(self, by: timedelta) -> None:
        """Let time pass, for everybody at once."""
        if self._crowd is None:
            self._turn(by)
        elif by <= _LONGEST_STEP:
            self._crowd.wait_for_the_slow(self.now)
            self._turn(by)
        else:
            with self._crowd.held():
                self.drop(Table.SESSIONS)  # thousands have run out by then, and sweeping them takes its time
                self._turn(by)

    def move_to(self, moment: datetime) -> None:
        """Let time pass until then."""
        self.move(moment - self.now)

    def _turn(self, by: timedelta) -> None:
        # The workers first: a clock that is ahead of Microsoft's for a moment harms nobody.
        self._offset += by
        set_offset(self._clock, self._offset.total_seconds())
        self._set_clocks()

    def _set_clocks(self) -> None:
        self.control("POST", "clock", {"offset_seconds": self._offset.total_seconds()})

    def calm(self) -> None:
        """Mend every service and forget all counts, at the time that it is."""
        super().calm()
        self._set_clocks()

    # The renewal

    @property
    def state(self) -> RenewalState:
        """The row."""
        return read_state(self.services.store)

    @property
    def current(self) -> CertificateVersion:
        """The version that signs."""
        return _there(self.state.current)

    def fire(self, *workers: Worker) -> None:
        """Let the timer fire on these workers, on all at the same moment."""
        with ThreadPoolExecutor(len(workers)) as pool:
            for answer in pool.map(lambda worker: httpx.post(_timer(worker), trust_env=False), workers):
                assert answer.status_code == 202

    def settle(self, *workers: Worker) -> None:
        """Let the timer fire until there is nothing left to do."""

        def nothing_left() -> bool:
            state = self.state
            if not is_due(state, self.now) and not is_leased(state, self.now):
                return True
            if not is_leased(state, self.now):
                self.fire(*(workers or (self.worker,)))
                wait_for(lambda: self.state.etag != state.etag, _PATIENCE_SECONDS)
            return False

        wait_for(nothing_left, _PATIENCE_SECONDS)
        self._look()

    def _look(self) -> None:
        state, keys = self.state, self.registered()
        ours = self.ours(state)
        self.most_keys = max(self.most_keys, sum(key in ours for key in keys))
        if self._crowd is not None:
            self._crowd.phase = state.phase

    def pass_until(
        self,
        reached: Callable[[RenewalState], object],
        *workers: Worker,
        step: timedelta = MINUTE,
        at_most: int = 90,
    ) -> RenewalState:
        """Let time pass step by step, with the timers of these workers, until the row says so."""
        self.settle(*workers)
        for _ in range(at_most):
            if reached(self.state):
                return self.state
            self.move(step)
            self.settle(*workers)
        raise AssertionError(f"still not after {at_most} steps of {step}: {self.state}")

    def finish(self, *workers: Worker) -> RenewalState:
        """Let the days of the overlap pass, and the day until the old version is disabled."""
        settled = {Phase.OVERLAP, Phase.RETIRE, Phase.IDLE}
        state = self.pass_until(lambda state: state.phase in settled, *workers)
        if state.phase is Phase.OVERLAP:
            self.move(timedelta(days=7))
        self.pass_until(_is_removed, *workers)
        self.move(timedelta(days=1))
        return self.pass_until(lambda state: state.phase is Phase.IDLE, *workers)

    def begin_anew(self) -> CertificateVersion:
        """Let a certificate of today sign, alone on the application, its key id known, and nothing else go on."""
        self.restore()
        self.drop(Table.SESSIONS)
        old = self.control("GET", "certificates")
        with self.as_the_app():
            made, der = new_certificate(self.services)
        key_id = self.upload(der)
        for gone in old:
            self.control("DELETE", f"certificates/{gone['key_id']}")
        for _ in range(10):  # a tick behind a request may write the row as well
            now, before = self.now, self.state
            signing = replace(
                made, key_id=key_id, registered_at=now, switched_at=now, ok_at=now, probed_at=now
            )
            state = RenewalState(
                phase_since=now,
                generation=before.generation + 1,
                current=signing,
                last_tick_at=now,
                chores_at=now,
                next_attempt_at=now + timedelta(hours=1),
                etag=before.etag,
            )
            with suppress(Conflict):
                save_state(self.services.store, state)
                break
        self.move(2 * MINUTE)  # no instance remembers the one before
        self.most_keys = 0
        return self.current

    def upload(self, der: bytes) -> str:
        """Register a certificate as a person does at the portal; gives its key id."""
        registered = self.control("POST", "certificates", {"der_base64": base64.b64encode(der).decode()})
        return str(registered["key_id"])

    def upload_foreign(self) -> str:
        """Let somebody register a certificate that is none of ours; gives its thumbprint."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another program")])
        made = self_signed(key, name, self.now, self.now + timedelta(days=3650))
        key_id = self.upload(made.public_bytes(Encoding.DER))
        return next(str(c["x5t_s256"]) for c in self.control("GET", "certificates") if c["key_id"] == key_id)

    # What is there

    def registered(self) -> list[str]:
        """The thumbprints (`x5t#S256`) of the certificates on the application, one for each key credential."""
        return [str(certificate["x5t_s256"]) for certificate in self.control("GET", "certificates")]

    def ours(self, state: RenewalState) -> set[str]:
        """The thumbprints that the row knows."""
        known = (state.current, state.next, state.previous)
        return {version.thumbprint for version in known if version is not None}

    def versions(self) -> dict[str, bool]:
        """The versions in the vault, and whether it signs with them."""
        vault = self.services.vault
        assert isinstance(vault, KeyVault)
        listed = vault._certificates.list_properties_of_certificate_versions  # noqa: SLF001 - the port has no list
        with self.as_the_app():
            return {str(found.version): bool(found.enabled) for found in listed(CERTIFICATE_NAME)}

    def steps(self) -> list[str]:
        """What the audit table says of the present generation, in its order, without the prefix `renewal.`."""
        generation = f"{self.state.generation:06}:"
        rows = self.services.store.query(Table.AUDIT, AUDIT_PARTITION)
        return [
            str(row.values["event"]).removeprefix("renewal.")
            for row in rows
            if row.key.startswith(generation)
        ]

    def loose_words(self) -> list[str]:
        """Find lines of the log, and steps in the audit table, with what looks like a key, a token or a piece of one."""
        rows = self.services.store.query(Table.AUDIT, AUDIT_PARTITION)
        written = [*self.lines(), *(str(row.values["line"]) for row in rows)]
        return [line for line in written if _LONG_WORD.search(line) or "BEGIN" in line]

    # Workers and people

    def restart(self) -> None:
        """Kill the worker in the middle of what it does, and start another one in its place."""
        self.worker.kill()
        self.open_for_business()

    def open_for_business(self) -> None:
        """Start the worker at the Address."""
        self.worker = self.start_worker(port=self._port)

    @property
    def _port(self) -> int:
        return urlsplit(self.address).port or 0

    def a_minute_of_visits(self) -> None:
        """Let somebody open a page every few seconds, with what they start behind themselves."""
        visitor = self.browser()
        for _ in range(10):
            visitor.get(f"{self.address}/healthz")
            wait_for(lambda: not is_leased(self.state, self.now))
            self.move(MINUTE / 10)

    @contextmanager
    def crowd(self, size: int) -> Iterator["Crowd"]:
        """Let so many people sign in again and again, without a pause."""
        crowd = Crowd(self, size)
        self._crowd = crowd
        crowd.phase = self.state.phase
        try:
            with crowd.at_the_door():
                yield crowd
        finally:
            self._crowd = None


class Crowd:
    """People who sign in with Microsoft, each with a browser, and what came of it."""

    def __init__(self, town: TimedTown, size: int) -> None:
        self._town = town
        people = (NURSE, DOCTOR, OWNER_AT_MICROSOFT)
        self._people = [(town.browser(), people[number % 3]) for number in range(size)]
        self._changed = threading.Condition()
        self._began: dict[Browser, datetime] = {}
        self._is_held = self._is_over = False
        self.phase = Phase.IDLE
        self.signed_in: Counter[Phase] = Counter()
        self.failures: list[str] = []

    @contextmanager
    def at_the_door(self) -> Iterator[None]:
        """Run the crowd until the block ends."""
        with ThreadPoolExecutor(len(self._people)) as pool:
            running = [pool.submit(self._come_and_go, *person) for person in self._people]
            try:
                yield
            finally:
                with self._changed:
                    self._is_over = True
                    self._changed.notify_all()
                for one in running:
                    one.result()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody begin while the block runs, nor be in the middle of it."""
        with self._changed:
            self._is_held = True
            assert self._changed.wait_for(lambda: not self._began, _PATIENCE_SECONDS)
        try:
            yield
        finally:
            with self._changed:
                self._is_held = False
                self._changed.notify_all()

    def wait_for_the_slow(self, now: datetime) -> None:
        """Wait until nobody is on the way for long."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: all(now - began < _ON_THE_WAY for began in self._began.values()), _PATIENCE_SECONDS
            )

    def wait_for_more(self, number: int) -> None:
        """Wait until so many more have arrived."""
        with self._changed:
            enough = self._arrived + number
            assert self._changed.wait_for(lambda: self._arrived >= enough, _PATIENCE_SECONDS)

    @property
    def _arrived(self) -> int:
        return self.signed_in.total() + len(self.failures)

    def _come_and_go(self, browser: Browser, person: Person) -> None:
        while self._begin(browser):
            phase = self.phase
            failure = self._sign_in(browser, person)
            with self._changed:
                del self._began[browser]
                if failure:
                    self.failures.append(f"{phase}: {failure}")
                else:
                    self.signed_in[phase] += 1
                self._changed.notify_all()

    def _begin(self, browser: Browser) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or not self._is_held)
            if not self._is_over:
                self._began[browser] = self._town.now
            return not self._is_over

    def _sign_in(self, browser: Browser, person: Person) -> str:
        browser.forget(self._town.address)
        try:
            page = self._town.sign_in_microsoft(browser, person)
        except (httpx.HTTPError, AssertionError, IndexError) as error:
            return repr(error)
        if page.title == "You are signed in":
            return ""
        return f"{page.status} {page.title}: {self._town.log_of(page.reference)}"


def _is_removed(state: RenewalState) -> bool:
    """Whether the old key is off the application, at the latest when all is over."""
    previous = state.previous
    return state.phase is Phase.IDLE or (previous is not None and previous.removed_at is not None)


def _there(version: CertificateVersion | None) -> CertificateVersion:
    assert version is not None
    return version


def _timer(worker: Worker) -> str:
    return f"{worker.url}/admin/functions/renewal"
