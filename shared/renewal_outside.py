"""What a tick of the renewal asks of Microsoft and the vault, and what it writes there.

Every write stands between two compare-and-swap writes of the row: its intent before, its outcome after.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shared import renewal_moves as moves
from shared.aadsts import is_unknown_credential
from shared.certificate import CERTIFICATE_NAME
from shared.errors import AuthorizationDenied, Conflict, DirectoryRefused, UpstreamUnavailable
from shared.ports import Application
from shared.proof import make_proof
from shared.public_part import describe
from shared.renewal import POLICY, Seen, Step
from shared.renewal_row import LeasedRow, LeaseLost, Stop
from shared.renewal_state import CertificateVersion, Phase, RenewalState, Role, read_state, save_state
from shared.secret import Secret
from shared.services import Services
from shared.settings import read_settings

_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_IN_THE_MAKING: Final = timedelta(seconds=15)
_MADE_WITHIN: Final = timedelta(minutes=15)
_FOREIGN_KEPT: Final = 20
_KEYS_EVERY: Final = timedelta(days=1)
_KEYS_AGAIN: Final = timedelta(days=30)
"""After the directory has said that the application may not read itself."""


class Outside:
    """Microsoft and the vault, for one tick. A failure is raised: Stop, UpstreamUnavailable, or Changed by the row."""

    def __init__(self, services: Services, row: LeasedRow) -> None:
        self._services = services
        self._vault, self._clock = services.vault, services.clock
        self._row = row
        self._application = Application("", "")
        self._object_id = ""
        self._token: Secret | None = None

    def read_application(self) -> tuple[str, str]:
        """Read client id and object id of the application as the Owner has named them now; empty where not."""
        settings = read_settings(self._services.store)
        if settings.tenant_id:
            self._application = Application(settings.tenant_id, settings.client_id)
            self._object_id = settings.object_id
        return self._application.client_id, self._object_id

    def take(self, step: Step) -> None:
        """Take a step of `renewal.OUTSIDE`."""
        match step:
            case Step.CREATE:
                self._create()
            case Step.ADD_KEY:
                self._add_key()
            case Step.REMOVE_KEY:
                self._remove_key()
            case Step.DISABLE_ABANDONED:
                self._disable(step, self._row.state.abandoned[0], moves.without_abandoned)
            case _:
                _, previous = _both(self._row.state.current, self._row.state.previous)
                self._disable(step, previous.version, moves.disabled)

    def probe(self, role: Role) -> Seen:
        """Ask Microsoft for a token, signed with this version. Raises Stop when the answer shows nothing."""
        version = self._row.state.version(role)
        if version is None:
            raise TypeError(f"there is no {role} version to probe")
        found = Seen.OK
        try:
            token = self._authenticate(version)
        except AuthorizationDenied as error:
            if not is_unknown_credential(error.error, error.aadsts):
                self._keep_skew()
                raise Stop(self._clock(), f"{error.code}: {error}") from None
            found = Seen.REFUSED
        except UpstreamUnavailable as error:
            # A version that the vault does not sign with is as unusable as one that nobody knows.
            if not error.key_unusable:
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
        if self._token is None and self.probe(Role.CURRENT) is Seen.REFUSED:
            raise Stop(self._clock(), "Microsoft refuses the current certificate")
        if self._token is None:
            raise TypeError("a probe that succeeded without a token")
        return self._token

    def look_for_foreign_keys(self) -> None:
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
        theirs = sorted({key.x5t for key in keys or () if key.x5t} - ours - set(state.retired))
        again = now + (_KEYS_AGAIN if keys is None else _KEYS_EVERY)
        self._row.save(lambda state: replace(state, foreign=tuple(theirs[:_FOREIGN_KEPT]), keys_at=again))

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
            late = now - self._row.state.phase_since >= _MADE_WITHIN
            raise Stop(now + _IN_THE_MAKING, "the vault does not make a certificate" if late else "")
        version = describe(made)
        dates = version.not_after - now >= POLICY.worth_proving and version.not_before <= now + _CLOCKS_DIFFER
        if not (dates and made.enabled):
            self._row.save(lambda state: moves.given_up(state, version, now), planned=True)
            raise Stop(now, "the vault made a certificate that is disabled, or has the wrong dates")

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
                self._row.save(lambda state: moves.not_added(self._row.settled(state, outcome)))
                raise
            key_id = ""
        except DirectoryRefused as error:
            refusal = error
            self._row.save(
                lambda state: moves.refused(
                    self._row.settled(state, f"refused: {refusal}", warning=True), refusal
                )
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
            outcome = f"refused: {error}"
            self._row.save(lambda state: moves.not_removed(self._row.settled(state, outcome, warning=True)))
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


def _both(
    one: CertificateVersion | None, other: CertificateVersion | None
) -> tuple[CertificateVersion, CertificateVersion]:
    if one is None or other is None:
        raise TypeError("the planner chose a step for a row that has not both versions")
    return one, other
