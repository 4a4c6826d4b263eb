"""The lines of the report, and how they are printed."""

from dataclasses import dataclass

_MICROSECOND, _MILLISECOND = 1e-6, 1e-3
_WIDTHS = {"what": 54, "figure": 9, "baseline": 37, "ratio": 7, "target": 12, "verdict": 7}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. Without a target it is there to explain another; `verdict` is empty then."""

    what: str
    figure: str
    baseline: str = ""
    ratio: str = ""
    target: str = ""
    verdict: str = ""


def ratio_line(
    what: str, seconds: float, baseline: str, baseline_seconds: float, at_most: float | None
) -> Line:
    """Write a time beside its baseline; `at_most` is the largest ratio that meets the target."""
    ratio = seconds / baseline_seconds
    return Line(
        what,
        duration(seconds),
        f"{duration(baseline_seconds)} {baseline}",
        f"{ratio:.2f} x",
        "" if at_most is None else f"<= {at_most} x",
        "" if at_most is None else verdict(met=ratio <= at_most),
    )


def verdict(*, met: bool) -> str:
    """Say whether a target is met."""
    return "met" if met else "NOT met"


def duration(seconds: float) -> str:
    """Write a time with three digits, in the unit that suits it."""
    if seconds < _MILLISECOND:
        return f"{seconds / _MICROSECOND:.3g} us"
    if seconds < 1:
        return f"{seconds / _MILLISECOND:.3g} ms"
    return f"{seconds:.3g} s"


def head() -> str:
    """Write the head of the table."""
    return "\n".join((_row(list(_WIDTHS)), _row(["-" * width for width in _WIDTHS.values()])))


def row(line: Line) -> str:
    """Write one line of the table."""
    return _row([str(getattr(line, name)) for name in _WIDTHS])


def _row(cells: list[str]) -> str:
    return " | ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS.values(), strict=True)).rstrip()
