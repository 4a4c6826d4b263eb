"""What somebody must be told: each condition at its boundary, once each time that it begins to hold."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.renewal_alarms import SILENT, SILENT_AFTER, conditions, is_silent, with_alarms, with_silence
from shared.renewal_requests import ask
from shared.renewal_state import Asked, Phase, RenewalState
from tests.memory import MemoryStore
from tests.unit.renewal_samples import CURRENT, DAY, HOUR, MINUTE, NOW, SECOND, row


def fine(phase: Phase = Phase.IDLE, **changes: object) -> RenewalState:
    """Give a row that nobody need hear of."""
    return row(phase, **{"last_tick_at": NOW} | changes)


def ending(left: timedelta) -> RenewalState:
    """Give a row whose current version ends in so long."""
    return fine(current=replace(CURRENT, not_after=NOW + left))


def raised(state: RenewalState) -> list[tuple[str, str]]:
    """Give what is to be said: names and details."""
    assert all(note.warning for note in state.notes)
    return [(note.name, note.reason) for note in state.notes]


BELOW_60, BELOW_30 = ("not_switched",), ("not_switched", "expiring:30")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (fine(), ()),
        (fine(current=None), ()),
        (fine(last_tick_at=NOW - SILENT_AFTER), ()),
        (fine(last_tick_at=NOW - SILENT_AFTER - SECOND), ("silent",)),
        (fine(Phase.PROVE, phase_since=NOW - HOUR), ()),
        (fine(Phase.PROVE, phase_since=NOW - HOUR - SECOND), ("proving",)),
        (fine(Phase.REGISTER, phase_since=NOW - HOUR), ()),
        (fine(Phase.REGISTER, phase_since=NOW - HOUR - SECOND), ("waiting",)),
        (ending(60 * DAY), ()),
        (ending(60 * DAY - SECOND), BELOW_60),
        (ending(30 * DAY + SECOND), BELOW_60),
        (ending(30 * DAY), BELOW_30),
        (ending(30 * DAY - SECOND), (*BELOW_60, "expiring:29")),
        (ending(14 * DAY + SECOND), (*BELOW_60, "expiring:14")),
        (ending(14 * DAY), (*BELOW_60, "expiring:14", "page:14")),
        (ending(7 * DAY + SECOND), (*BELOW_60, "expiring:7", "page:14")),
        (ending(7 * DAY), (*BELOW_60, "expiring:7", "page:14", "page:7")),
        (ending(SECOND), (*BELOW_60, "expiring:0", "page:14", "page:7")),
        (ending(timedelta(0)), ("expired",)),
        (ending(-90 * DAY), ("expired",)),
        (fine(current=replace(CURRENT, refused_run=1)), ()),
        (fine(current=replace(CURRENT, refused_run=2)), ("current_refused",)),
        (fine(still_works="v0"), ("still_works:v0",)),
        (fine(foreign=("sha1-a", "sha1-b")), ("foreign_key:sha1-a", "foreign_key:sha1-b")),
        (fine(attempts=4), ()),
        (fine(attempts=5), ("failing",)),
        (fine(clock_skew=timedelta(seconds=60)), ()),
        (fine(clock_skew=timedelta(seconds=60, microseconds=1)), ("clock",)),
        (fine(clock_skew=timedelta(seconds=-60)), ()),
        (fine(clock_skew=timedelta(seconds=-60, microseconds=-1)), ("clock",)),
    ],
)
def test_conditions_at_their_boundaries(state: RenewalState, expected: tuple[str, ...]) -> None:
    """Each number of the rules, on both sides; the names are what alert rules match."""
    assert conditions(state, NOW) == expected


def test_everything_at_once() -> None:
    """One condition does not hide another."""
    state = row(
        Phase.PROVE,
        current=replace(CURRENT, not_after=NOW + 5 * DAY, refused_run=3),
        phase_since=NOW - DAY,
        last_tick_at=NOW - DAY,
        still_works="v0",
        foreign=("sha1-a",),
        clock_skew=5 * MINUTE,
    )
    names = {condition.partition(":")[0] for condition in conditions(state, NOW)}
    assert names == {
        "silent", "proving", "not_switched", "expiring", "page", "current_refused", "still_works", "foreign_key", "clock"
    }  # fmt: skip


# The timer


def test_the_timer_is_silent_after_three_hours() -> None:
    """An hourly timer that missed three ticks has stopped; one that is minutes late after a single miss has not."""
    assert 3 * HOUR < SILENT_AFTER <= 3.25 * HOUR
    assert SILENT == "silent"
    assert not is_silent(fine(last_tick_at=NOW - SILENT_AFTER), NOW)
    assert is_silent(fine(last_tick_at=NOW - SILENT_AFTER - SECOND), NOW)
    assert not is_silent(fine(last_tick_at=NOW + HOUR), NOW)


def test_nothing_is_said_before_the_first_tick() -> None:
    """A new installation is not silent: its timer has an hour."""
    assert not is_silent(RenewalState(), NOW)


def test_what_the_owner_asks_is_no_tick() -> None:
    """The Owner of a new installation asks for a certificate before the timer has run: no alarm."""
    state = ask(MemoryStore(), Asked.GENERATE, "a nonce", NOW)
    assert not is_silent(state, NOW)
    assert conditions(state, NOW) == ()


def test_a_timer_that_stops_before_the_first_certificate() -> None:
    """It ticked, with nothing to do, and then no more: that is said, too."""
    assert is_silent(RenewalState(last_tick_at=NOW - 4 * HOUR), NOW)


def test_a_tick_says_that_there_was_none() -> None:
    """The first tick after the silence raises it, and nothing else: it is about to look at the rest anew."""
    silent = fine(last_tick_at=NOW - 4 * HOUR, clock_skew=5 * MINUTE, alarms=("expired",))
    state = with_silence(silent, NOW)
    assert raised(state) == [("renewal.alarm.silent", "")]
    assert state.alarms == ("expired", "silent")
    assert with_silence(state, NOW) == state
    assert with_silence(fine(clock_skew=5 * MINUTE), NOW) == fine(clock_skew=5 * MINUTE)
    over = with_alarms(replace(state, last_tick_at=NOW, clock_skew=timedelta(0)), NOW)
    assert over.alarms == ()
    assert (
        raised(with_silence(replace(over, last_tick_at=NOW - 4 * HOUR), NOW))
        == [("renewal.alarm.silent", "")] * 2
    )


# Once each


def test_an_alarm_is_raised_once() -> None:
    """As long as it holds it is not said again, however often one looks."""
    state = with_alarms(fine(still_works="v0"), NOW)
    assert raised(state) == [("renewal.alarm.still_works", "v0")]
    assert state.alarms == ("still_works:v0",)
    again = with_alarms(state, NOW + MINUTE)
    assert again == state


def test_an_alarm_is_raised_again_after_it_went_away() -> None:
    """Another crossing is another alarm."""
    state = with_alarms(fine(clock_skew=5 * MINUTE), NOW)
    state = with_alarms(replace(state, clock_skew=timedelta(0)), NOW)
    assert state.alarms == ()
    state = with_alarms(replace(state, clock_skew=5 * MINUTE), NOW)
    assert raised(state) == [("renewal.alarm.clock", "")] * 2
    assert len({note.key for note in state.notes}) == 2


def test_a_second_foreign_key_is_another_alarm() -> None:
    """Each thumbprint is said once."""
    state = with_alarms(fine(foreign=("sha1-a",)), NOW)
    state = with_alarms(replace(state, foreign=("sha1-a", "sha1-b")), NOW)
    assert raised(state) == [("renewal.alarm.foreign_key", "sha1-a"), ("renewal.alarm.foreign_key", "sha1-b")]


def test_the_last_sixty_days() -> None:
    """Looked at every hour: an alarm at 60 days, one each day from 30, a page at 14 and at 7 days, and the end."""
    state = ending(61 * DAY)
    said: list[tuple[str, str]] = []
    for hour in range(63 * 24):
        now = NOW + hour * HOUR
        state = with_alarms(replace(state, notes=(), last_tick_at=now), now)
        said += raised(state)
    expected = [("renewal.alarm.not_switched", ""), ("renewal.alarm.expiring", "30")]
    for days in range(29, -1, -1):
        expected.append(("renewal.alarm.expiring", str(days)))
        expected += [("renewal.alarm.page", str(days))] if days in {14, 7} else []
    expected.append(("renewal.alarm.expired", ""))
    assert sorted(said) == sorted(expected)
    assert said[0] == expected[0]
    assert said[-1] == expected[-1]


def test_a_switch_ends_the_alarms_of_the_old_one() -> None:
    """The new version has a year."""
    state = with_alarms(ending(10 * DAY), NOW)
    assert state.alarms
    state = with_alarms(replace(state, current=CURRENT), NOW)
    assert state.alarms == ()


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=20))
def test_each_crossing_is_said_once(looks: list[tuple[bool, bool, bool]]) -> None:
    """Whatever comes and goes: as many alarms as there were beginnings, under names and keys of their own."""
    state = fine()
    beginnings, before = 0, (False, False, False)
    for look in looks:
        works, foreign, skewed = look
        state = replace(
            state,
            still_works="v0" if works else "",
            foreign=("sha1-a",) if foreign else (),
            clock_skew=5 * MINUTE if skewed else timedelta(0),
        )
        state = with_alarms(state, NOW)
        beginnings += sum(now and not then for now, then in zip(look, before, strict=True))
        before = look
    assert len(state.notes) == beginnings
    assert len({note.key for note in state.notes}) == beginnings


@given(st.datetimes(datetime(2027, 1, 1), datetime(2028, 12, 31)))  # noqa: DTZ001 - it is made aware below
def test_looking_twice_at_one_moment(naive: datetime) -> None:
    """Changes nothing, at any time."""
    now = naive.replace(tzinfo=NOW.tzinfo)
    once = with_alarms(fine(), now)
    assert with_alarms(once, now) == once
