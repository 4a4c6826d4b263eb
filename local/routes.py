"""Which function takes a request: the route table of the Functions host.

The host tries routes in the order of the functions' names, whatever their templates (azure-functions-host #9876), and
answers HEAD wherever it answers GET.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from local.worker import Function

_PARAMETER = re.compile(r"\{(\*?)(\w+)\}")
_ENCODED_SLASH = re.compile("(%2f)", re.IGNORECASE)
_RESERVED = {"admin", "runtime"}


@dataclass(frozen=True, slots=True)
class Route:
    """A template of an HTTP function, compiled. No methods means all methods."""

    function: Function
    pattern: re.Pattern[str]
    methods: frozenset[str]


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes of an app, in the order in which they are tried."""

    routes: tuple[Route, ...]

    @classmethod
    def of(cls, functions: Iterable[Function], prefix: str) -> Self:
        """Make the table of the HTTP functions. Raises ValueError for a template that the host refuses."""
        http = [f for f in functions if f.trigger["type"] == "httpTrigger"]
        return cls(tuple(_route(f, prefix) for f in sorted(http, key=lambda f: f.name.lower())))

    def match(self, method: str, path: str) -> tuple[Function, dict[str, str]] | None:
        """Find the function for a decoded path, and the values in the path.

        The method is part of the match: what one route does not take falls to the next one.
        """
        method = "GET" if method == "HEAD" else method
        for route in self.routes:
            found = route.pattern.fullmatch(path)
            if found and (not route.methods or method in route.methods):
                return route.function, {k: v for k, v in found.groupdict().items() if v}
        return None


def decode_path(raw: str) -> str:
    """Percent-decode a path as Kestrel does: everything but an encoded slash."""
    if "%" not in raw:
        return raw
    return "".join(
        part if part.upper() == "%2F" else unquote(part, errors="replace")
        for part in _ENCODED_SLASH.split(raw)
    )


def _route(function: Function, prefix: str) -> Route:
    template = function.trigger.get("route", function.name)
    segments = [s for s in f"{prefix}/{template}".split("/") if s]
    if segments and segments[0].lower() in _RESERVED:
        message = (
            f"the host keeps routes that begin with {segments[0]!r} for itself (function {function.name})"
        )
        raise ValueError(message)
    pattern = "".join(_compile(segment) for segment in segments)
    methods = frozenset(method.upper() for method in function.trigger.get("methods", ()))
    return Route(function, re.compile(f"{pattern}/?", re.IGNORECASE), methods)


def _compile(segment: str) -> str:
    """Compile a segment: a literal, a parameter or a catch-all."""
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        if "{" in segment:
            message = f"this host does not know the route segment {segment!r}"
            raise ValueError(message)
        return "/" + re.escape(segment)
    star, name = parameter.groups()
    return f"(?:/(?P<{name}>.*))?" if star else f"/(?P<{name}>[^/]+)"
