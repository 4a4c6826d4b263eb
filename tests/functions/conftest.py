"""The doors in one process: a furnished house, and passwords that cost nothing."""

from functools import partial

import pytest

from shared import password, password_signin, setup
from shared.password import CHEAPEST
from tests.house import House


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash and verify at the lowest cost: what the cost is worth is not tested here."""
    hash_cheaply = partial(password.hash_password, parameters=CHEAPEST)
    monkeypatch.setattr(password_signin, "hash_password", hash_cheaply)
    monkeypatch.setattr(
        password_signin, "verify_password", partial(password.verify_password, parameters=CHEAPEST)
    )
    monkeypatch.setattr(setup, "hash_password", hash_cheaply)


@pytest.fixture
def house(cheap_passwords: None) -> House:
    """A house with an Owner, a User, SSO active and a certificate."""
    del cheap_passwords
    house = House()
    house.furnish()
    return house
