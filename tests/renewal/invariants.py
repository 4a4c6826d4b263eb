"""The fifteen invariants of the renewal, each one function. They look at what is true, not at what the row says of it.

What each presumes of its surroundings stands in its docstring. "Off" is how far the clocks of the workers have differed.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from shared.renewal_state import Asked, CertificateVersion, Phase, RenewalState
from tests.renewal.cloud import REPLICAS, Version

if TYPE_CHECKING:
    from tests.renewal.gate import Outside
    from tests.renewal.world import Worker, World

POINTER_AGE = timedelta(seconds=60)
"""How old the row may be that a sign-in works by."""


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"invariant {number}: {text}")
        self.number = number


def active_key_works(world: "World") -> None:
    """1: the active key is registered, valid and enabled.

    Unless an outsider removed it, or it expired while nobody uploaded another.
    """
    current = world.row.current
    if current is None or world.is_excused(current.version):
        return
    if not world.directory.registered(current.version):
        raise Broken(1, f"{current.version} signs and is not registered")
    if not world.vault.signs(current.version, world.now):
        raise Broken(1, f"the vault does not sign with the active {current.version}")


def switch_is_proven(world: "World", before: RenewalState, after: RenewalState) -> None:
    """2: a switch implies a run of probes, and the age, for that very certificate.

    Only probes whose worker could write them down count. Going back asks for one probe. Clocks may shorten the age by as
    much as they are off.
    """
    old, new = before.current, after.current
    if new is None or (old is not None and old.version == new.version):
        return
    if before.previous is not None and before.previous.version == new.version:
        if world.probes[new.version][-1:] != [True]:
            raise Broken(2, f"went back to {new.version} without a probe")
        return
    hurried = world.is_hurried(before)
    wanted = POLICY_AS_WRITTEN["hurried_probes" if hurried else "probes"]
    soak: timedelta = HURRIED_SOAK if hurried else SOAK
    run = world.probes[new.version][-wanted:]
    if len(run) < wanted or not all(run):
        raise Broken(2, f"switched to {new.version} after the probes {run}")
    registered = world.directory.registered(new.version)
    age = world.now - min((key.added_at for key in registered), default=world.now)
    if age < soak - world.off and not world.is_excused(new.version):
        raise Broken(2, f"switched to {new.version} {age} after its registration")


REFUSALS_AS_WRITTEN = 2
POLICY_AS_WRITTEN = {"probes": 5, "hurried_probes": 3}
SOAK, HURRIED_SOAK = timedelta(minutes=15), timedelta(minutes=2)
OVERLAPS = {Asked.REVOKE: timedelta(0), Asked.ROTATE: timedelta(minutes=11)}
OVERLAP = timedelta(days=7)


def removal_is_recorded(world: "World", worker: "Worker", key_id: str) -> None:
    """3: only a recorded `previous` is removed, in RETIRE. Its other half is `overlap_was_kept`."""
    state = worker.last_written
    previous = state.previous
    if state.phase is not Phase.RETIRE or previous is None or previous.key_id != key_id:
        raise Broken(3, f"{key_id} is to be removed in {state.phase}, previous is {previous}")
    key = world.directory.keys.get(key_id)
    if key is not None and key.version != previous.version:
        raise Broken(3, f"{key_id} is not the key of {previous.version}")


def overlap_was_kept(world: "World", before: RenewalState, after: RenewalState) -> None:
    """3: no version is retired before its overlap is over, as measured by true time; clocks may be off."""
    if after.phase is not Phase.RETIRE or before.phase is Phase.RETIRE or not world.switched_at:
        return
    request = before.request
    wanted = OVERLAP if request is None else OVERLAPS.get(request.kind, OVERLAP)
    lasted = world.now - world.switched_at[-1][1]
    if lasted < wanted - world.off:
        raise Broken(3, f"the overlap lasted {lasted}")


def two_keys_in_the_overlap(world: "World") -> None:
    """4: there is always a valid key, and two between switch and retire.

    With the exceptions of 1, for each of the two.
    """
    state = world.row
    if state.current is None:
        return
    expected = not world.excused and world.is_in_its_time(state.current.version)
    if expected and not any(works(world, version) for version in world.vault.versions):
        raise Broken(4, "no valid key is left")
    previous = state.previous if state.phase is Phase.OVERLAP else None
    if previous is None or world.is_excused(previous.version):
        return
    if not works(world, previous.version):
        raise Broken(4, f"{previous.version} does not work any more in the overlap")


def works(world: "World", version: str) -> bool:
    """Tell whether assertions of this version are made and, in the end, taken."""
    return world.vault.signs(version, world.now) and bool(world.directory.registered(version))


def foreign_keys_stay(world: "World") -> None:
    """5: keys that others have put on the application are untouched, unless they removed them themselves."""
    there = {key.key_id for key in world.directory.foreign()}
    if missing := world.foreign - there:
        raise Broken(5, f"the foreign {sorted(missing)} are gone")


def sign_ins_succeed(world: "World") -> None:
    """6: every sign-in with a pointer at most 60 s old succeeds at any replica with at most one retry.

    Presumes that a replica knows a key a minute after its registration, that Microsoft and the vault answer, and what 1
    presumes. After *revoke now* replicas that do not know the new key yet have nothing to fall back on: that is its price.
    """
    row = world.row
    if row.current is None or world.lags_are_long or world.is_excused(row.current.version):
        return
    for pointer in world.pointers():
        for replica in range(REPLICAS):
            if not sign_in(world, pointer, replica):
                told = f"current {name(pointer.current)}, other {name(pointer.other)}"
                raise Broken(6, f"no sign-in at replica {replica} with {told}; now {name(row.current)}")


def sign_in(world: "World", pointer: RenewalState, replica: int) -> bool:
    """Sign in as the callback does: with the pointer, and once more with the other version of the row as it is then."""
    first = pointer.current
    if first is None:
        return True  # Microsoft is not offered
    if accepted(world, first, replica):
        return True
    fresh = world.row
    again = (
        fresh.current if fresh.current is not None and fresh.current.version != first.version else fresh.other
    )
    if again is not None and accepted(world, again, replica):
        return True
    knows_the_new = fresh.current is not None and world.directory.knows(
        fresh.current.version, replica, world.now
    )
    return world.was_revoked and not knows_the_new


def accepted(world: "World", version: CertificateVersion, replica: int) -> bool:
    """Tell whether the vault signs and a replica takes it."""
    return world.vault.signs(version.version, world.now) and world.directory.knows(
        version.version, replica, world.now
    )


def name(version: CertificateVersion | None) -> str:
    """Name a version, or none."""
    return "none" if version is None else version.version


def generations_grow(world: "World", before: RenewalState, after: RenewalState) -> None:
    """7: generation and count only grow, answered requests stay answered, and what was retired never signs again."""
    if (after.generation, after.count) < (before.generation, before.count):
        raise Broken(
            7, f"{(before.generation, before.count)} was overwritten by {(after.generation, after.count)}"
        )
    if before.answered and (not after.answered or before.answered[-1] not in after.answered):
        raise Broken(7, "a request of the Owner was overwritten")
    if after.current is not None and after.current.version in world.retired:
        raise Broken(7, f"the retired {after.current.version} signs again")


def one_rotation(world: "World") -> None:
    """8: at most one rotation is in flight: versions that nobody knows of are at most as many as accidents.

    An accident is a crash, a lost answer, or a worker that was overtaken.
    """
    if len(orphans(world)) > world.accidents:
        found = [version.name for version in orphans(world)]
        raise Broken(8, f"orphans {found} after {world.accidents} accidents")


def no_orphans(world: "World") -> None:
    """8: in the end there are none. Except: each overtaken worker may have made one, which nobody registers."""
    if len(orphans(world)) > world.overtaken:
        raise Broken(8, f"in the end there are the orphans {[version.name for version in orphans(world)]}")


def orphans(world: "World") -> list[Version]:
    """List the versions that the vault signs with and that no role of the row names."""
    state = world.row
    roles = {version.version for version in (state.current, state.next, state.previous) if version}
    known = roles | set(state.abandoned)
    making = f"{state.generation} {state.phase_since.isoformat()}" if state.phase is Phase.CREATE else None
    in_the_making = [version.name for version in world.vault.versions.values() if version.tag == making][:1]
    return [
        version
        for version in world.vault.versions.values()
        if version.enabled and version.name not in known and version.name not in in_the_making
    ]


def comes_to_rest(world: "World") -> None:
    """9: healthy surroundings lead to IDLE in a bounded number of ticks from any state.

    Ticks for 30 days, with an Owner who uploads when asked and resumes what is paused. (3 registrations that do not
    appear, 7 days of overlap, 1 day of rest, and the same once more for a request that waits.)
    """
    state = world.row
    raise Broken(
        9, f"still in {state.phase}, {state.last_error!r}, refusal {state.refusal!r}, {state.request}"
    )


def waited(world: "World", worker: "Worker", outside: "Outside") -> None:
    """10: no call before `Retry-After`, by whoever knows of it; clocks may be off.

    A worker that was under way before the answer was written down does not know of it; nor does anybody after a crash.
    """
    told = [worker.told.get(outside)]
    if worker.began_at_write >= world.told_at_write.get(outside, 0):
        told.append(world.told.get(outside))
    for until in told:
        if until is not None and world.now < until - world.off:
            raise Broken(10, f"{outside} was called {until - world.now} before the time it asked for")


def three_registrations(world: "World", generation: int) -> None:
    """10: at most 3 addKey a generation reach Graph. What it turned away unread (429) does not count."""
    if world.adds[generation] > 3:
        raise Broken(10, f"addKey number {world.adds[generation]} of generation {generation}")


def has_intent(world: "World", worker: "Worker", step: str) -> None:
    """11: every outside write has an earlier intent in the row and in the audit table."""
    intent = worker.last_written.intent
    if intent is None or not intent.step.startswith(step) or intent.operation in world.operations:
        raise Broken(11, f"{step} without an intent of its own: {intent}")
    if not world.is_audited(f"{intent.operation}:renewal.{intent.step}.intent"):
        raise Broken(11, f"the intent {intent.operation} is not in the audit table")
    world.operations[intent.operation] = intent.step


def has_outcome(world: "World") -> None:
    """11: … and a later outcome with the same operation id, once there was a tick in peace."""
    for operation, step in world.operations.items():
        if not world.is_audited(f"{operation}:renewal.{step}.outcome"):
            raise Broken(11, f"{operation} has no outcome")


def with_clocks_off(world: "World", broken: Broken) -> Broken:
    """12: a clock wrong by ±5 min never breaks 1 to 4."""
    if broken.number in range(1, 5) and world.off:
        return Broken(12, f"clocks are off by {world.off}: {broken}")
    return broken


def download_is_public(pem: bytes) -> None:
    """13: a download holds one certificate and nothing else."""
    try:
        same = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.PEM) == pem
    except ValueError:
        same = False
    if not same or b"PRIVATE" in pem:
        raise Broken(13, "a download holds more than a certificate")


def alarm_is_new(world: "World", before: RenewalState, after: RenewalState) -> None:
    """14: an alarm is raised once per crossing: once for each certificate and threshold, and once while it holds."""
    known = {note.key for note in before.notes}
    for note in after.notes:
        alarm = note.name.partition("renewal.alarm.")[2]
        if not alarm or note.key in known:
            continue
        condition = f"{alarm}:{note.reason}" if note.reason else alarm
        crossing = (len(world.switched_at), condition)
        if alarm in OF_LIFETIME and crossing in world.raised:
            raise Broken(14, f"{condition} was raised again")
        if condition in before.alarms:
            raise Broken(14, f"{condition} was raised while it held")
        world.raised.add(crossing)


OF_LIFETIME = frozenset({"expired", "not_switched", "expiring", "page"})
THRESHOLDS = {
    "expired": timedelta(0),
    "page:7": timedelta(days=7),
    "page:14": timedelta(days=14),
    "not_switched": timedelta(days=60),
}


def alarms_were_raised(world: "World") -> None:
    """14: … and it is raised: after a tick in peace every threshold that was passed has been said.

    The time that is left is that of the version which carries sign-ins: the other one, while the current one is refused.
    """
    row = world.row
    if row.current is None:
        return
    refused = row.current.refused_run >= REFUSALS_AS_WRITTEN
    carries = row.other if refused and row.other is not None else row.current
    left = carries.not_after - world.now
    for condition, threshold in THRESHOLDS.items():
        passed = left <= threshold - world.off - timedelta(seconds=1)
        silent = condition != "expired" and left <= timedelta(0)
        if passed and not silent and (len(world.switched_at), condition) not in world.raised:
            raise Broken(14, f"nobody was told of {condition}")


def may_write_to_graph(worker: "Worker", object_id: str) -> None:
    """15: paused or manual means no write to Graph.

    What was under way when the Owner paused, or took the object id away, is not called back.
    """
    state = worker.last_written
    if state.paused:
        raise Broken(15, "a write to Graph while paused")
    if state.refusal or not object_id or state.current is None:
        raise Broken(15, f"a write to Graph in manual mode ({state.refusal or 'without what it takes'})")
