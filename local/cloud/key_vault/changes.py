"""Attributes and tags as requests carry them."""

from dataclasses import replace

from local.cloud.key_vault.errors import bad_parameter
from local.cloud.key_vault.vault import Attributes
from local.cloud.web import Json


def changed_attributes(attributes: Attributes, given: Json | None, now: int) -> Attributes:
    """Set the given attributes and the time of the change. Raises VaultError (400) for bad values."""
    named = {name: value for name, value in (given or {}).items() if value is not None}
    if not isinstance(named.get("enabled", True), bool):
        message = "The attribute enabled is true or false."
        raise bad_parameter(message)
    if not all(isinstance(named.get(name, 0), int) for name in ("nbf", "exp")):
        message = "The attributes nbf and exp are whole seconds."
        raise bad_parameter(message)
    known = {name: value for name, value in named.items() if name in {"enabled", "nbf", "exp"}}
    return replace(attributes, updated=now, **known)


def tags_of(body: Json, otherwise: dict[str, str] | None = None) -> dict[str, str]:
    """Give the tags of a request, or what they were where it names none."""
    tags = body.get("tags")
    return (otherwise or {}) if tags is None else {str(name): str(value) for name, value in tags.items()}
