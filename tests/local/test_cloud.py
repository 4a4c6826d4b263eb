"""The process: managed identity, faults, counts, state between runs, start and stop."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceResponseError
from azure.identity import CredentialUnavailableError, ManagedIdentityCredential

from local.cloud.identity import IssuedTokens
from local.cloud.server import Addresses, serving
from tests.local.clients import Client, Control, http_session
from tests.local.key_vault import Vault, connect, create

_DAY = 24 * 60 * 60


# Managed identity


def test_the_real_credential_gets_a_token(vault: Vault, control: Control) -> None:
    """`ManagedIdentityCredential` works as it is, caches its token, and learns when it expires."""
    with ManagedIdentityCredential(use_env_settings=False) as credential:
        first = credential.get_token("https://vault.azure.net/.default")
        again = credential.get_token("https://vault.azure.net/.default")
    assert first.token == again.token
    assert first.expires_on == pytest.approx(time.time() + _DAY, abs=10)
    assert control("GET", "/calls")["identity"] == {"token": 1}
    assert vault.url


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"X-IDENTITY-HEADER": "guess"}, 401),
        ({"X-IDENTITY-HEADER": ""}, 401),
        ({"api-version": "2017-09-01"}, 400),
        ({"resource": ""}, 400),
    ],
)
def test_an_identity_request_must_be_complete(client: Client, changes: dict[str, str], status: int) -> None:
    """The header is checked, and so are version and resource."""
    given = {
        "X-IDENTITY-HEADER": client.addresses.identity_header,
        "api-version": "2019-08-01",
        "resource": "https://vault.azure.net",
    } | changes
    headers = {"X-IDENTITY-HEADER": given.pop("X-IDENTITY-HEADER")}
    answer = client.http.get(client.addresses.identity_endpoint, params=given, headers=headers, timeout=10)
    assert answer.status_code == status
    assert "access_token" not in answer.json()


def test_a_token_expires_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token stands for its resource until the second that was announced, and for nothing afterwards."""
    tokens = IssuedTokens(tmp_path / "identity.json")
    token, expires_on = tokens.issue("https://vault.azure.net")
    for now, resource in ((expires_on - 1, "https://vault.azure.net"), (expires_on, None)):
        monkeypatch.setattr("local.cloud.identity.time", SimpleNamespace(time=lambda now=now: now))
        assert tokens.resource_of(token) == resource


# Faults and counts


def _fail(control: Control, service: str, **fault: Any) -> None:  # noqa: ANN401 - JSON
    control("POST", "/faults", {"service": service, "faults": [fault]})


def test_throttling_tells_when_to_come_back(vault: Vault, control: Control) -> None:
    """A 429 carries Retry-After and Key Vault's error format, strikes where it matches, and ends."""
    vault.secrets.set_secret("s", "v")
    _fail(control, "vault", kind="status", match="GET /secrets/", status=429, retry_after=7, times=1)
    vault.secrets.set_secret("s", "v")
    with pytest.raises(HttpResponseError) as caught:
        vault.secrets.get_secret("s")
    assert caught.value.status_code == 429
    response: Any = caught.value.response
    assert response.headers["Retry-After"] == "7"
    assert caught.value.error is not None
    assert caught.value.error.code == "TooManyRequests"
    assert vault.secrets.get_secret("s").value == "v"


def test_the_sdk_retries_a_failing_vault(cloud: Addresses, vault: Vault, control: Control) -> None:
    """Two 500s are bridged by the SDK's own retries, and counted as calls."""
    vault.secrets.set_secret("s", "v")
    control("POST", "/reset")
    _fail(control, "vault", kind="status", status=500, times=2)
    options = vault.options | {"retry_total": 3, "retry_backoff_factor": 0}
    patient = type(vault.secrets)(cloud.key_vault_url, vault.credential, **options)
    with patient:
        assert patient.get_secret("s").value == "v"
    assert control("GET", "/calls")["vault"]["secrets/get"] == 3


def test_a_connection_can_be_cut(vault: Vault, client: Client, control: Control) -> None:
    """A cut connection gives no answer at all, over https and http."""
    vault.secrets.set_secret("s", "v")
    _fail(control, "vault", kind="cut", times=1)
    with pytest.raises(ServiceResponseError):
        vault.secrets.get_secret("s")
    assert vault.secrets.get_secret("s").value == "v"
    _fail(control, "entra", kind="cut", match="/token", times=1)
    with pytest.raises(requests.ConnectionError):
        client.redeem("any")
    assert client.redeem("any")["status"] == 400


def test_an_answer_can_be_slow(client: Client, control: Control) -> None:
    """A delayed answer is late for an impatient client, and true for a patient one."""
    _fail(control, "entra", kind="delay", seconds=0.3, match="/keys", times=2)
    url = f"{client.base}/discovery/v2.0/keys"
    with pytest.raises(requests.ReadTimeout):
        client.http.get(url, timeout=(3, 0.05))
    assert client.http.get(url, timeout=10).json()["keys"]


def test_identity_can_fail(vault: Vault, control: Control) -> None:
    """A failing identity endpoint is an error of the credential."""
    assert vault.url
    _fail(control, "identity", kind="status", status=400)
    with (
        ManagedIdentityCredential(use_env_settings=False, retry_total=0) as credential,
        pytest.raises((ClientAuthenticationError, CredentialUnavailableError)),
    ):
        credential.get_token("https://vault.azure.net/.default")


