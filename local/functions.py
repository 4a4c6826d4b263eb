"""`python -m local functions`: serve the functions of a directory, with nothing but environment variables."""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from socket import socket

import uvicorn

from local.clock_file import clock_of
from local.host import Host
from local.ports import listen
from local.worker import FunctionError, Worker

_GRACE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 130  # Kestrel's


def serve(port: int, directory: Path, clock: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; answers the exit code. Raises PortTakenError.

    Prints one line of JSON with the address and the process id when requests are answered. `clock`: see
    `local.clock_file`.
    """
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))  # uvicorn passes the signal on after it has stopped
    _be_like_azure(directory)
    if clock:
        _move_clock(clock)
    sockets = listen(port)
    try:
        asyncio.run(_serve(sockets, directory))
    except FunctionError as failure:
        print(failure.trace, file=sys.stderr)
        return 1
    finally:
        # A function that hangs must not keep the process alive: its thread is not a daemon.
        watchdog = threading.Timer(1, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
    return 0


async def _serve(sockets: list[socket], directory: Path) -> None:
    worker = await Worker.start(directory)
    config = uvicorn.Config(
        Host(worker, route_prefix(directory)),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the host itself appends to X-Forwarded-For
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    await _Server(config).serve(sockets)


class _Server(uvicorn.Server):
    """Says where it serves once it does."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        port = sockets[0].getsockname()[1] if sockets else self.config.port
        print(json.dumps({"ready": f"http://localhost:{port}", "pid": os.getpid()}), flush=True)


def route_prefix(directory: Path) -> str:
    """Read the route prefix from host.json; the host's default is `api`."""
    host_json = json.loads((directory / "host.json").read_text())
    prefix: str = host_json.get("extensions", {}).get("http", {}).get("routePrefix", "api")
    return prefix


def _move_clock(file: Path) -> None:
    """Give the functions another clock than the machine's. They have no switch for that, and need none."""
    connect = import_module("shared.azure.connect")
    connect._now = clock_of(file)  # type: ignore[attr-defined] # a module's own function  # noqa: SLF001 - see above


def _be_like_azure(directory: Path) -> None:
    """Working directory, import path, clock and log as a function finds them in Azure."""
    os.environ.pop("CONTAINER_NAME", None)  # it would make the worker library believe it is in Azure
    os.environ.setdefault("PYTHON_THREADPOOL_THREAD_COUNT", "32")  # as docs/configuration.md has it
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    for chatty in ("azure.functions", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
