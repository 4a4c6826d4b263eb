"""`make run`: the whole product on localhost, from an empty directory to a page to open."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx

from local.azurite import Azurite
from local.children import Child
from local.laptop import cloud_of, start_cloud, start_functions
from local.playground import prepare
from local.ports import check_free

_ROOT = Path(__file__).parent.parent
_STATE = _ROOT / ".local"
_TIMER_SECONDS = 3600


def run(port: int, *, fresh: bool, functions: bool) -> int:
    """Run until Ctrl-C, SIGTERM, or the end of a part; answers the exit code.

    Uses the ports `port` (functions), +1 (Entra), +2 (Entra's pages, managed identity), +3 (Key Vault) and
    +5 (tables). Without `functions`, those are left to `func start`. Raises PortTakenError, ChildFailedError.
    """
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    try:
        with ExitStack() as running:
            ended = _run(port, running, fresh=fresh, functions=functions)
            print(f"{ended.name} has ended (exit code {ended.wait()}); stopping the rest")
            return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


def _run(port: int, running: ExitStack, *, fresh: bool, functions: bool) -> Child:
    check_free(port, port + 1, port + 2, port + 3, port + 5)
    if fresh:
        shutil.rmtree(_STATE, ignore_errors=True)
    tables = _STATE / "tables"
    tables.mkdir(parents=True, exist_ok=True)

    azurite = Azurite(port=port + 5, folder=tables, listener=_say)
    running.callback(azurite.child.stop)
    stand_ins = start_cloud(_STATE / "cloud", port=port + 1, listener=_say)
    running.callback(stand_ins.stop)
    cloud = cloud_of(stand_ins)
    azurite.wait_until_ready()

    address = f"http://localhost:{port}"
    tables_connection_string = azurite.connection_string
    guide = prepare(address, cloud, tables_connection_string, _STATE)
    environment = {
        "SOS_ADDRESS": address,
        "TABLES_CONNECTION_STRING": tables_connection_string,
        **cloud.environment(),
    }
    children = [azurite.child, stand_ins]
    timer = _nothing
    if functions:
        worker = start_functions(environment, port=port, listener=_say)
        running.callback(worker.stop)
        children.append(worker.child)
        timer = partial(_fire_timer, worker.url)
    else:
        _write_settings(port, environment)
        print("\nlocal.settings.json is written: start the functions with `func start`.")
    print(
        f"\n{guide}\n\nCtrl-C stops everything. The state stays in .local/; FRESH=1 starts anew.\n",
        flush=True,
    )
    return _first_to_end(children, timer)


def _write_settings(port: int, environment: dict[str, str]) -> None:
    """Write what Azure Functions Core Tools read in place of the application settings."""
    values = {"FUNCTIONS_WORKER_RUNTIME": "python", **environment}
    settings = {"IsEncrypted": False, "Values": values, "Host": {"LocalHttpPort": port}}
    (_ROOT / "local.settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def _first_to_end(children: list[Child], timer: Callable[[], None]) -> Child:
    """Wait for the first to end, and run the timer at once and then every hour."""
    due = time.monotonic()
    while True:
        for child in children:
            if child.ended():
                return child
        if time.monotonic() >= due:
            timer()
            due += _TIMER_SECONDS
        time.sleep(0.2)


def _fire_timer(url: str) -> None:
    """Run the renewal as the host's schedule does. A worker that ends just now is noticed elsewhere."""
    with suppress(httpx.HTTPError):
        httpx.post(f"{url}/admin/functions/renewal", trust_env=False)


def _nothing() -> None:
    """Leave the timer to `func start`, which runs it by its schedule."""


def _say(name: str, line: str) -> None:
    print(f"{name:>9} | {line}", flush=True)
