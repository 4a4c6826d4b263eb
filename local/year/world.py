"""What the stories of the year act upon: three instances of ours, one person, and what is known of them."""

import random
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, cast

from local.azurite import Azurite, connection_string
from local.cloud.server import Running
from local.laptop import Cloud
from local.ports import free_port
from local.year.agenda import Story
from local.year.certificates import Lives
from local.year.chronicle import Chronicle
from local.year.clock import YearClock
from local.year.instance import Instance, Killed
from local.year.person import Person
from local.year.weather import Weather
from shared.config import Config
from shared.errors import SignInError
from shared.ports import Row, Store, Table
from shared.renewal_state import Phase, RenewalState, read_state
from shared.renewal_tick import tick
from shared.secret import Secret

ADDRESS: Final = "http://localhost:7071"
_INSTANCES: Final = 3
_CALLS: Final = 25
"""At one of its first so many calls a process is killed."""
_HALF: Final = 0.5
_FIRST_HOUR: Final = timedelta(hours=1)


@dataclass(slots=True)
class SignIns:
    """How sign-ins went."""

    tried: Counter[datetime] = field(default_factory=Counter)
    """By day."""
    failed: list[tuple[datetime, str]] = field(default_factory=list)
    retried: list[datetime] = field(default_factory=list)
    """Those that needed the other certificate."""


