"""A town with a clinic: the laptop cloud, filled as the Owner and the engineer would, and one worker that serves it.

The tests come in through HTTP. Beside that they reach the store and the vault directly, by the production adapters, to
look at what was left there and to make what cannot be waited for (a token that is old, a link that has expired).
"""

import base64
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient, TableEntity, TableServiceClient
from azure.identity import ManagedIdentityCredential

from functions.http import SESSION_COOKIE
from local import playground
from local.clock_file import clock_of
from local.laptop import Laptop, Worker
from local.playground import OWNER, PasswordAccount, new_certificate, sign_with
from local.ports import free_port
from shared import accounts, session, settings
from shared.azure.entra import Entra
from shared.azure.graph import Graph
from shared.azure.http import pooled_session, transport
from shared.azure.key_vault import KeyVault
from shared.azure.tables import TablesStore
from shared.config import Config
from shared.ports import Row, Table
from shared.services import Services
from tests.client import Browser, Page

ROOT: Final = Path(__file__).parents[2]
ADMIN_ROLE: Final = "SOS.Admin"
SESSION: Final = SESSION_COOKIE
_TOKEN = re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}")
"""The beginning of any signed token: a JSON object in base64url, a dot, and more of it."""

_OPS_BY_A_CLOCK: Final = """
import sys
from pathlib import Path
from local.clock_file import clock_of
from ops.__main__ import main
from shared.azure import connect
connect._now = clock_of(Path(sys.argv.pop(1)))
sys.exit(main())
"""
"""`python -m ops` by the clock of a file, which the command itself has no switch for."""

_SECRET_BEGINS: Final = 8
"""Characters by which secrets are looked up: a browser keeps none that is shorter."""

