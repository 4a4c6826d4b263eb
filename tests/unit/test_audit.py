import atexit
import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import audit as audit_module
from shared.audit import AuditLog, Event, flush_at_exit
from shared.errors import UpstreamUnavailable
from shared.ports import Row, Table
from tests.house import START
from tests.memory import MemoryStore
from tests.unit.spy_store import SpyStore, crash

EVENT = Event("signin.succeeded", START, "7F3K-9QX2-B4MD", "an account", "microsoft", "a_reason")
MAX_WAITING = 10_000
PATIENCE = 10
"""Seconds after which a test that waits for another thread gives up."""

slugs = st.text(max_size=20)
details = st.dictionaries(
    st.text(min_size=1, max_size=8).map(lambda name: f"x_{name}"),
    st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.datetimes(timezones=st.just(UTC))),
    max_size=4,
)


class Desk:
    """An audit log whose background work is run by hand."""

    def __init__(self) -> None:
        self.store = SpyStore()
        self.background: list[Callable[[], None]] = []
        self.audit = AuditLog(self.store, self.background.append)

    def run_background(self) -> None:
        """Run what was begun in the background so far."""
        work, self.background[:] = list(self.background), []
        for each in work:
            each()

    def names(self, day: str = "2027-03-01") -> list[str]:
        """Read the names of the events of a day, in the order of the table."""
        return [str(row.values["event"]) for row in self.store.query(Table.AUDIT, day)]


@pytest.fixture(autouse=True)
def no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here needs the moment that the writer waits."""
    monkeypatch.setattr(audit_module, "_LINGER_SECONDS", 0)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Read the log: every message of ours is one JSON object."""
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "sos"]


# Events


def test_a_line_has_what_there_is() -> None:
    """Name, time, reference, account, method, reason, and the places in the code."""
    event = replace(EVENT, where="a.py:1 < b.py:2")
    assert json.loads(event.line()) == {
        "event": "signin.succeeded",
        "at": "2027-03-01T08:00:00.000+00:00",
        "reference": "7F3K-9QX2-B4MD",
        "account": "an account",
        "method": "microsoft",
        "reason": "a_reason",
        "where": "a.py:1 < b.py:2",
    }


def test_empty_fields_are_left_out() -> None:
    """An alert rule can ask whether a field is there."""
    event = Event("healthz", START, "")
    assert json.loads(event.line()) == {
        "event": "healthz",
        "at": "2027-03-01T08:00:00.000+00:00",
    }


@given(name=slugs, account=slugs, reason=slugs, where=slugs)
def test_a_line_is_one_line_of_json(name: str, account: str, reason: str, where: str) -> None:
    """Whatever an event holds, it can neither break the line nor forge another one."""
    line = Event(name, START, "a reference", account, reason=reason, where=where).line()
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found.get("reason", "") == reason
    assert found.get("account", "") == account
    assert "" not in found.values()


def test_a_row_is_named_by_its_day_and_time() -> None:
    """In UTC, so that the days of one clinic do not overlap those of another."""
    late = datetime(2027, 3, 1, 23, 30, 1, 5, tzinfo=timezone(-timedelta(hours=1)))
    row = replace(EVENT, at=late).row()
    assert row.partition == "2027-03-02"
    assert row.key.startswith("003001000005-")
    assert row.etag == ""
    assert row.values == {
        "line": replace(EVENT, at=late).line(),
        "event": "signin.succeeded",
        "account": "an account",
    }


def test_two_events_at_the_same_microsecond() -> None:
    """Both have a row."""
    assert len({EVENT.row().key for _ in range(100)}) == 100


@given(st.lists(st.integers(0, 86_399_999_999), min_size=2, max_size=20, unique=True))
def test_rows_lie_in_the_order_of_time(microseconds: list[int]) -> None:
    """The Owner's list of activity is a query, not a sort."""
    midnight = START.replace(hour=0)
    events = [replace(EVENT, name=str(n), at=midnight + timedelta(microseconds=n)) for n in microseconds]
    desk = Desk()
    for event in events:
        desk.audit.record(event)
    desk.audit.flush()
    assert desk.names() == [str(n) for n in sorted(microseconds)]


