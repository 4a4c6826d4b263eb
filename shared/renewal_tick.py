"""One tick of the renewal: take the lease, look at the world, do what the planner says, write down what came of it.

Every write to the outside stands between two compare-and-swap writes of the row: its intent before, its outcome after. A
tick can die anywhere, and run twice at once: the next one finds the intent, and probes instead of believing.
"""

import random
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared import renewal_moves as moves
from shared.aadsts import UNKNOWN_CREDENTIAL
from shared.certificate import CERTIFICATE_NAME
from shared.errors import AuthorizationDenied, Conflict, DirectoryRefused, UpstreamUnavailable
from shared.housekeeping import sweep
from shared.ports import Application
from shared.proof import make_proof
from shared.public_part import describe
from shared.renewal import POLICY, Facts, Probe, Seen, Step, Wait, plan
from shared.renewal_alarms import with_alarms
from shared.renewal_row import Changed, LeasedRow, LeaseLost, Stop, is_leased
from shared.renewal_state import (
    CertificateVersion,
    Phase,
    RenewalState,
    Role,
    read_state,
    save_state,
)
from shared.secret import Secret
from shared.services import Services
from shared.settings import read_settings
from shared.vault_secrets import rotate_key_ring

_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_HEARTBEAT: Final = timedelta(minutes=110)
"""A tick with nothing else to do writes the row when it is so old: every second one of an hourly timer."""
_LONGEST_WAIT: Final = timedelta(hours=25)
"""Longer than any wait that is written down: what lies beyond it was written by a clock that was wrong."""
_BACK_OFF: Final = (timedelta(minutes=1), timedelta(hours=6))
_DOUBLINGS: Final = 10
_IN_THE_MAKING: Final = timedelta(minutes=1)
_MOST_STEPS: Final = 30
_CHORES_EVERY: Final = timedelta(hours=24)
_MORE_CHORES_AFTER: Final = timedelta(minutes=50)
_KEYS_EVERY: Final = timedelta(days=1)
_KEYS_AGAIN: Final = timedelta(days=30)
"""After the directory has said that the application may not read itself."""
_TRIED_AGAIN: Final = frozenset({401, 409})
"""Graph's statuses for a proof that it does not accept, and for changes at the same moment: a replica may only lag."""
_REMOVALS: Final = 5
"""After so many refused proofs in a row the key is left where it is: the vault signs with it no more."""


def is_due(state: RenewalState, now: datetime) -> bool:
    """Tell whether a tick has anything to do."""
    heartbeat = not state.last_tick_at <= now < state.last_tick_at + _HEARTBEAT
    return heartbeat or has_work(state, now)


def has_work(state: RenewalState, now: datetime) -> bool:
    """Tell whether it is more than a sign of life: not while a service asked for patience, nor before the next attempt."""
    if _is_near(state.blocked_until, now):
        return False
    return bool(state.intent or state.notes) or not _is_near(state.next_attempt_at, now)


def tick(services: Services, *, behind: bool = False, jitter: Callable[[], float] = random.random) -> bool:
    """Run one tick, when one is due and nobody else runs one. Gives whether it was run.

    `behind` a request, on a thread of its own, its log lines wait for the next request. `jitter` gives numbers from 0 to 1.
    Raises UpstreamUnavailable when the store is away.
    """
    state, now = read_state(services.store), services.clock()
    if not is_due(state, now) or is_leased(state, now):
        return False
    try:
        _Tick(services, LeasedRow(services, state, behind=behind), jitter).run()
    except (Conflict, LeaseLost):
        return False
    return True


def _is_near(moment: datetime, now: datetime) -> bool:
    return now < moment <= now + _LONGEST_WAIT


