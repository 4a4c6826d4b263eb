"""The fault `lose_answer`: what was asked for is done, and nobody hears of it."""

import httpx
import pytest
import requests
from azure.core.exceptions import ServiceResponseError
from azure.data.tables import TableServiceClient

from local.azurite import Azurite, connection_string
from local.laptop import start_table_proxy
from tests.local.clients import Client, Control
from tests.local.graph import Credential, GraphClient, new_credential
from tests.local.key_vault import Vault


def lose(control: Control, service: str, match: str) -> None:
    """Lose the next answer of a service."""
    fault = {"kind": "lose_answer", "match": match, "times": 1}
    control("POST", "/faults", {"service": service, "faults": [fault]})


def test_a_key_is_registered_although_the_answer_is_lost(client: Client, control: Control) -> None:
    """Graph has added the key; the caller has a broken connection, as with `cut`, which adds none."""
    graph = GraphClient(client, Credential(client.key, client.certificate))
    new = new_credential(client.key)
    fault = {"kind": "cut", "match": "addKey", "times": 1}
    control("POST", "/faults", {"service": "graph", "faults": [fault]})
    with pytest.raises(requests.ConnectionError):
        graph.add(new)
    assert len(control("GET", "/certificates")) == 1
    lose(control, "graph", "addKey")
    with pytest.raises(requests.ConnectionError):
        graph.add(new)
    assert len(control("GET", "/certificates")) == 2
    assert graph.try_token(new)["status"] == 200
    assert control("GET", "/calls")["graph"] == {"addKey": 2}


def test_a_code_is_used_up_although_the_answer_is_lost(client: Client, control: Control) -> None:
    """The token endpoint has redeemed it."""
    code = client.code()
    lose(control, "entra", "/token")
    with pytest.raises(requests.ConnectionError):
        client.redeem(code)
    assert client.redeem(code)["error_codes"] == [54005]


def test_a_secret_is_written_although_the_answer_is_lost(vault: Vault, control: Control) -> None:
    """The vault has the new version."""
    lose(control, "vault", "PUT /secrets")
    with pytest.raises(ServiceResponseError):
        vault.secrets.set_secret("s", "v")
    assert vault.secrets.get_secret("s").value == "v"


@pytest.mark.system
def test_a_row_is_written_although_the_answer_is_lost() -> None:
    """The table behind the proxy has the row."""
    azurite = Azurite()
    with azurite.child, start_table_proxy(azurite) as proxy:
        port = proxy.announcement(20)["port"]
        azurite.wait_until_ready()
        service = TableServiceClient.from_connection_string(connection_string(port), retry_total=0)
        with service:
            table = service.create_table("wards")
            faults = [{"kind": "lose_answer", "match": "POST wards", "times": 1}]
            url = f"http://127.0.0.1:{port}/_control/faults"
            assert httpx.post(url, json=faults, trust_env=False).status_code == 200
            with pytest.raises(ServiceResponseError):
                table.create_entity({"PartitionKey": "p", "RowKey": "r", "beds": 4})
            assert table.get_entity("p", "r")["beds"] == 4