# The log


def test_an_event_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Before the store hears of it; a warning as a warning."""
    caplog.set_level(logging.INFO, "sos")
    desk = Desk()
    desk.audit.record(EVENT)
    desk.audit.record(replace(EVENT, warning=True))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert lines(caplog) == [json.loads(EVENT.line())] * 2
    assert desk.store.writes == 0


def test_a_fault_of_ours_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else is said of it: it names places in the code."""
    desk = Desk()
    desk.audit.record(replace(EVENT, where="a.py:1"))
    desk.audit.record(replace(EVENT, where="a.py:1", warning=True))
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_a_percent_sign_is_no_format(caplog: pytest.LogCaptureFixture) -> None:
    """The line is the message, not a template."""
    caplog.set_level(logging.INFO, "sos")
    Desk().audit.record(replace(EVENT, reason="100%s %d %(x)s"))
    assert lines(caplog)[0]["reason"] == "100%s %d %(x)s"


# The table


def test_rows_are_written_behind_the_request() -> None:
    """Recording does not touch the store; the background does, once for all that waits."""
    desk = Desk()
    for _ in range(3):
        desk.audit.record(EVENT)
    assert (desk.store.writes, len(desk.background)) == (0, 1)
    desk.run_background()
    assert desk.store.writes == 1
    assert desk.names() == ["signin.succeeded"] * 3
    row = desk.store.query(Table.AUDIT, "2027-03-01")[0]
    assert json.loads(str(row.values["line"])) == json.loads(EVENT.line())


def test_the_writer_gathers_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in a busy second is one request."""
    desk = Desk()
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        desk.audit.record(EVENT)

    monkeypatch.setattr(time, "sleep", pause)
    desk.audit.record(EVENT)
    assert pauses == []
    desk.run_background()
    assert (len(pauses), desk.store.writes, len(desk.names())) == (1, 1, 2)


def test_the_background_starts_again() -> None:
    """One writer at a time, and a new one for what comes later."""
    desk = Desk()
    desk.audit.record(EVENT)
    desk.run_background()
    desk.audit.record(EVENT)
    assert len(desk.background) == 1
    desk.run_background()
    assert len(desk.names()) == 2


def test_what_comes_while_the_writer_writes_is_written_too() -> None:
    """Without a second writer, and without waiting for the next event."""
    desk = Desk()
    desk.audit.record(EVENT)
    desk.store.before_write(1, lambda: desk.audit.record(EVENT))
    desk.run_background()
    assert desk.background == []
    assert len(desk.names()) == 2


def test_what_comes_as_the_writer_stops_is_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its last look and its end: nobody starts a second writer while the first says that it writes."""
    desk = Desk()
    write_all = desk.audit._write_all  # noqa: SLF001 - the moment between the two is what is tested
    late = [EVENT]

    def flush_and_one_more() -> None:
        write_all()
        if late:
            desk.audit.record(late.pop())

    monkeypatch.setattr(desk.audit, "_write_all", flush_and_one_more)
    desk.audit.record(EVENT)
    desk.run_background()
    assert (len(desk.names()), desk.background) == (2, [])


def test_batches_have_at_most_a_hundred_rows() -> None:
    """What one transaction of Azure Tables takes; the store in memory refuses more."""
    desk = Desk()
    for n in range(250):
        desk.audit.record(replace(EVENT, reason=str(n)))
    desk.run_background()
    assert desk.store.writes == 3
    assert len(desk.names()) == 250


def test_a_batch_is_of_one_day() -> None:
    """At midnight the events of two days wait together: each day is a partition."""
    desk = Desk()
    for day in (0, 0, 1, 1, 1, 0):
        desk.audit.record(replace(EVENT, name=f"day {day}", at=START + timedelta(days=day)))
    desk.audit.flush()
    assert desk.names("2027-03-01") == ["day 0"] * 3
    assert desk.names("2027-03-02") == ["day 1"] * 3


