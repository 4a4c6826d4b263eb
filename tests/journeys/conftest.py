"""The town whose clocks are moved: one for all tests of the renewal."""

from collections.abc import Iterator

import pytest

from local.laptop import Laptop
from tests.journeys.timed_town import TimedTown
from tests.journeys.town import events


@pytest.fixture(scope="session")
def whole_timed_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimedTown]:
    """A clinic on a cloud of its own, whose clocks are moved together.

    At its end nothing secret stands in a log or in the store, and no request met an error that nobody had foreseen.
    """
    directory = tmp_path_factory.mktemp("timed-laptop")
    with Laptop(directory) as laptop:
        town = TimedTown(laptop, directory / "clock")
        yield town
        leaks, surprises = town.leaks() + town.loose_words(), events(town.lines(), "internal_error")
        town.close()
    assert leaks == []
    assert surprises == []


@pytest.fixture
def timed_town(whole_timed_town: TimedTown) -> Iterator[TimedTown]:
    """The clinic with a certificate of today, and nothing else going on."""
    whole_timed_town.begin_anew()
    yield whole_timed_town
    whole_timed_town.restore()