def test_calls_are_counted_by_service_and_operation(client: Client, control: Control) -> None:
    """Each service counts its own; a reset begins at nothing."""
    control("POST", "/reset")
    client.id_token()
    assert control("GET", "/calls") == {
        "entra": {"authorize": 1, "login": 2, "token": 1, "keys": 1},
        "graph": {},
        "vault": {},
        "identity": {},
    }


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/application", {"redirect_urls": []}),
        ("PUT", "/application", {"redirect_uris": "http://localhost"}),
        ("PUT", "/application", {"consent": "perhaps"}),
        ("PUT", "/people", {"people": [{"name": "Nobody"}]}),
        ("PATCH", "/people/nurse@clinic.example", {"assigned": "yes"}),
        ("PATCH", "/people/nurse@clinic.example", {"username": "other@clinic.example"}),
        ("PATCH", "/people/nobody@clinic.example", {"assigned": True}),
        ("POST", "/faults", {"service": "entra", "faults": [{"kind": "fire"}]}),
        ("POST", "/faults", {"service": "mail", "faults": []}),
        ("POST", "/certificate-errors", {"code": 50011}),
        ("POST", "/certificates", {}),
        ("PUT", "/vault", {"polls": "two"}),
        ("PUT", "/replicas", {"delays": []}),
        ("PUT", "/replicas", {"delays": [-1]}),
        ("PUT", "/replicas", {"delays": [2 * _DAY]}),
        ("PUT", "/replicas", {"delays": ["soon"]}),
        ("PUT", "/replicas", {}),
        ("PUT", "/graph", {"refuse_add": "always"}),
        ("PUT", "/graph", {"duplicates": "third"}),
        ("PUT", "/graph", {"graph_may_read": "yes"}),
        ("PUT", "/graph", {"may_write": True}),
        ("POST", "/clock", {}),
        ("DELETE", "/certificates/none", None),
        ("GET", "/nothing", None),
    ],
)
def test_a_wrong_control_request_says_so(client: Client, method: str, path: str, body: object) -> None:
    """A misspelt field or a wrong type is refused by name instead of being ignored."""
    answer = client.http.request(method, client.addresses.control_url + path, json=body, timeout=10)
    assert answer.status_code in {400, 404}
    assert answer.json()["error"]


# State, start and stop


def test_state_is_kept_between_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Application, people, keys, certificates, secrets, issued tokens and the CA outlive the process."""
    with serving(tmp_path) as first, http_session(first) as http:
        control = Control(first.control_url, http)
        control("PATCH", "/people/nurse@clinic.example", {"assigned": False, "roles": ["SOS.Admin"]})
        control("PUT", "/application", {"redirect_uris": ["http://localhost/azure"]})
        control("PUT", "/vault", {"polls": 0})
        before = [control("GET", path) for path in ("/application", "/people", "/certificates")]
        monkeypatch.setenv("IDENTITY_ENDPOINT", first.identity_endpoint)
        monkeypatch.setenv("IDENTITY_HEADER", first.identity_header)
        vault = connect(first, http)
        certificate = create(vault)
        vault.secrets.set_secret("s", "v")
        keys = http.get(f"{first.authority_host}/{before[0]['tenant_id']}/discovery/v2.0/keys").json()["keys"]
        token = vault.credential.get_token("https://vault.azure.net/.default").token
    port = int(first.authority_host.rpartition(":")[2])
    with serving(tmp_path, port) as second, http_session(second) as http:
        assert second == first
        control = Control(second.control_url, http)
        assert [control("GET", path) for path in ("/application", "/people", "/certificates")] == before
        url = f"{second.authority_host}/{before[0]['tenant_id']}/discovery/v2.0/keys"
        assert [k["kid"] for k in http.get(url).json()["keys"]] == [k["kid"] for k in keys]
        headers = {"Authorization": f"Bearer {token}"}
        assert http.get(f"{second.key_vault_url}/secrets/s", headers=headers).json()["value"] == "v"
        assert vault.certificates.get_certificate("sos").cer == certificate.cer


def test_secret_files_are_for_the_owner_only(tmp_path: Path) -> None:
    """Nobody else on the computer can read the state."""
    with serving(tmp_path / "state"):
        files = [tmp_path / "state", *(tmp_path / "state").iterdir()]
    assert len(files) > 5
    assert [f.name for f in files if f.stat().st_mode & 0o077] == []


def test_the_command_announces_itself_and_stops_cleanly(tmp_path: Path) -> None:
    """One line of JSON when everything answers; SIGTERM ends it with 0 in spite of an open connection."""
    command = [sys.executable, "-m", "local.cloud", "--state", str(tmp_path / "new"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        assert process.stdout is not None
        assert process.stderr is not None
        addresses = Addresses(**json.loads(process.stdout.readline()))
        with http_session(addresses) as http:
            assert http.get(f"{addresses.control_url}/calls", timeout=10).status_code == 200
            assert http.get(f"{addresses.graph_url}/v1.0", timeout=10).status_code == 404
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""
    ports = [
        int(url.rpartition(":")[2])
        for url in (addresses.authority_host, addresses.browser_url, addresses.key_vault_url)
    ]
    assert ports == list(range(ports[0], ports[0] + 3))


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The command says which port is taken and ends with 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "local.cloud", "--state", str(tmp_path), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - our own module
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
