"""The laptop cloud for tests: started once for the whole run, when a test first asks for it."""

from collections.abc import Iterator

import pytest

from local.laptop import Laptop


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Azurite in memory, the stand-ins, and any number of workers."""
    with Laptop(tmp_path_factory.mktemp("laptop")) as running:
        yield running
