"""A short year: a few weeks with one rotation by itself asked for, one by hand, and faults."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

import pytest

from local.year import everyday, owner, troubles
from local.year.agenda import Story
from local.year.picture import draw
from local.year.play import Played, play
from local.year.table import closing
from local.year.world import World

DAYS = 14


def weeks(world: World) -> Iterable[Story]:
    """Rotate on the first day with a lost answer of Graph, and by hand two days later."""
    return (
        everyday.timer(world),
        everyday.people(world),
        everyday.crowd(world),
        troubles.graph_fault(world, 0.2, *troubles.GRAPH_FAULTS[0]),
        owner.rotate(world, 0.5),
        owner.by_hand(world, 2),
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play once for all tests of this file."""
    return play(1, tmp_path_factory.mktemp("year"), lambda _: None, weeks, DAYS)


@pytest.mark.system
def test_nobody_is_turned_away(played: Played) -> None:
    """Three certificates sign one after the other, and each sign-in succeeds; nothing is left open."""
    assert played.problems == []
    assert played.world.sign_ins.tried.total() > 4 * DAYS
    assert [life.how for life in played.world.lives.all] == [
        "uploaded by hand",
        "rotate now",
        "uploaded by hand",
    ]
    assert all(life.disabled for life in played.world.lives.all[:-1])


@pytest.mark.system
def test_a_sign_in_that_failed_is_a_problem(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends with 1 then."""
    monkeypatch.setattr(played.world.sign_ins, "failed", [(played.begin, "AuthorizationDenied")])
    assert played.problems == ["2027-01-01 00:00 a sign-in failed: AuthorizationDenied"]


@pytest.mark.system
def test_the_picture_is_well_formed(played: Played) -> None:
    """It has a bar for each certificate, and marks."""
    picture = ET.fromstring(draw(played))  # noqa: S314 - our own text
    kinds = [element.get("class") for element in picture.iter()]
    assert kinds.count("signs") >= 3
    assert {"owner", "fault", "good"} <= set(kinds)
    assert "failure" in kinds


@pytest.mark.system
def test_the_table_names_each_certificate(played: Played) -> None:
    """A line each, and the sums."""
    table = "\n".join(closing(played))
    assert "rotate now" in table
    assert ", 0 failed," in table
