"""The process: three addresses on loopback, one event loop."""

import asyncio
import contextlib
import secrets
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvicorn

from local.cloud.certificates import https_files
from local.cloud.clock import ShiftedClock
from local.cloud.control import PREFIX as CONTROL
from local.cloud.control import Steered, control_service
from local.cloud.entra.service import entra_service
from local.cloud.entra.state import EntraState
from local.cloud.entra.tenant import Tenant
from local.cloud.graph.applications import Graph
from local.cloud.graph.service import PATH as GRAPH
from local.cloud.graph.service import graph_service
from local.cloud.identity import PATH as IDENTITY
from local.cloud.identity import IssuedTokens, identity_service
from local.cloud.key_vault.service import vault_service
from local.cloud.key_vault.vault import Vault
from local.cloud.web import App, CuttableProtocol, Message, Receive, Send

_HOST = "127.0.0.1"
_ATTEMPTS = 50
_STOP_SECONDS = 2
_KEEP_ALIVE_SECONDS = 130  # long: a connection that is closed just as a request is sent looks like an outage


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is."""

    authority_host: str
    graph_url: str
    browser_url: str
    control_url: str
    key_vault_url: str
    identity_endpoint: str
    identity_header: str
    ca_file: str


@dataclass(frozen=True, slots=True)
class Running:
    """A cloud that answers at `addresses`; who runs it in the same process may steer it without asking."""

    addresses: Addresses
    steered: Steered


class _Server(uvicorn.Server):
    """A server that says when it listens, and leaves signals to its caller: there are three of them."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def stop(self) -> None:
        """Stop, and drop the connections that clients keep open."""
        self.should_exit = True
        for connection in list(self.server_state.connections):
            cast("CuttableProtocol", connection).transport.abort()


@contextlib.asynccontextmanager
async def running(state: Path, port: int) -> AsyncGenerator[Running]:
    """Serve until the block ends. Port 0 chooses free ones. Raises OSError when a port is taken."""
    cloud, servers = _prepare(state, port)
    async with asyncio.TaskGroup() as group:
        for server, listener in servers:
            group.create_task(server.serve([listener]))
            await server.listening.wait()
        try:
            yield cloud
        finally:
            for server, _ in servers:
                server.stop()


async def run_until_stopped(state: Path, port: int, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; tell `ready` the addresses once everything answers."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(state, port) as cloud:
        ready(cloud.addresses)
        await stop.wait()


@contextlib.contextmanager
def serving(state: Path, port: int = 0) -> Generator[Addresses]:
    """Serve in a thread of this process until the block ends. Raises OSError when a port is taken."""
    with steerable(state, port) as cloud:
        yield cloud.addresses


@contextlib.contextmanager
def steerable(state: Path, port: int = 0) -> Generator[Running]:
    """Serve as `serving` does, and hand over what there is to steer."""
    started: Future[tuple[Running, Callable[[], object]]] = Future()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        async with running(state, port) as cloud:
            started.set_result((cloud, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as error:
            started.set_exception(error)

    thread = threading.Thread(target=run, name="laptop-cloud", daemon=True)
    thread.start()
    cloud, stop = started.result()
    try:
        yield cloud
    finally:
        stop()
        thread.join()


def _prepare(state: Path, port: int) -> tuple[Running, list[tuple[_Server, socket.socket]]]:
    listeners = _listen(port)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    entra, browser, vault = (listener.getsockname()[1] for listener in listeners)
    ca_file, chain_file, key_file = https_files(state)
    tokens = IssuedTokens(state / "identity.json")
    addresses = Addresses(
        authority_host=f"https://localhost:{entra}",
        graph_url=f"https://localhost:{entra}{GRAPH}",
        browser_url=f"http://localhost:{browser}",
        control_url=f"http://localhost:{browser}{CONTROL}",
        key_vault_url=f"https://{_HOST}:{vault}",
        identity_endpoint=f"http://localhost:{browser}{IDENTITY}",
        identity_header=tokens.header,
        ca_file=str(ca_file.resolve()),
    )
    https = {"ssl_certfile": chain_file, "ssl_keyfile": key_file}
    steered = _stand_ins(state, addresses, tokens)
    apps = _apps(steered)
    servers = [_server(app, tls) for app, tls in zip(apps, (https, {}, https), strict=True)]
    return Running(addresses, steered), list(zip(servers, listeners, strict=True))


def _server(app: App, tls: dict[str, Path]) -> _Server:
    config = uvicorn.Config(
        app,
        http=CuttableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        **tls,  # type: ignore[arg-type] # two file names, or nothing
    )
    return _Server(config)


def _stand_ins(state: Path, addresses: Addresses, tokens: IssuedTokens) -> Steered:
    clock = ShiftedClock()
    entra_state = EntraState(state / "entra.json", clock)
    tenant = Tenant(entra_state, clock, addresses.authority_host, addresses.browser_url)
    graph = Graph(tenant, addresses.graph_url)
    vault = Vault(state / "vault.json", ShiftedClock(), addresses.key_vault_url)
    authority = f"{addresses.authority_host}/{entra_state.application.tenant_id}"
    services = {
        "entra": entra_service(tenant),
        "graph": graph_service(graph),
        "vault": vault_service(vault, tokens, authority),
        "identity": identity_service(tokens),
    }
    return Steered(services, tenant, graph, vault)


def _apps(steered: Steered) -> tuple[App, App, App]:
    """Give what each of the three ports serves."""
    entra, graph, vault, identity = steered.services.values()
    control = control_service(steered)

    async def programs(scope: Message, receive: Receive, send: Send) -> None:
        service = graph if scope["path"].startswith(f"{GRAPH}/") else entra
        await service(scope, receive, send)

    async def browser(scope: Message, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        service = control if path.startswith(CONTROL) else identity if path == IDENTITY else entra
        await service(scope, receive, send)

    return programs, browser, vault


def _listen(port: int) -> list[socket.socket]:
    """Bind three ports in a row. Raises OSError when one of them is taken."""
    for _ in range(_ATTEMPTS):
        first = port or 20000 + secrets.randbelow(20000)
        with contextlib.ExitStack() as bound:
            try:
                sockets = [bound.enter_context(_bind(first + n)) for n in range(3)]
            except OSError:
                if port:
                    raise
                continue
            bound.pop_all()
            return sockets
    message = "no three free ports in a row were found"
    raise OSError(message)


def _bind(port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"port {port} is taken") from error
    return listener
