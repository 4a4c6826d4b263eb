"""What goes wrong in this year."""

from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from local.cloud.certificates import self_signed
from local.faults import Fault
from local.year.agenda import Story
from local.year.weather import STORE
from local.year.world import World
from shared.renewal import POLICY, start_of

GRAPH_FAULTS: Final = (
    ("the next addKey takes effect, and its answer is lost", Fault("lose_answer", "addKey", times=1)),
    ("the next addKey is cut off, and takes no effect", Fault("cut", "addKey", times=1)),
    (
        "Graph answers the next addKey with 429, Retry-After 30 min",
        Fault("status", "addKey", status=429, retry_after=1800, times=1),
    ),
    (
        "Graph answers the next removeKey with 429, Retry-After 2 h",
        Fault("status", "removeKey", status=429, retry_after=7200, times=1),
    ),
)
_NAMES: Final = {"vault": "the vault", "entra": "Microsoft's token endpoint", STORE: "the store"}


def graph_fault(world: World, day: float, text: str, fault: Fault) -> Story:
    """Have Graph fail once, at the next call that the fault is about."""
    yield world.day(day)
    world.steered.services["graph"].faults.add(fault)
    world.tell(text)


def vault_away_at_the_start(world: World) -> Story:
    """Have no vault for a day when the rotation begins by itself."""
    current = world.state.current
    if current is None:
        return
    client_id = world.steered.tenant.state.application.client_id
    yield start_of(current, client_id, world.state.generation + 1, POLICY) - timedelta(hours=2)
    yield from _away(world, "vault", timedelta(days=1))


def away(world: World, day: float, service: str, hours: float) -> Story:
    """Have a service away for some hours."""
    yield world.day(day)
    yield from _away(world, service, timedelta(hours=hours))


def _away(world: World, service: str, lasts: timedelta) -> Story:
    world.weather.away.add(service)
    world.tell(f"{_NAMES[service]} is away for {lasts.total_seconds() / 3600:.0f} hours")
    yield lasts
    world.weather.away.discard(service)
    world.tell(f"{_NAMES[service]} is back")


def silent_timer(world: World, day: float) -> Story:
    """Stop the timer for nine hours; a person comes after eight."""
    yield world.day(day)
    world.timer_is_silent = True
    world.tell("the timer falls silent for 9 hours")
    yield timedelta(hours=8)
    for _ in range(3):
        yield from world.sign_in()
        yield timedelta(minutes=20)
    world.timer_is_silent = False
    world.tell("the timer fires again")


def wrong_clock(world: World, day: float, lasts: timedelta) -> Story:
    """Let the clock of one instance be 4 minutes off."""
    yield world.day(day)
    instance = world.anyone()
    instance.skew = timedelta(minutes=world.rng_for("clock").choice((-4, 4)))
    name = instance.name
    ahead = "ahead" if instance.skew > timedelta() else "behind"
    world.tell(f"the clock of {name} is 4 minutes {ahead}")
    yield lasts
    for each in world.instances:
        each.skew = timedelta()
    world.tell(f"the clock of {name} is right again")


def foreign_key(world: World, day: float) -> Story:
    """Have somebody put a certificate of their own on the application, and take it off a week later."""
    yield world.day(day)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name.from_rfc4514_string("CN=Somebody else")
    certificate = self_signed(key, name, world.now, world.now + timedelta(days=90))
    tenant = world.steered.tenant.state
    added = tenant.add_certificate(certificate.public_bytes(Encoding.DER))
    world.tell("somebody puts a certificate of their own on the application")
    yield timedelta(days=7)
    untouched = tenant.remove_certificate(added.key_id)
    if untouched:
        world.tell("they take it off")
    else:
        world.tell("the foreign key was gone before they took it off", "broken")
