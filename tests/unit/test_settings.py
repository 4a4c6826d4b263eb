from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Conflict, NotConfigured
from shared.ports import Application, Row, Table
from shared.settings import SsoSettings, read_settings, save_settings
from tests.memory import MemoryStore
from tests.unit.spy_store import SpyStore

TENANT = "7e0f1d52-64a5-4f0e-9d0b-5a1c6d1f2b10"
CLIENT = "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"
OBJECT = "0a4e7f31-52c8-4d19-8e60-1b7d9c3f5a01"
GOOD = SsoSettings(TENANT, CLIENT, OBJECT, sso_active=True, admin_role="Sos.Admin")

guids = st.uuids().map(str)


def test_before_anything_is_saved() -> None:
    """SSO is not active, and no application is named."""
    settings = read_settings(MemoryStore())
    assert settings == SsoSettings("", "", "", sso_active=False, admin_role="", etag="")
    assert settings.problems() == ()
    with pytest.raises(NotConfigured) as caught:
        _ = settings.application
    assert caught.value.what == "application"


@given(guids, guids, st.booleans(), st.sampled_from(["", "Sos.Admin"]))
def test_what_was_saved_is_read(tenant_id: str, client_id: str, sso_active: bool, role: str) -> None:  # noqa: FBT001 - Hypothesis hands over by position
    """Every field comes back, and the version with it."""
    store = MemoryStore()
    wanted = SsoSettings(tenant_id, client_id, "", sso_active=sso_active, admin_role=role)
    saved = save_settings(store, wanted)
    assert saved == read_settings(store) == replace(wanted, etag=saved.etag)
    assert saved.etag
    assert saved.application == Application(tenant_id, client_id)


@pytest.mark.parametrize(("tenant_id", "client_id"), [("", ""), (TENANT, ""), ("", CLIENT)])
def test_half_an_application_is_none(tenant_id: str, client_id: str) -> None:
    """Both ids are needed before anybody is sent to Microsoft."""
    settings = SsoSettings(tenant_id, client_id)
    assert settings.problems() == ()
    with pytest.raises(NotConfigured):
        _ = settings.application


@pytest.mark.parametrize(
    "not_a_guid",
    [
        "common",
        "clinic.example",
        TENANT[:-1],
        f"{TENANT}0",
        f" {TENANT}",
        f"{TENANT}\n",
        f"{{{TENANT}}}",
        TENANT.replace("-", ""),
        TENANT.upper(),
        TENANT.replace("e", "g"),
        TENANT.replace("-", "_"),
        "٧" * 8 + TENANT[8:],
        f"{TENANT}/../{CLIENT}",
    ],
)
def test_ids_are_guids(not_a_guid: str) -> None:
    """They stand in URLs and are compared with tokens exactly; each one that is wrong is named."""
    wrong = SsoSettings(not_a_guid, not_a_guid, not_a_guid)
    tenant, client, object_id = wrong.problems()
    assert "Directory (tenant) ID" in tenant
    assert "Application (client) ID" in client
    assert "Object ID" in object_id
    assert len(replace(GOOD, tenant_id=not_a_guid).problems()) == 1
    assert len(replace(GOOD, client_id=not_a_guid).problems()) == 1
    assert len(replace(GOOD, object_id=not_a_guid).problems()) == 1


@pytest.mark.parametrize(("tenant_id", "client_id"), [("", ""), (TENANT, ""), ("", CLIENT)])
def test_sso_needs_an_application(tenant_id: str, client_id: str) -> None:
    """Active without one, nobody but the Owner could sign in."""
    (problem,) = SsoSettings(tenant_id, client_id, sso_active=True).problems()
    assert problem.startswith("SSO cannot be active without")


@pytest.mark.parametrize("role", ["", "Sos.Admin", "a", "x" * 120, "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
def test_roles_that_entra_allows(role: str) -> None:
    """Printable ASCII, up to 120 characters."""
    assert replace(GOOD, admin_role=role).problems() == ()


@pytest.mark.parametrize(
    "role", [" ", "Sos Admin", "Sos.Admin\n", "x" * 121, 'a"b', "a\\b", "é", "\0", "\x7f"]
)
def test_roles_that_cannot_be(role: str) -> None:
    """They would never match, or be another text than the Owner sees."""
    (problem,) = replace(GOOD, admin_role=role).problems()
    assert "Admin role" in problem


def test_every_problem_at_once() -> None:
    """The Owner mends them in one go."""
    wrong = SsoSettings("x", "y", "z", sso_active=True, admin_role="a b")
    assert len(wrong.problems()) == 4
    assert len(replace(wrong, tenant_id="").problems()) == 4


def test_wrong_settings_are_not_saved() -> None:
    """Whatever calls, wrong values do not reach the store."""
    store = SpyStore()
    for wrong in (SsoSettings(sso_active=True), replace(GOOD, tenant_id="common")):
        with pytest.raises(ValueError, match=r"Directory \(tenant\) ID"):
            save_settings(store, wrong)
    assert store.writes == 0


def test_settings_are_saved_over_the_version_that_was_read() -> None:
    """Of two Owners' pages open at once, the later save is refused, the first one too."""
    store = MemoryStore()
    first = save_settings(store, GOOD)
    with pytest.raises(Conflict):
        save_settings(store, replace(GOOD, sso_active=False))
    second = save_settings(store, replace(first, sso_active=False))
    with pytest.raises(Conflict):
        save_settings(store, first)
    assert read_settings(store) == second
    assert save_settings(store, replace(second, sso_active=True)).sso_active


@pytest.mark.parametrize("stored", ["true", "True", 1, 0, "", False])
def test_only_true_is_active(stored: str | int | bool) -> None:  # noqa: FBT001 - a value of the store
    """A value of another type does not switch SSO on."""
    store = MemoryStore()
    values = {"tenant_id": TENANT, "client_id": CLIENT, "object_id": "", "admin_role": ""}
    store.insert(Table.SETTINGS, Row("settings", "sso", {**values, "sso_active": stored}))
    assert read_settings(store).sso_active is False
