from itertools import product
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.access import AuthenticationMethod, Level, level_with_roles, refusal

MICROSOFT, PASSWORD = AuthenticationMethod.MICROSOFT, AuthenticationMethod.PASSWORD
USER, ADMIN, OWNER = Level.USER, Level.ADMIN, Level.OWNER

TABLE = [
    # SSO active, method, level, allow login, why not
    (False, MICROSOFT, USER, False, "deactivated"),
    (False, MICROSOFT, USER, True, "sso_not_active"),
    (False, MICROSOFT, ADMIN, False, "deactivated"),
    (False, MICROSOFT, ADMIN, True, "sso_not_active"),
    (False, MICROSOFT, OWNER, False, "deactivated"),
    (False, MICROSOFT, OWNER, True, "sso_not_active"),
    (False, PASSWORD, USER, False, "deactivated"),
    (False, PASSWORD, USER, True, ""),
    (False, PASSWORD, ADMIN, False, "deactivated"),
    (False, PASSWORD, ADMIN, True, ""),
    (False, PASSWORD, OWNER, False, "deactivated"),
    (False, PASSWORD, OWNER, True, ""),
    (True, MICROSOFT, USER, False, "deactivated"),
    (True, MICROSOFT, USER, True, ""),
    (True, MICROSOFT, ADMIN, False, "deactivated"),
    (True, MICROSOFT, ADMIN, True, ""),
    (True, MICROSOFT, OWNER, False, "deactivated"),
    (True, MICROSOFT, OWNER, True, ""),
    (True, PASSWORD, USER, False, "deactivated"),
    (True, PASSWORD, USER, True, "must_use_microsoft"),
    (True, PASSWORD, ADMIN, False, "deactivated"),
    (True, PASSWORD, ADMIN, True, "must_use_microsoft"),
    (True, PASSWORD, OWNER, False, "deactivated"),
    (True, PASSWORD, OWNER, True, ""),
]

levels = st.sampled_from(Level)
methods = st.sampled_from(AuthenticationMethod)
role_names = st.text(max_size=5)


@pytest.mark.parametrize(("sso_active", "method", "level", "allow_login", "why_not"), TABLE)
def test_who_may_sign_in(
    *, sso_active: bool, method: AuthenticationMethod, level: Level, allow_login: bool, why_not: str
) -> None:
    """The whole table, as it was promised."""
    assert refusal(method, level, sso_active=sso_active, allow_login=allow_login) == why_not


def test_the_table_has_every_combination_once() -> None:
    """A level or a method that is added one day must be decided about here."""
    combinations = set(product([False, True], AuthenticationMethod, Level, [False, True]))
    assert {row[:4] for row in TABLE} == combinations
    assert len(TABLE) == len(combinations)


@pytest.mark.parametrize("sso_active", [False, True])
@pytest.mark.parametrize(
    ("method", "level"),
    [("smart_card", OWNER), ("", OWNER), ("Password", OWNER), (PASSWORD, 4), (PASSWORD, 0), (MICROSOFT, 99)],
)
def test_what_is_not_in_the_table_is_denied(*, sso_active: bool, method: str, level: int) -> None:
    """A method or a level that nobody thought of opens nothing."""
    unknown = cast("AuthenticationMethod", method), cast("Level", level)
    assert refusal(*unknown, sso_active=sso_active, allow_login=True)


@given(method=methods, level=levels, sso_active=st.booleans())
def test_no_combination_lets_a_deactivated_account_in(
    *, method: AuthenticationMethod, level: Level, sso_active: bool
) -> None:
    """A deactivated account never signs in, and the reason is the same by either method."""
    assert refusal(method, level, sso_active=sso_active, allow_login=False) == "deactivated"


@pytest.mark.parametrize(
    ("level", "roles", "admin_role", "result"),
    [
        (USER, (), "", USER),
        (USER, ("Sos.Admin",), "", USER),
        (USER, ("",), "", USER),
        (USER, ("Sos.Admin",), "Sos.Admin", ADMIN),
        (USER, ("Other", "Sos.Admin"), "Sos.Admin", ADMIN),
        (USER, ("Other",), "Sos.Admin", USER),
        (USER, ("sos.admin",), "Sos.Admin", USER),
        (USER, ("Sos.Admins",), "Sos.Admin", USER),
        (ADMIN, (), "Sos.Admin", ADMIN),
        (ADMIN, ("Sos.Admin",), "Sos.Admin", ADMIN),
        (OWNER, (), "Sos.Admin", OWNER),
        (OWNER, ("Sos.Admin",), "Sos.Admin", OWNER),
        (USER, ("owner", "Owner"), "owner", ADMIN),
    ],
)
def test_what_an_app_role_does(level: Level, roles: tuple[str, ...], admin_role: str, result: Level) -> None:
    """Exactly the configured role raises to Admin; an empty setting raises nobody."""
    assert level_with_roles(level, roles, admin_role) is result


@given(level=levels, roles=st.lists(role_names).map(tuple), admin_role=role_names)
def test_a_role_never_makes_an_owner_and_never_lowers(
    level: Level, roles: tuple[str, ...], admin_role: str
) -> None:
    """Whatever the token carries, Owner stays the level of the first account alone."""
    result = level_with_roles(level, roles, admin_role)
    assert result >= level
    assert (result is OWNER) == (level is OWNER)


def test_levels_have_an_order_and_names() -> None:
    """A higher level may do what a lower one may; the slugs stand in tokens and rows."""
    assert USER < ADMIN < OWNER
    assert [level.slug for level in sorted(Level)] == ["user", "admin", "owner"]
    assert [method.value for method in AuthenticationMethod] == ["microsoft", "password"]
