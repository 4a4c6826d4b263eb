"""What a stand-in counts, and how it is told to fail.

Each stand-in (and the table proxy) offers the same control paths on its own port:

    GET  /_control/calls     {"operation": how often, …}
    POST /_control/faults    a JSON list of faults, added to those that wait
    POST /_control/reset     forgets counts and faults
"""

import json
from collections import Counter
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from threading import Lock
from typing import Literal, get_args

CONTROL_PREFIX = "/_control/"

type _Kind = Literal["status", "delay", "cut", "lose_answer"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail: answer `status`, wait `seconds` and then answer truly, or cut the connection.

    Only `delay` and `lose_answer` let the call take effect; `lose_answer` cuts the connection afterwards.
    """

    kind: _Kind
    match: str = ""
    """A part of "METHOD /path", so "PUT", "/keys/" and "POST /keys/" all work; empty matches every call."""
    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: int | None = None
    """Seconds, sent as `Retry-After` with a status."""
    seconds: float = 0.0
    times: int | None = None
    """How many calls it strikes; None means until the next reset."""


@dataclass(slots=True)
class Faults:
    """The faults that wait and the calls that were counted. Safe to share between threads."""

    _waiting: list[tuple[Fault, int | None]] = field(default_factory=list)
    _calls: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def add(self, *faults: Fault) -> None:
        """Queue faults; the oldest that matches a call strikes first."""
        with self._lock:
            self._waiting.extend((fault, fault.times) for fault in faults)

    def next_for(self, method: str, path: str) -> Fault | None:
        """Take the fault that strikes this call, if there is one."""
        call = f"{method} {path}"
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if fault.match not in call:
                    continue
                if left is not None and left <= 1:
                    del self._waiting[index]
                elif left is not None:
                    self._waiting[index] = (fault, left - 1)
                return fault
        return None

    def count(self, operation: str) -> None:
        """Count one call of the named operation."""
        with self._lock:
            self._calls[operation] += 1

    def calls(self) -> dict[str, int]:
        """How often each operation was called since the last reset."""
        with self._lock:
            return dict(self._calls)

    def reset(self) -> None:
        """Forget all faults and counts."""
        with self._lock:
            self._waiting.clear()
            self._calls.clear()

    def control(self, method: str, path: str, body: bytes) -> tuple[HTTPStatus, bytes]:
        """Answer a request under `CONTROL_PREFIX`: the status and a JSON body."""
        try:
            match method, path.removeprefix(CONTROL_PREFIX):
                case "GET", "calls":
                    return HTTPStatus.OK, json.dumps(self.calls()).encode()
                case "POST", "faults":
                    self.add(*parse_faults(body))
                case "POST", "reset":
                    self.reset()
                case _:
                    return HTTPStatus.NOT_FOUND, b"{}"
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, json.dumps({"error": str(error)}).encode()
        return HTTPStatus.OK, b"{}"


def parse_faults(body: bytes) -> list[Fault]:
    """Read a JSON list of faults. Raises ValueError, naming the field, for anything else."""
    entries = json.loads(body)
    if not isinstance(entries, list):
        message = "a list of faults is expected"
        raise ValueError(message)  # noqa: TRY004 - the caller answers 400 to ValueError, JSON errors included
    return [_parse(entry) for entry in entries]


def _parse(entry: object) -> Fault:
    known = {f.name for f in fields(Fault)}
    if not isinstance(entry, dict) or not set(entry) <= known:
        message = f"a fault is an object with some of {sorted(known)}, not {entry!r}"
        raise ValueError(message)
    if entry.get("kind") not in get_args(_Kind.__value__):
        message = f"kind is one of {get_args(_Kind.__value__)}, not {entry.get('kind')!r}"
        raise ValueError(message)
    return Fault(**entry)
