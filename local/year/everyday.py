"""What goes on all year: the timer, people, instances that come and go, and now and then a process that is killed."""

from datetime import timedelta
from typing import Final

from local.year.agenda import Story
from local.year.world import World
from shared.renewal_state import Phase

_TIMER_MINUTE: Final = 7
"""Of every hour (functions/renewal.py)."""
_BETWEEN_SHIFTS: Final = timedelta(hours=18)
_COME_AT_ONCE: Final = (1, 5)
_WITHIN: Final = timedelta(minutes=4)
_KILLED: Final = {
    Phase.IDLE: 0.001,
    Phase.CREATE: 0.3,
    Phase.REGISTER: 0.05,
    Phase.PROVE: 0.3,
    Phase.OVERLAP: 0.005,
    Phase.RETIRE: 0.1,
}
"""How likely it is that a tick is killed, by phase."""


def timer(world: World) -> Story:
    """Fire every hour, unless it is silent."""
    rng = world.rng_for("timer")
    while True:
        hour = world.now.replace(minute=_TIMER_MINUTE, second=0, microsecond=0)
        yield hour if hour > world.now else hour + timedelta(hours=1)
        if world.timer_is_silent:
            continue
        world.timer(may_die=rng.random() < _KILLED[world.state.phase])


def people(world: World) -> Story:
    """Come at random times, a few within minutes, as a shift begins: four sign-ins a day at least."""
    rng = world.rng_for("people")
    while True:
        yield rng.expovariate(1) * _BETWEEN_SHIFTS
        instance = world.anyone()
        for _ in range(rng.randint(*_COME_AT_ONCE)):
            yield from world.sign_in(instance.name)
            yield rng.random() * _WITHIN


def crowd(world: World) -> Story:
    """Sign in every few minutes while a rotation proves, switches or begins to retire."""
    rng = world.rng_for("crowd")
    while True:
        yield timedelta(minutes=rng.uniform(1, 4))
        if world.is_busy:
            world.visit(may_die=rng.random() < _KILLED[world.state.phase])
            yield from world.sign_in()


def restarts(world: World) -> Story:
    """Replace an instance every ten days or so: deployments, and Azure's own reasons."""
    rng = world.rng_for("restarts")
    while True:
        yield timedelta(days=rng.uniform(5, 15))
        world.restart(world.anyone())
