"""The closing table of a year."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from local.year.certificates import Life
from local.year.play import Played

_HEAD = ("certificate", "how", "made", "registered", "switched", "removed", "disabled")
_WIDTHS = (12, 16, 17, 17, 17, 17, 16)


def closing(played: Played) -> Iterator[str]:
    """Write the table, line by line."""
    world = played.world
    yield _row(_HEAD)
    for number, life in enumerate(world.lives.all, 1):
        yield _row((str(number), life.how, *(_moment(at) for at in _moments(life))))
    yield ""
    tried, failed, retried = (
        world.sign_ins.tried.total(),
        len(world.sign_ins.failed),
        len(world.sign_ins.retried),
    )
    yield f"sign-ins    {tried:,} tried, {failed} failed, {retried} needed the other certificate"
    yield "            (faults strike the renewal: a sign-in at the same moment would meet Microsoft's own outage)"
    yield f"ticks       {world.ticks.total():,}: {_counts(world.ticks)}"
    yield "calls       of the renewal to the vault, Graph and Microsoft, by generation (0: between rotations)"
    for generation, calls in sorted(world.outside_calls.items()):
        said = f"vault {calls['vault']}, Graph {calls['graph']}, Microsoft {calls['entra']}"
        yield f"            {generation}: {said}"
    alarms = Counter(line.text.split()[3] for line in world.chronicle.of_kind("alarm"))
    yield f"alarms      {_counts(alarms) or 'none'}; open at the end: {', '.join(world.state.alarms) or 'none'}"
    yield f"            the year ends in {world.state.phase}"
    yield f"played      12 months, seed {played.seed}, in {played.seconds:.0f} seconds"


def _moments(life: Life) -> tuple[datetime | None, ...]:
    return life.made, life.registered, life.switched, life.removed, life.disabled


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "-"


def _row(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common() if count)
