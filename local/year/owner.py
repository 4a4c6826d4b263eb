"""What the Owner and other people do about the certificate in this year."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from local.playground import seed
from local.year.agenda import Story
from local.year.world import World
from shared import renewal_requests as requests
from shared import settings
from shared.base64url import random_id
from shared.renewal_state import Asked, Phase

_ASKED: Final = {Asked.GENERATE: "asked for", Asked.ROTATE: "rotate now", Asked.REVOKE: "revoke now"}
_LOOKS: Final = timedelta(minutes=2)
_LOOKS_AGAIN: Final = timedelta(minutes=20)
_FOR_A_WHILE: Final = timedelta(minutes=30)


def set_up(world: World) -> Story:
    """Make the first certificate: it is downloaded and uploaded by hand, and then switched to by itself."""
    application = world.steered.tenant.state.application
    seed(
        world.anyone().services,
        {name: getattr(application, name) for name in ("tenant_id", "client_id", "object_id")},
    )
    ask(world, Asked.GENERATE)
    yield from _until(world, lambda: world.state.phase is Phase.REGISTER)
    yield timedelta(minutes=25)
    _upload(world)
    yield from _until(world, lambda: world.state.phase is Phase.IDLE)


def rotate(world: World, day: float, kind: Asked = Asked.ROTATE) -> Story:
    """Ask for a rotation, or a revocation, and watch it until the next certificate signs."""
    yield world.day(day)
    ask(world, kind)
    yield from _until(world, lambda: world.state.phase in {Phase.OVERLAP, Phase.RETIRE})


def by_hand(world: World, day: float) -> Story:
    """Have a rotation that may write nothing to the directory; a person uploads the certificate days later."""
    yield world.day(day)
    stand_back = world.rng_for("by hand").choice((_without_object_id, _forbidden_by_policy))
    make_good = stand_back(world)
    yield timedelta(hours=1)
    ask(world, Asked.GENERATE)
    yield from _until(world, lambda: world.state.phase is Phase.REGISTER)
    yield timedelta(days=world.rng_for("upload").uniform(2, 4))
    _upload(world)
    yield from _until(world, lambda: world.state.phase is Phase.OVERLAP)
    yield timedelta(days=2)
    make_good()


def roll_back(world: World, day: float) -> Story:
    """Ask for a certificate, go back two days after the switch, and let the renewal go on the day after."""
    yield world.day(day)
    ask(world, Asked.GENERATE)
    yield from _until(world, lambda: world.state.phase is Phase.OVERLAP)
    yield timedelta(days=2)
    ask(world, Asked.ROLL_BACK)
    yield from _until(world, lambda: world.state.request is None)
    yield timedelta(days=1)
    world.owner(lambda store: requests.resume(store, world.clock.now_here()))


def pause(world: World, day: float) -> Story:
    """Stop everything for ten days."""
    yield world.day(day)
    world.owner(lambda store: requests.pause(store, world.clock.now_here()))
    yield timedelta(days=10)
    world.owner(lambda store: requests.resume(store, world.clock.now_here()))


def ask(world: World, kind: Asked) -> None:
    """Ask the renewal for something."""
    world.lives.asked = _ASKED.get(kind, world.lives.asked)
    world.owner(lambda store: requests.ask(store, kind, random_id(), world.clock.now_here()))


def _upload(world: World) -> None:
    """Download the public part here, and upload it at Microsoft, as a person does."""
    services = world.anyone().services
    pem = requests.download(services.store, services.vault)
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    world.steered.tenant.state.register_certificate(der)
    world.lives.all[-1].how = "uploaded by hand"
    world.tell("a person uploads the certificate at Microsoft", "owner")


def _until(world: World, condition: Callable[[], bool]) -> Story:
    """Look again and again for a while, and then now and then, as a person with the page open does."""
    began = world.now
    while not condition():
        yield _LOOKS if world.now - began < _FOR_A_WHILE else _LOOKS_AGAIN
        world.visit()


def _without_object_id(world: World) -> Callable[[], None]:
    """Let the application's object id be unknown, until what is returned is called."""
    known = world.steered.tenant.state.application.object_id
    _set_object_id(world, "")
    world.tell("the Owner takes the object id out of the settings: manual mode", "owner")

    def make_good() -> None:
        _set_object_id(world, known)
        world.tell("the Owner puts the object id back", "owner")

    return make_good


def _set_object_id(world: World, object_id: str) -> None:
    world.owner(
        lambda store: settings.save_settings(
            store, replace(settings.read_settings(store), object_id=object_id)
        )
    )


def _forbidden_by_policy(world: World) -> Callable[[], None]:
    """Let a policy of the tenant refuse addKey, until what is returned is called."""
    allowed = world.steered.graph.policies
    refusal = world.rng_for("policy").choice(("lifetime", "trusted_ca", "forbidden"))
    world.steered.graph.policies = allowed.changed({"refuse_add": refusal})
    world.tell(f"a policy of the tenant refuses addKey from now on ({refusal})", "fault")

    def make_good() -> None:
        world.steered.graph.policies = allowed
        world.tell("the policy allows addKey again", "fault")

    return make_good
