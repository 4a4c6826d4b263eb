"""Time-outs and retries over the wire: who waits for whom, how often, and what is never believed."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from time import time
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError
from azure.identity import ManagedIdentityCredential

from local.cloud.certificates import https_files
from local.cloud.server import Addresses, serving
from local.laptop import Laptop
from shared.azure import http
from shared.azure.connect import connect
from shared.azure.http import call, pooled_session, retry_after, send, transport
from shared.azure.key_vault import KeyVault
from shared.azure.tables import TablesStore
from shared.config import Config
from shared.errors import UpstreamUnavailable
from shared.ports import Application, Row, Table
from shared.secret import Secret
from tests.local.clients import Control, http_session

pytestmark = pytest.mark.system

NAME = "contract-retries"
NO_VERSION = "0" * 32


@dataclass
class FakeTime:
    """Time that passes only when somebody sleeps, or a test says so."""

    slept: list[float] = field(default_factory=list)
    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        """Pass the time."""
        self.slept.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        """Tell how much has passed."""
        return self.now

    @staticmethod
    def time() -> float:
        """Tell the real time, for dates in headers."""
        return time()


@dataclass(frozen=True, slots=True)
class Wire:
    """The adapters on the stand-ins, and how to make these fail."""

    config: Config
    vault: KeyVault
    session: requests.Session
    control: Control
    application: Application
    cloud: Addresses

    def fail(self, service: str = "vault", match: str = "", **fault: object) -> None:
        """Make a service fail."""
        body = {"service": service, "faults": [{"kind": "status", "match": match} | fault]}
        self.control("POST", "/faults", body)

    def calls(self, service: str, operation: str) -> int:
        """How often an operation was called since the test began."""
        return int(self.control("GET", "/calls")[service].get(operation, 0))

    def get_keys(self) -> requests.Response:
        """Make a GET that any number of times is as good as once."""
        host, tenant = self.config.authority_host, self.application.tenant_id
        return send("microsoft", self.session, "GET", f"{host}/{tenant}/discovery/v2.0/keys")

    def post_token(self) -> requests.Response:
        """Make a POST that must not be made twice."""
        host, tenant = self.config.authority_host, self.application.tenant_id
        url = f"{host}/{tenant}/oauth2/v2.0/token"
        return send("microsoft", self.session, "POST", url, data={"grant_type": "authorization_code"})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Nobody really waits."""
    fake = FakeTime()
    monkeypatch.setattr(http, "time", fake)
    return fake


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A cloud for this file alone: it fails most of the time."""
    with serving(tmp_path_factory.mktemp("retries")) as addresses:
        yield addresses


@pytest.fixture
def wire(cloud: Addresses, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The adapters, warm: they hold a token of the managed identity, and a secret stands in the vault."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", cloud.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", cloud.identity_header)
    config = config_for(cloud)
    with http_session(cloud) as steering, pooled_session(config) as session:
        control = Control(cloud.control_url, steering)
        control("POST", "/reset")
        shared_wire = transport(session)
        vault = KeyVault(config, ManagedIdentityCredential(transport=shared_wire), shared_wire)
        vault.set_secret(NAME, Secret("a value"))
        vault.certificate(NAME, NO_VERSION)
        facts = control("GET", "/application")
        control("POST", "/reset")
        application = Application(facts["tenant_id"], facts["client_id"])
        yield Wire(config, vault, session, control, application, cloud)
        control("POST", "/reset")


def config_for(cloud: Addresses, **changes: str) -> Config:
    """Make the configuration that leads to the stand-ins."""
    return Config.from_environ(
        {
            "SOS_ADDRESS": "https://sign-in.clinic.example",
            "KEY_VAULT_URL": cloud.key_vault_url,
            "TABLES_URL": "https://tables.example",
            "ENTRA_AUTHORITY_HOST": cloud.authority_host,
            "TRUSTED_CA_FILE": cloud.ca_file,
        }
        | changes
    )


REPEATABLE: dict[str, tuple[str, str, Callable[[Wire], object]]] = {
    "a secret is read": ("vault", "secrets/get", lambda wire: wire.vault.secret(NAME)),
    "a certificate is found": (
        "vault",
        "certificates/versions",
        lambda wire: wire.vault.find_certificate(NAME, "g1"),
    ),
    "a certificate is read": (
        "vault",
        "certificates/get",
        lambda wire: wire.vault.certificate(NAME, NO_VERSION),
    ),
    "a certificate is disabled": (
        "vault",
        "certificates/update",
        lambda wire: wire.vault.disable_certificate(NAME, NO_VERSION),
    ),
    "keys are fetched": ("entra", "keys", Wire.get_keys),
}
ONCE: dict[str, tuple[str, str, Callable[[Wire], object]]] = {
    "a secret is written": ("vault", "secrets/set", lambda wire: wire.vault.set_secret(NAME, Secret("new"))),
    "a certificate is begun": (
        "vault",
        "certificates/create",
        lambda wire: wire.vault.create_certificate(f"{NAME}-{token_hex(8)}", "g1"),
    ),
    "a code is redeemed": ("entra", "token", Wire.post_token),
}
BOTH = REPEATABLE | ONCE


# What the service asks for


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("what", BOTH)
def test_a_small_wait_is_waited(wire: Wire, clock: FakeTime, what: str, status: int) -> None:
    """429 and 503 say that nothing was done: any request waits as long as it was asked to, and is sent again."""
    service, operation, do = BOTH[what]
    wire.fail(service, status=status, retry_after=2, times=1)
    do(wire)
    assert clock.slept == [2]
    assert wire.calls(service, operation) == 2


@pytest.mark.parametrize("what", BOTH)
def test_a_wait_shorter_than_our_own_is_not_taken_literally(wire: Wire, clock: FakeTime, what: str) -> None:
    """`Retry-After: 0` does not make us hammer: the own pauses are the least."""
    service, operation, do = BOTH[what]
    wire.fail(service, status=429, retry_after=0, times=2)
    do(wire)
    assert clock.slept == [0.2, 0.8]
    assert wire.calls(service, operation) == 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("what", BOTH)
def test_a_large_wait_is_passed_on(wire: Wire, clock: FakeTime, what: str, status: int) -> None:
    """A person stands before the page: what takes longer than two seconds is told, not waited for."""
    service, operation, do = BOTH[what]
    wire.fail(service, status=status, retry_after=3)
    with pytest.raises(UpstreamUnavailable) as caught:
        do(wire)
    assert caught.value.retry_after == timedelta(seconds=3)
    assert caught.value.nothing_done
    assert clock.slept == []
    assert wire.calls(service, operation) == 1


@pytest.mark.parametrize("what", BOTH)
def test_three_tries_are_the_most(wire: Wire, clock: FakeTime, what: str) -> None:
    """A service that is busy three times is unavailable: the status is told, and the wait it asked for."""
    service, operation, do = BOTH[what]
    wire.fail(service, status=503, retry_after=1)
    with pytest.raises(UpstreamUnavailable, match="http 503") as caught:
        do(wire)
    assert caught.value.port == {"vault": "vault", "entra": "microsoft"}[service]
    assert caught.value.retry_after == timedelta(seconds=1)
    assert clock.slept == [1, 1]
    assert wire.calls(service, operation) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("7", timedelta(seconds=7)),
        ("999999999999", timedelta(days=1)),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(text: str, expected: timedelta | None) -> None:
    """RFC 9110, 10.2.3: whole seconds, at most a day; what makes no sense is as if it were not there."""
    assert retry_after({"Retry-After": text}) == expected


@pytest.mark.parametrize(("ahead", "expected"), [(30, 30), (-30, 0), (10**6, 86_400)])
def test_retry_after_as_a_date(ahead: int, expected: int) -> None:
    """RFC 9110, 10.2.3: a date counts from now; one that has passed means at once."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    found = retry_after({"Retry-After": date})
    assert found is not None
    assert found.total_seconds() == pytest.approx(expected, abs=2)


