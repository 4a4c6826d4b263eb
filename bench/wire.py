"""A thin HTTP client on one connection that stays open, so that its own time is a small part of what is measured."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read whole. Header names are in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """Give the first header of this name; empty when there is none."""
        return next((value for found, value in self.headers if found == name), "")

    def cookies(self) -> dict[str, str]:
        """Give the cookies that the answer sets, removed ones as empty values."""
        pairs = [value.partition(";")[0] for name, value in self.headers if name == "set-cookie"]
        return dict(pair.split("=", 1) for pair in pairs)


class Wire:
    """One connection to an origin. Answers must carry a Content-Length, as those of the host and the stand-ins do."""

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), _SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a GET for a path with its query."""
        self._socket.sendall(self._head("GET", target, headers or {}) + b"\r\n")
        return self._receive()

    def post(self, target: str, form: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send an urlencoded form."""
        head = self._head("POST", target, headers or {})
        head += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(form)
        self._socket.sendall(head + form)
        return self._receive()

    def _head(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def _receive(self) -> Answer:
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            self._read_more()
        status_line, *lines = self._unread[:end].decode("latin-1").split("\r\n")
        headers = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
        ]
        length = int(next((value for name, value in headers if name == "content-length"), "0"))
        start = end + 4
        while len(self._unread) < start + length:
            self._read_more()
        body, self._unread = self._unread[start : start + length], self._unread[start + length :]
        return Answer(int(status_line.split(" ")[1]), headers, body)

    def _read_more(self) -> None:
        received = self._socket.recv(65_536)
        if not received:
            raise ConnectionError("the connection ended in the middle of an answer")
        self._unread += received
