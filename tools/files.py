"""The files of the repository, as git knows them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def repository_files() -> list[Path]:
    """List the files that are tracked, or new and not ignored, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - fixed words
    paths = (Path(name) for name in answer.stdout.split("\0") if name)
    return [path for path in paths if (ROOT / path).is_file()]
