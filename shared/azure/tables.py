"""The store, on Azure Tables."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from typing import Final

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.data.tables import (
    EdmType,
    EntityProperty,
    TableClient,
    TableEntity,
    TableServiceClient,
    UpdateMode,
)

from shared.azure.http import call
from shared.config import Config
from shared.errors import Conflict, UpstreamUnavailable
from shared.ports import Row, Table, Value

_PORT = "store"
_LARGEST_PAGE: Final = 1000
"""Entities in one answer of Tables."""


class TablesStore:
    """`shared.ports.Store` on Azure Tables. A table that is missing is made by the first write."""

    def __init__(self, config: Config, credential: TokenCredential, transport: RequestsTransport) -> None:
        options = {"transport": transport, "retry_total": 0}
        if config.tables_connection_string is not None:
            text = config.tables_connection_string.reveal()
            self._service = TableServiceClient.from_connection_string(text, **options)
        else:
            self._service = TableServiceClient(config.tables_url, credential=credential, **options)
        self._clients = {table: self._service.get_table_client(f"sos{table.value}") for table in Table}

    def get(self, table: Table, partition: str, key: str) -> Row | None:
        """Read one row, or None."""
        client = self._clients[table]
        try:
            entity = call(_PORT, lambda: client.get_entity(partition, key), repeatable=True)
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            raise _unavailable(error) from None
        return _from_entity(entity)

    def insert(self, table: Table, row: Row) -> Row:
        """Add a row and return it with its etag. Raises Conflict when it is there already."""
        written = self._write(table, lambda client: client.create_entity(_to_entity(row)))
        return Row(row.partition, row.key, row.values, str(written["etag"]))

    def insert_all(self, table: Table, rows: list[Row]) -> None:
        """Add rows of one partition (1 to 100), all or none. Raises Conflict when one is there already."""
        operations = [("create", _to_entity(row)) for row in rows]
        self._write(table, lambda client: client.submit_transaction(operations))

    def replace(self, table: Table, row: Row) -> Row:
        """Write a row that was read, whole, and return it with its new etag. Raises Conflict when it changed."""
        written = self._write(
            table,
            lambda client: client.update_entity(
                _to_entity(row),
                mode=UpdateMode.REPLACE,
                etag=row.etag,
                match_condition=MatchConditions.IfNotModified,
            ),
        )
        return Row(row.partition, row.key, row.values, str(written["etag"]))

    def delete(self, table: Table, row: Row) -> None:
        """Remove a row that was read; absent is done. Raises Conflict when it changed."""
        client = self._clients[table]
        try:
            call(
                _PORT,
                lambda: client.delete_entity(
                    row.partition, row.key, etag=row.etag, match_condition=MatchConditions.IfNotModified
                ),
                repeatable=True,
            )
        except ResourceModifiedError:
            raise Conflict from None
        except ResourceNotFoundError:
            return
        except HttpResponseError as error:
            raise _unavailable(error) from None

    def query(self, table: Table, partition: str) -> list[Row]:
        """Read all rows of a partition, in the order of their keys."""
        client = self._clients[table]
        try:
            return call(
                _PORT,
                lambda: [
                    _from_entity(entity)
                    for entity in client.query_entities("PartitionKey eq @p", parameters={"p": partition})
                ],
                repeatable=True,
            )
        except ResourceNotFoundError:
            return []
        except HttpResponseError as error:
            raise _unavailable(error) from None

    def older(self, table: Table, column: str, moment: datetime, most: int) -> list[Row]:
        """Read at most `most` rows of any partition whose time `column` lies before `moment`, in no order."""
        client = self._clients[table]

        def read() -> list[Row]:
            entities = client.query_entities(
                f"{column} lt @moment",
                parameters={"moment": moment},
                results_per_page=min(most, _LARGEST_PAGE),
            )
            return [_from_entity(entity) for entity in islice(entities, most)]

        try:
            return call(_PORT, read, repeatable=True)
        except ResourceNotFoundError:
            return []
        except HttpResponseError as error:
            raise _unavailable(error) from None

    def _write[T](self, table: Table, work: Callable[[TableClient], T]) -> T:
        client = self._clients[table]
        try:
            try:
                return call(_PORT, lambda: work(client), repeatable=False)
            except HttpResponseError as error:
                if error.status_code != HTTPStatus.NOT_FOUND:
                    raise
            # The row is gone, or the table is not there yet; the SDK does not tell which of the two.
            with suppress(ResourceExistsError):
                call(_PORT, client.create_table, repeatable=True)
            return call(_PORT, lambda: work(client), repeatable=False)
        except HttpResponseError as error:
            # There already, changed, or gone: read again and decide again. (A transaction's error has no type of its own.)
            if error.status_code in {
                HTTPStatus.NOT_FOUND,
                HTTPStatus.CONFLICT,
                HTTPStatus.PRECONDITION_FAILED,
            }:
                raise Conflict from None
            raise _unavailable(error) from None


def _unavailable(error: HttpResponseError) -> UpstreamUnavailable:
    # The message of the SDK shows headers and names of rows: only the status goes on.
    return UpstreamUnavailable(_PORT, f"http {error.status_code}", retriable=False)


def _to_entity(row: Row) -> dict[str, object]:
    entity: dict[str, object] = {"PartitionKey": row.partition, "RowKey": row.key}
    for name, value in row.values.items():
        # A plain int would be 32 bits wide on the wire.
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        entity[name] = EntityProperty(value, EdmType.INT64) if is_integer else value
    return entity


def _from_entity(entity: TableEntity) -> Row:
    values = {name: _value(value) for name, value in entity.items() if name not in {"PartitionKey", "RowKey"}}
    return Row(entity["PartitionKey"], entity["RowKey"], values, str(entity.metadata["etag"]))


def _value(value: object) -> Value:
    if isinstance(value, EntityProperty):
        value = value.value
    if isinstance(value, datetime):
        return datetime.fromtimestamp(value.timestamp(), UTC)
    if isinstance(value, str | bool | int):
        return value
    raise TypeError(f"the store answered a {type(value).__name__}")
