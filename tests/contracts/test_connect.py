"""`connect` joins the rules to the adapters, and does nothing before it is needed."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from local.cloud.server import Addresses, serving
from shared.azure import http, tables
from shared.azure.connect import connect
from shared.config import Config
from shared.errors import AuthorizationDenied, DirectoryRefused, UpstreamUnavailable
from shared.ports import Application, Table
from shared.secret import Secret
from tests.local.clients import Control, http_session

pytestmark = pytest.mark.system

COLD = """
import os, sys
from shared.azure.connect import connect
from shared.config import Config
services = connect(Config.from_environ(os.environ))
print(sorted({"msal", "requests", "azure.identity", "azure.data.tables", "azure.keyvault"} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """A cloud for this file alone."""
    with serving(tmp_path_factory.mktemp("connect")) as addresses:
        yield addresses


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between tries."""
    monkeypatch.setattr(http, "_PAUSES", (0.0, 0.0))


def environment(cloud: Addresses, **changes: str) -> dict[str, str]:
    """Make the settings that lead to the stand-ins; nothing listens where the tables should be."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        tables_url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
    return {
        "SOS_ADDRESS": "https://sign-in.clinic.example",
        "KEY_VAULT_URL": cloud.key_vault_url,
        "TABLES_URL": tables_url,
        "ENTRA_AUTHORITY_HOST": cloud.authority_host,
        "TRUSTED_CA_FILE": cloud.ca_file,
    } | changes


def test_connecting_loads_no_sdk(cloud: Addresses) -> None:
    """A cold start pays for an SDK when it first uses it, not before."""
    command = [sys.executable, "-c", COLD]
    loaded = subprocess.run(  # noqa: S603 - our own interpreter and our own text
        command, env=environment(cloud), capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"


def test_the_adapters_share_one_identity(cloud: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault and store ask the same managed identity, each for its own resource; the store is reached by token."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", cloud.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", cloud.identity_header)
    with http_session(cloud) as steering:
        control = Control(cloud.control_url, steering)
        control("POST", "/reset")
        services = connect(Config.from_environ(environment(cloud, AZURE_CLIENT_ID="a-user-assigned-one")))
        services.vault.set_secret("contract-connect", Secret("x"))
        with pytest.raises(UpstreamUnavailable) as caught:
            services.store.get(Table.SETTINGS, "p", "k")
        assert caught.value.port == "store"
        assert control("GET", "/calls")["identity"] == {"token": 2}


def test_there_is_one_clock(cloud: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moves the clock of this module moves that of the rules and of the adapters, also later."""
    services = connect(Config.from_environ(environment(cloud)))
    assert services.identity.clock_skew() is None  # the adapter is there before the clock moves
    monkeypatch.setattr("shared.azure.connect._now", lambda: datetime.now(UTC) + timedelta(hours=1))
    assert services.clock() - datetime.now(UTC) > timedelta(minutes=59)
    with http_session(cloud) as steering:
        facts = Control(cloud.control_url, steering)("GET", "/application")
    application = Application(facts["tenant_id"], facts["client_id"])
    with pytest.raises(AuthorizationDenied):
        services.identity.authenticate(application, lambda _: "a.b.c")
    skew = services.identity.clock_skew()
    assert skew is not None
    assert abs(skew - timedelta(hours=1)) < timedelta(seconds=3)


def test_the_directory_is_where_the_settings_say(cloud: Addresses) -> None:
    """Graph is asked at GRAPH_URL: the stand-in refuses a token that it did not make."""
    services = connect(Config.from_environ(environment(cloud, GRAPH_URL=cloud.graph_url)))
    with pytest.raises(DirectoryRefused) as caught:
        services.directory.keys("an-object-id", Secret("x"))
    assert caught.value.reason == "InvalidAuthenticationToken"


def test_a_person_is_another_credential(cloud: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an engineer at a desk the SDK's chain of credentials is used; here it finds the managed identity."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", cloud.identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", cloud.identity_header)
    services = connect(Config.from_environ(environment(cloud)), as_person=True)
    services.vault.set_secret("contract-connect", Secret("x"))
    found = services.vault.secret("contract-connect")
    assert found is not None


def test_a_value_that_the_store_cannot_have_is_a_defect() -> None:
    """A row of a kind that we never write (a float) is not guessed at."""
    with pytest.raises(TypeError, match="float"):
        tables._value(1.5)  # noqa: SLF001 - what the SDK hands over can only be forged here
