"""What it costs to import the function app and index its functions, each time in a new interpreter.

An import is work for the processor alone, so its time on the processor is taken: other programs count little.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.alternate import medians
from bench.table import Line, ratio_line

_ROOT = Path(__file__).parent.parent
_SETTINGS = {
    "SOS_ADDRESS": "https://signin.clinic.example",
    "KEY_VAULT_URL": "https://vault.clinic.example",
    "TABLES_URL": "https://tables.clinic.example",
}
_LIBRARY = "import azure.functions"
_APP = "import function_app; function_app.app.get_functions()"


def measure(runs: int) -> list[Line]:
    """Compare the import with that of `azure.functions` alone, which every Python function app pays."""
    found = medians({"library": _timed(_LIBRARY), "app": _timed(_APP)}, runs)
    what = "import function_app, index all functions"
    return [ratio_line(what, found["app"], "import azure.functions", found["library"], 1.25)]


def _timed(statement: str) -> Callable[[], float]:
    program = f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)"

    def run() -> float:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", program],
            cwd=_ROOT,
            env={**os.environ, **_SETTINGS},
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)

    return run
