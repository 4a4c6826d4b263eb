"""WHO may sign in, and by which method.

One table answers, and what is not in the table is denied. Three more rules stand around it:
a deactivated account never signs in, by either method; a level comes from the account, and an app role may raise
it to Admin, never to Owner; nothing is matched by e-mail or name (an account is found by `accounts`).
"""

from enum import IntEnum, StrEnum


class Level(IntEnum):
    """What an account may do. Ordered: a higher level may do everything that a lower one may."""

    USER = 1
    ADMIN = 2
    OWNER = 3

    @property
    def slug(self) -> str:
        """The level as it stands in tokens, rows and logs."""
        return self.name.lower()


class AuthenticationMethod(StrEnum):
    """How a person proved who they are."""

    MICROSOFT = "microsoft"
    PASSWORD = "password"  # noqa: S105 - the name of a method


_MICROSOFT, _PASSWORD = AuthenticationMethod.MICROSOFT, AuthenticationMethod.PASSWORD

_ALLOWED = frozenset(
    {
        # SSO active, method, level
        (False, _PASSWORD, Level.USER),
        (False, _PASSWORD, Level.ADMIN),
        (False, _PASSWORD, Level.OWNER),
        (True, _MICROSOFT, Level.USER),
        (True, _MICROSOFT, Level.ADMIN),
        (True, _MICROSOFT, Level.OWNER),
        (True, _PASSWORD, Level.OWNER),
    }
)


def refusal(method: AuthenticationMethod, level: Level, *, sso_active: bool, allow_login: bool) -> str:
    """Say why this account may not sign in this way, as a slug; empty when it may."""
    if not allow_login:
        return "deactivated"
    if (sso_active, method, level) in _ALLOWED:
        return ""
    return "must_use_microsoft" if sso_active else "sso_not_active"


def level_with_roles(level: Level, roles: tuple[str, ...], admin_role: str) -> Level:
    """Raise a level to Admin when the token carries the configured app role; never beyond, never down."""
    return max(level, Level.ADMIN) if admin_role and admin_role in roles else level