class _Tick:
    """What one tick knows beside the row."""

    def __init__(self, services: Services, row: LeasedRow, jitter: Callable[[], float]) -> None:
        self._services = services
        self._vault, self._clock = services.vault, services.clock
        self._row = row
        self._jitter = jitter
        self._application = Application("", "")
        self._object_id = ""
        self._token: Secret | None = None

    def run(self) -> None:
        """Do everything that is due, and let go of the lease."""
        resting = not has_work(self._row.state, self._clock())
        if resting and not self._chores_are_due():
            self._row.beat()
            return
        self._row.take()
        stopped = None if resting else self._work()
        blocked = stopped is not None and stopped.retry_after is not None
        if not blocked and not _is_near(self._row.state.blocked_until, self._clock()):
            self._chores()
        self._close(stopped)

    def _chores_are_due(self) -> bool:
        done_at = self._row.state.chores_at
        return not done_at <= self._clock() < done_at + _CHORES_EVERY

    def _work(self) -> Stop:
        """Settle what is open and take steps; gives when to look again, and what failed."""
        try:
            self._settle()
            stopped = self._steps()
            self._look_for_foreign_keys()
        except Stop as stop:
            return stop
        except UpstreamUnavailable as error:
            return Stop(self._clock(), f"{error.code}: {error}", error.retry_after)
        except (Conflict, LeaseLost):
            raise
        except Exception as error:  # noqa: BLE001 - a defect of ours must not stop the renewal in silence
            return Stop(self._clock(), f"internal_error: {_where(error)}")
        return stopped

    def _steps(self) -> Stop:
        """Do what is planned until there is nothing left; gives when to look again."""
        settings = read_settings(self._services.store)
        if settings.tenant_id:
            self._application = Application(settings.tenant_id, settings.client_id)
            self._object_id = settings.object_id
        looked: dict[Role, Seen] = {}
        for _ in range(_MOST_STEPS):
            facts = Facts(self._application.client_id, self._object_id, looked)
            match plan(self._row.state, facts, POLICY, self._clock()):
                case Wait(until):
                    return Stop(until)
                case Probe(role):
                    looked[role] = self._probe(role)
                case step:
                    self._take(step)
                    looked = {}
        return Stop(self._clock())

    def _take(self, step: Step) -> None:
        """Take one step. What the Owner changed meanwhile is planned anew; a failure leaves no intent open."""
        try:
            self._do(step)
        except Changed:
            return
        except UpstreamUnavailable as error:
            outcome = f"{'not done' if error.nothing_done else 'unknown'}: {error}"
            self._row.save(lambda state: self._row.settled(state, outcome, warning=True))
            raise

    def _do(self, step: Step) -> None:
        match step:
            case Step.CREATE:
                self._create()
            case Step.ADD_KEY:
                self._add_key()
            case Step.REMOVE_KEY:
                self._remove_key()
            case Step.DISABLE:
                _, previous = _both(self._row.state.current, self._row.state.previous)
                self._disable(step, previous.version, _disabled)
            case Step.DISABLE_ABANDONED:
                self._disable(step, self._row.state.abandoned[0], _without_abandoned)
            case _:
                self._move(step)

    def _move(self, step: Step) -> None:
        """Take a step that changes nothing but the row."""
        now, move = self._clock(), moves.MOVES[step]
        warning = step in {Step.ABSENT, Step.LEAVE_KEY, Step.ROLL_BACK, Step.REFUSE_ROLL_BACK}

        def moved(state: RenewalState) -> RenewalState:
            after = move(state, now)
            about = after.current if step is Step.SWITCH else after.next or after.previous
            version = about.version if about is not None else ""
            return after.noted(f"renewal.{step}", now, version, warning=warning)

        self._row.save(moved, planned=True)

    # What is looked at

    def _probe(self, role: Role) -> Seen:
        """Ask Microsoft for a token, signed with this version. Raises Stop when the answer shows nothing."""
        version = self._row.state.version(role)
        if version is None:
            raise TypeError(f"there is no {role} version to probe")
        found = Seen.OK
        try:
            token = self._authenticate(version)
        except AuthorizationDenied as error:
            if not UNKNOWN_CREDENTIAL.intersection(error.aadsts):
                self._keep_skew()
                raise Stop(self._clock(), f"{error.code}: {error}") from None
            found = Seen.REFUSED
        except UpstreamUnavailable as error:
            # A version that the vault does not sign with is as unusable as one that nobody knows.
            if error.port != "vault" or error.retriable:
                raise
            found = Seen.REFUSED
        else:
            self._token = token if role is Role.CURRENT else self._token
        now = self._clock()
        self._row.save(lambda state: self._with_skew(moves.seen(state, role, found, now)))
        return found

    def _authenticate(self, version: CertificateVersion) -> Secret:
        self._row.require_time()
        client_id, assertions = self._application.client_id, self._services.assertions
        return self._services.identity.authenticate(
            self._application, lambda endpoint: assertions.make(client_id, endpoint, version)
        )

    def _keep_skew(self) -> None:
        self._row.save(self._with_skew)

    def _with_skew(self, state: RenewalState) -> RenewalState:
        skew = self._services.identity.clock_skew()
        return state if skew is None else replace(state, clock_skew=skew)

    def _token_of_current(self) -> Secret:
        """Get a token for the directory. Raises Stop when the current version gets none."""
        if self._token is None and self._probe(Role.CURRENT) is Seen.REFUSED:
            raise Stop(self._clock(), "Microsoft refuses the current certificate")
        if self._token is None:
            raise TypeError("a probe that succeeded without a token")
        return self._token

    def _look_for_foreign_keys(self) -> None:
        """Compare what is registered with what we registered, where the application may read itself."""
        now, state = self._clock(), self._row.state
        asked_lately = now < state.keys_at <= now + _KEYS_AGAIN
        if self._token is None or not self._object_id or state.phase is not Phase.IDLE or asked_lately:
            return
        self._row.require_time()
        try:
            keys = self._services.directory.keys(self._object_id, self._token)
        except DirectoryRefused:
            keys = None
        ours = {version.x5t for version in (state.current, state.next, state.previous) if version}
        theirs = {key.x5t for key in keys or () if key.x5t} - ours - set(state.retired)
        again = now + (_KEYS_AGAIN if keys is None else _KEYS_EVERY)
        self._row.save(lambda state: replace(state, foreign=tuple(sorted(theirs)), keys_at=again))

    # What is written to the outside

    def _create(self) -> None:
        """Adopt the version of this generation, or have it made."""
        state = self._row.state
        tag = f"{state.generation} {state.phase_since.isoformat()}"
        self._row.require_time()
        made = self._vault.find_certificate(CERTIFICATE_NAME, tag)
        if made is None:
            self._row.intend(Step.CREATE)
            outcome = "begun"
            try:
                self._vault.create_certificate(CERTIFICATE_NAME, tag)
            except Conflict:
                outcome = "another one is in the making"
            self._row.save(lambda state: self._row.settled(state, outcome))
            made = self._vault.find_certificate(CERTIFICATE_NAME, tag)
        now = self._clock()
        if made is None:
            raise Stop(now + _IN_THE_MAKING)
        version = describe(made)
        if version.not_after - now < POLICY.worth_proving or version.not_before > now + _CLOCKS_DIFFER:
            self._row.save(lambda state: _given_up(state, version, now), planned=True)
            raise Stop(now, "the vault made a certificate with the wrong dates")

        def created(state: RenewalState) -> RenewalState:
            return moves.created(state, version, now).noted("renewal.created", now, version.version)

        self._row.save(created, planned=True)

    def _add_key(self) -> None:
        """Register the next version, with a proof by the current one as this tick has read it."""
        current, candidate = _both(self._row.state.current, self._row.state.next)
        token, proof = self._token_of_current(), self._proof(current)
        made = self._vault.certificate(CERTIFICATE_NAME, candidate.version)
        if made is None:
            raise Stop(self._clock(), "the next version is not in the vault")
        intent = self._row.intend(Step.ADD_KEY)
        try:
            key_id = self._services.directory.add_key(self._object_id, token, made.der, proof)
        except UpstreamUnavailable as error:
            outcome = f"{'not done' if error.nothing_done else 'unknown'}: {error}"
            if error.nothing_done:
                self._row.save(lambda state: _not_added(self._row.settled(state, outcome)))
                raise
            key_id = ""
        except DirectoryRefused as error:
            refusal = error
            self._row.save(
                lambda state: _refused(self._row.settled(state, f"refused: {refusal}", warning=True), refusal)
            )
            raise Stop(self._clock(), f"{error.code}: {error}") from None
        else:
            outcome = f"done: {key_id}"
        now = self._clock()
        try:
            self._row.save(
                lambda state: moves.added(self._row.settled(state, outcome), key_id, intent.at, now)
            )
        except LeaseLost:
            self._leave_word(candidate.version, key_id)
            raise

    def _leave_word(self, version: str, key_id: str) -> None:
        """Tell whoever has the lease now which key id the directory gave: without it the key cannot be removed."""
        store = self._services.store
        with suppress(Conflict):
            save_state(store, moves.learned(read_state(store), version, key_id))

    def _remove_key(self) -> None:
        """Take the previous version off the application, with a proof by the current one."""
        current, previous = _both(self._row.state.current, self._row.state.previous)
        token, proof = self._token_of_current(), self._proof(current)
        self._row.intend(Step.REMOVE_KEY)
        try:
            found = self._services.directory.remove_key(self._object_id, token, previous.key_id, proof)
        except DirectoryRefused as error:
            refusal = error
            self._row.save(
                lambda state: _not_removed(
                    self._row.settled(state, f"refused: {refusal}", warning=True), refusal
                )
            )
            raise Stop(self._clock(), f"{error.code}: {error}") from None
        now, outcome = self._clock(), "done" if found else "it was not there"
        self._row.save(
            lambda state: moves.changed_previous(self._row.settled(state, outcome), removed_at=now)
        )

    def _proof(self, current: CertificateVersion) -> str:
        self._row.require_time()
        return make_proof(
            self._object_id,
            current.x5t,
            self._clock(),
            lambda digest: self._vault.sign(CERTIFICATE_NAME, current.version, "RS256", digest),
        )

    def _disable(self, step: Step, version: str, change: Callable[[RenewalState, str], RenewalState]) -> None:
        """Let the vault sign with a version no more."""
        self._row.intend(step)
        self._vault.disable_certificate(CERTIFICATE_NAME, version)
        self._row.save(lambda state: change(self._row.settled(state, "done"), version))

    # The beginning and the end of a tick

    def _settle(self) -> None:
        """An earlier tick died between an intent and its outcome: what it did is not known, and probes will tell."""
        intent, now = self._row.state.intent, self._clock()
        if intent is None:
            return

        def settled(state: RenewalState) -> RenewalState:
            state = self._row.settled(state, "unknown: the tick ended before it", warning=True)
            if intent.step == Step.ADD_KEY and state.phase is Phase.REGISTER:
                return moves.added(state, "", intent.at, now)
            return state

        self._row.save(settled)

    def _chores(self) -> None:
        """What is due once a day beside the certificate: the key ring of sessions, and rows that have expired."""
        now = self._clock()
        if not self._chores_are_due():
            return
        try:
            self._row.require_time()
            rotated = rotate_key_ring(self._vault, now)
            more = sweep(self._services.store, now, enough=self._row.is_late).more
        except (Conflict, LeaseLost):
            raise
        except Stop:  # no time left: the next tick does it
            return
        except Exception as error:  # noqa: BLE001 - as above
            reason, wait = _where(error), None
            if isinstance(error, UpstreamUnavailable):
                reason, wait = str(error), error.retry_after

            def failed(state: RenewalState) -> RenewalState:
                state = state.noted("chores.failed", now, reason, warning=True)
                return state if wait is None else replace(state, blocked_until=now + wait)

            self._row.save(failed)
            return
        done_at = now - _CHORES_EVERY + _MORE_CHORES_AFTER if more else now
        self._row.save(
            lambda state: replace(
                state.noted("key_ring.rotated", now) if rotated else state, chores_at=done_at
            )
        )

    def _close(self, stopped: Stop | None) -> None:
        """Write down when to look again, raise alarms, and let go of the lease."""
        now, planned_for = self._clock(), self._row.state

        def closed(state: RenewalState) -> RenewalState:
            if stopped is None:
                return with_alarms(state, now)
            again, blocked = stopped.until, state.blocked_until
            if (state.request, state.paused) != (planned_for.request, planned_for.paused):
                again = now
            attempts = state.attempts + 1 if stopped.failure else 0
            if stopped.failure:
                again = max(again, now + self._back_off(state))
            if stopped.retry_after is not None:
                blocked = now + stopped.retry_after
            state = replace(
                state,
                attempts=attempts,
                last_error=stopped.failure,
                blocked_until=blocked,
                next_attempt_at=max(again, blocked),
            )
            return with_alarms(state, now)

        self._row.release(closed)

    def _back_off(self, state: RenewalState) -> timedelta:
        """Full jitter between a minute and six hours; five minutes at most while nobody can sign in."""
        least, most = _BACK_OFF
        if state.current is None or self._clock() >= state.current.not_after:
            most = POLICY.urgent_probe_every
        grown: timedelta = least * 2 ** min(state.attempts + 1, _DOUBLINGS)
        return max(least, self._jitter() * min(most, grown))


