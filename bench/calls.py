"""What a warm sign-in calls, counted by the stand-ins and by the proxy before the store."""

import time

from bench.stage import Stage
from bench.table import Line, verdict
from bench.visitor import Visitor

_WARM_UP = 3
_SIGN_INS = 20
_AUDIT_SECONDS = 1.0
"""More than the audit log waits for company, so that its thread is done."""
_BY_THE_BROWSER = ("entra: authorize", "entra: login")


def measure(stage: Stage) -> list[Line]:
    """Count over some sign-ins of one person, one after the other."""
    with Visitor(stage, stage.people[0]) as visitor:
        for _ in range(_WARM_UP):
            visitor.sign_in()
        time.sleep(_AUDIT_SECONDS)
        before = stage.calls()
        for _ in range(_SIGN_INS):
            visitor.sign_in()
        time.sleep(_AUDIT_SECONDS)
        called = stage.calls() - before
    for name in _BY_THE_BROWSER:
        del called[name]
    audit = sum(count for name, count in called.items() if name.endswith("sosaudit"))
    store = sum(count for name, count in called.items() if name.startswith("store: ")) - audit
    vault = sum(count for name, count in called.items() if name.startswith(("vault: ", "identity: ")))
    microsoft = sum(count for name, count in called.items() if name.startswith("entra: "))
    return [
        _line("warm sign-in: calls to Microsoft", microsoft, 1),
        _line("warm sign-in: calls to the store, in the request", store, 2),
        _line("warm sign-in: calls to the vault and managed identity", vault, 0),
        _line("  behind it, in batches: audit rows", audit, None),
        *(_line(f"  by name: {name}", count, None) for name, count in sorted(called.items())),
    ]


def _line(what: str, called: int, at_most: int | None) -> Line:
    each = called / _SIGN_INS
    if at_most is None:
        return Line(what, f"{each:.3g}")
    return Line(what, f"{each:.3g}", target=f"<= {at_most}", verdict=verdict(met=each <= at_most))
