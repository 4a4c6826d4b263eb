from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import accounts, session, transaction
from shared.access import AuthenticationMethod, Level
from shared.base64url import random_id
from shared.device import DeviceId
from shared.errors import InvalidSession, TooManyAttempts, UpstreamUnavailable
from shared.housekeeping import MOST, Swept, sweep
from shared.limits import BURST, CLOCK_TOLERANCE, FREE_FAILURES, KEEP, MAX_FAILURES, Attempt, attempt_from
from shared.ports import Row, Table
from shared.secret import Secret
from shared.session import ABSOLUTE_LIMIT, IDLE_LIMIT, Session, SignedIn
from shared.throttle import reserve, settle
from tests.house import START
from tests.interleaving import run_interleaved
from tests.unit.spy_store import SpyStore, crash

TICK, MINUTE, HOUR, DAY = (
    timedelta(microseconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
KEY = b"key of the throttle for the test"
BROWSER = DeviceId("0123456789abcdef0123456789abcdef")
NOTHING = Swept(0, 0, more=False)


class Ward:
    """A store with one account and its sessions."""

    def __init__(self) -> None:
        self.store = SpyStore()
        self.account = accounts.create(self.store, "nurse", "Nurse", Level.USER, Secret("x"), START)

    def sign_in(self, now: datetime = START) -> Session:
        """Make a session."""
        made = SignedIn(self.account, Level.USER, AuthenticationMethod.PASSWORD, random_id())
        return session.create(self.store, made, now)

    def why_not(self, made: Session, now: datetime) -> str:
        """Renew a session, or say why not."""
        try:
            session.renew(self.store, made.id, now, sso_active=False, admin_role="")
        except InvalidSession as error:
            return error.kind
        return ""

    def keep_alive(self, made: Session, duration: timedelta) -> None:
        """Renew a session every 50 minutes for so long."""
        now = made.auth_time
        while (now := now + 50 * MINUTE) < made.auth_time + duration:
            assert self.why_not(made, now) == ""

    def sweep(self, now: datetime, most: int = MOST, patience: int = 10**9) -> Swept:
        """Sweep; the caller's time is over after so many questions."""
        asked = iter(range(10**9))
        return sweep(self.store, now, lambda: next(asked) >= patience, most)

    def rows(self) -> list[Row]:
        """Read every session."""
        return self.store.older(Table.SESSIONS, "auth_time", START + 10_000 * DAY, 10**6)

    def counters(self) -> list[Row]:
        """Read every counter of the throttle."""
        return self.store.older(Table.THROTTLE, "expires_at", START + 10_000 * DAY, 10**6)

    def knock(self, attempt: Attempt, now: datetime, *, right: bool = False) -> bool:
        """Try a password; tell whether it was verified at all."""
        try:
            reservation = reserve(self.store, attempt, now)
        except TooManyAttempts:
            return False
        if right:
            settle(self.store, reservation)
        return True

    def close(self, attempt: Callable[[int], Attempt]) -> datetime:
        """Fail until no wait opens the counter again; give the time of the last failure."""
        now = START
        for number in range(MAX_FAILURES):
            now += HOUR
            assert self.knock(attempt(number), now)
        return now


def stranger(number: int = 0, user_name: str = "owner") -> Attempt:
    """Make an attempt of a browser that nobody knows, each number at an address of its own."""
    return attempt_from(user_name, f"192.0.2.{number % 250}", None, KEY)


def known_browser(_: int = 0) -> Attempt:
    """Make an attempt of the browser that has signed in before."""
    return attempt_from("owner", "198.51.100.7", BROWSER, KEY)


# Sessions


@pytest.mark.parametrize(
    ("idle", "gone"),
    [
        (timedelta(0), False),
        (IDLE_LIMIT, False),
        (IDLE_LIMIT + CLOCK_TOLERANCE, False),
        (IDLE_LIMIT + CLOCK_TOLERANCE + TICK, True),
        (400 * DAY, True),
    ],
)
def test_a_session_goes_when_it_has_been_idle_too_long_for_every_clock(
    idle: timedelta,
    gone: bool,  # noqa: FBT001 - a table
) -> None:
    """Also for one that is five minutes behind."""
    ward = Ward()
    made = ward.sign_in()
    assert ward.sweep(START + idle).sessions == int(gone)
    assert len(ward.rows()) == int(not gone)
    if gone:
        assert ward.why_not(made, START + idle - CLOCK_TOLERANCE) == "ended"


def test_a_renewed_session_stays() -> None:
    """It is idle since its last renewal, not since it began."""
    ward = Ward()
    made = ward.sign_in()
    ward.keep_alive(made, 11 * HOUR)
    assert ward.sweep(START + 11 * HOUR) == NOTHING
    assert ward.why_not(made, START + 11 * HOUR) == ""


def test_a_session_goes_at_its_absolute_end() -> None:
    """Even where a clock that was far ahead has written when it was last seen."""
    ward = Ward()
    ward.sign_in()
    (row,) = ward.rows()
    ward.store.replace(Table.SESSIONS, replace(row, values={**row.values, "last_seen": START + 99 * DAY}))
    assert ward.sweep(START + ABSOLUTE_LIMIT + CLOCK_TOLERANCE) == NOTHING
    assert ward.sweep(START + ABSOLUTE_LIMIT + CLOCK_TOLERANCE + TICK) == Swept(1, 0, more=False)
    assert ward.rows() == []


@given(
    st.lists(st.timedeltas(timedelta(0), 2 * HOUR), max_size=20),
    st.timedeltas(-CLOCK_TOLERANCE, timedelta(0)),
)
def test_no_session_goes_that_could_still_be_renewed(gaps: list[timedelta], behind: timedelta) -> None:
    """Whenever the sweep runs, by whatever clock: what an instance would have renewed, it still renews."""
    swept, untouched = Ward(), Ward()
    sessions, now = [(ward, ward.sign_in()) for ward in (swept, untouched)], START
    for gap in gaps:
        now += gap
        swept.sweep(now)
        one, other = (ward.why_not(made, now + behind) for ward, made in sessions)
        assert bool(one) == bool(other)


def test_a_session_that_is_renewed_in_between_stays() -> None:
    """An instance whose clock is far behind renews it between the sweep's read and its delete."""
    ward = Ward()
    made, _other = ward.sign_in(), ward.sign_in(START + TICK)
    now = START + 2 * HOUR
    ward.store.before_write(1, lambda: ward.why_not(made, START + HOUR - TICK))
    assert ward.sweep(now) == Swept(1, 0, more=False)
    assert [row.time("last_seen") for row in ward.rows()] == [START + HOUR - TICK]


def test_a_sign_in_cannot_be_replayed_once_its_row_is_gone() -> None:
    """The row keeps its key taken until the login transaction is over, on every clock."""
    assert transaction.LIFETIME + CLOCK_TOLERANCE <= IDLE_LIMIT


def test_what_is_no_session_row_stays() -> None:
    """Without a time nothing says that it is over: it is for the engineer."""
    ward = Ward()
    ward.store.insert(Table.SESSIONS, Row("p", "k", {"last_seen": "yesterday"}))
    assert ward.sweep(START + 99 * DAY) == NOTHING
    assert ward.store.get(Table.SESSIONS, "p", "k") is not None


# The throttle


@pytest.mark.parametrize("attempt", [stranger, known_browser], ids=["account", "device"])
def test_a_counter_that_closed_its_door_is_not_forgotten_before_its_time(
    attempt: Callable[[int], Attempt],
) -> None:
    """A hundred failures, then a sweep every day: no guess is free until the counter has rested for a whole year."""
    ward = Ward()
    last = ward.close(attempt)
    for days in range(KEEP.days):
        ward.sweep(last + days * DAY)
        assert not ward.knock(attempt(99), last + days * DAY)
    ward.sweep(last + KEEP + CLOCK_TOLERANCE)
    assert not ward.knock(attempt(99), last + KEEP + CLOCK_TOLERANCE)
    assert ward.sweep(last + KEEP + CLOCK_TOLERANCE + TICK).throttle == 1
    assert ward.knock(attempt(99), last + KEEP + CLOCK_TOLERANCE + TICK)


def test_a_counter_that_waits_keeps_its_failures() -> None:
    """Whoever comes back after months, a sweep before each visit, has no more than one guess each time."""
    ward = Ward()
    now = START
    for number in range(FREE_FAILURES):
        assert ward.knock(stranger(number), now)
    for number in range(10):
        now += 300 * DAY
        ward.sweep(now)
        assert ward.knock(stranger(number), now)
        assert not ward.knock(stranger(number), now)


def test_a_counter_that_is_charged_in_between_stays() -> None:
    """The failure between the sweep's read and its delete is not lost."""
    ward = Ward()
    assert ward.knock(known_browser(), START)
    now = START + KEEP + HOUR
    ward.store.before_write(1, lambda: ward.knock(known_browser(), now))
    assert ward.sweep(now) == NOTHING
    (row,) = ward.counters()
    assert row.values["failures"] == 2


def test_an_address_goes_when_its_budget_is_full() -> None:
    """Not before, so that a sweep hands nobody a second burst; then nothing differs."""
    ward = Ward()
    guesses = [stranger(0, f"name {number}") for number in range(3 * BURST)]
    assert [ward.knock(guess, START) for guess in guesses[: BURST + 1]] == [True] * BURST + [False]
    ward.sweep(START + BURST * MINUTE + CLOCK_TOLERANCE)
    assert sum(row.partition.startswith("address") for row in ward.counters()) == 1
    now = START + BURST * MINUTE + CLOCK_TOLERANCE + TICK
    assert ward.sweep(now) == Swept(0, 1, more=False)
    behind = now - CLOCK_TOLERANCE
    assert sum(ward.knock(guess, behind) for guess in guesses[BURST:]) == BURST


@given(
    st.lists(
        st.tuples(st.timedeltas(timedelta(0), 9 * MINUTE), st.integers(0, 20), st.booleans()), max_size=30
    ),
    st.timedeltas(-CLOCK_TOLERANCE, timedelta(0)),
)
def test_a_sweep_gives_no_address_more_guesses(
    visits: list[tuple[timedelta, int, bool]], behind: timedelta
) -> None:
    """Whenever it runs, by whatever clock: every attempt is decided as without a sweep, after successes too."""
    swept, untouched, now = Ward(), Ward(), START
    for gap, guesses, right in visits:
        now += gap
        swept.sweep(now)
        for number in range(guesses):
            attempt = stranger(0, f"name {now} {number}")
            one, other = (ward.knock(attempt, now + behind, right=right) for ward in (swept, untouched))
            assert one == other


def test_a_charge_is_given_back_though_its_row_was_swept() -> None:
    """A sign-in that takes longer than its address needs to regain meets no row, and succeeds."""
    ward = Ward()
    reservation = reserve(ward.store, stranger(), START)
    assert ward.sweep(START + HOUR).throttle == 1
    settle(ward.store, reservation)
    assert ward.counters() == []


# How much, and when it ends


def test_a_sweep_is_bounded() -> None:
    """So many of each table, oldest or not; it says that there may be more, until there is none."""
    ward = Ward()
    for number in range(5):
        ward.sign_in()
        assert ward.knock(stranger(number, f"name {number}"), START)
    now = START + 2 * HOUR
    assert ward.sweep(now, most=3) == Swept(3, 3, more=True)
    assert ward.sweep(now, most=3) == Swept(2, 2, more=False)
    assert ward.sweep(now, most=3) == NOTHING


def test_both_ends_of_a_session_share_one_bound() -> None:
    """Rows that are over by the one or by the other count together."""
    ward = Ward()
    for _ in range(4):
        ward.sign_in()
    for row in ward.rows()[:2]:
        values = {**row.values, "last_seen": START + 99 * DAY}
        ward.store.replace(Table.SESSIONS, replace(row, values=values))
    assert ward.sweep(START + DAY, most=3) == Swept(3, 0, more=True)
    assert ward.sweep(START + DAY, most=3) == Swept(1, 0, more=False)


@pytest.mark.parametrize("patience", range(12))
def test_a_sweep_stops_when_the_caller_has_no_more_time(patience: int) -> None:
    """Before the next call to the store, whichever it is; the next sweep goes on."""
    ward = Ward()
    for number in range(3):
        ward.sign_in()
        assert ward.knock(stranger(number, f"name {number}"), START)
    before = ward.store.reads + ward.store.writes
    first = ward.sweep(START + 2 * HOUR, patience=patience)
    assert ward.store.reads + ward.store.writes - before == min(patience, 9)
    assert first.more is (patience < 9)
    second = ward.sweep(START + 2 * HOUR)
    assert (first.sessions + second.sessions, first.throttle + second.throttle) == (3, 3)


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_sweep_that_dies_is_finished_by_the_next(nth: int) -> None:
    """What was deleted stays deleted, the rest is as it was."""
    ward = Ward()
    for number in range(3):
        ward.sign_in()
        assert ward.knock(stranger(number, f"name {number}"), START)
    ward.store.before_write(nth, crash)
    with pytest.raises(UpstreamUnavailable):
        ward.sweep(START + 2 * HOUR)
    assert len(ward.rows()) + len([row for row in ward.counters() if "full_at" in row.values]) == 7 - nth
    assert not ward.sweep(START + 2 * HOUR).more
    assert ward.rows() == []


def test_a_store_that_is_away_is_said() -> None:
    """The caller knows what to do about it."""
    ward = Ward()
    ward.store.away = True
    with pytest.raises(UpstreamUnavailable):
        ward.sweep(START)


@given(st.data())
def test_two_sweeps_at_once(data: st.DataObject) -> None:
    """In whatever order their calls come, while a session is renewed and a door is knocked at: only what is over goes."""
    ward = Ward()
    now = START + 2 * HOUR
    for number in range(3):
        ward.sign_in()
        assert ward.knock(stranger(number, f"name {number}"), START)
    alive = ward.sign_in(now - 30 * MINUTE)
    told: list[str] = []
    swept: list[Swept] = []
    run_interleaved(
        ward.store,
        [
            lambda: swept.append(ward.sweep(now)),
            lambda: swept.append(ward.sweep(now)),
            lambda: told.append(ward.why_not(alive, now)),
            lambda: told.append("" if ward.knock(stranger(0, "name 0"), now) else "refused"),
        ],
        lambda waiting: data.draw(st.integers(0, waiting - 1)),
    )
    assert told == ["", ""]
    assert [row.time("last_seen") for row in ward.rows()] == [now]
    counters = ward.counters()
    assert sorted(int(str(row.values.get("failures", 0))) for row in counters) == [0, 1, 1, 2]
    assert not any(each.more for each in swept)
    assert sum(each.sessions for each in swept) >= 3
