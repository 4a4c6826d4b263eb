"""The table proxy counts what goes to the store, and breaks it on demand."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.data.tables import TableClient, TableServiceClient

from local.azurite import Azurite, connection_string
from local.laptop import start_table_proxy

pytestmark = pytest.mark.system

PARTITION, ROW = "ward", "a b'c"
ENTITY = {"PartitionKey": PARTITION, "RowKey": ROW, "beds": 4}


@dataclass(frozen=True)
class Tables:
    """A table behind a proxy, and the proxy's control paths."""

    table: TableClient
    control: httpx.Client

    def calls(self) -> dict[str, int]:
        """Ask what was counted."""
        counted: dict[str, int] = self.control.get("calls").json()
        return counted

    def fail(self, **fault: object) -> None:
        """Add a fault."""
        assert self.control.post("faults", json=[fault]).status_code == 200


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    """Start Azurite and a proxy, with one entity in one table."""
    azurite = Azurite()
    with azurite.child, start_table_proxy(azurite) as proxy:
        port = proxy.announcement(20)["port"]
        azurite.wait_until_ready()
        service = TableServiceClient.from_connection_string(connection_string(port), retry_total=0)
        with service, httpx.Client(base_url=f"http://127.0.0.1:{port}/_control/") as control:
            table = service.create_table("accounts")
            table.create_entity(ENTITY)
            yield Tables(table, control)


@pytest.fixture(autouse=True)
def fresh(tables: Tables) -> None:
    """Forget counts and faults before each test."""
    tables.control.post("reset")


def read(tables: Tables) -> object:
    """Read the entity."""
    return tables.table.get_entity(PARTITION, ROW)["beds"]


def test_calls_are_counted_by_operation_and_table(tables: Tables) -> None:
    """Reads, writes, queries and transactions pass, and each is counted once."""
    assert read(tables) == 4
    tables.table.upsert_entity(ENTITY)
    assert len(list(tables.table.query_entities("PartitionKey eq 'ward'"))) == 1
    tables.table.submit_transaction([("upsert", ENTITY)])
    assert tables.calls() == {"GET accounts": 2, "PATCH accounts": 1, "BATCH accounts": 1}


def test_status_with_retry_after(tables: Tables) -> None:
    """A fault answers in the place of the store, as often as it was told to."""
    tables.fail(kind="status", match="GET accounts", status=429, retry_after=7, times=1)
    with pytest.raises(HttpResponseError) as refused:
        read(tables)
    assert refused.value.status_code == 429
    assert "'Retry-After': '7'" in str(getattr(refused.value.response, "headers", None))
    assert read(tables) == 4


def test_cut_connection(tables: Tables) -> None:
    """The connection ends without an answer."""
    tables.fail(kind="cut", times=1)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        read(tables)


def test_slow_answer(tables: Tables) -> None:
    """The true answer comes late."""
    tables.fail(kind="delay", seconds=0.2, times=1)
    started = time.monotonic()
    assert read(tables) == 4
    assert time.monotonic() - started >= 0.2


def test_fault_strikes_only_what_it_matches(tables: Tables) -> None:
    """A fault for another table waits."""
    tables.fail(kind="status", match="sessions")
    assert read(tables) == 4


def test_fault_that_makes_no_sense_is_refused(tables: Tables) -> None:
    """A mistake in a test is said, not ignored."""
    for fault in ({"kind": "explode"}, {"kind": "cut", "tiems": 1}, "cut"):
        assert tables.control.post("faults", json=[fault]).status_code == 400
    assert tables.control.post("faults", content=b"{").status_code == 400
    assert tables.control.get("nothing").status_code == 404
