"""The commands of the laptop: `python -m local run`, `cloud` and `functions`."""

import argparse
import sys
from pathlib import Path

from local.children import ChildFailedError
from local.ports import PortTakenError


def main() -> int:
    """Run a command; answers its exit code."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the whole product, with everything around it")
    cloud = commands.add_parser("cloud", help="everything around the functions, for `func start`")
    for command in (run, cloud):
        command.add_argument("--fresh", action="store_true", help="forget the state of earlier runs")
    functions = commands.add_parser("functions", help="the functions alone, configured by the environment")
    functions.add_argument("--app", type=Path, default=Path.cwd(), help="the directory of function_app.py")
    functions.add_argument("--clock", type=Path, help="a file with the seconds that their clock is ahead")
    for command in (run, cloud, functions):
        command.add_argument("--port", type=int, default=7071)
    arguments = parser.parse_args()
    # Imported here because each command loads only what it needs.
    try:
        if arguments.command == "functions":
            from local.functions import serve  # noqa: PLC0415 - see above

            clock = arguments.clock.resolve() if arguments.clock else None
            return serve(arguments.port, arguments.app.resolve(), clock)
        from local.run import run as run_everything  # noqa: PLC0415 - see above

        functions_too = arguments.command == "run"
        return run_everything(arguments.port, fresh=arguments.fresh, functions=functions_too)
    except ChildFailedError as failure:
        print(failure, file=sys.stderr)
        return 1
    except PortTakenError as taken:
        other = arguments.port + 100
        print(f"{taken}. Choose others, for example: make {arguments.command} PORT={other}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
