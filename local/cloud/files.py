"""Files that are whole at every moment, and readable by their owner only."""

import json
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that a crash leaves the old one or the new one."""
    unfinished = path.with_name(path.name + ".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)


def write_json(path: Path, document: object) -> None:
    """Replace a JSON file in one step."""
    write_atomically(path, json.dumps(document, indent=1).encode())
