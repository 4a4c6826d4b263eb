"""The store's contract: the memory store and Azure Tables keep the same promises."""

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import Conflict
from shared.ports import Row, Store, Table, Value
from tests.memory import MemoryStore

pytestmark = pytest.mark.system


@pytest.fixture(params=["memory", "tables"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each implementation in turn."""
    if request.param == "memory":
        return MemoryStore()
    store: Store = request.getfixturevalue("azure").store
    return store


@pytest.fixture
def partition() -> str:
    """A partition of its own, so that tests do not meet."""
    return secrets.token_hex(8)


def test_a_row_comes_back_as_it_was_written(store: Store, partition: str) -> None:
    """Text, numbers beyond 32 bits, truth values and times keep their type and value, to the microsecond."""
    values: dict[str, Value] = {
        "text": "Zürich – 救急",
        "empty": "",
        "big": 2**40,
        "small": -1,
        "yes": True,
        "no": False,
        "at": datetime(2027, 3, 1, 8, 0, 0, 123456, tzinfo=UTC),
    }
    store.insert(Table.SETTINGS, Row(partition, "k", values))
    row = store.get(Table.SETTINGS, partition, "k")
    assert row is not None
    assert dict(row.values) == values
    assert {name: type(value) for name, value in row.values.items()} == {
        n: type(v) for n, v in values.items()
    }


def test_what_is_not_there_is_none(store: Store, partition: str) -> None:
    """A missing row, partition or table is None or empty, not an error."""
    assert store.get(Table.AUDIT, partition, "nothing") is None
    assert store.query(Table.AUDIT, partition) == []


def test_a_second_insert_conflicts(store: Store, partition: str) -> None:
    """Of two inserts of one key the second is told, and the first one's values stay."""
    store.insert(Table.SETTINGS, Row(partition, "k", {"n": 1}))
    with pytest.raises(Conflict):
        store.insert(Table.SETTINGS, Row(partition, "k", {"n": 2}))
    row = store.get(Table.SETTINGS, partition, "k")
    assert row is not None
    assert row.values["n"] == 1


def test_replace_writes_the_whole_row_over_the_version_that_was_read(store: Store, partition: str) -> None:
    """A replace drops what it does not name, and its new etag is good for the next one."""
    row = store.insert(Table.SETTINGS, Row(partition, "k", {"a": 1, "b": 2}))
    second = store.replace(Table.SETTINGS, replace(row, values={"a": 3}))
    store.replace(Table.SETTINGS, replace(second, values={"a": 4}))
    found = store.get(Table.SETTINGS, partition, "k")
    assert found is not None
    assert dict(found.values) == {"a": 4}


def test_replace_of_a_changed_row_conflicts(store: Store, partition: str) -> None:
    """The later of two writers who read the same version is told."""
    row = store.insert(Table.SETTINGS, Row(partition, "k", {"n": 1}))
    store.replace(Table.SETTINGS, replace(row, values={"n": 2}))
    with pytest.raises(Conflict):
        store.replace(Table.SETTINGS, replace(row, values={"n": 3}))


def test_replace_of_a_row_that_is_gone_conflicts(store: Store, partition: str) -> None:
    """A replace never brings a deleted row back."""
    row = store.insert(Table.SETTINGS, Row(partition, "k", {"n": 1}))
    store.delete(Table.SETTINGS, row)
    with pytest.raises(Conflict):
        store.replace(Table.SETTINGS, row)
    assert store.get(Table.SETTINGS, partition, "k") is None


def test_delete_takes_the_version_that_was_read_and_only_that(store: Store, partition: str) -> None:
    """A changed row is not deleted; an absent one is done already."""
    row = store.insert(Table.SETTINGS, Row(partition, "k", {"n": 1}))
    newer = store.replace(Table.SETTINGS, replace(row, values={"n": 2}))
    with pytest.raises(Conflict):
        store.delete(Table.SETTINGS, row)
    store.delete(Table.SETTINGS, newer)
    store.delete(Table.SETTINGS, newer)
    assert store.get(Table.SETTINGS, partition, "k") is None


def test_query_gives_one_partition_in_the_order_of_keys(store: Store, partition: str) -> None:
    """Rows of other partitions stay out, and quotes in a name do no harm."""
    quoted = f"{partition}'s"
    for key in ("b", "a", "c"):
        store.insert(Table.SETTINGS, Row(quoted, key))
    store.insert(Table.SETTINGS, Row(partition, "other"))
    assert [row.key for row in store.query(Table.SETTINGS, quoted)] == ["a", "b", "c"]


def test_query_reads_beyond_one_page(store: Store, partition: str) -> None:
    """A partition of more than 1,000 rows (a page of Tables) comes back whole."""
    for start in range(0, 1100, 100):
        store.insert_all(Table.AUDIT, [Row(partition, f"{n:05}") for n in range(start, start + 100)])
    assert len(store.query(Table.AUDIT, partition)) == 1100


def test_older_finds_rows_of_every_partition(store: Store, partition: str) -> None:
    """A time before the moment is found; the moment itself, a later one, or none is not."""
    column, moment = f"at_{partition}", datetime(2027, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)
    tick = timedelta(milliseconds=1)  # Azurite compares no finer
    times = {"a": moment - tick, "b": moment - timedelta(days=400), "c": moment, "d": moment + tick}
    written = {
        name: store.insert(Table.SETTINGS, Row(f"{partition}-{name}", name, {column: at, "n": 2**40}))
        for name, at in times.items()
    }
    store.insert(Table.SETTINGS, Row(partition, "without", {"other": moment - tick}))
    store.insert(Table.THROTTLE, Row(partition, "elsewhere", {column: moment - tick}))
    rows = store.older(Table.SETTINGS, column, moment, 100)
    assert sorted(rows, key=lambda row: row.key) == [written["a"], written["b"]]
    for row in rows:
        store.delete(Table.SETTINGS, row)  # with the etag that was read
    assert store.older(Table.SETTINGS, column, moment, 100) == []


@pytest.mark.parametrize("most", [1, 999, 1000, 1001, 1100, 5000])
def test_older_gives_no_more_than_asked_for(store: Store, partition: str, most: int) -> None:
    """Also beyond one page (1,000 rows of Tables)."""
    column, moment = f"at_{partition}", datetime(2027, 3, 1, 8, 0, tzinfo=UTC)
    old: Mapping[str, Value] = {column: moment - timedelta(hours=1)}
    for start in range(0, 1100, 100):
        store.insert_all(Table.AUDIT, [Row(partition, f"{n:05}", old) for n in range(start, start + 100)])
    rows = store.older(Table.AUDIT, column, moment, most)
    assert len({row.key for row in rows}) == len(rows) == min(most, 1100)


def test_nothing_is_older_in_a_table_that_is_missing(store: Store, partition: str) -> None:
    """Nor does anything carry a column that nobody wrote."""
    assert store.older(Table.ACCOUNTS, f"at_{partition}", datetime(2027, 3, 1, tzinfo=UTC), 10) == []


def test_insert_all_is_all_or_nothing(store: Store, partition: str) -> None:
    """One row that exists already keeps the whole batch out."""
    store.insert(Table.AUDIT, Row(partition, "b"))
    with pytest.raises(Conflict):
        store.insert_all(Table.AUDIT, [Row(partition, "a"), Row(partition, "b")])
    assert [row.key for row in store.query(Table.AUDIT, partition)] == ["b"]


def test_of_many_writers_at_once_one_wins(store: Store, partition: str) -> None:
    """Compare-and-swap holds: twelve writers over one version, one success."""
    row = store.insert(Table.SETTINGS, Row(partition, "k", {"n": 0}))

    def write(n: int) -> bool:
        try:
            store.replace(Table.SETTINGS, replace(row, values={"n": n}))
        except Conflict:
            return False
        return True

    assert _wins(write) == 1


def test_of_many_inserts_at_once_one_wins(store: Store, partition: str) -> None:
    """Single use holds: twelve inserts of one key, one success."""

    def insert(n: int) -> bool:
        try:
            store.insert(Table.SETTINGS, Row(partition, "k", {"n": n}))
        except Conflict:
            return False
        return True

    assert _wins(insert) == 1


def _wins(attempt: Callable[[int], bool]) -> int:
    with ThreadPoolExecutor(12) as pool:
        return sum(pool.map(attempt, range(12)))
