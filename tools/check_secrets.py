"""No file holds a secret, or the path of somebody's machine."""

import re
import sys
from pathlib import Path

from tools.files import ROOT, repository_files

_KINDS = {
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "private JSON Web Key": re.compile(r'"d"\s*:\s*"[A-Za-z0-9_-]{20,}"'),
    "signed token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "storage account key": re.compile(r"(?<![A-Za-z0-9+/-])[A-Za-z0-9+/]{86}=="),
    "shared access signature": re.compile(r"[?&]sig=[A-Za-z0-9%+/]{30,}"),
    "Entra client secret": re.compile(r"\b[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,}"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{30,}"),
    "cloud access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "path of a machine": re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+)/"),
}

# Places that hold what only looks like a secret, and why.
_ALLOWED = {
    ("local/azurite.py", "storage account key"): "every copy of Azurite has this one",
    ("tests/vectors/", "private key"): "published with the standards' examples",
    ("tests/vectors/", "private JSON Web Key"): "as above",
    ("tests/vectors/", "signed token"): "as above",
}


def findings(path: Path) -> list[str]:
    """Say what a file holds that it should not, by place and kind; never the secret itself."""
    try:
        lines = (ROOT / path).read_text().splitlines()
    except UnicodeDecodeError:
        return []
    return [
        f"{path}:{number}: {kind}"
        for number, line in enumerate(lines, start=1)
        for kind, pattern in _KINDS.items()
        if pattern.search(line) and not _allowed(path, kind)
    ]


def _allowed(path: Path, kind: str) -> bool:
    return any(path.as_posix().startswith(place) and kind == of for place, of in _ALLOWED)


if __name__ == "__main__":
    found = [finding for path in repository_files() for finding in findings(path)]
    sys.exit("\n".join(["Files that hold what they should not:", *found]) if found else 0)
