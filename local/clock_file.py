"""A clock that another process moves through a file."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.cloud.files import write_atomically


def set_offset(file: Path, seconds: float) -> None:
    """Move the clock that reads this file `seconds` ahead of the machine's; it may go backwards."""
    write_atomically(file, f"{seconds:.3f}".encode())


def clock_of(file: Path) -> Callable[[], datetime]:
    """Give a clock that adds the seconds in the file, read at every call; none where there is no file."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=_offset(file))

    return now


def _offset(file: Path) -> float:
    try:
        return float(file.read_bytes() or 0)
    except FileNotFoundError:
        return 0.0
