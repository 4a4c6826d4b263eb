"""The story of one year, drawn from a seed."""

from collections.abc import Iterable
from datetime import timedelta

from local.year import everyday, owner, troubles
from local.year.agenda import Story
from local.year.weather import STORE
from local.year.world import World
from shared.renewal_state import Asked

LONG_BEFORE = timedelta(days=200)
"""The first certificate is set up so long before the year begins: it is due in the second month."""


def before(world: World) -> Iterable[Story]:
    """Give the set-up by hand, on one day long before the year."""
    return everyday.timer(world), owner.set_up(world)


def year(world: World) -> Iterable[Story]:
    """Give twelve months: what goes on, what people do, what goes wrong."""
    rng = world.rng_for("the year")

    def about(day: int) -> float:
        return day + rng.uniform(-3, 3)

    rotated, generated, again = about(95), about(185), about(328)
    days = [10.0, rotated - 1, generated - 1, again - 1]
    rng.shuffle(days)
    graph = zip(days, troubles.GRAPH_FAULTS, strict=True)
    return (
        everyday.timer(world),
        everyday.people(world),
        everyday.crowd(world),
        everyday.restarts(world),
        *(troubles.graph_fault(world, day, *fault) for day, fault in graph),
        troubles.vault_away_at_the_start(world),
        owner.rotate(world, rotated),
        troubles.wrong_clock(world, rotated - 2, timedelta(days=4)),
        owner.by_hand(world, about(125)),
        troubles.away(world, about(155), STORE, rng.uniform(4, 7)),
        owner.roll_back(world, generated),
        troubles.silent_timer(world, about(215)),
        owner.rotate(world, about(237), Asked.REVOKE),
        troubles.foreign_key(world, about(265)),
        troubles.away(world, about(280), "entra", 5),
        owner.pause(world, about(298)),
        owner.rotate(world, again),
    )
