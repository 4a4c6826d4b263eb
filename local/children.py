"""Processes that say when they are ready, are listened to, and never outlive us."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any, Self

_LEASH = str(Path(__file__).with_name("leash.py"))
_GRACE_SECONDS = 8
_LINES_KEPT = 20_000

type Listener = Callable[[str, str], None]
"""Is given the name of the child and one line of its output."""


class ChildFailedError(Exception):
    """A child ended before it was ready, or was not ready in time. The message holds its last words."""


class Child:
    """A running command and its output. It leads a process group of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        listener: Listener | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._listener = listener
        self._announced: Queue[dict[str, Any] | None] = Queue()
        self._process = subprocess.Popen(  # noqa: S603 - our own commands only
            [sys.executable, "-S", "-E", _LEASH, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read_announcement, daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def announcement(self, seconds: float) -> dict[str, Any]:
        """Wait for the line of JSON a child prints when it is ready. Raises ChildFailedError."""
        try:
            announced = self._announced.get(timeout=seconds)
        except Empty:
            announced = None
        if announced is None:
            raise self.failure()
        return announced

    def failure(self) -> ChildFailedError:
        """End it and make the error that tells why it is of no use."""
        self.kill()
        last_words = "\n".join(list(self.lines)[-30:])
        return ChildFailedError(f"{self.name} did not start (exit code {self.wait()}):\n{last_words}")

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the end; answers the exit code."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        """Ask it to end, and make it after a while. Idle when it has ended."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it now, without a word to it."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read_announcement(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            return
        for line in stdout:
            if line.startswith(b"{"):
                self._announced.put(json.loads(line))
                break
            self._hear(line)
        self._announced.put(None)
        self._read(stdout)

    def _read(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\n")
        self.lines.append(text)
        if self._listener:
            self._listener(self.name, text)
