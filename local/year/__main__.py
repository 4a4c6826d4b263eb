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

_ROOT: Final = Path(__file__).parents[2]
_SEED: Final = 1
"""Whose year is the picture in the README."""


def main() -> int:
    """Play; answers 1 when a sign-in failed, an alarm is still open, or a rotation has not ended."""
    parser = argparse.ArgumentParser(prog="python -m local.year", description=__doc__)
    parser.add_argument("--seed", type=int, default=_SEED, help="from which the faults are drawn (1)")
    arguments = parser.parse_args()
    picture = _ROOT / ("docs/pictures/year.svg" if arguments.seed == _SEED else ".local/year.svg")
    print(f"Twelve months of renewal, seed {arguments.seed}\n", flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            played = play(arguments.seed, Path(folder), lambda line: print(line, flush=True))
    except ChildFailedError as failure:
        print(failure, file=sys.stderr)
        return 1
    print("", *closing(played), sep="\n")
    picture.parent.mkdir(exist_ok=True)
    picture.write_text(draw(played), encoding="utf-8")
    print(f"drawn       {picture.relative_to(_ROOT)}")
    for problem in played.problems:
        print(f"PROBLEM     {problem}")
    return 1 if played.problems else 0


if __name__ == "__main__":
    sys.exit(main())