def _where(error: Exception) -> str:
    """Name a defect by its kind and place. Its text may hold anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"


def _both(
    one: CertificateVersion | None, other: CertificateVersion | None
) -> tuple[CertificateVersion, CertificateVersion]:
    if one is None or other is None:
        raise TypeError("the planner chose a step for a row that has not both versions")
    return one, other


def _given_up(state: RenewalState, version: CertificateVersion, now: datetime) -> RenewalState:
    return state.moved(Phase.CREATE, now, abandoned=(*state.abandoned, version.version))


def _not_added(state: RenewalState) -> RenewalState:
    return replace(state, add_keys=state.add_keys - 1)


def _refused(state: RenewalState, error: DirectoryRefused) -> RenewalState:
    if error.status in _TRIED_AGAIN and state.add_keys < POLICY.add_keys:
        return state
    return replace(state, refusal=f"graph_{error.status}_{error.reason}")


def _not_removed(state: RenewalState, error: DirectoryRefused) -> RenewalState:
    if error.status in _TRIED_AGAIN and state.attempts < _REMOVALS:
        return state
    return moves.changed_previous(state, key_id="")


def _disabled(state: RenewalState, version: str) -> RenewalState:
    same = state.previous is not None and state.previous.version == version
    return moves.changed_previous(state, disabled=True) if same else state


def _without_abandoned(state: RenewalState, version: str) -> RenewalState:
    return replace(state, abandoned=tuple(each for each in state.abandoned if each != version))