# What is not known to be done


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("what", REPEATABLE)
def test_an_unknown_outcome_is_tried_again_where_that_is_safe(
    wire: Wire, clock: FakeTime, what: str, status: int
) -> None:
    """What may be done twice is done again, after short pauses."""
    service, operation, do = REPEATABLE[what]
    wire.fail(service, status=status, times=2)
    do(wire)
    assert clock.slept == [0.2, 0.8]
    assert wire.calls(service, operation) == 3


def test_a_request_that_took_too_long_to_arrive_is_tried_again(wire: Wire, clock: FakeTime) -> None:
    """408 of the vault: nobody knows, and a read may be repeated; a write may not."""
    wire.fail("vault", status=408, times=1)
    assert wire.vault.secret(NAME) is not None
    assert clock.slept == [0.2]
    wire.fail("vault", status=408)
    with pytest.raises(UpstreamUnavailable, match="http 408"):
        wire.vault.set_secret(NAME, Secret("new"))
    assert wire.calls("vault", "secrets/set") == 1


@pytest.mark.usefixtures("clock")
def test_a_request_of_ours_that_took_too_long_to_arrive_is_no_answer(wire: Wire) -> None:
    """408 where there is no SDK: a read is repeated; a code that may have been redeemed is not tried again."""
    wire.fail("entra", status=408, times=1)
    assert wire.get_keys().ok
    wire.fail("entra", status=408)
    with pytest.raises(UpstreamUnavailable, match="http 408") as caught:
        wire.post_token()
    assert not caught.value.nothing_done
    assert wire.calls("entra", "token") == 1


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("what", ONCE)
def test_an_unknown_outcome_is_not_repeated_where_it_is_not(
    wire: Wire, clock: FakeTime, what: str, status: int
) -> None:
    """A code that may have been used, a secret that may have been written: once."""
    service, operation, do = ONCE[what]
    wire.fail(service, status=status)
    with pytest.raises(UpstreamUnavailable, match=f"http {status}") as caught:
        do(wire)
    assert not caught.value.nothing_done
    assert clock.slept == []
    assert wire.calls(service, operation) == 1


