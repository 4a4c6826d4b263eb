from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.device import DeviceId
from shared.errors import Conflict, TooManyAttempts, UpstreamUnavailable
from shared.limits import (
    BURST,
    CLOCK_TOLERANCE,
    LONGEST_WAIT,
    MAX_FAILURES,
    Attempt,
    account_limit,
    attempt_from,
)
from shared.ports import Row, Table, Value
from shared.throttle import CONTENTION_WAIT, MAX_CONFLICTS, reserve, reset, settle
from tests.interleaving import run_interleaved
from tests.memory import MemoryStore

KEY = b"key of the throttle for the test"
NOW = datetime(2026, 7, 1, 8, 30, tzinfo=UTC)
BROWSER = DeviceId("0123456789abcdef0123456789abcdef")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
WAITS = [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
"""Seconds before the next attempt after so many failures in a row; 3,600 from there on."""


def wait_after(failures: int) -> timedelta:
    """Look the wait up in the table above."""
    return timedelta(seconds=WAITS[min(failures, len(WAITS) - 1)])


def stranger(number: int = 0, user_name: str = "owner") -> Attempt:
    """Make an attempt of a browser that nobody knows, each number at an address of its own."""
    return attempt_from(user_name, f"192.0.2.{number % 250}", None, KEY)


def known_browser(address: str = "198.51.100.7") -> Attempt:
    """Make an attempt of the browser that has signed in before."""
    return attempt_from("owner", address, BROWSER, KEY)


def fail(store: MemoryStore, attempt: Attempt, now: datetime) -> timedelta:
    """Make an attempt with a wrong password: answer the wait it was told, zero when it was verified."""
    try:
        reserve(store, attempt, now)
    except TooManyAttempts as refusal:
        return refusal.retry_after
    return timedelta(0)


def rows_of(store: MemoryStore) -> dict[str, Row]:
    """Answer every row of the throttle, by scope and key."""
    partitions = [f"{s}-{d:x}" for s in ("account", "device", "address") for d in range(16)]
    return {f"{p}/{row.key}": row for p in partitions for row in store.query(Table.THROTTLE, p)}


def fail_in_a_row(store: MemoryStore, times: int, attempt: Callable[[int], Attempt] = stranger) -> datetime:
    """Fail so many times, each as soon as the table allows; answer the time of the last."""
    now = NOW
    for number in range(times):
        now += wait_after(number)
        assert fail(store, attempt(number), now) == timedelta(0), number
    return now


@pytest.mark.parametrize("attempt", [stranger, lambda _: known_browser()], ids=["account", "device"])
def test_waits_follow_the_table_up_to_the_limit(attempt: Callable[[int], Attempt]) -> None:
    """Five failures are free, each wait is exact to the second, and the hundredth failure is the last."""
    store, now = MemoryStore(), NOW
    for failures in range(100):
        wait = wait_after(failures)
        if wait:
            assert fail(store, attempt(failures), now) == wait
            assert fail(store, attempt(failures), now + wait - SECOND) == SECOND
        now += wait
        assert fail(store, attempt(failures), now) == timedelta(0)
    assert fail(store, attempt(0), now + timedelta(days=3650)) == LONGEST_WAIT


def test_known_browser_gets_in_while_strangers_exhaust_account_and_address() -> None:
    """Guessing from elsewhere, even from the same address, does not keep the Owner out of a known browser."""
    store = MemoryStore()
    now = fail_in_a_row(store, MAX_FAILURES)
    for number in range(BURST):
        fail(store, attempt_from(f"name {number}", "198.51.100.7", None, KEY), now)
    assert fail(store, attempt_from("someone", "198.51.100.7", None, KEY), now) > timedelta(0)
    assert fail(store, known_browser(), now) == timedelta(0)


def test_sign_in_from_a_known_browser_reopens_the_account() -> None:
    """After a hundred failures elsewhere the Owner's own sign-in clears the account's counter."""
    store = MemoryStore()
    now = fail_in_a_row(store, MAX_FAILURES)
    settle(store, reserve(store, known_browser(), now))
    for number in range(5):
        assert fail(store, stranger(number), now) == timedelta(0)
    assert fail(store, stranger(9), now) == wait_after(5)


def test_set_up_link_reopens_the_account() -> None:
    """A new set-up link clears the counter; clearing what is clear does nothing."""
    store = MemoryStore()
    now = fail_in_a_row(store, MAX_FAILURES)
    for _ in range(2):
        reset(store, account_limit("owner", KEY))
    assert fail(store, stranger(), now) == timedelta(0)


def test_guesses_in_a_known_browser_do_not_touch_others() -> None:
    """The device's counter is its own: neither other browsers nor the address pay for it."""
    store = MemoryStore()
    now = fail_in_a_row(store, 8, lambda _: known_browser("192.0.2.0"))
    assert fail(store, known_browser("192.0.2.0"), now) == wait_after(8)
    assert fail(store, stranger(0), now) == timedelta(0)
    other = DeviceId("f" * 32)
    assert fail(store, attempt_from("owner", "192.0.2.0", other, KEY), now) == timedelta(0)


def test_success_starts_the_row_anew() -> None:
    """Only failures in a row count."""
    store = MemoryStore()
    now = fail_in_a_row(store, 7) + wait_after(7)
    settle(store, reserve(store, stranger(1), now))
    assert [fail(store, stranger(number), now) for number in range(6)] == [timedelta(0)] * 5 + [wait_after(5)]


def test_address_has_a_burst_and_regains_one_each_minute() -> None:
    """One address guesses at many accounts: 30 at once, then one a minute, however long it knocks."""
    store = MemoryStore()

    def guess(number: int, now: datetime) -> timedelta:
        return fail(store, attempt_from(f"name {number}", "203.0.113.5", None, KEY), now)

    assert [guess(number, NOW) for number in range(30)] == [timedelta(0)] * 30
    assert guess(100, NOW) == MINUTE
    assert guess(101, NOW + 59 * SECOND) == SECOND
    verified = sum(guess(200 + s, NOW + s * SECOND) == timedelta(0) for s in range(0, 3600, 7))
    assert verified == 59
    later = NOW + timedelta(days=1)
    assert [guess(1000 + number, later) for number in range(BURST + 1)] == [timedelta(0)] * BURST + [MINUTE]


def test_success_gives_the_address_its_charge_back() -> None:
    """A clinic behind one address signs in all morning without using up its budget; failures stay charged."""
    store = MemoryStore()
    for number in range(3 * BURST):
        settle(store, reserve(store, attempt_from(f"nurse {number}", "203.0.113.5", None, KEY), NOW))
    for number in range(BURST):
        assert fail(store, attempt_from(f"doctor {number}", "203.0.113.5", None, KEY), NOW) == timedelta(0)
    assert fail(store, attempt_from("doctor", "203.0.113.5", None, KEY), NOW) == MINUTE


def test_longest_of_the_waits_is_told() -> None:
    """When both the account and the address must wait, the answer is when both may go."""
    store = MemoryStore()
    now = fail_in_a_row(store, 8)
    for number in range(BURST):
        fail(store, attempt_from(f"name {number}", "192.0.2.99", None, KEY), now)
    assert fail(store, stranger(99), now) == wait_after(8)


def test_knocking_changes_nothing() -> None:
    """An attempt that must wait neither lengthens the wait nor charges the address: nothing is written."""
    store = MemoryStore()
    now = fail_in_a_row(store, 6)
    before = rows_of(store)
    for number in range(200):
        assert fail(store, stranger(number), now + SECOND) == wait_after(6) - SECOND
    assert rows_of(store) == before


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1:50211", True),
        ("192.0.2.1", " 192.0.2.1 ", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "[::ffff:c000:201]:443", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "[2001:DB8:1:2::9]:50211", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "unknown", True),
        ("not an address", "999.1.1.1", True),
        ("192.0.2.1, 198.51.100.1", "", True),
        ("192.0.2.1", "", False),
    ],
)
def test_addresses_are_grouped_as_clients(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a table
    """IPv4 as it is, IPv6 by its network, an address in other clothes as itself, all nonsense as one."""
    charged = [attempt_from("owner", address, None, KEY).charges[0] for address in (one, other)]
    assert (charged[0] == charged[1]) is same


def test_store_learns_no_personal_data() -> None:
    """Rows are named by keyed hashes and hold counts and times only."""
    store = MemoryStore()
    fail(store, attempt_from("owner@clinic.example", "203.0.113.5", None, KEY), NOW)
    fail(store, attempt_from("owner@clinic.example", "203.0.113.5", BROWSER, KEY), NOW)
    rows = rows_of(store)
    assert len(rows) == 3
    for secret in ("owner", "clinic", "203.0.113", BROWSER):
        assert secret not in repr(rows)
    other = MemoryStore()
    fail(other, attempt_from("owner@clinic.example", "203.0.113.5", None, b"another key"), NOW)
    assert not rows.keys() & rows_of(other).keys()


def test_rows_say_when_they_may_be_swept() -> None:
    """A full budget means nothing, so an address may go when it is full; a counter of failures rests a year."""
    store = MemoryStore()
    fail(store, stranger(), NOW)
    ages = {name.split("-")[0]: row.values["expires_at"] for name, row in rows_of(store).items()}
    assert ages == {"address": NOW + MINUTE, "account": NOW + timedelta(days=365)}


def test_time_alone_does_not_forgive_failures() -> None:
    """A patient guesser does not get five free attempts each year; only a success starts anew."""
    store = MemoryStore()
    later = fail_in_a_row(store, 20) + timedelta(days=3650)
    assert fail(store, stranger(1), later) == timedelta(0)
    assert fail(store, stranger(2), later) == LONGEST_WAIT


def test_store_away_means_no_attempt() -> None:
    """The throttle fails closed, whoever asks."""
    store = MemoryStore()
    reservation = reserve(store, stranger(), NOW)
    store.away = True
    for attempt in (stranger(), known_browser()):
        with pytest.raises(UpstreamUnavailable):
            reserve(store, attempt, NOW)
    with pytest.raises(UpstreamUnavailable):
        settle(store, reservation)


def test_store_that_goes_away_halfway_means_no_attempt() -> None:
    """Whichever call fails, there is no reservation."""
    for calls in range(4):
        store = MemoryStore()
        left = iter(range(calls))

        def go_away(store: MemoryStore = store, left: object = left) -> None:
            assert hasattr(left, "__next__")
            store.away = next(left, None) is None

        store.before = go_away
        with pytest.raises(UpstreamUnavailable):
            reserve(store, stranger(), NOW)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"failures": "7", "last_failure": NOW, "full_at": "now"},
        {"failures": 7, "full_at": 7},
        {"failures": 7, "last_failure": "2026-07-01"},
        {"failures": 7, "last_failure": NOW.replace(tzinfo=None), "full_at": NOW.replace(tzinfo=None)},
    ],
)
def test_row_that_makes_no_sense_means_no_attempt(values: dict[str, Value]) -> None:
    """A broken row is a failure of the store and not an empty counter."""
    store = MemoryStore()
    for attempt in (stranger(), known_browser()):
        limit = attempt.charges[0]
        store.insert(Table.THROTTLE, Row(limit.partition, limit.key, values))
        with pytest.raises(UpstreamUnavailable) as caught:
            reserve(store, attempt, NOW)
        assert not caught.value.retriable


