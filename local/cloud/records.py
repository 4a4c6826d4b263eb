"""Records that a JSON object may change."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def changed[T: DataclassInstance](record: T, values: Mapping[str, object]) -> T:
    """Give the record with the named fields set. Raises ValueError for one unknown or of another type."""
    known = {f.name: getattr(record, f.name) for f in fields(record)}
    new: dict[str, object] = {}
    for name, value in values.items():
        if name not in known:
            message = f"{name!r} is not one of {sorted(known)}"
            raise ValueError(message)
        fitting = tuple(value) if isinstance(value, list) else value
        if type(fitting) is not type(known[name]):
            message = f"{name} is a {type(known[name]).__name__}, not {value!r}"
            raise ValueError(message)
        new[name] = fitting
    return replace(record, **new)
