"""`python -m local.year`: play twelve months of renewal, print the timeline and a table, and draw the picture."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from local.children import ChildFailedError
from local.year.picture import draw
from local.year.play import play
from local.year.table import closing

_PICTURE: Final = Path(__file__).parents[2] / "docs/pictures/year.svg"


def main() -> int:
    """Play; answers 1 when a sign-in failed, an alarm is still open, or a rotation has not ended."""
    parser = argparse.ArgumentParser(prog="python -m local.year", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="from which the faults are drawn (1)")
    parser.add_argument("--picture", type=Path, default=_PICTURE, help="the file to draw")
    arguments = parser.parse_args()
    print(f"Twelve months of renewal, seed {arguments.seed}\n", flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            played = play(arguments.seed, Path(folder), lambda line: print(line, flush=True))
    except ChildFailedError as failure:
        print(failure, file=sys.stderr)
        return 1
    print("", *closing(played), sep="\n")
    arguments.picture.write_text(draw(played), encoding="utf-8")
    print(f"drawn       {arguments.picture}")
    for problem in played.problems:
        print(f"PROBLEM     {problem}")
    return 1 if played.problems else 0


if __name__ == "__main__":
    sys.exit(main())