@pytest.mark.parametrize("what", REPEATABLE)
def test_a_cut_connection_is_tried_again_where_that_is_safe(wire: Wire, clock: FakeTime, what: str) -> None:
    """No answer at all, twice: the third try is answered."""
    service, operation, do = REPEATABLE[what]
    wire.fail(service, kind="cut", times=2)
    do(wire)
    assert clock.slept == [0.2, 0.8]
    assert wire.calls(service, operation) == 3


@pytest.mark.parametrize("what", ONCE)
def test_a_cut_connection_is_not_repeated_where_it_is_not(wire: Wire, clock: FakeTime, what: str) -> None:
    """The request may have arrived: it is not sent again."""
    service, operation, do = ONCE[what]
    wire.fail(service, kind="cut", times=1)
    with pytest.raises(UpstreamUnavailable) as caught:
        do(wire)
    assert not caught.value.nothing_done
    assert clock.slept == []
    assert wire.calls(service, operation) == 1


@pytest.mark.parametrize(("what", "tries"), [("keys are fetched", 3), ("a code is redeemed", 1)])
def test_a_slow_answer_is_not_waited_for(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, what: str, tries: int
) -> None:
    """An answer that takes longer than the read time-out counts as lost."""
    monkeypatch.setattr(http, "READ_SECONDS", 0.1)
    service, operation, do = BOTH[what]
    wire.fail(service, kind="delay", seconds=0.5)
    with pytest.raises(UpstreamUnavailable, match="ReadTimeout"):
        do(wire)
    assert wire.calls(service, operation) == tries


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_refused_connection_is_tried_again_always(clock: FakeTime, repeatable: bool) -> None:  # noqa: FBT001 - a case
    """Nothing was sent, so anything may be sent again: three tries, then unavailable."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        session = requests.Session()
        session.trust_env = False
        with pytest.raises(UpstreamUnavailable) as caught, session:
            send("microsoft", session, "GET" if repeatable else "POST", url)
    assert caught.value.nothing_done
    assert clock.slept == [0.2, 0.8]


def test_a_refused_connection_of_an_sdk_is_tried_again(
    wire: Wire, clock: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a write: the SDK's word for it is another one."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("NO_PROXY", "*")
        config = config_for(wire.cloud, KEY_VAULT_URL=url)
        shared_wire = transport(wire.session)
        vault = KeyVault(config, ManagedIdentityCredential(transport=shared_wire), shared_wire)
        with pytest.raises(UpstreamUnavailable, match="ServiceRequestError"):
            vault.set_secret(NAME, Secret("x"))
    assert clock.slept == [0.2, 0.8]


@pytest.mark.parametrize("error", [requests.ConnectTimeout(), ServiceRequestError("x")])
def test_a_connection_that_was_never_made_is_safe_to_repeat(clock: FakeTime, error: Exception) -> None:
    """A connect time-out means that nothing was sent."""
    tries: list[int] = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "done"

    assert call("vault", work, repeatable=False) == "done"
    assert clock.slept == [0.2, 0.8]


@pytest.mark.parametrize("unknown", [0, 1, 2])
@pytest.mark.usefixtures("clock")
def test_one_try_of_unknown_outcome_may_have_done_it(unknown: int) -> None:
    """A last answer that says "nothing done" speaks for its own try only: an earlier one may have had an effect."""
    tries: list[int] = []

    def work() -> None:
        tries.append(len(tries))
        raise requests.ReadTimeout if tries[-1] == unknown else requests.ConnectTimeout

    with pytest.raises(UpstreamUnavailable) as caught:
        call("vault", work, repeatable=True)
    assert tries == [0, 1, 2]
    assert not caught.value.nothing_done


# Bounds


def test_retries_stop_after_five_seconds(clock: FakeTime) -> None:
    """A try that took longer than five seconds is the last one, however safe another would be."""
    tries: list[float] = []

    def work() -> None:
        tries.append(clock.now)
        clock.now += 5.1
        raise requests.ReadTimeout

    with pytest.raises(UpstreamUnavailable):
        call("vault", work, repeatable=True)
    assert tries == [0.0]


def test_the_sum_of_tries_is_bounded(clock: FakeTime) -> None:
    """The last try begins at most five seconds and one pause after the first."""
    tries: list[float] = []

    def work() -> None:
        tries.append(clock.now)
        clock.now += 2.4
        raise requests.ReadTimeout

    with pytest.raises(UpstreamUnavailable):
        call("vault", work, repeatable=True)
    assert len(tries) == 3
    assert tries[-1] <= 5 + 0.8


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413])
def test_an_answer_about_the_request_is_not_repeated(wire: Wire, clock: FakeTime, status: int) -> None:
    """What the service says of our request will not change by asking again."""
    wire.fail("entra", status=status)
    assert wire.get_keys().status_code == status
    assert clock.slept == []
    assert wire.calls("entra", "keys") == 1


def test_an_adapters_own_answer_is_left_to_it(wire: Wire) -> None:
    """`call` raises a 404 as the SDK says it: the adapter knows that it means none."""

    def work() -> None:
        wire.vault._secrets.get_secret("no-such-secret")  # noqa: SLF001 - the SDK's client behind the adapter

    with pytest.raises(ResourceNotFoundError):
        call("vault", work, repeatable=True)


@pytest.mark.parametrize("what", [what for what, (service, _, _) in BOTH.items() if service == "vault"])
def test_a_forbidden_vault_is_unavailable_for_good(wire: Wire, clock: FakeTime, what: str) -> None:
    """A role that is missing is not mended by waiting, and the SDK's text is not shown."""
    wire.fail("vault", status=403)
    with pytest.raises(UpstreamUnavailable, match=r"^vault: http 403$") as caught:
        BOTH[what][2](wire)
    assert not caught.value.retriable
    assert clock.slept == []