type Service = Literal["entra", "graph", "vault", "identity", "store"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a Microsoft account."""

    username: str
    password: str
    object_id: str
    name: str = ""


NURSE: Final = Person(
    "nurse@clinic.example", "nurse-on-a-laptop", "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a01", "Nurse"
)
DOCTOR: Final = Person(
    "doctor@clinic.example", "doctor-on-a-laptop", "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a02", "Doctor"
)
OWNER_AT_MICROSOFT: Final = Person(
    "owner@clinic.example", "owner-on-a-laptop", "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a03", "Owner"
)
VISITOR: Final = Person(
    "visitor@clinic.example", "visitor-on-a-laptop", "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a04", "Visitor"
)


class Town:
    """The clinic's Address, what stands behind it, and how it is disturbed."""

    def __init__(
        self, laptop: Laptop, *, sso_active: bool = True, empty: bool = False, clock: Path | None = None
    ) -> None:
        """Fill the cloud, or leave it `empty` and start no worker, as on the day of the installation.

        `clock` is a file that moves the clock of the workers, of `ops` and of these tests (`local.clock_file`).
        """
        self.laptop = laptop
        self._clock_file = clock
        port = free_port()
        self.address = f"http://localhost:{port}"
        self.environment = laptop.environment(self.address)
        self.workers: list[Worker] = []
        self._browsers: list[Browser] = []
        self._control = httpx.Client(base_url=f"{laptop.cloud.control_url}/", trust_env=False, timeout=10)
        self._tables = httpx.Client(base_url=f"{laptop.tables_control_url}/", trust_env=False, timeout=10)
        self._rows = TableServiceClient.from_connection_string(laptop.tables_connection_string)
        self.services = self._connect()
        self.application = self._register()
        self._owner: Row | None = None
        if empty:
            return
        self._fill(sso_active=sso_active)
        self.worker = self.start_worker(port=port)

    def _register(self) -> dict[str, Any]:
        """Do the Owner's part at the portal; answers the ids to copy from there."""
        front_channel = f"{self.address}/logout/microsoft"
        registered = {"redirect_uris": [self.redirect_uri], "front_channel_logout_url": front_channel}
        application: dict[str, Any] = self.control("PUT", "application", registered)
        return application

    def _fill(self, *, sso_active: bool) -> None:
        with self.as_the_app():
            playground.seed(self.services, self.application, sso_active=sso_active)
        store = self.services.store
        settings.save_settings(store, replace(settings.read_settings(store), admin_role=ADMIN_ROLE))
        self._owner = store.get(Table.ACCOUNTS, "account", accounts.OWNER_ID)
        self.use_a_new_certificate()

    def _connect(self) -> Services:
        """Join the rules to the production adapters, as `connect` does, on a connection that can be closed."""
        config = Config.from_environ(self.environment)
        self._session = pooled_session(config)
        pipeline = transport(self._session)
        self._credential = ManagedIdentityCredential(transport=pipeline)
        clock = clock_of(self._clock_file) if self._clock_file else _now
        store = TablesStore(config, self._credential, pipeline)
        vault = KeyVault(config, self._credential, pipeline)
        identity, directory = Entra(config, self._session, clock), Graph(config, self._session)
        return Services(config, clock, store, vault, identity, directory)

    @contextmanager
    def as_the_app(self) -> Iterator[None]:
        """Let the SDKs in this process find the managed identity; MSAL reads the environment at each request."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
                patch.setenv(name, self.environment[name])
            yield

    @property
    def ca_file(self) -> str:
        """The authority that the stand-ins' certificates come from."""
        return self.laptop.cloud.ca_file

    @property
    def redirect_uri(self) -> str:
        """What is registered at Microsoft."""
        return f"{self.address}/azure"

    # Workers and browsers

    def start_worker(self, *, port: int = 0, **extra_env: str) -> Worker:
        """Start a worker for the same Address, on a port of its own: another instance of the function app."""
        environment = {"SOS_ADDRESS": self.address, **extra_env}
        worker = self.laptop.start_worker(port, environment, self._clock_file)
        self.workers.append(worker)
        return worker

    def browser(self, served_by: Worker | None = None) -> Browser:
        """Open a browser that knows nobody, by way of one worker if need be."""
        browser = Browser(self.ca_file)
        if served_by is not None:
            browser.served_by[self.address] = served_by.url
        self._browsers.append(browser)
        return browser

    def ops(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m ops` as the engineer does."""
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, *self._ops, *arguments],
            cwd=ROOT,
            env=os.environ | self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def _ops(self) -> list[str]:
        if self._clock_file is None:
            return ["-m", "ops"]
        return ["-c", _OPS_BY_A_CLOCK, str(self._clock_file)]

    # Signing in

    def to_microsoft(self, browser: Browser, person: Person = NURSE, start: str = "/login") -> Page:
        """Go to Microsoft and prove who one is; answers the page that will post Microsoft's answer to `/azure`."""
        return self.prove(browser, browser.open(self.address + start), person)

    def prove(self, browser: Browser, page: Page, person: Person = NURSE) -> Page:
        """Answer what Microsoft asks on a page of its own, if it asks anything."""
        if page.title == "Pick an account":
            page = browser.submit(page, 1, account=person.username)
        if page.title == "Enter password":
            page = browser.submit(page, password=person.password)
        return page

    def sign_in_microsoft(self, browser: Browser, person: Person = NURSE, start: str = "/login") -> Page:
        """Sign in with Microsoft; answers the page where that ends."""
        return browser.submit(self.to_microsoft(browser, person, start))

    def sign_in_password(
        self, browser: Browser, user_name: str = OWNER.username, password: str = OWNER.password
    ) -> Page:
        """Fill in the form at `/signin`; answers what comes of it, redirects not followed."""
        page = browser.open(f"{self.address}/signin")
        return browser.submit(page, follow=False, username=user_name, password=password)

    def enter(self, browser: Browser, account: PasswordAccount) -> Page:
        """Sign in with an account of the playground."""
        return self.sign_in_password(browser, account.username, account.password)

    def session_of(self, browser: Browser) -> dict[str, Any]:
        """Ask `/session` who is signed in; empty when nobody is."""
        page = browser.get(f"{self.address}/session")
        return page.response.json() if page.status == 200 else {}

    def age_session(self, browser: Browser, by: timedelta) -> None:
        """Make the session's token in a browser older, as if it had been issued that long ago."""
        ring, issuer, now = self.services.key_ring.get(), self.services.issuer, self.services.clock()
        found = session.read_token(browser.cookies(self.address)[SESSION], ring, issuer, now)
        aged = replace(found, issued_at=found.issued_at - by, expires_at=found.expires_at - by)
        browser.set_cookie(self.address, SESSION, session.write_token(aged, ring, issuer, now))

    def new_person(self, **facts: object) -> Person:
        """Let a new colleague start at the clinic. Signs everyone out at Microsoft."""
        number = secrets.token_hex(4)
        person = Person(
            f"colleague-{number}@clinic.example",
            f"new-on-a-laptop-{number}",
            f"0a4e7f31-52c8-4d19-8e60-0000{number}",
            f"Colleague {number}",
        )
        entry = {
            "username": person.username,
            "password": person.password,
            "object_id": person.object_id,
            "name": person.name,
        }
        people = [*self.control("GET", "people"), entry | facts]
        self.control("PUT", "people", {"people": people})
        return replace(person, name=str(facts.get("name", person.name)))

    # The store

    def rows(self, table: Table) -> list[TableEntity]:
        """Read every row of a table."""
        client: TableClient = self._rows.get_table_client(f"sos{table.value}")
        try:
            return list(client.list_entities())
        except ResourceNotFoundError:  # nothing has been written to it yet
            return []

    def sessions_of(self, account_id: str) -> list[TableEntity]:
        """Read the sessions of an account that have not been ended."""
        return [row for row in self.rows(Table.SESSIONS) if row["account"] == account_id]

    def empty(self, table: Table) -> None:
        """Delete every row of a table."""
        client: TableClient = self._rows.get_table_client(f"sos{table.value}")
        for row in self.rows(table):
            client.delete_entity(row)

    def drop(self, table: Table) -> None:
        """Delete a table at once; it is made anew when somebody writes to it."""
        self._rows.delete_table(f"sos{table.value}")

    def empty_throttle(self) -> None:
        """Let nobody wait at the password door."""
        self.empty(Table.THROTTLE)

    def forget_owner(self) -> None:
        """Make the town one that has no Owner yet."""
        row = self.services.store.get(Table.ACCOUNTS, "account", accounts.OWNER_ID)
        if row is not None:
            self.services.store.delete(Table.ACCOUNTS, row)

    def change_row(self, table: Table, partition: str, key: str, **values: Any) -> None:  # noqa: ANN401 - what a row holds
        """Change what a row says, behind everybody's back."""
        row = self.services.store.get(table, partition, key)
        if row is None:
            raise LookupError(key)
        self.services.store.replace(table, Row(partition, key, {**row.values, **values}, row.etag))

    def use_a_new_certificate(self) -> None:
        """Renew the certificate the way a renewal does: make, register, use, and take the old one away."""
        old = [certificate["thumbprint"] for certificate in self.control("GET", "certificates")]
        with self.as_the_app():
            made, der = new_certificate(self.services)
        self.control("POST", "certificates", {"der_base64": base64.b64encode(der).decode()})
        sign_with(self.services, made)
        for gone in old:
            self.control("DELETE", f"certificates/{gone}")

    # Disturbances

    def control(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Steer the stand-ins for Microsoft and the vault."""
        return self._control.request(method, path, json=body).raise_for_status().json()

    def fail(
        self,
        service: Service,
        kind: Literal["status", "delay", "cut", "lose_answer"],
        match: str = "",
        **more: float,
    ) -> None:
        """Make a service fail; see `local.faults.Fault` for how."""
        fault = {"kind": kind, "match": match, **more}
        if service == "store":
            self._tables.post("faults", json=[fault]).raise_for_status()
        else:
            self.control("POST", "faults", {"service": service, "faults": [fault]})

    def calls(self, service: Service) -> dict[str, int]:
        """Count the calls of a service since the last `calm`, by operation."""
        counted: dict[str, int]
        if service == "store":
            counted = self._tables.get("calls").raise_for_status().json()
        else:
            counted = self.control("GET", "calls")[service]
        return counted

    def calm(self) -> None:
        """Mend every service, set its clock right, and forget all counts."""
        self.control("POST", "reset")
        self._tables.post("reset").raise_for_status()

    def restore(self) -> None:
        """Put everything back that a test may have moved."""
        self.calm()
        self.control(
            "PUT",
            "application",
            {"assignment_required": True, "assignment_error_to_callback": False, "consent": "granted"},
        )
        self.empty_throttle()
        self._restore_owner()
        self._close_browsers()

    def _restore_owner(self) -> None:
        if self._owner is not None:
            self.forget_owner()
            self.services.store.insert(Table.ACCOUNTS, self._owner)

    def close(self) -> None:
        """Let go of every connection."""
        self._close_browsers()
        for client in (self._control, self._tables, self._rows, self._session):
            client.close()

    def _close_browsers(self) -> None:
        for browser in self._browsers:
            browser.close()

    # What was written down

    def lines(self, *workers: Worker) -> list[str]:
        """Read the log of these workers, or of all."""
        return [line for worker in workers or self.workers for line in worker.log]

    def log_of(self, reference: str) -> list[str]:
        """Read the lines of the log that carry a reference number; waits a moment for the first, which comes by a pipe."""
        return wait_for(lambda: [line for line in self.lines() if reference and reference in line], 5)

    def leaks(self) -> list[str]:
        """Look for secrets of any browser so far in the logs and in the whole store; answers where they stand."""
        known: dict[str, set[str]] = {}
        for secret in {secret for browser in self._browsers for secret in browser.secrets}:
            known.setdefault(secret[:_SECRET_BEGINS], set()).add(secret)
        written = self.lines() + [
            str(value) for table in Table for row in self.rows(table) for value in row.values()
        ]
        return [text for text in written if _TOKEN.search(text) or _holds(text, known)]


def _holds(text: str, known: Mapping[str, Collection[str]]) -> bool:
    """Look for any of the secrets, which are given by how they begin: one way through the text, however many there are."""
    return any(
        text.startswith(secret, place)
        for place in range(len(text))
        for secret in known.get(text[place : place + _SECRET_BEGINS], ())
    )


def _now() -> datetime:
    return datetime.now(UTC)


def wait_for[T](look: Callable[[], T], seconds: float = 10) -> T:
    """Look again until there is something to see; the outcome, not the clock, ends the wait."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError("it has not come")
        time.sleep(0.02)
    return seen


def events(lines: Sequence[str], name: str) -> list[str]:
    """Choose the lines of one event."""
    return [line for line in lines if f'"event": "{name}"' in line]
