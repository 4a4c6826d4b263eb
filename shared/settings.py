"""What the Owner sets: which Entra application signs people in, and whether SSO is active. One row in the store."""

import re
from dataclasses import dataclass, replace

from shared.errors import NotConfigured
from shared.ports import Application, Row, Store, Table, Value

_PARTITION, _KEY = "settings", "sso"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ROLE = re.compile(r"[!#-\[\]-~]{0,120}")
"""The characters Entra allows in an app role's value: printable ASCII but for quotes, backslash and space."""


@dataclass(frozen=True, slots=True)
class SsoSettings:
    """The sign-in settings. `admin_role` is the app role that raises to Admin; empty: none does."""

    tenant_id: str = ""
    client_id: str = ""
    object_id: str = ""
    sso_active: bool = False
    admin_role: str = ""
    etag: str = ""

    @property
    def application(self) -> Application:
        """The Entra application. Raises NotConfigured while the Owner has not named it."""
        if not (self.tenant_id and self.client_id):
            raise NotConfigured("application")
        return Application(self.tenant_id, self.client_id)

    def problems(self) -> tuple[str, ...]:
        """Say what is wrong with these values, as sentences; empty when they can be saved."""
        found = [
            f"The {label} is not a GUID (32 hexadecimal digits in five groups): copy it from the Azure portal."
            for label, value in (
                ("Directory (tenant) ID", self.tenant_id),
                ("Application (client) ID", self.client_id),
                ("Object ID", self.object_id),
            )
            if value and not _GUID.fullmatch(value)
        ]
        if self.sso_active and not (self.tenant_id and self.client_id):
            found.append(
                "SSO cannot be active without a Directory (tenant) ID and an Application (client) ID."
            )
        if not _ROLE.fullmatch(self.admin_role):
            found.append("The Admin role must be the value of an app role: up to 120 characters, no spaces.")
        return tuple(found)


def read_settings(store: Store) -> SsoSettings:
    """Read the settings; the defaults (SSO not active) while nothing has been saved."""
    row = store.get(Table.SETTINGS, _PARTITION, _KEY)
    if row is None:
        return SsoSettings()
    return SsoSettings(
        tenant_id=str(row.values["tenant_id"]),
        client_id=str(row.values["client_id"]),
        object_id=str(row.values["object_id"]),
        sso_active=row.values["sso_active"] is True,
        admin_role=str(row.values["admin_role"]),
        etag=row.etag,
    )


def save_settings(store: Store, settings: SsoSettings) -> SsoSettings:
    """Save settings over the version they were read from. Raises Conflict when they changed since.

    Raises ValueError for values that `problems` finds fault with: callers show those to the person first.
    """
    if settings.problems():
        raise ValueError(settings.problems())
    values: dict[str, Value] = {
        "tenant_id": settings.tenant_id,
        "client_id": settings.client_id,
        "object_id": settings.object_id,
        "sso_active": settings.sso_active,
        "admin_role": settings.admin_role,
    }
    row = Row(_PARTITION, _KEY, values, settings.etag)
    saved = store.replace(Table.SETTINGS, row) if settings.etag else store.insert(Table.SETTINGS, row)
    return replace(settings, etag=saved.etag)
