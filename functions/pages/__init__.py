"""The pages people see: Jinja2 templates and a few static files.

They hold no script, no inline style and no event handler, so that they work under the strictest policy:
`default-src 'none'; style-src 'self'; img-src 'self'`. A page is named without its ending, as in
`render("signin", …)`; the comment at the top of each template lists what it needs.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
_CONTENT_TYPES = {"style.css": "text/css; charset=utf-8", "favicon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do next, offered by the page `message`: a link."""

    label: str
    url: str
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file, ready to be sent. Its URL holds its hash, so it may be cached for ever."""

    url: str
    body: bytes
    content_type: str
    etag: str


def render(page: str, /, **context: object) -> str:
    """Return the HTML of a page. Values are escaped; a missing one raises `jinja2.UndefinedError`."""
    return _environment().get_template(f"{page}.html.j2").render(context)


def asset(name: str) -> Asset | None:
    """Find a static file by the last part of its URL; None when there is no such file or version."""
    return next((asset for asset in _assets().values() if asset.url == f"/assets/{name}"), None)


def asset_url(name: str) -> str:
    """Return where the doors serve a static file: `style.css` is at `/assets/style.<hash>.css`."""
    return _assets()[name].url


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset_url"] = asset_url
    return environment


@cache
def _assets() -> dict[str, Asset]:
    return {name: _load(name, content_type) for name, content_type in _CONTENT_TYPES.items()}


def _load(name: str, content_type: str) -> Asset:
    body = (_FOLDER / name).read_bytes()
    version = hashlib.sha256(body).hexdigest()[:16]
    stem, _, ending = name.partition(".")
    return Asset(f"/assets/{stem}.{version}.{ending}", body, content_type, etag=f'"{version}"')
