"""The managed identity endpoint of App Service (api-version 2019-08-01), and the tokens it has issued.

It keeps the machine's clock: the SDK judges its tokens by that one.
"""

import hashlib
import json
import secrets
import time
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

from local.cloud.files import write_json
from local.cloud.web import Request, Response, Route, Service, json_response

PATH: Final = "/msi/token"
_API_VERSION = "2019-08-01"
_TOKEN_LIFETIME_SECONDS = 24 * 60 * 60


class IssuedTokens:
    """The header that callers prove themselves with, and the tokens given out, kept in one JSON file.

    A caller may go on with its token after a restart, as with a real one. Only digests of tokens are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        if file.exists():
            document = json.loads(file.read_bytes())
            self.header: str = document["header"]
            self._tokens: dict[str, tuple[str, int]] = {k: (r, e) for k, (r, e) in document["tokens"].items()}
        else:
            self.header = secrets.token_urlsafe(32)
            self._tokens = {}
            self._save()

    def issue(self, resource: str) -> tuple[str, int]:
        """Give a new token for a resource, and when it expires (seconds since 1970)."""
        now = int(time.time())
        token, expires_on = secrets.token_urlsafe(48), now + _TOKEN_LIFETIME_SECONDS
        self._tokens = {k: v for k, v in self._tokens.items() if v[1] > now}
        self._tokens[_digest(token)] = (resource.rstrip("/"), expires_on)
        self._save()
        return token, expires_on

    def resource_of(self, token: str) -> str | None:
        """Give the resource that a token is for; None when it is unknown or has expired."""
        resource, expires_on = self._tokens.get(_digest(token), ("", 0))
        return resource if expires_on > time.time() else None

    def _save(self) -> None:
        write_json(self._file, {"header": self.header, "tokens": self._tokens})


def identity_service(tokens: IssuedTokens) -> Service:
    """Serve the token endpoint."""
    return Service(
        routes=(Route("token", "GET", PATH, partial(_token, tokens)),),
        not_found=lambda _: _refused(HTTPStatus.NOT_FOUND, "NotFound", "There is nothing at this path."),
        broken=lambda status: {"statusCode": int(status), "error": status.phrase},
    )


def _token(tokens: IssuedTokens, request: Request) -> Response:
    given = request.headers.get("x-identity-header", "")
    if not secrets.compare_digest(given.encode(), tokens.header.encode()):
        return _refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "X-IDENTITY-HEADER is missing or wrong.")
    if request.query.get("api-version") != _API_VERSION:
        return _refused(HTTPStatus.BAD_REQUEST, "UnsupportedApiVersion", f"api-version is {_API_VERSION}.")
    resource = request.query.get("resource", "")
    if not resource:
        return _refused(HTTPStatus.BAD_REQUEST, "BadRequest", "The query names no resource.")
    token, expires_on = tokens.issue(resource)
    return json_response(
        {
            "access_token": token,
            "expires_on": str(expires_on),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": request.query.get("client_id", ""),
        }
    )


def _refused(status: HTTPStatus, code: str, message: str) -> Response:
    return json_response({"statusCode": int(status), "error": code, "message": message}, status)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
