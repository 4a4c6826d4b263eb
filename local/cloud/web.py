"""The little of HTTP that the stand-ins need, on plain ASGI: routes, faults, counts and a Date."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any, cast
from urllib.parse import parse_qsl

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.cloud.clock import ShiftedClock
from local.faults import Faults

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Message, Receive, Send], Awaitable[None]]
type Headers = tuple[tuple[str, str], ...]
type Json = dict[str, Any]

_CUT = "local.cut"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read whole. `parts` holds what the route's pattern named."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    parts: Mapping[str, str] = field(default_factory=dict)

    def form(self) -> dict[str, str]:
        """Read an urlencoded body; empty for any other kind of body."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return {}
        return dict(parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True))

    def json(self) -> Json:
        """Read a JSON object; an empty body is an empty one. Raises MalformedBodyError for anything else."""
        try:
            document = json.loads(self.body or b"{}")
        except ValueError as error:
            raise MalformedBodyError from error
        if not isinstance(document, dict):
            raise MalformedBodyError
        return cast("Json", document)

    def cookie(self, name: str) -> str:
        """Read a cookie; empty when there is none."""
        cookies = SimpleCookie(self.headers.get("cookie", ""))
        return cookies[name].value if name in cookies else ""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, written whole."""

    status: int
    body: bytes = b""
    headers: Headers = ()


def json_response(document: object, status: int = HTTPStatus.OK, headers: Headers = ()) -> Response:
    """Answer JSON that is not to be stored."""
    content = (("content-type", "application/json; charset=utf-8"), ("cache-control", "no-store"))
    return Response(status, json.dumps(document).encode(), content + headers)


def page_response(html: str, status: int = HTTPStatus.OK, headers: Headers = ()) -> Response:
    """Answer a page that is not to be stored."""
    content = (("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store"))
    return Response(status, html.encode(), content + headers)


def redirect(location: str, headers: Headers = ()) -> Response:
    """Send the browser elsewhere."""
    return Response(HTTPStatus.FOUND, b"", (("location", location), ("cache-control", "no-store"), *headers))


class AnsweredError(Exception):
    """An error that knows its answer."""

    def response(self) -> Response:
        """Give the answer in the format of the service."""
        raise NotImplementedError


class MalformedBodyError(AnsweredError, ValueError):
    """The body is not a JSON object."""

    def response(self) -> Response:
        """Give the answer in Key Vault's format."""
        error = {"code": "BadParameter", "message": "A JSON object is expected."}
        return json_response({"error": error}, HTTPStatus.BAD_REQUEST)


type Handler = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """An operation: the name it is counted by, its methods (space between), the pattern of its path."""

    operation: str
    methods: str
    pattern: str
    handler: Handler

    def match(self, request: Request) -> Mapping[str, str] | None:
        """Give the named parts of the path when the request is for this route."""
        if request.method not in self.methods.split():
            return None
        found = re.fullmatch(self.pattern, request.path)
        return found.groupdict(default="") if found else None


@dataclass(frozen=True, slots=True)
class Service:
    """One stand-in as an ASGI application.

    `guard` may refuse a request before its handler sees it; such a call is counted as `challenge`. `broken`
    is the body of a status that a fault asks for.
    """

    routes: Sequence[Route]
    not_found: Handler
    broken: Callable[[HTTPStatus], Json]
    clock: ShiftedClock = field(default_factory=ShiftedClock)
    faults: Faults = field(default_factory=Faults)
    guard: Callable[[Request], Response | None] = lambda _: None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or fail as told."""
        request = await _read(scope, receive)
        operation, answer = self._plan(request)
        self.faults.count(operation)
        fault = self.faults.next_for(request.method, request.path)
        if fault and fault.kind == "lose_answer":
            answer()
        if fault and fault.kind in {"cut", "lose_answer"}:
            scope[_CUT]()
            await receive()  # until the server has noticed that the connection is gone
            return
        if fault and fault.kind == "status":
            after = (("retry-after", str(fault.retry_after)),) if fault.retry_after is not None else ()
            body = self.broken(HTTPStatus(fault.status))
            await self._write(send, json_response(body, fault.status, after))
            return
        if fault:
            await asyncio.sleep(fault.seconds)
        await self._write(send, answer())

    def _plan(self, request: Request) -> tuple[str, Callable[[], Response]]:
        matches = ((route, route.match(request)) for route in self.routes)
        route, parts = next(((r, p) for r, p in matches if p is not None), (None, {}))
        if route is None:
            return "not_found", lambda: self.not_found(request)
        asked = replace(request, parts=parts)
        refusal = self.guard(asked)
        if refusal:
            return "challenge", lambda: refusal
        return route.operation, lambda: _answer(route.handler, asked)

    async def _write(self, send: Send, response: Response) -> None:
        date = format_datetime(self.clock.now(), usegmt=True)
        headers = (*response.headers, ("content-length", str(len(response.body))), ("date", date))
        await send(
            {
                "type": "http.response.start",
                "status": int(response.status),
                "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            }
        )
        await send({"type": "http.response.body", "body": response.body})


class CuttableProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose connection an application can cut: ASGI itself has no word for that."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Hand the connection's `abort` to the application with every request."""
        super().connection_made(transport)
        app = cast("App", self.app)

        async def with_cut(scope: Message, receive: Receive, send: Send) -> None:
            scope[_CUT] = transport.abort
            await app(scope, receive, send)

        self.app = cast("Any", with_cut)


def _answer(handler: Handler, request: Request) -> Response:
    try:
        return handler(request)
    except AnsweredError as error:
        return error.response()


async def _read(scope: Message, receive: Receive) -> Request:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
    )