class World:
    """Everything that the stories of the year act upon."""

    def __init__(self, cloud: Running, azurite: Azurite, clock: YearClock, seed: int) -> None:
        self._seed = seed
        self.steered = cloud.steered
        self.clock = clock
        self.rng = self.rng_for("the world")
        self._pace = self.rng_for("the pace of people")
        self.chronicle = Chronicle()
        self.weather = Weather(cloud.steered.services)
        self.lives = Lives()
        self.sign_ins = SignIns()
        self.ticks: Counter[str] = Counter()
        self.outside_calls: dict[int, Counter[str]] = {}
        """Of ticks, by generation; 0 between rotations."""
        self.state = RenewalState()
        self.timer_is_silent = False
        self.began = clock.now()
        environment = {
            "SOS_ADDRESS": ADDRESS,
            "TABLES_CONNECTION_STRING": azurite.connection_string,
            **Cloud(**asdict(cloud.addresses)).environment(),
        }
        self._config = Config.from_environ(environment)
        self.person = Person(next(iter(self.steered.tenant.state.people.values())))
        self.instances = [self._start(f"instance {n}") for n in range(1, _INSTANCES + 1)]

    @property
    def now(self) -> datetime:
        """The true time."""
        return self.clock.now()

    def rng_for(self, story: str) -> random.Random:
        """Draw for one story alone, so that none depends on how often another one draws."""
        return random.Random(f"{self._seed} {story}")  # noqa: S311 - no secret

    def day(self, number: float) -> datetime:
        """Give a moment by the days since the year began."""
        return self.began + timedelta(days=number)

    @property
    def is_busy(self) -> bool:
        """Whether a rotation proves, or has just switched or begun to retire."""
        state = self.state
        lately = self.now - state.phase_since < _FIRST_HOUR
        return state.phase is Phase.PROVE or (state.phase in {Phase.OVERLAP, Phase.RETIRE} and lately)

    def tell(self, text: str, kind: str = "fault") -> None:
        """Write down what happens outside of the renewal."""
        self.chronicle.tell(self.now, text, kind)

    def anyone(self) -> Instance:
        """Give the instance that the next request or timer meets."""
        return self.rng.choice(self.instances)

    def restart(self, instance: Instance) -> None:
        """Start another process in the place of one."""
        index = self.instances.index(instance)
        self.instances[index] = self._start(instance.name)
        self.instances[index].skew = instance.skew

    def timer(self, *, may_die: bool = False) -> None:
        """Run the timer on some instance, in the weather that it is."""
        instance = self.anyone()
        services = self._cut_off.services if self.weather.store_is_away else instance.services

        def run() -> None:
            try:
                ran = tick(services, jitter=self.rng.random)
                self.ticks["ran" if ran else "had nothing to do"] += 1
            except SignInError:
                self.ticks["failed"] += 1

        with self.weather.striking(), self._counted():
            self._run(instance, run, may_die=may_die)

    def visit(self, instance: Instance | None = None, *, may_die: bool = False) -> None:
        """Let a request come in, behind which the renewal may be looked after."""
        instance = instance or self.anyone()

        def run() -> None:
            before = self.state.last_tick_at
            instance.services.watch.glance()
            self.ticks["behind a request"] += before != self.state.last_tick_at

        with self._counted():
            self._run(instance, run, may_die=may_die)

    def _run(self, instance: Instance, work: Callable[[], None], *, may_die: bool) -> None:
        """Let an instance work; where it `may_die`, it is killed at a random call, if it makes so many."""
        dies_at = self.rng.randint(1, _CALLS) if may_die else 0
        with self.turn(instance), instance.dying(dies_at, after=self.rng.random() < _HALF):
            try:
                work()
            except Killed:
                self.ticks["killed"] += 1
                self.tell(f"{instance.name} is killed in the middle of a tick ({self.state.phase})")
                self.restart(instance)

    def sign_in(self, name: str = "") -> Story:
        """Have the person sign in, at the instance of this name if it has one; at Microsoft they take up to a minute.

        Where none is named they come back to any instance, whose pointer is as old as it is. While a clock is wrong they
        come back to the one they left: a sign-in that seems to begin in the future is refused, whatever the certificate.
        """
        instance = next((each for each in self.instances if each.name == name), None) or self.anyone()
        self.visit(instance)
        self.sign_ins.tried[self.now.replace(hour=0, minute=0, second=0, microsecond=0)] += 1
        try:
            with self.turn(instance):
                answered = self.person.go_to_microsoft(instance.services)
            yield timedelta(seconds=self._pace.uniform(1, 60))
            if not name and not any(each.skew for each in self.instances):
                instance = self.anyone()
            redeemed = instance.calls["redeem"]
            with self.turn(instance):
                answered.come_back(instance.services)
        except Exception as error:  # noqa: BLE001 - whatever it is, a person would see a page
            self.sign_ins.failed.append((self.now, f"{type(error).__name__}: {error}"))
            self.tell(f"A SIGN-IN FAILS at {instance.name}: {type(error).__name__}: {error}", "failure")
        else:
            if instance.calls["redeem"] - redeemed > 1:
                self.sign_ins.retried.append(self.now)

    @contextmanager
    def turn(self, instance: Instance) -> Generator[None]:
        """Let the clock be that of this instance."""
        self.clock.skew = instance.skew
        try:
            yield
        finally:
            self.clock.skew = timedelta()

    def owner[T](self, act: Callable[[Store], T]) -> T:
        """Have the Owner do something with the store, by way of some instance."""
        instance = self.anyone()
        with self.turn(instance):
            return act(instance.services.store)

    def read_audit(self) -> None:
        """Take what the renewal has said by now into the chronicle."""
        self.chronicle.read(self.instances[0].services.store)

    @cached_property
    def _cut_off(self) -> Instance:
        """An instance that does not reach the store: nobody listens there."""
        nowhere = Secret(connection_string(free_port()))
        return Instance(
            "cut off", replace(self._config, tables_connection_string=nowhere), self.clock, self._wrote
        )

    def _start(self, name: str) -> Instance:
        return Instance(name, self._config, self.clock, self._wrote)

    def _wrote(self, row: Row) -> None:
        self.state = read_state(cast("Store", _OneRow(row)))
        self.lives.see(self.state, self.now)

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Add the calls to the outside to those of the rotation that is on."""
        before, was = self._calls(), self.state.phase
        try:
            yield
        finally:
            rotating = Phase.IDLE is not was or self.state.phase is not Phase.IDLE
            generation = self.state.generation if rotating else 0
            self.outside_calls.setdefault(generation, Counter()).update(self._calls() - before)

    def _calls(self) -> Counter[str]:
        services = self.steered.services
        return Counter(
            {name: sum(services[name].faults.calls().values()) for name in ("vault", "graph", "entra")}
        )


@dataclass(frozen=True, slots=True)
class _OneRow:
    """A store that holds one row."""

    row: Row

    def get(self, table: Table, partition: str, key: str) -> Row:
        del table, partition, key
        return self.row
