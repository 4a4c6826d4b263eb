"""The laptop cloud for tests: started once for the whole run, when a test first asks for it."""

from collections.abc import Iterator

import pytest

from local.laptop import Laptop
from tests.journeys.town import Town, events


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Azurite in memory, the stand-ins, and any number of workers."""
    with Laptop(tmp_path_factory.mktemp("laptop")) as running:
        yield running


@pytest.fixture(scope="session")
def whole_town(laptop: Laptop) -> Iterator[Town]:
    """A clinic where SSO is active, for the whole run.

    At its end nothing secret stands in a log or in the store, and no request met an error that nobody had foreseen.
    """
    town = Town(laptop)
    yield town
    leaks, surprises = town.leaks(), events(town.lines(), "internal_error")
    town.close()
    assert leaks == []
    assert surprises == []


@pytest.fixture
def town(whole_town: Town) -> Iterator[Town]:
    """The clinic where SSO is active, as it was before each test."""
    yield whole_town
    whole_town.restore()


@pytest.fixture(scope="session")
def whole_young_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A clinic on a cloud of its own where SSO has not been activated, for the whole run."""
    with Laptop(tmp_path_factory.mktemp("young-laptop")) as laptop:
        town = Town(laptop, sso_active=False)
        yield town
        town.close()


@pytest.fixture
def young_town(whole_young_town: Town) -> Iterator[Town]:
    """The clinic before SSO, as it was before each test."""
    yield whole_young_town
    whole_young_town.restore()
