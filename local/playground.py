"""What `make run` begins with: an Owner, some accounts, a registered certificate, and SSO active.

Everything goes the way it goes in production: the rules of `shared` on the real SDKs. Only the Owner's part at the portal
(registering the redirect URI and uploading the certificate) is done on the stand-in's control paths.
"""

import base64
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from local.laptop import Cloud
from shared import accounts, settings
from shared.access import Level
from shared.azure.connect import connect
from shared.base64url import random_id
from shared.certificate import CERTIFICATE_NAME
from shared.config import Config
from shared.password import hash_password
from shared.public_part import describe
from shared.renewal_state import CertificateVersion, read_state, save_state
from shared.secret import Secret
from shared.services import Services

_CERTIFICATE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class PasswordAccount:
    """An account of the playground that signs in by password."""

    username: str
    password: str
    name: str
    level: Level
    allow_login: bool = True


OWNER: Final = PasswordAccount("owner", "open-the-owners-door-by-night", "Owner", Level.OWNER)
ACCOUNTS: Final = (
    PasswordAccount("admin", "the-admin-keeps-a-tidy-desk", "Admin", Level.ADMIN),
    PasswordAccount("user", "a-user-walks-along-the-ward", "User", Level.USER),
    PasswordAccount(
        "former", "left-the-clinic-last-summer", "Former colleague", Level.USER, allow_login=False
    ),
)


def prepare(address: str, cloud: Cloud, tables_connection_string: str, state: Path) -> str:
    """Fill the store, the vault and the tenant where they are empty, and write `playground.json` for tools.

    Returns what to tell the person who started it.
    """
    environment = {
        "SOS_ADDRESS": address,
        "TABLES_CONNECTION_STRING": tables_connection_string,
        **cloud.environment(),
    }
    os.environ |= {name: environment[name] for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")}
    services = connect(Config.from_environ(environment))
    control = _Control(cloud.control_url)
    application = control.put(
        "application",
        {"redirect_uris": [f"{address}/azure"], "front_channel_logout_url": f"{address}/logout/microsoft"},
    )
    seed(services, application)
    certify(services, control)
    facts = _facts(environment, services, application, control.get("people"))
    (state / "playground.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return _guide(facts)


def seed(services: Services, application: dict[str, Any], *, sso_active: bool = True) -> None:
    """Make the accounts and save the settings, unless there are some already."""
    now, pepper = services.clock(), services.pepper.get()
    services.key_ring.get()
    for person in (OWNER, *ACCOUNTS):
        if accounts.account_by_user_name(services.store, person.username) is None:
            password_hash = Secret(hash_password(Secret(person.password), pepper.password))
            account = accounts.create(
                services.store, person.username, person.name, person.level, password_hash, now
            )
            if not person.allow_login:
                accounts.deactivate(services.store, account, now)
    before = settings.read_settings(services.store)
    if not before.tenant_id:
        wanted = replace(
            before,
            tenant_id=application["tenant_id"],
            client_id=application["client_id"],
            object_id=application["object_id"],
            sso_active=sso_active,
        )
        settings.save_settings(services.store, wanted)


def certify(services: Services, control: "_Control") -> None:
    """Have a certificate made, register it as by hand, and sign with it; unless one is in use."""
    if read_state(services.store).current is None:
        made, der = new_certificate(services)
        control.post("certificates", {"der_base64": base64.b64encode(der).decode()})
        sign_with(services, made)


def new_certificate(services: Services) -> tuple[CertificateVersion, bytes]:
    """Have a version made in the vault; gives it and its public part (DER)."""
    tag, deadline = random_id(), time.monotonic() + _CERTIFICATE_SECONDS
    services.vault.create_certificate(CERTIFICATE_NAME, tag)
    while (made := services.vault.find_certificate(CERTIFICATE_NAME, tag)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("the vault has not made a certificate")
        time.sleep(0.1)
    return describe(made), made.der


def sign_with(services: Services, version: CertificateVersion) -> None:
    """Make a registered version the one that signs, at once and without proof."""
    before, now = read_state(services.store), services.clock()
    current = replace(version, registered_at=now, switched_at=now, ok_at=now, probed_at=now)
    generation = before.generation + 1
    save_state(services.store, replace(before, generation=generation, phase_since=now, current=current))


class _Control:
    """The control paths of the stand-ins."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/", trust_env=False, timeout=10)

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return self._client.get(path).raise_for_status().json()

    def put(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        return self._client.put(path, json=body).raise_for_status().json()

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        return self._client.post(path, json=body).raise_for_status().json()


def _facts(
    environment: dict[str, str], services: Services, application: dict[str, Any], people: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "address": services.config.address,
        "tenant_id": application["tenant_id"],
        "client_id": application["client_id"],
        "object_id": application["object_id"],
        "authority_host": environment["ENTRA_AUTHORITY_HOST"],
        "graph_url": environment["GRAPH_URL"],
        "key_vault_url": environment["KEY_VAULT_URL"],
        "tables_connection_string": environment["TABLES_CONNECTION_STRING"],
        "ca_file": environment["TRUSTED_CA_FILE"],
        "owner": {"username": OWNER.username, "password": OWNER.password},
        "accounts": [
            {
                "username": account.username,
                "password": account.password,
                "level": account.level.slug,
                "allow_login": account.allow_login,
            }
            for account in ACCOUNTS
        ],
        "microsoft_users": [
            {name: person[name] for name in ("username", "password", "object_id", "assigned")}
            for person in people
        ],
        "sso_active": settings.read_settings(services.store).sso_active,
        "environment": environment,
    }


def _guide(facts: dict[str, Any]) -> str:
    """Write where to go and whom to sign in as."""
    lines = [f"Open {facts['address']} and sign in with Microsoft as"]
    for person in facts["microsoft_users"]:
        note = "" if person["assigned"] else "   (not assigned: is refused)"
        lines.append(f"  {person['username']:<26}{person['password']}{note}")
    lines.append(f"The Owner's password door is {facts['address']}/signin")
    owner = facts["owner"]
    lines.append(f"  {owner['username']:<26}{owner['password']}")
    if not facts["sso_active"]:
        lines.append(
            "SSO is not active: the other accounts sign in there as well (see .local/playground.json)."
        )
    return "\n".join(lines)