def test_flushing_writes_what_waits_now() -> None:
    """And nothing twice: the writer that comes after it finds nothing."""
    desk = Desk()
    desk.audit.record(EVENT)
    desk.audit.flush()
    assert len(desk.names()) == 1
    desk.audit.flush()
    desk.run_background()
    assert (len(desk.names()), desk.store.writes) == (1, 1)


# Rows with a name of their own


def rows(desk: Desk) -> list[tuple[str, object]]:
    """Read the rows of a partition that is no day: names, and what they hold."""
    return [
        (row.key, json.loads(str(row.values["line"]))) for row in desk.store.query(Table.AUDIT, "renewal")
    ]


def test_a_row_is_written_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """In the partition and under the name that it is given, and said in the log at once."""
    caplog.set_level(logging.INFO, "sos")
    desk = Desk()
    desk.audit.write(EVENT, "renewal", "a key", behind=False)
    assert rows(desk) == [("a key", json.loads(EVENT.line()))]
    assert lines(caplog) == [json.loads(EVENT.line())]
    assert (desk.names(), desk.background) == ([], [])
    written = desk.store.get(Table.AUDIT, "renewal", "a key")
    assert written is not None
    assert written.values == EVENT.row().values


def test_a_row_is_written_once() -> None:
    """Whoever died before it could note that it was written writes it again: the first one stays."""
    desk = Desk()
    desk.audit.write(EVENT, "renewal", "a key", behind=False)
    desk.audit.write(replace(EVENT, reason="again"), "renewal", "a key", behind=False)
    desk.audit.write(EVENT, "renewal", "another key", behind=False)
    assert rows(desk) == [(key, json.loads(EVENT.line())) for key in ("a key", "another key")]


@pytest.mark.parametrize("behind", [False, True])
def test_a_row_that_cannot_be_written_is_an_error(caplog: pytest.LogCaptureFixture, *, behind: bool) -> None:
    """Its writer must know, to write it again; the line stands in the log all the same."""
    caplog.set_level(logging.INFO, "sos")
    desk = Desk()
    desk.store.away = True
    with pytest.raises(UpstreamUnavailable):
        desk.audit.write(EVENT, "renewal", "a key", behind=behind)
    desk.audit.say_unsaid()
    assert lines(caplog) == [json.loads(EVENT.line())]


def test_behind_a_request_the_line_waits(caplog: pytest.LogCaptureFixture) -> None:
    """The host drops what is logged outside of an invocation; the row is written at once."""
    caplog.set_level(logging.INFO, "sos")
    desk = Desk()
    desk.audit.write(replace(EVENT, warning=True), "renewal", "a key", behind=True)
    desk.audit.write(EVENT, "renewal", "another key", behind=True)
    assert [key for key, _ in rows(desk)] == ["a key", "another key"]
    assert caplog.records == []
    desk.audit.say_unsaid()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert lines(caplog) == [json.loads(EVENT.line())] * 2
    desk.audit.say_unsaid()
    assert len(caplog.records) == 2


def test_a_line_behind_a_request_says_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """What waits is said inside of an invocation, and this is none."""
    desk = Desk()
    for key in ("a key", "another key"):
        desk.audit.write(replace(EVENT, warning=True), "renewal", key, behind=True)
    assert lines(caplog) == []


