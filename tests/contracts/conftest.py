"""What the contract suites run against: the real SDKs on the laptop cloud, or on Azure.

To run them against real services, set CONTRACT_TABLES_URL or CONTRACT_KEY_VAULT_URL and sign in (`az login`); see
docs/contracts.md for what that creates and costs.
"""

import os
from collections.abc import Iterator

import pytest

from local.laptop import Laptop
from shared.azure.connect import connect
from shared.config import Config
from shared.services import Services

FOUND = "found"
"""The property under which a test records what it found out about a real service."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the suites found out about real services."""
    found = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == FOUND
    ]
    if found:
        terminalreporter.section("what was found out")
        for line in found:
            terminalreporter.write_line(str(line))


@pytest.fixture(scope="session")
def azure(laptop: Laptop) -> Iterator[Services]:
    """The production adapters, connected to the laptop cloud or to Azure."""
    environment = laptop.environment("http://localhost:7071")
    real = {
        "TABLES_URL": os.environ.get("CONTRACT_TABLES_URL", ""),
        "KEY_VAULT_URL": os.environ.get("CONTRACT_KEY_VAULT_URL", ""),
    }
    if real["TABLES_URL"]:
        environment.pop("TABLES_CONNECTION_STRING")
    environment |= {name: value for name, value in real.items() if value}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDENTITY_ENDPOINT", environment["IDENTITY_ENDPOINT"])
        patch.setenv("IDENTITY_HEADER", environment["IDENTITY_HEADER"])
        if any(real.values()):
            patch.delenv("IDENTITY_ENDPOINT")
            environment.pop("TRUSTED_CA_FILE")
        yield connect(Config.from_environ(environment), as_person=any(real.values()))
