"""Play a year, and say what came of it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from local.year import story
from local.year.agenda import Agenda, Story
from local.year.chronicle import Happening
from local.year.stage import world_from
from local.year.world import World
from shared.renewal_state import Phase

BEGIN: Final = datetime(2027, 1, 1, tzinfo=UTC)
DAYS: Final = 365
_SET_UP_WITHIN: Final = timedelta(hours=12)
_CHAPTER: Final = timedelta(days=15)

type Stories = Callable[[World], Iterable[Story]]
type Say = Callable[[Happening], None]


@dataclass(frozen=True, slots=True)
class Played:
    """A year that is over."""

    seed: int
    begin: datetime
    end: datetime
    world: World
    seconds: float
    """How long it took."""

    @property
    def problems(self) -> list[str]:
        """What must not be, as sentences; empty after a good year."""
        found = [f"{at:%Y-%m-%d %H:%M} a sign-in failed: {error}" for at, error in self.world.sign_ins.failed]
        found += [line.text for line in self.world.chronicle.of_kind("broken")]
        if self.world.state.phase is not Phase.IDLE:
            found.append(f"the year ends in {self.world.state.phase}")
        return found + [f"the alarm {alarm} is still open" for alarm in self.world.state.alarms]


def play(seed: int, folder: Path, say: Say, stories: Stories = story.year, days: int = DAYS) -> Played:
    """Set up by hand, and play the stories from `BEGIN` on; `say` is given each line of the timeline."""
    began, end = time.monotonic(), BEGIN + timedelta(days=days)
    with world_from(BEGIN - story.LONG_BEFORE, seed, folder) as world:
        Agenda(world.clock, story.before(world)).play(world.now + _SET_UP_WITHIN)
        world.tell("(the months until the first of January are not played)", "note")
        world.clock.leap_to(BEGIN)
        world.began = BEGIN
        agenda = Agenda(world.clock, stories(world))
        while world.now < end:
            agenda.play(min(end, world.now + _CHAPTER))
            world.read_audit()
            for line in world.chronicle.untold():
                say(line)
    return Played(seed, BEGIN, end, world, time.monotonic() - began)