@pytest.mark.parametrize("how", ["record", "write", "flush"])
def test_whoever_speaks_next_says_what_waits(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each line once, with the level it had."""
    desk = Desk()
    desk.audit.write(replace(EVENT, where="a.py:1"), "renewal", "a key", behind=True)
    match how:
        case "record":
            desk.audit.record(EVENT)
        case "write":
            desk.audit.write(EVENT, "renewal", "another key", behind=False)
        case _:
            desk.audit.flush()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert lines(caplog) == [json.loads(replace(EVENT, where="a.py:1").line())]


def test_what_a_thread_of_ours_has_to_say(caplog: pytest.LogCaptureFixture) -> None:
    """It is kept for the next one that speaks, as an error; it has no row, for the store may be what failed."""
    desk = Desk()
    desk.audit.say_later("renewal.failed", "UpstreamUnavailable")
    assert caplog.records == []
    desk.audit.say_unsaid()
    assert lines(caplog) == [{"event": "renewal.failed", "reason": "UpstreamUnavailable"}]
    assert caplog.records[0].levelname == "ERROR"
    assert desk.store.writes == 0


def test_lines_that_nobody_says_do_not_pile_up(caplog: pytest.LogCaptureFixture) -> None:
    """The newest hundred are kept; the rows are all there."""
    desk = Desk()
    for n in range(150):
        event = replace(EVENT, reason=str(n), warning=True)
        desk.audit.write(event, "renewal", f"{n:03}", behind=True)
    desk.audit.say_unsaid()
    assert [line["reason"] for line in lines(caplog)] == [str(n) for n in range(50, 150)]
    assert len(rows(desk)) == 150


# Bad days


def test_a_store_that_is_away_delays_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is said in the log how many events have no row; the events themselves stand there already."""
    caplog.set_level(logging.INFO, "sos")
    desk = Desk()
    desk.store.away = True
    desk.audit.record(EVENT)
    desk.audit.record(EVENT)
    desk.run_background()
    assert len(caplog.records) == 2  # the host drops what a thread of ours logs
    desk.audit.flush()
    assert lines(caplog)[2:] == [{"event": "audit.not_written", "reason": "UpstreamUnavailable", "events": 2}]
    assert caplog.records[-1].levelname == "ERROR"
    assert caplog.records[-1].exc_info is None
    desk.store.away = False
    desk.audit.record(replace(EVENT, name="later"))
    desk.run_background()
    assert desk.names() == ["later"]


def test_a_failure_is_said_by_whoever_records_next(caplog: pytest.LogCaptureFixture) -> None:
    """Once: the host shows no line that is logged outside of an invocation, such as the writer's."""
    desk = Desk()
    desk.audit.record(EVENT)
    desk.store.before_write(1, crash)
    desk.run_background()
    assert lines(caplog) == []
    desk.audit.record(EVENT)
    desk.audit.record(EVENT)
    assert [line["event"] for line in lines(caplog)] == ["audit.not_written"]


def test_recording_never_raises_when_another_thread_says_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw that there is one to be said; one of them comes too late."""

    class SaidMeanwhile(deque[tuple[int, str]]):
        """A queue that another thread empties just after it was looked at."""

        def __bool__(self) -> bool:
            return True

    desk = Desk()
    monkeypatch.setattr(desk.audit, "_unsaid", SaidMeanwhile())
    desk.audit.record(EVENT)
    desk.run_background()
    assert len(desk.names()) == 1


def test_failures_that_nobody_says_do_not_pile_up(caplog: pytest.LogCaptureFixture) -> None:
    """With the store away and nobody recording, the newest hundred are kept."""
    desk = Desk()
    desk.store.away = True
    for n in range(150):
        desk.audit.record(replace(EVENT, at=START + timedelta(days=n)))
    desk.run_background()
    desk.audit.flush()
    assert len(lines(caplog)) == 100


@pytest.mark.parametrize(
    "error", [ValueError("a row: secret"), KeyError("x"), MemoryError(), RuntimeError("x")]
)
def test_an_unexpected_failure_does_not_stop_later_writes(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a store raises, the next batch is written, and the log shows the kind and no text."""
    desk = Desk()

    def fail() -> None:
        raise error

    for n in range(150):
        desk.audit.record(replace(EVENT, name="first" if n < 100 else "second"))
    desk.store.before_write(1, fail)
    desk.run_background()
    assert desk.names() == ["second"] * 50
    desk.audit.flush()
    said = {"event": "audit.not_written", "reason": type(error).__name__, "events": 100}
    assert lines(caplog) == [said]
    desk.audit.record(EVENT)
    assert len(desk.background) == 1


def test_of_two_days_one_fails() -> None:
    """The other day's events are written."""
    desk = Desk()
    desk.audit.record(replace(EVENT, name="today"))
    desk.audit.record(replace(EVENT, name="tomorrow", at=START + timedelta(days=1)))
    desk.store.before_write(1, crash)
    desk.audit.flush()
    assert (desk.names("2027-03-01"), desk.names("2027-03-02")) == ([], ["tomorrow"])


def test_the_queue_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """With the store away for long the oldest rows go, not the memory; the log says so for each."""
    desk = Desk()
    for n in range(MAX_WAITING + 2):
        desk.audit.record(replace(EVENT, name=f"{n:05}", at=START + timedelta(microseconds=n)))
    assert [line["event"] for line in lines(caplog)] == ["audit.dropped"] * 2
    desk.run_background()
    names = desk.names()
    assert (len(names), names[0], names[-1]) == (MAX_WAITING, "00002", f"{MAX_WAITING + 1:05}")


def test_recording_never_raises_where_no_thread_can_be_started() -> None:
    """At the system's limit, or when the process ends; the event is written when a thread can be had again."""
    store = MemoryStore()
    background: list[Callable[[], None]] = []
    failing = [True]

    def spawn(work: Callable[[], None]) -> None:
        if failing[0]:
            raise RuntimeError("can't start new thread")
        background.append(work)

    audit = AuditLog(store, spawn)
    audit.record(EVENT)
    failing[0] = False
    audit.record(EVENT)
    (work,) = background
    work()
    assert len(store.query(Table.AUDIT, "2027-03-01")) == 2


class WaitingStore(MemoryStore):
    """A store whose first batch waits until somebody lets it go, or for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.patience = float(PATIENCE)
        self.written = threading.Event()

    def insert_all(self, table: Table, rows: list[Row]) -> None:
        """Wait, then add the rows."""
        first = not self.asked.is_set()
        self.asked.set()
        if first:
            self.let_go.wait(self.patience)
        super().insert_all(table, rows)
        self.written.set()


def test_a_slow_store_delays_nobody() -> None:
    """With a real thread: while the store takes its time, recording goes on."""
    store = WaitingStore()
    audit = AuditLog(store)
    audit.record(EVENT)
    assert store.asked.wait(PATIENCE)
    audit.record(EVENT)
    assert not store.written.is_set()
    store.let_go.set()
    assert store.written.wait(PATIENCE)


def test_the_end_of_the_process_waits_for_the_batch_under_way() -> None:
    """The writer's thread dies with the process: what it has taken and not yet written would be lost."""
    store = WaitingStore()
    store.patience = 0.2  # as long as the good case takes; the bad one is seen at once
    audit = AuditLog(store)
    audit.record(EVENT)
    assert store.asked.wait(PATIENCE)
    audit.flush()
    there = len(store.query(Table.AUDIT, "2027-03-01"))
    store.let_go.set()
    assert store.written.wait(PATIENCE)
    assert there == 1


def test_many_threads_record_and_flush() -> None:
    """Every event has one row."""
    store = MemoryStore()
    audit = AuditLog(store)

    def work(n: int) -> None:
        for m in range(20):
            audit.record(replace(EVENT, name=f"{n} {m}"))
            if m % 5 == 0:
                audit.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    audit.flush()
    for thread in threading.enumerate():
        if thread.name == "audit":
            thread.join(PATIENCE)
    found = Counter(str(row.values["event"]) for row in store.query(Table.AUDIT, "2027-03-01"))
    assert found == Counter(f"{n} {m}" for n in range(8) for m in range(20))


def test_what_waits_is_written_at_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush is registered with the interpreter."""
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    desk = Desk()
    flush_at_exit(desk.audit)
    desk.audit.record(EVENT)
    for each in registered:
        each()
    assert len(desk.names()) == 1


def test_the_writer_does_not_keep_the_process_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is a daemon: what waits at the end is written by the flush."""
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))  # noqa: PLW0108 - a method binds its thread, `append` would not
    AuditLog(MemoryStore()).record(EVENT)
    assert [thread.daemon for thread in started] == [True]
