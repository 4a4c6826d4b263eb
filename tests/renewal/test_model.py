"""The invariants hold whatever happens: two workers, crashes, slow replicas, outages, wrong clocks, people."""

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shared.renewal_state import Asked
from tests.renewal.cloud import REPLICAS
from tests.renewal.gate import Happening, Outside
from tests.renewal.world import OBJECT, World

OTHERS = [Outside.VAULT, Outside.MICROSOFT, Outside.GRAPH]
WORKERS = st.integers(0, 1)
CALLS = st.integers(1, 45)
"""Which call of a tick: a whole rotation has fewer."""
MINUTES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 10, 15])


class Renewal(RuleBasedStateMachine):
    """Everything that the surroundings can do to the renewal. The world checks the invariants."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(furnished=st.booleans(), foreign=st.booleans(), readable=st.booleans(), due=st.booleans())
    def begin(self, *, furnished: bool, foreign: bool, readable: bool, due: bool) -> None:
        """Begin with nothing, or with a certificate in use, or with one that is due for renewal."""
        self.world.directory.readable = readable
        if foreign:
            self.world.add_foreign()
        if furnished:
            self.world.furnish()
            if due:
                self.world.to_the_start()

    # The timer

    @rule(worker=WORKERS, minutes=MINUTES)
    def tick(self, worker: int, minutes: int) -> None:
        """A tick, some minutes later."""
        self.world.move(timedelta(minutes=minutes))
        self.world.tick(self.world.workers[worker])

    @rule(worker=WORKERS, number=st.integers(2, 12), every=st.sampled_from([1, 3, 5]))
    def ticks(self, worker: int, number: int, every: int) -> None:
        """Requests come in, and ticks with them."""
        for _ in range(number):
            self.tick(worker, every)

    @rule(number=st.integers(1, 12))
    def hours(self, number: int) -> None:
        """Hours pass with both timers."""
        self.world.hours(number)

    @rule(days=st.integers(1, 40))
    def days(self, days: int) -> None:
        """Days pass with slow timers."""
        self.world.hours(days, timedelta(days=1))

    @rule(days=st.sampled_from([1, 20, 100, 400]))
    def sleep(self, days: int) -> None:
        """The timer is silent for long."""
        self.world.move(timedelta(days=days))

    @rule()
    def to_the_start(self) -> None:
        """The time of the next rotation comes."""
        self.world.to_the_start()

    # Accidents

    @rule(worker=WORKERS, at_call=CALLS, after=st.booleans(), minutes=MINUTES)
    def crash(self, worker: int, at_call: int, minutes: int, *, after: bool) -> None:
        """A worker is killed before the n-th call of its tick, or after its effect."""
        self.world.move(timedelta(minutes=minutes))
        self.world.tick(self.world.workers[worker], Happening(at_call, self.world.die, after))

    @rule(worker=WORKERS, at_call=CALLS, minutes=MINUTES, ticks=st.integers(1, 4), after=st.booleans())
    def overtake(self, worker: int, at_call: int, minutes: int, ticks: int, *, after: bool) -> None:
        """In the midst of a worker's tick the other one has ticks of its own, with or without the lease over."""
        other = self.world.workers[1 - worker]

        def happen() -> None:
            for _ in range(ticks):
                self.world.move(timedelta(minutes=minutes))
                self.world.tick(other)

        self.world.tick(self.world.workers[worker], Happening(at_call, happen, after))

    @rule(worker=WORKERS, at_call=CALLS, kind=st.sampled_from([*Asked, None]), after=st.booleans())
    def ask_during(self, worker: int, at_call: int, kind: Asked | None, *, after: bool) -> None:
        """In the midst of a worker's tick the Owner asks for something, or pauses."""

        def happen() -> None:
            if kind is None:
                self.world.pause()
            else:
                self.world.ask(kind)

        self.world.tick(self.world.workers[worker], Happening(at_call, happen, after))

    @rule(worker=WORKERS, at_call=CALLS, outside=st.sampled_from(Outside), heard=st.booleans())
    def outage_during(self, worker: int, at_call: int, outside: Outside, *, heard: bool) -> None:
        """In the midst of a tick something goes away, for this tick."""
        group = self.world.weather.away if heard else self.world.weather.deaf
        fresh = outside not in group
        self.world.tick(self.world.workers[worker], Happening(at_call, lambda: group.add(outside)))
        if fresh:
            group.discard(outside)

    @rule(outside=st.sampled_from(Outside))
    def go_away(self, outside: Outside) -> None:
        """Something is away until it comes back."""
        self.world.weather.away.add(outside)

    @rule(outside=st.sampled_from(OTHERS))
    def lose_answers(self, outside: Outside) -> None:
        """Something does what it is asked, and its answers are lost."""
        self.world.weather.deaf.add(outside)

    @rule()
    def come_back(self) -> None:
        """All is back."""
        self.world.weather.away.clear()
        self.world.weather.deaf.clear()

    @rule(outside=st.sampled_from(OTHERS), minutes=st.sampled_from([1, 5, 30, 300]))
    def be_busy(self, outside: Outside, minutes: int) -> None:
        """Something answers 429 for a while."""
        self.world.weather.busy_until[outside] = self.world.now + timedelta(minutes=minutes)

    @rule(seconds=st.lists(st.sampled_from([0, 5, 18, 60]), min_size=REPLICAS, max_size=REPLICAS))
    def lag(self, seconds: list[int]) -> None:
        """The replicas follow more slowly, as they do."""
        self.world.set_lags(*(timedelta(seconds=each) for each in seconds))

    @rule(minutes=st.sampled_from([10, 70, 300]))
    def lag_long(self, minutes: int) -> None:
        """One replica follows very slowly."""
        self.world.set_lags(timedelta(0), timedelta(seconds=60), timedelta(minutes=minutes))

    @rule(replica=st.sampled_from([None, *range(REPLICAS)]))
    def pin(self, replica: int | None) -> None:
        """Workers are answered by one replica, or by all in turn."""
        self.world.pinned_replica = replica

    @rule(worker=WORKERS, minutes=st.integers(-5, 5))
    def set_clock(self, worker: int, minutes: int) -> None:
        """A worker's clock is wrong."""
        self.world.set_offset(self.world.workers[worker], timedelta(minutes=minutes))

    @rule(minutes=st.sampled_from([0, 1, 30]))
    def slow_vault(self, minutes: int) -> None:
        """The vault takes its time to make a certificate."""
        self.world.vault.slow = timedelta(minutes=minutes)

    @rule(refuses=st.booleans())
    def policy(self, *, refuses: bool) -> None:
        """The tenant forbids that applications change their certificates, or allows it."""
        self.world.directory.refuses = refuses

    # People

    @rule(kind=st.sampled_from(Asked))
    def ask(self, kind: Asked) -> None:
        """The Owner asks for something, and the form is delivered twice."""
        self.world.ask(kind)

    @rule()
    def pause(self) -> None:
        """The Owner pauses the renewal."""
        self.world.pause()

    @rule()
    def resume(self) -> None:
        """The Owner resumes it."""
        self.world.resume()

    @rule()
    def upload(self) -> None:
        """The Owner downloads the certificate, uploads it, and has it looked for."""
        self.world.upload()
        self.world.look_now()

    @rule(known=st.booleans())
    def name_application(self, *, known: bool) -> None:
        """The Owner takes the object id away, or tells it again."""
        self.world.name_application(OBJECT if known else "")

    @rule()
    def add_foreign(self) -> None:
        """Somebody puts a key of their own on the application."""
        self.world.add_foreign()

    @precondition(lambda self: any(key.is_registered for key in self.world.directory.keys.values()))
    @rule(data=st.data())
    def remove_by_hand(self, data: st.DataObject) -> None:
        """Somebody removes a key by hand, whichever."""
        there = [key for key in self.world.directory.keys.values() if key.is_registered]
        self.world.remove_by_hand(data.draw(st.sampled_from(there)))

    def teardown(self) -> None:
        """In the end everything is well again, and the renewal comes to rest."""
        self.world.come_to_rest()


TestRenewal = Renewal.TestCase
TestRenewal.settings = settings(
    max_examples=220,  # over 10,000 steps
    stateful_step_count=50,
    deadline=None,
    derandomize=True,  # a find of its own belongs on a desk, not in somebody else's change: CONTRIBUTING.md
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
