"""Runs a command that ends when whoever started it ends, even by `kill -9`: `python leash.py COMMAND…`.

The starter holds the other end of standard input, which closes when the starter ends, in whatever way and on
every system.
"""

import os
import signal
import subprocess
import sys
import threading

_GRACE_SECONDS = 6


def _end_with_starter(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def main() -> None:
    """Run the command and end with its exit code. A signal reaches the whole group; the command decides."""
    for passed_on in (signal.SIGTERM, signal.SIGINT):
        signal.signal(passed_on, lambda *_: None)  # not SIG_IGN: the command would inherit that
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603 - our own commands only
    threading.Thread(target=_end_with_starter, args=(child,), daemon=True).start()
    code = child.wait()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
