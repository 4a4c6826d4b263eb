"""The Azure Functions host, as far as a function can see it, as an ASGI application.

What it does to requests and responses follows Azure/azure-functions-host (GrpcMessageConversionExtensions,
RawScriptResult) and ASP.NET Core (SetCookieHeaderValue, Kestrel's limits); each rule is named at its place.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

from local.protos import Message, RpcHttpCookie, TypedData
from local.routes import Routes, decode_path
from local.worker import Function, FunctionError, Worker

type Scope = dict[str, Any]
type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]
type Answer = tuple[int, list[tuple[bytes, bytes]], bytes]

MAX_BODY_BYTES = 100 * 1024 * 1024
MAX_HEADER_BYTES = 32 * 1024  # Kestrel's MaxRequestHeadersTotalSize
_ADMIN_FUNCTIONS = "/admin/functions/"
_WRITTEN_BY_THE_SERVER = {"content-length", "transfer-encoding", "connection", "date", "server"}
_TIMER = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}

_log = logging.getLogger(__name__)


class Host:
    """Serves the functions of a worker."""

    def __init__(self, worker: Worker, route_prefix: str) -> None:
        self._worker = worker
        self._routes = Routes.of(worker.functions, route_prefix)
        self._triggered = {f.name.lower(): f for f in worker.functions if f.trigger["type"] != "httpTrigger"}
        self._running: set[asyncio.Task[TypedData | None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        status, headers, body = await self._answer(scope, receive)
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method: str = scope["method"]
        path = decode_path(scope["raw_path"].decode("latin-1"))
        if _header_bytes(scope) > MAX_HEADER_BYTES:
            return _empty(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if method == "POST" and path.startswith(_ADMIN_FUNCTIONS):
            return self._trigger(path.removeprefix(_ADMIN_FUNCTIONS))
        matched = self._routes.match(method, path)
        if matched is None:
            return _empty(HTTPStatus.NOT_FOUND)
        headers = _headers(scope)
        function, route_values = matched
        body = await _body(headers, receive)
        if body is None:
            return _empty(HTTPStatus.CONTENT_TOO_LARGE)
        request = TypedData(http=_request(scope, headers, route_values, body))
        try:
            return _response(await self._worker.invoke(function, request))
        except FunctionError as failure:
            _log.error("%s failed: %s", function.name, failure.trace)
            return _empty(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _trigger(self, name: str) -> Answer:
        """Run a timer now, as `POST /admin/functions/{name}` does; the answer does not wait for its end."""
        function = self._triggered.get(name.lower())
        if function is None:
            return _empty(HTTPStatus.NOT_FOUND)
        task = asyncio.create_task(self._worker.invoke(function, TypedData(json=json.dumps(_TIMER))))
        self._running.add(task)
        task.add_done_callback(lambda done: self._finished(function, done))
        return _empty(HTTPStatus.ACCEPTED)

    def _finished(self, function: Function, task: asyncio.Task[TypedData | None]) -> None:
        self._running.discard(task)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, FunctionError):
            _log.error("%s failed: %s", function.name, failure.trace)


def _header_bytes(scope: Scope) -> int:
    return sum(len(name) + len(value) for name, value in scope["headers"])


def _headers(scope: Scope) -> dict[str, str]:
    """Lower-case names; values of one name joined with commas without the empty ones (StringValues)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        _join(headers, raw_name.decode("latin-1"), raw_value.decode("latin-1"))
    host, port = scope["client"]
    client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # The front end of App Service appends the peer to whatever the client sent, and says how it was called.
    sent = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{sent}, {client}" if sent else client
    headers["x-forwarded-proto"] = scope["scheme"]
    return headers


def _join(values: dict[str, str], name: str, value: str) -> None:
    before = values.get(name)
    values[name] = f"{before},{value}" if before and value else before or value


def _query(raw: bytes) -> dict[str, str]:
    """Names without regard to case, the first spelling kept; empty values dropped."""
    spelling: dict[str, str] = {}
    query: dict[str, str] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), errors="replace"):
        _join(query, spelling.setdefault(name.lower(), name), value)
    return query


async def _body(headers: dict[str, str], receive: Receive) -> bytes | None:
    """Read the body; None when it is too large, or the client left half-way.

    The host hands a body on only when the request has a Content-Length: a chunked one reaches the function
    empty (azure-functions-host #7930).
    """
    length = int(headers.get("content-length") or 0)
    if length > MAX_BODY_BYTES:
        return None
    chunks: list[bytes] = []
    more = length > 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(chunks)


def _request(scope: Scope, headers: dict[str, str], route_values: dict[str, str], body: bytes) -> Message:
    query: bytes = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    return Message(
        method=scope["method"],
        url=f"{scope['scheme']}://{headers.get('host', '')}{target.decode('latin-1')}",
        headers=headers,
        params=route_values,
        query=_query(query) if query else {},
        body=TypedData(bytes=body) if body else TypedData(),
    )


def _response(returned: TypedData | None) -> Answer:
    match returned:
        case TypedData(http=http):
            headers = _response_headers(http.headers.items())
            headers += [
                (b"set-cookie", _set_cookie(cookie).encode("latin-1")) for cookie in http.cookies or ()
            ]
            return int(http.status_code), headers, http.body.bytes
        case TypedData(string=text):
            return HTTPStatus.OK, [(b"content-type", b"text/plain; charset=utf-8")], text.encode()
        case _:
            return _empty(HTTPStatus.NO_CONTENT)


def _response_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """One value for each name; the worker has kept the last of those that repeat."""
    named = {name.lower(): value for name, value in headers if name.lower() not in _WRITTEN_BY_THE_SERVER}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]


def _set_cookie(cookie: RpcHttpCookie) -> str:
    """Write a cookie as ASP.NET Core does: the value escaped, a missing domain as an empty one."""
    parts = [f"{cookie.name}={quote(cookie.value, safe='')}"]
    if cookie.expires:
        expires = datetime.fromtimestamp(cookie.expires.value.seconds, UTC)
        parts.append(f"expires={format_datetime(expires, usegmt=True)}")
    if cookie.max_age:
        parts.append(f"max-age={int(cookie.max_age.value)}")
    parts.append(f"domain={cookie.domain.value}")
    parts.append(f"path={cookie.path.value}")
    if cookie.secure.value:
        parts.append("secure")
    if cookie.same_site:
        parts.append(f"samesite={cookie.same_site}")
    if cookie.http_only.value:
        parts.append("httponly")
    return "; ".join(parts)


def _empty(status: HTTPStatus) -> Answer:
    return status, [], b""
