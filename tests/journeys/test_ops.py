"""The engineer's command, `python -m ops`, against a running clinic."""

import json

import pytest

from shared import accounts
from shared.ports import Table
from tests.journeys.town import OWNER_AT_MICROSOFT, Town

pytestmark = pytest.mark.system


def test_settings_are_shown_and_changed(young_town: Town) -> None:
    """Without options the settings are shown as JSON; a named one is changed and nothing else, and the audit knows."""
    town = young_town
    before = json.loads(town.ops("settings").stdout)
    assert before["tenant_id"] == town.application["tenant_id"]
    assert before["sso_active"] is False
    changed = town.ops("settings", "--admin-role", "SOS.Chief")
    assert json.loads(changed.stdout) == before | {"admin_role": "SOS.Chief"}
    assert json.loads(town.ops("settings").stdout) == before | {"admin_role": "SOS.Chief"}
    town.ops("settings", "--admin-role", before["admin_role"])
    audited = [str(row["line"]) for row in town.rows(Table.AUDIT)]
    assert any("settings.changed" in line and "admin_role" in line for line in audited)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--tenant-id", "contoso.onmicrosoft.com", "The Directory (tenant) ID is not a GUID"),
        ("--client-id", "42", "The Application (client) ID is not a GUID"),
        ("--admin-role", "two words", "The Admin role must be the value of an app role"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    young_town: Town, option: str, value: str, sentence: str
) -> None:
    """Exit status 1, a sentence on standard error, and nothing saved."""
    before = young_town.ops("settings").stdout
    refused = young_town.ops("settings", option, value)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert young_town.ops("settings").stdout == before


def test_the_owner_is_tied_to_a_microsoft_account(town: Town) -> None:
    """After tie-owner the Owner's Microsoft account signs in as the Owner; after untie-owner it is a User again."""
    tenant, person = town.application["tenant_id"], OWNER_AT_MICROSOFT
    tied = town.ops("tie-owner", "--tenant-id", tenant, "--object-id", person.object_id.upper())
    assert tied.returncode == 0
    browser = town.browser()
    town.sign_in_microsoft(browser, person)
    session = town.session_of(browser)
    assert (session["account"], session["level"], session["method"]) == ("owner", "owner", "microsoft")
    assert town.ops("untie-owner").returncode == 0
    other = town.browser()
    town.sign_in_microsoft(other, person)
    assert town.session_of(other)["level"] == "user"
    assert town.session_of(other)["account"] != accounts.OWNER_ID


def test_tying_needs_an_owner(young_town: Town) -> None:
    """Before the first run there is nobody to tie, and the command says what comes first."""
    town = young_town
    town.forget_owner()
    refused = town.ops(
        "tie-owner", "--tenant-id", town.application["tenant_id"], "--object-id", OWNER_AT_MICROSOFT.object_id
    )
    assert refused.returncode == 1
    assert "make a set-up link first" in refused.stderr


def test_every_missing_setting_is_named_at_once(young_town: Town) -> None:
    """All problems of the configuration, each with its remedy, without a stack trace."""
    refused = young_town.ops("settings", SOS_ADDRESS="", KEY_VAULT_URL="ftp://x", TABLES_CONNECTION_STRING="")
    assert refused.returncode == 1
    for name in ("SOS_ADDRESS", "KEY_VAULT_URL", "TABLES_URL"):
        assert name in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_store_that_is_away_is_said(young_town: Town) -> None:
    """Exit status 1 and which service does not answer, without a stack trace."""
    young_town.fail("store", "status", status=403)
    refused = young_town.ops("settings")
    assert refused.returncode == 1
    assert "upstream_unavailable: store" in refused.stderr
    assert "Traceback" not in refused.stderr
