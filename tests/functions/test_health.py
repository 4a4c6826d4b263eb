"""`/healthz`, `/readyz` and the static files."""

from datetime import timedelta

import pytest

from functions.pages import asset_url
from tests.house import START, House, a_version, sign_with


def test_healthz_asks_nobody(house: House) -> None:
    """Alive means that the process answers, whatever else is away."""
    house.move_to(house.instance())
    house.store.away = house.vault.away = house.identity.away = True
    answer = house.get("/healthz")
    assert (answer.status, answer.json) == (200, {"alive": True})


def test_readyz_says_that_a_person_could_sign_in(house: House) -> None:
    """Everything in place: 200, and a word for each part."""
    answer = house.get("/readyz")
    assert answer.status == 200
    assert answer.json == {"ready": True, "store": "ok", "vault": "ok", "certificate": "ok"}


@pytest.mark.parametrize(
    ("away", "expected"),
    [
        ("store", {"store": "upstream_unavailable"}),
        ("vault", {"store": "ok", "vault": "upstream_unavailable", "certificate": "ok"}),
    ],
)
def test_a_cold_instance_without_its_parts_is_not_ready(
    house: House, away: str, expected: dict[str, str]
) -> None:
    """503, and which part it is."""
    house.move_to(house.instance())
    getattr(house, away).away = True
    answer = house.get("/readyz")
    assert answer.status == 503
    assert answer.json.items() >= (expected | {"ready": False}).items()


def test_a_warm_instance_without_the_store_is_not_ready(house: House) -> None:
    """Nobody can sign in while the store is away, however much of it is remembered."""
    house.get("/readyz")
    house.store.away = True
    answer = house.get("/readyz")
    assert answer.status == 503
    assert answer.json["store"] == "upstream_unavailable"


def test_a_warm_instance_without_the_vault_is_not_ready(house: House) -> None:
    """Once the assertion at hand has ended, a vault that is away keeps everybody out, remembered secrets or not."""
    house.get("/readyz")
    house.sign_in_with_microsoft()
    house.vault.away = True
    house.clock.move(minutes=11)
    house.get("/readyz")
    answer = house.get("/readyz")
    assert answer.status == 503
    assert answer.json["vault"] == "upstream_unavailable"


def test_readiness_comes_back(house: House) -> None:
    """When the part answers again, so does readiness, after the moment in which a failed load is not repeated."""
    house.move_to(house.instance())
    house.vault.away = True
    assert house.get("/readyz").status == 503
    house.vault.away = False
    house.clock.move(seconds=5)
    assert house.get("/readyz").status == 200


def test_an_expired_certificate_is_not_ready(house: House) -> None:
    """From the second it ends, Microsoft refuses it."""
    house.clock.now = START + timedelta(days=365, seconds=-1)
    assert house.get("/readyz").status == 200
    house.clock.move(seconds=1)
    answer = house.get("/readyz")
    assert (answer.status, answer.json["certificate"]) == (503, "certificate_expired")


def test_a_missing_certificate_is_not_ready(cheap_passwords: None) -> None:
    """SSO active and no certificate: nobody but the Owner gets in."""
    del cheap_passwords
    house = House()
    house.set_sso(active=True)
    answer = house.get("/readyz")
    assert (answer.status, answer.json["certificate"]) == (503, "not_configured")


def test_without_sso_no_certificate_is_needed(cheap_passwords: None) -> None:
    """A system with passwords alone is ready without one, and with an expired one."""
    del cheap_passwords
    house = House()
    assert house.get("/readyz").status == 200
    sign_with(house.store, a_version("v0", START - timedelta(days=1)))
    assert house.get("/readyz").status == 200


def test_readyz_tells_no_secrets(house: House) -> None:
    """A word for each part, and nothing of what an error says."""
    house.move_to(house.instance())
    house.vault.away = house.store.away = True
    assert set(house.get("/readyz").json) == {"ready", "store", "vault", "certificate"}
    assert "away" not in house.get("/readyz").text


@pytest.mark.parametrize(("name", "kind"), [("style.css", "text/css"), ("favicon.svg", "image/svg+xml")])
def test_static_files_are_kept_for_ever(house: House, name: str, kind: str) -> None:
    """The name holds the hash of the content, so a browser never asks twice."""
    answer = house.get(asset_url(name))
    assert answer.status == 200
    assert answer.response.mimetype.startswith(kind)
    assert answer.header("Cache-Control") == "public, max-age=31536000, immutable"
    assert answer.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("name", ["style.css", "style.0000.css", "..", "base.html.j2", "%2e%2e/app.py"])
def test_other_files_are_not_served(house: House, name: str) -> None:
    """Neither old versions, nor templates, nor anything outside."""
    answer = house.get(f"/assets/{name}")
    assert (answer.status, answer.title) == (404, "There is no such page")
