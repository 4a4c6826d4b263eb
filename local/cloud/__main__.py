"""`python -m local.cloud --state DIR --port N`: see the package."""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from local.cloud.server import Addresses, run_until_stopped


def main() -> int:
    """Serve until SIGTERM or Ctrl-C. Returns 1 when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m local.cloud", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the directory that state is kept in")
    parser.add_argument("--port", type=int, default=0, help="the first of three ports; 0 chooses free ones")
    arguments = parser.parse_args()
    try:
        asyncio.run(run_until_stopped(arguments.state, arguments.port, _announce))
    except OSError as error:
        print(f"The laptop cloud cannot start: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


def _announce(addresses: Addresses) -> None:
    print(json.dumps(asdict(addresses)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
