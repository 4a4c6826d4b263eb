"""The settings of the deployment, from environment variables. `docs/configuration.md` is the table for people.

What the Owner sets (tenant, application, SSO on or off) is not here: it is a row in the store, see `settings`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from shared.errors import ConfigurationError
from shared.secret import Secret

DEFAULT_AUTHORITY_HOST = "https://login.microsoftonline.com"
DEFAULT_GRAPH_URL = "https://graph.microsoft.com"

_MOST_THREADS = 32
"""The worker's own bound."""
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-f:]+")


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked. URLs have no trailing slash; an empty text means not set."""

    address: str
    """Where people reach us: an origin. The redirect URI and the issuer of sessions are made from it."""
    app_url: str
    """Where a person goes who is signed in and asked for nothing else."""
    key_vault_url: str
    tables_url: str
    tables_connection_string: Secret | None
    authority_host: str
    graph_url: str
    managed_identity_client_id: str
    trusted_ca_file: str
    threads: int
    """How many requests an instance works on at once; the platform's own setting."""

    @property
    def redirect_uri(self) -> str:
        """The address that Microsoft sends answers to; registered on the Entra application."""
        return f"{self.address}/azure"

    @property
    def is_https(self) -> bool:
        """False on a laptop only."""
        return self.address.startswith("https://")

    @property
    def app_is_elsewhere(self) -> bool:
        """False where the application has this very address, or none is set: a proxy sends "/" to it, or nobody does."""
        return bool(self.app_url) and (self.app_origin != self.address or bool(urlsplit(self.app_url).path))

    @property
    def audience(self) -> str:
        """The `aud` of session tokens: the application they are made for."""
        return self.app_url or self.address

    @property
    def app_origin(self) -> str:
        """The origin (RFC 6454) of the application, or of the Address where no application is set."""
        return _origin(self.audience)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read and check every setting. Raises ConfigurationError with all problems, each with its remedy."""
        reader = _Reader(environ)
        address = reader.origin(
            "SOS_ADDRESS", "the address people open, such as https://signin.clinic.example"
        )
        app_url = reader.url("SOS_APP_URL", required=False)
        key_vault_url = reader.url("KEY_VAULT_URL", hint="such as https://my-vault.vault.azure.net")
        tables_url, connection_string = reader.tables()
        config = cls(
            address=address,
            app_url=app_url,
            key_vault_url=key_vault_url,
            tables_url=tables_url,
            tables_connection_string=connection_string,
            authority_host=reader.origin("ENTRA_AUTHORITY_HOST", default=DEFAULT_AUTHORITY_HOST),
            graph_url=reader.url("GRAPH_URL", default=DEFAULT_GRAPH_URL),
            managed_identity_client_id=environ.get("AZURE_CLIENT_ID", "").strip(),
            trusted_ca_file=reader.file("TRUSTED_CA_FILE"),
            threads=reader.threads("PYTHON_THREADPOOL_THREAD_COUNT"),
        )
        if reader.problems:
            raise ConfigurationError(reader.problems)
        return config


class _Reader:
    """Reads one variable at a time and collects what is wrong. Values are never repeated in a problem."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def _text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def url(self, name: str, *, required: bool = True, default: str = "", hint: str = "an https URL") -> str:
        """Read an https URL (http for localhost only), without its trailing slash."""
        text = self._text(name) or default
        if not text:
            if required:
                self.problems.append(f"{name} is missing: set it to {hint}.")
            return ""
        if problem := _url_problem(text):
            self.problems.append(f"{name} {problem}.")
        return text.rstrip("/")

    def origin(self, name: str, hint: str = "an https URL", default: str = "") -> str:
        """Read a URL that is an origin only: no path, query or fragment."""
        before = len(self.problems)
        text = self.url(name, hint=hint, default=default)
        if text and len(self.problems) == before and urlsplit(text).path:
            self.problems.append(f"{name} has a path: leave only the scheme and the host.")
        return _origin(text) if len(self.problems) == before else text

    def tables(self) -> tuple[str, Secret | None]:
        """Read where the store is: exactly one of the two variables."""
        connection_string = self._text("TABLES_CONNECTION_STRING")
        if connection_string and self._text("TABLES_URL"):
            self.problems.append("TABLES_URL and TABLES_CONNECTION_STRING are both set: keep one of them.")
        if connection_string:
            return "", Secret(connection_string)
        hint = (
            "such as https://myaccount.table.core.windows.net (or set TABLES_CONNECTION_STRING on a laptop)"
        )
        return self.url("TABLES_URL", hint=hint), None

    def threads(self, name: str) -> int:
        """Read the size of the worker's pool; what the worker takes when it is not set."""
        text = self._text(name)
        if not text:
            return min(32, (os.cpu_count() or 1) + 4)
        if not (re.fullmatch(r"[0-9]{1,2}", text) and 1 <= int(text) <= _MOST_THREADS):
            self.problems.append(
                f"{name} is not a number from 1 to {_MOST_THREADS}: set it to 32, or remove it."
            )
            return 1
        return int(text)

    def file(self, name: str) -> str:
        """Read the path of a file that must be there when it is named."""
        text = self._text(name)
        if text and not os.path.isfile(text):  # noqa: PTH113 - pathlib would be 3 ms of every cold start
            self.problems.append(f"{name} names no file: give the path of a PEM file, or remove it.")
        return text


def _origin(url: str) -> str:
    """Spell the origin of a URL as browsers do: lower case, no default port (RFC 6454, section 6.2)."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in {None, {"https": 443, "http": 80}[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _url_problem(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL: write it like https://host.example"
    if parts.scheme not in {"https", "http"} or not _HOST_NAME.fullmatch(host):
        return "is not a URL: write it like https://host.example"
    if parts.scheme == "http" and host not in _LOCAL_HOSTS:
        return "must begin with https:// (http:// is for localhost only)"
    if parts.username is not None or set(text) & set("?#") or not text.isprintable():
        return "must have no user name, query or fragment"
    return ""