class Contended(MemoryStore):
    """A store in which somebody else has always just changed the row of one scope."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope
        self.tries = 0

    def replace(self, table: Table, row: Row) -> Row:
        """Lose."""
        self._lose(row)
        return super().replace(table, row)

    def delete(self, table: Table, row: Row) -> None:
        """Lose."""
        self._lose(row)
        super().delete(table, row)

    def _lose(self, row: Row) -> None:
        if row.partition.startswith(self.scope):
            self.tries += 1
            raise Conflict


@pytest.mark.parametrize("scope", ["address", "account"])
def test_endless_contention_means_no_attempt(scope: str) -> None:
    """Who loses every compare-and-swap is told to come back soon, and the address is not charged."""
    store = Contended(scope)
    fail(store, stranger(), NOW)
    address = stranger().charges[0]
    before = store.get(Table.THROTTLE, address.partition, address.key)
    assert before is not None
    assert fail(store, stranger(), NOW) == CONTENTION_WAIT
    assert store.tries == MAX_CONFLICTS
    after = store.get(Table.THROTTLE, address.partition, address.key)
    assert after is not None
    assert after.values == before.values


@pytest.mark.parametrize("scope", ["address", "account"])
def test_endless_contention_does_not_undo_a_success(scope: str) -> None:
    """A right password is right; a counter that cannot be cleared stays too strict."""
    store = Contended(scope)
    settle(store, reserve(store, stranger(), NOW))
    assert store.tries == MAX_CONFLICTS


def test_giving_back_what_was_swept_does_nothing() -> None:
    """A row that is gone needs no charge given back."""
    store = MemoryStore()
    reservation = reserve(store, stranger(), NOW)
    for row in rows_of(store).values():
        store.delete(Table.THROTTLE, row)
    settle(store, reservation)
    assert rows_of(store) == {}


@pytest.mark.parametrize("failures", [5, 8, 50])
@pytest.mark.parametrize("back", [timedelta(minutes=6), timedelta(days=1), timedelta(days=3650)])
def test_clock_that_jumps_back_does_not_make_a_wait_endless(failures: int, back: timedelta) -> None:
    """The wait starts again from the clock as it is now, and is as long as its rule says."""
    store = MemoryStore()
    now = fail_in_a_row(store, failures) - back
    assert fail(store, stranger(99), now) == wait_after(failures)
    assert fail(store, stranger(99), now + SECOND) == wait_after(failures) - SECOND
    assert fail(store, stranger(99), now + wait_after(failures)) == timedelta(0)


def test_clock_that_jumps_back_does_not_close_an_address_for_ever() -> None:
    """The budget is empty as of now and refills from there."""
    store = MemoryStore()
    for number in range(BURST):
        fail(store, attempt_from(f"name {number}", "192.0.2.1", None, KEY), NOW)
    now = NOW - timedelta(days=3650)
    for second in (0, 1, 59):
        assert fail(store, stranger(1), now + second * SECOND) == MINUTE - second * SECOND
    assert fail(store, stranger(1), now + MINUTE) == timedelta(0)


def test_two_who_meet_a_row_from_the_future_both_wait() -> None:
    """Bringing a row back is done once; who comes second is refused all the same."""
    store = MemoryStore()
    now = fail_in_a_row(store, 6) - timedelta(days=1)
    waits: list[timedelta] = []
    tasks: list[Callable[[], None]] = [lambda: waits.append(fail(store, stranger(1), now)) for _ in range(2)]
    run_interleaved(store, tasks, lambda _: 0)
    assert waits == [wait_after(6)] * 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(10**8), 10**8), min_size=1, max_size=40), st.sampled_from([stranger, None]))
def test_whoever_waits_as_told_gets_in(jumps: list[int], kind: object) -> None:
    """Whatever the clock did before, a wait that is told is bounded by its rule and true."""
    store, now = MemoryStore(), NOW
    attempt = stranger(1) if kind else known_browser()
    for seconds in jumps:
        now = max(NOW - timedelta(days=36500), min(now + seconds * SECOND, NOW + timedelta(days=36500)))
        fail(store, attempt, now)
    told = fail(store, attempt, now)
    assert told <= LONGEST_WAIT + CLOCK_TOLERANCE
    if told:
        assert fail(store, attempt, now + told) == timedelta(0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5400, 5400), min_size=1, max_size=60))
def test_jumping_clock_opens_no_more_than_the_time_it_skips(jumps: list[int]) -> None:
    """Between two verifications the clock has gone forward, in sum, by the whole wait."""
    store, now, failures = MemoryStore(), NOW, 0
    forward = LONGEST_WAIT
    for number, seconds in enumerate(jumps):
        now += seconds * SECOND
        forward += max(seconds, 0) * SECOND
        if fail(store, stranger(number), now) == timedelta(0):
            assert forward >= wait_after(failures)
            failures, forward = failures + 1, timedelta(0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40)), max_size=150))
def test_instances_that_disagree_by_the_tolerance_open_nothing(visits: list[tuple[int, int]]) -> None:
    """Two instances, one five minutes ahead, allow one address no more than its budget and the five minutes."""
    store, elapsed, verified = MemoryStore(), 0, 0
    for number, (instance, seconds) in enumerate(visits):
        elapsed += seconds
        now = NOW + elapsed * SECOND + instance * CLOCK_TOLERANCE
        verified += fail(store, attempt_from(f"name {number}", "192.0.2.1", None, KEY), now) == timedelta(0)
    assert verified <= BURST + (elapsed * SECOND + CLOCK_TOLERANCE) // MINUTE


@pytest.mark.parametrize("name", ["owner", None], ids=["account", "address"])
def test_knocking_at_an_instance_that_is_behind_returns_no_charge(name: str | None) -> None:
    """Within the tolerance a row from the future is not brought back: that would hand its charges out again."""
    store = MemoryStore()

    def guess(number: int, now: datetime) -> bool:
        user_name, address = (name, f"192.0.2.{number}") if name else (f"name {number}", "192.0.2.1")
        return fail(store, attempt_from(user_name, address, None, KEY), now) == timedelta(0)

    ahead = [guess(number, NOW + CLOCK_TOLERANCE) for number in range(BURST)]
    for number in range(20):
        assert not guess(100 + number, NOW)
        assert not guess(200 + number, NOW + CLOCK_TOLERANCE)
    assert sum(ahead) == (5 if name else BURST)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 12), st.integers(0, 9))
def test_attempts_at_once_never_outrun_an_account(data: st.DataObject, crowd: int, failures: int) -> None:
    """However instances interleave, no more passwords are verified than one after the other would be."""
    store = MemoryStore()
    now = fail_in_a_row(store, failures) + wait_after(failures)
    waits: list[timedelta] = []
    tasks: list[Callable[[], None]] = [
        lambda number=number: waits.append(fail(store, stranger(100 + number), now))  # type: ignore[misc] # a lambda's default has no type
        for number in range(crowd)
    ]
    run_interleaved(store, tasks, lambda n: data.draw(st.integers(0, n - 1)))
    verified = waits.count(timedelta(0))
    assert 1 <= verified <= min(crowd, max(5 - failures, 1))
    assert all(wait in {timedelta(0), wait_after(max(5, failures + 1))} for wait in waits)
    clients = [stranger(100 + number).charges[0] for number in range(crowd)]
    rows = [store.get(Table.THROTTLE, client.partition, client.key) for client in clients]
    charged = [row for row in rows if row is not None and row.values["full_at"] == now + MINUTE]
    assert len(charged) == verified


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 6))
def test_success_among_failures_gives_back_its_own_charge_only(data: st.DataObject, crowd: int) -> None:
    """At one address, a right password in the middle of wrong ones leaves exactly the wrong ones charged."""
    store = MemoryStore()
    waits: list[timedelta] = []
    attempts = [attempt_from(f"name {number}", "192.0.2.1", None, KEY) for number in range(crowd)]
    tasks: list[Callable[[], None]] = [
        lambda attempt=attempt: waits.append(fail(store, attempt, NOW))  # type: ignore[misc] # as above
        for attempt in attempts[1:]
    ]
    tasks.append(lambda: settle(store, reserve(store, attempts[0], NOW)))
    run_interleaved(store, tasks, lambda n: data.draw(st.integers(0, n - 1)))
    row = store.get(Table.THROTTLE, attempts[0].charges[0].partition, attempts[0].charges[0].key)
    assert row is not None
    assert row.values["full_at"] == NOW + waits.count(timedelta(0)) * MINUTE


@dataclass
class Seen:
    """What an observer has seen verified, without any knowledge of how the throttle counts."""

    accounts: dict[str, list[datetime]] = field(default_factory=dict)
    addresses: dict[str, list[datetime]] = field(default_factory=dict)


NAMES = ("owner", "nurse", "doctor")
ADDRESSES = ("192.0.2.1", "192.0.2.2")
guesses = st.tuples(st.sampled_from(NAMES), st.sampled_from(ADDRESSES))


class ManyInstances(RuleBasedStateMachine):
    """Crowds of instances on one store; the clock goes forward; an observer checks every window of time."""

    @initialize()
    def start(self) -> None:
        """Open the door."""
        self.store = MemoryStore()
        self.now = NOW
        self.seen = Seen()

    @rule(seconds=st.one_of(st.integers(0, 120), st.integers(0, 7200)))
    def wait(self, seconds: int) -> None:
        """Time goes by."""
        self.now += seconds * SECOND

    @rule(crowd=st.lists(guesses, min_size=1, max_size=6), data=st.data())
    def guess_at_once(self, crowd: list[tuple[str, str]], data: st.DataObject) -> None:
        """Several instances verify wrong passwords at once."""

        def guess(name: str, address: str) -> None:
            if fail(self.store, attempt_from(name, address, None, KEY), self.now) == timedelta(0):
                self.seen.accounts.setdefault(name, []).append(self.now)
                self.seen.addresses.setdefault(address, []).append(self.now)

        tasks: list[Callable[[], None]] = [
            lambda name=name, address=address: guess(name, address)  # type: ignore[misc] # as above
            for name, address in crowd
        ]
        run_interleaved(self.store, tasks, lambda n: data.draw(st.integers(0, n - 1)))

    @rule(many=st.integers(10, 40), address=st.sampled_from(ADDRESSES))
    def spray(self, many: int, address: str) -> None:
        """One address tries one password on many names."""
        for number in range(many):
            name = f"name {len(self.seen.accounts)} {number}"
            if fail(self.store, attempt_from(name, address, None, KEY), self.now) == timedelta(0):
                self.seen.accounts.setdefault(name, []).append(self.now)
                self.seen.addresses.setdefault(address, []).append(self.now)

    @rule(name=st.sampled_from(NAMES))
    def sign_in_from_a_known_browser(self, name: str) -> None:
        """The person signs in, whatever strangers did."""
        settle(self.store, reserve(self.store, attempt_from(name, "192.0.2.1", BROWSER, KEY), self.now))
        self.seen.accounts.pop(name, None)

    @invariant()
    def accounts_keep_their_waits(self) -> None:
        """Between two failures in a row lies the wait of the table."""
        for times in self.seen.accounts.values():
            assert len(times) <= MAX_FAILURES
            for failures, (earlier, later) in enumerate(pairwise(times), start=1):
                assert later - earlier >= wait_after(failures)

    @invariant()
    def addresses_keep_their_budget(self) -> None:
        """In every window of time there are at most 30 failures and one for each minute."""
        for times in self.seen.addresses.values():
            for first in range(len(times)):
                for last in range(first + BURST, len(times)):
                    assert last - first + 1 <= BURST + (times[last] - times[first]) // MINUTE


ManyInstances.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestManyInstances = ManyInstances.TestCase
