"""What the laptop starts never outlives it."""

import os
import signal
import sys
import textwrap
from pathlib import Path
from queue import Queue

import pytest

from local.children import Child, ChildFailedError

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str) -> Child:
    """Start a Python program."""
    return Child("program", [sys.executable, "-c", textwrap.dedent(code), *arguments], cwd=ROOT)


def test_child_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    """Even kill -9 leaves nothing behind: the other end of a FIFO closes when the grandchild ends."""
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    starter = python(
        """
        import sys, threading
        from local.children import Child
        code = "import threading; alive = open(" + repr(sys.argv[1]) + ", 'w'); threading.Event().wait()"
        Child("grandchild", [sys.executable, "-c", code])
        threading.Event().wait()
        """,
        str(alive),
    )
    with alive.open() as reader:  # opens once the grandchild has opened the other end
        starter.kill()
        assert reader.read() == ""


def test_child_that_ignores_sigterm_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping does not wait for ever."""
    monkeypatch.setattr("local.children._GRACE_SECONDS", 0.1)
    stubborn = python(
        """
        import json, signal, threading
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(json.dumps({}), flush=True)
        threading.Event().wait()
        """
    )
    stubborn.announcement(20)
    stubborn.stop()
    assert stubborn.wait() == -signal.SIGKILL


def test_exit_code_is_the_commands() -> None:
    """The leash passes the command's exit code on."""
    with python("raise SystemExit(7)") as child:
        assert child.wait(20) == 7


def test_child_that_never_announces_itself_is_an_error() -> None:
    """The error holds the last words."""
    with pytest.raises(ChildFailedError, match="no ward here"):
        python("raise SystemExit('no ward here')").announcement(20)


def test_every_line_is_heard() -> None:
    """Both streams reach the listener, but for the announcement."""
    heard: Queue[tuple[str, str]] = Queue()
    code = "import sys; print('{}'); print('out'); print('err', file=sys.stderr)"
    child = Child("program", [sys.executable, "-c", code], listener=lambda *line: heard.put(line))
    assert child.announcement(20) == {}
    assert {heard.get(timeout=20), heard.get(timeout=20)} == {("program", "out"), ("program", "err")}
    child.stop()