def test_an_identity_that_fails_is_bounded(
    cloud: Addresses, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token of the managed identity, no vault: at most three requests for one, and no long sleep inside the SDK."""
    long_sleeps: list[float] = []
    monkeypatch.setattr("time.sleep", long_sleeps.append)
    services = connect(config_for(cloud))
    wire.fail("identity", status=500)
    with pytest.raises(UpstreamUnavailable) as caught:
        services.vault.secret(NAME)
    assert caught.value.port == "vault"
    assert sum(long_sleeps) <= 5
    assert wire.calls("identity", "token") <= 3


def test_one_token_serves_many_calls(wire: Wire) -> None:
    """The managed identity is asked once, the challenge is met once."""
    for _ in range(5):
        wire.vault.secret(NAME)
    assert wire.calls("identity", "token") == 0
    assert wire.calls("vault", "secrets/get") == 5


# The store


@pytest.fixture
def tables(laptop: Laptop) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Steer the proxy before the tables; gives its counts."""
    with requests.Session() as steering:
        steering.trust_env = False
        url = laptop.tables_control_url

        def control(faults: str = "") -> dict[str, Any]:
            if faults:
                assert steering.post(f"{url}/faults", data=faults, timeout=10).ok
            counts: dict[str, Any] = steering.get(f"{url}/calls", timeout=10).json()
            return counts

        steering.post(f"{url}/reset", timeout=10)
        yield control
        steering.post(f"{url}/reset", timeout=10)


@pytest.fixture
def store(laptop: Laptop) -> Iterator[TablesStore]:
    """The tables adapter with a table that exists."""
    config = Config.from_environ(laptop.environment("http://localhost:7071"))
    with pooled_session(config) as session:
        wire = transport(session)
        store = TablesStore(config, ManagedIdentityCredential(transport=wire), wire)
        store.query(Table.THROTTLE, "contract")
        for row in store.query(Table.THROTTLE, "contract"):
            store.delete(Table.THROTTLE, row)
        store.insert(Table.THROTTLE, Row("contract", "warm"))
        yield store


def test_a_busy_store_is_waited_for(
    store: TablesStore, tables: Callable[[str], dict[str, Any]], clock: FakeTime
) -> None:
    """503 with a small wait, on a write: once more, and the row is there once."""
    tables('[{"kind": "status", "status": 503, "retry_after": 1, "match": "POST sosthrottle", "times": 1}]')
    store.insert(Table.THROTTLE, Row("contract", "busy"))
    assert clock.slept == [1]
    assert store.get(Table.THROTTLE, "contract", "busy") is not None


def test_a_write_of_unknown_outcome_is_not_repeated(
    store: TablesStore, tables: Callable[[str], dict[str, Any]], clock: FakeTime
) -> None:
    """A charge at the throttle that may have been written is not written again: the caller fails closed."""
    tables('[{"kind": "cut", "match": "POST sosthrottle", "times": 1}]')
    with pytest.raises(UpstreamUnavailable) as caught:
        store.insert(Table.THROTTLE, Row("contract", "cut"))
    assert caught.value.port == "store"
    assert clock.slept == []


@pytest.mark.parametrize("fault", ['"cut"', '"status", "status": 500'])
def test_a_read_of_the_store_is_repeated(
    store: TablesStore, tables: Callable[[str], dict[str, Any]], clock: FakeTime, fault: str
) -> None:
    """Reading twice is as good as once."""
    tables(f'[{{"kind": {fault}, "match": "GET sosthrottle", "times": 2}}]')
    assert store.get(Table.THROTTLE, "contract", "warm") is not None
    assert clock.slept == [0.2, 0.8]


def test_a_refusal_of_the_store_is_unavailable(
    store: TablesStore, tables: Callable[[str], dict[str, Any]], clock: FakeTime
) -> None:
    """403 on any operation: no retry, and nothing of the request in the error."""
    row = store.get(Table.THROTTLE, "contract", "warm")
    assert row is not None
    tables('[{"kind": "status", "status": 403, "match": "sosthrottle"}]')
    for work in (
        lambda: store.get(Table.THROTTLE, "contract", "secret-name"),
        lambda: store.query(Table.THROTTLE, "contract"),
        lambda: store.insert(Table.THROTTLE, Row("contract", "secret-name")),
        lambda: store.insert_all(Table.THROTTLE, [Row("contract", "secret-name")]),
        lambda: store.replace(Table.THROTTLE, row),
        lambda: store.delete(Table.THROTTLE, row),
    ):
        with pytest.raises(UpstreamUnavailable, match=r"^store: http 403$") as caught:
            work()
        assert not caught.value.retriable
    assert clock.slept == []


# What is never believed


def test_the_environment_is_not_believed(
    cloud: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificate bundles and proxies of the environment change nothing, for none of the adapters."""
    foreign_ca, _, _ = https_files(tmp_path)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(foreign_ca))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("IDENTITY_ENDPOINT", cloud.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", cloud.identity_header)
    services = connect(config_for(cloud))
    services.vault.set_secret(NAME, Secret("a value"))
    with http_session(cloud) as steering:
        facts = Control(cloud.control_url, steering)("GET", "/application")
    application = Application(facts["tenant_id"], facts["client_id"])
    assert services.identity.fetch_keys(application)["keys"]
    assert services.vault.secret(NAME) is not None


def test_a_certificate_of_a_foreign_authority_is_refused(
    cloud: Addresses, wire: Wire, tmp_path: Path, clock: FakeTime
) -> None:
    """Whoever stands in the way with a certificate of their own learns nothing, and the SDKs see it as well."""
    foreign_ca, _, _ = https_files(tmp_path)
    services = connect(config_for(cloud, TRUSTED_CA_FILE=str(foreign_ca)))
    with pytest.raises(UpstreamUnavailable):
        services.identity.fetch_keys(wire.application)
    with pytest.raises(UpstreamUnavailable):
        services.vault.secret(NAME)
    assert wire.calls("entra", "metadata") == wire.calls("vault", "secrets/get") == 0
    assert len(clock.slept) <= 4


def test_without_a_file_the_public_authorities_are_believed(cloud: Addresses, wire: Wire) -> None:
    """The stand-ins' throw-away authority is not one of them: verification is on where nothing is set."""
    services = connect(config_for(cloud, TRUSTED_CA_FILE=""))
    with pytest.raises(UpstreamUnavailable):
        services.identity.fetch_keys(wire.application)
    with pytest.raises(UpstreamUnavailable):
        services.vault.secret(NAME)


@pytest.mark.parametrize("named", [False, True], ids=["another name", "the right name"])
def test_a_certificate_of_another_host_is_refused(
    cloud: Addresses,
    tmp_path: Path,
    clock: FakeTime,
    named: bool,  # noqa: FBT001 - a case
) -> None:
    """A certificate that is trusted but was made for another host opens nothing; for the right host it does."""
    _, chain_file, key_file = https_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file, key_file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with (
        serving_in_a_thread(server),
        pooled_session(config_for(cloud, TRUSTED_CA_FILE=str(tmp_path / "ca.pem"))) as session,
    ):
        # The certificate names localhost and 127.0.0.1, and not every other spelling of the same address.
        host = "localhost" if named else "127.1"
        url = f"https://{host}:{server.server_port}/"
        if named:
            assert send("microsoft", session, "GET", url).status_code == 204
        else:
            with pytest.raises(UpstreamUnavailable, match="SSLError"):
                send("microsoft", session, "GET", url)
    assert clock.slept == ([] if named else [0.2, 0.8])


@contextmanager
def serving_in_a_thread(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve until the block ends."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(BaseHTTPRequestHandler):
    """A site that answers with nothing."""

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class _Site(_Quiet):
    """A site that sets a cookie and sends everybody elsewhere."""

    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Cookie", "")))
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.send_header("Set-Cookie", "trace=nurse; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - http.server's names


@pytest.fixture
def site() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The site's address, and what it saw: paths and cookies."""
    handler = type("Site", (_Site,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving_in_a_thread(server):
        yield f"http://127.0.0.1:{server.server_port}/", handler.seen  # type: ignore[attr-defined] # made above


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirects_are_not_followed_and_cookies_not_kept(
    cloud: Addresses,
    site: tuple[str, list[tuple[str, str]]],
    method: Any,  # noqa: ANN401 - a literal
) -> None:
    """A code or an assertion goes where we sent it and nowhere else, and one sign-in leaves no trace in the next."""
    url, seen = site
    with pooled_session(config_for(cloud)) as session:
        for _ in range(2):
            assert send("microsoft", session, method, url, data={"code": "x"}).status_code == 302
        assert list(session.cookies) == []
    assert seen == [("/", ""), ("/", "")]


def test_errors_of_the_transport_show_no_address(wire: Wire) -> None:
    """What goes on of an error is a status or a kind: never a URL, a header or a body."""
    wire.fail("vault", kind="cut")
    with pytest.raises(UpstreamUnavailable) as caught:
        wire.vault.secret("a-telling-name")
    assert "a-telling-name" not in str(caught.value)
    wire.fail("entra", kind="cut")
    with pytest.raises(UpstreamUnavailable) as caught:
        wire.get_keys()
    assert wire.application.tenant_id not in str(caught.value)


def test_sdk_clients_do_not_retry_by_themselves(wire: Wire) -> None:
    """Three tries are three requests: the SDK's own retries, three by default, would make twelve of them."""
    wire.fail("vault", status=500)
    with pytest.raises(UpstreamUnavailable):
        wire.vault.secret(NAME)
    assert wire.calls("vault", "secrets/get") == 3
    with pytest.raises(HttpResponseError):
        wire.vault._secrets.get_secret(NAME)  # noqa: SLF001 - the SDK's client behind the adapter
    assert wire.calls("vault", "secrets/get") == 4
