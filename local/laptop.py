"""The whole cloud on a laptop, for tests, benchmarks and `make run`.

    with Laptop(directory) as laptop:
        worker = laptop.start_worker()
        … worker.url, laptop.cloud.control_url, laptop.tables_control_url …

Starting it takes about a second; several workers may share one laptop.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from local.azurite import Azurite, connection_string
from local.children import Child, Listener
from local.ports import free_port

_ROOT = Path(__file__).parent.parent
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where the stand-ins for Entra, Graph, Key Vault and managed identity answer."""

    authority_host: str
    graph_url: str
    browser_url: str
    control_url: str
    key_vault_url: str
    identity_endpoint: str
    identity_header: str
    ca_file: str

    def environment(self) -> dict[str, str]:
        """Make the settings that lead the functions to them."""
        return {
            "ENTRA_AUTHORITY_HOST": self.authority_host,
            "GRAPH_URL": self.graph_url,
            "KEY_VAULT_URL": self.key_vault_url,
            "IDENTITY_ENDPOINT": self.identity_endpoint,
            "IDENTITY_HEADER": self.identity_header,
            "TRUSTED_CA_FILE": self.ca_file,
        }


class Worker:
    """A process that serves the functions."""

    def __init__(self, child: Child) -> None:
        self.child = child
        ready = child.announcement(_START_SECONDS)
        self.url: str = ready["ready"]
        self.pid: int = ready["pid"]

    @property
    def log(self) -> tuple[str, ...]:
        """The lines it has written so far."""
        return tuple(self.child.lines)

    def stop(self) -> None:
        """Let it finish what it does, and end."""
        self.child.stop()

    def kill(self) -> None:
        """End it in the middle of what it does."""
        self.child.kill()


def start_cloud(state: Path, *, port: int = 0, listener: Listener | None = None) -> Child:
    """Start the stand-ins on three ports from `port` on; `cloud_of` waits for them."""
    return _start("cloud", ["local.cloud", "--state", str(state), "--port", str(port)], listener=listener)


def start_table_proxy(azurite: Azurite) -> Child:
    """Start a table proxy; it announces its `port`."""
    return _start("table proxy", ["local.table_proxy", "--target", str(azurite.port)])


def cloud_of(child: Child) -> Cloud:
    """Wait until the stand-ins answer. Raises ChildFailedError."""
    announced = child.announcement(_START_SECONDS)
    return Cloud(**{field.name: announced[field.name] for field in fields(Cloud)})


def start_functions(
    environment: Mapping[str, str], *, port: int, clock: Path | None = None, listener: Listener | None = None
) -> Worker:
    """Serve this repository's functions, by the clock of a file if there is one. Raises ChildFailedError."""
    arguments = ["local", "functions", "--port", str(port), "--app", str(_ROOT)]
    if clock:
        arguments += ["--clock", str(clock.resolve())]
    return Worker(_start("functions", arguments, environment=environment, listener=listener))


def _start(
    name: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    listener: Listener | None = None,
) -> Child:
    command = [sys.executable, "-m", *arguments]
    return Child(name, command, environment=environment, listener=listener, cwd=_ROOT)


class Laptop:
    """Azurite in memory behind the table proxy, the stand-ins, and any number of workers."""

    cloud: Cloud
    tables_connection_string: str
    tables_control_url: str

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            azurite = Azurite()
            starting.callback(azurite.child.stop)
            cloud = start_cloud(self._directory / "cloud")
            starting.callback(cloud.stop)
            proxy = start_table_proxy(azurite)
            starting.callback(proxy.stop)
            port: int = proxy.announcement(_START_SECONDS)["port"]
            self.tables_connection_string = connection_string(port)
            self.tables_control_url = f"http://127.0.0.1:{port}/_control"
            self.cloud = cloud_of(cloud)
            azurite.wait_until_ready()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def environment(self, address: str) -> dict[str, str]:
        """Make the settings of a worker that answers at this address."""
        tables = {"TABLES_CONNECTION_STRING": self.tables_connection_string}
        return {"SOS_ADDRESS": address, **tables, **self.cloud.environment()}

    def start_worker(
        self, port: int = 0, extra_env: Mapping[str, str] | None = None, clock: Path | None = None
    ) -> Worker:
        """Start a worker, which stops with the laptop at the latest. SOS_ADDRESS is its own unless given.

        `clock` is a file that moves the worker's clock (`local.clock_file.set_offset`).
        """
        port = port or free_port()
        environment = self.environment(f"http://localhost:{port}") | dict(extra_env or {})
        worker = start_functions(environment, port=port, clock=clock)
        self._running.callback(worker.stop)
        return worker
