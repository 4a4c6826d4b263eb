"""What the Owner can ask of the renewal. Each is one compare-and-swap of the row; the next tick does the work."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from shared.certificate import CERTIFICATE_NAME
from shared.errors import Conflict, NotConfigured
from shared.ports import Store, Vault
from shared.public_part import to_pem
from shared.renewal_state import LONG_AGO, Asked, Phase, RenewalState, Request, read_state, save_state

_TRIES = 5
_ANSWERS_KEPT = 20


def ask(store: Store, kind: Asked, nonce: str, now: datetime) -> RenewalState:
    """Ask for something, once: a second time with the same nonce (from the form) changes nothing.

    GENERATE makes the next certificate now, ROTATE also uses it as soon as it is proven, REVOKE lets the vault sign with
    the old one no more at that moment, ROLL_BACK goes back to the previous one during the overlap. Raises ValueError with a
    sentence for the Owner when it makes no sense now.
    """

    def asked(state: RenewalState) -> RenewalState:
        if nonce in state.answered:
            return state
        if problem := _problem(state, kind):
            raise ValueError(problem)
        target = state.current.version if state.current is not None else ""
        request = Request(kind, nonce, target)
        answered = (*state.answered, nonce)[-_ANSWERS_KEPT:]
        state = replace(state, request=request, answered=answered, refusal="")
        return _soon(state.noted(f"renewal.asked.{kind}", now, warning=True), now)

    return _change(store, asked)


def pause(store: Store, now: datetime) -> RenewalState:
    """Let nothing change by itself until `resume`. Probes and alarms go on."""
    return _change(store, lambda state: _paused(state, now, paused=True))


def resume(store: Store, now: datetime) -> RenewalState:
    """Go on where `pause`, or a roll-back, stopped."""
    return _change(store, lambda state: _paused(state, now, paused=False))


def look_now(store: Store, now: datetime) -> RenewalState:
    """Look at once whether the certificate has been uploaded, and ask the directory again where it had refused."""
    return _change(store, lambda state: _soon(replace(state, refusal="", keys_at=LONG_AGO), now))


def download(store: Store, vault: Vault) -> bytes:
    """Give the public part of the certificate to upload (PEM): of the next one, or else of the one that signs.

    Raises NotConfigured while there is none.
    """
    state = read_state(store)
    version = state.next or state.current
    made = vault.certificate(CERTIFICATE_NAME, version.version) if version is not None else None
    if made is None:
        raise NotConfigured("certificate")
    return to_pem(made.der)


def _problem(state: RenewalState, kind: Asked) -> str:
    if kind is Asked.ROLL_BACK:
        possible = state.phase is Phase.OVERLAP and state.previous is not None
        return "" if possible else "There is no previous certificate to go back to."
    if state.paused:
        return "The renewal is paused: resume it first."
    if state.asked(Asked.REVOKE) and kind is not Asked.REVOKE:
        return "The certificate is being revoked: wait until that is done."
    return _problem_of_generate(state) if kind is Asked.GENERATE else ""


def _problem_of_generate(state: RenewalState) -> str:
    if state.asked(Asked.ROTATE) or state.phase is Phase.CREATE:
        return "The next certificate is being made."
    if state.next is not None and state.next.registered_at is not None:
        return "The next certificate is registered already, and will be used soon."
    if state.phase in {Phase.OVERLAP, Phase.RETIRE}:
        return "The certificate was replaced only now: wait until the old one is retired, or rotate."
    return ""


def _paused(state: RenewalState, now: datetime, *, paused: bool) -> RenewalState:
    if state.paused == paused:
        return state
    name = "renewal.paused" if paused else "renewal.resumed"
    return _soon(replace(state, paused=paused).noted(name, now, warning=True), now)


def _soon(state: RenewalState, now: datetime) -> RenewalState:
    return replace(state, next_attempt_at=max(now - timedelta(seconds=1), state.blocked_until))


def _change(store: Store, change: Callable[[RenewalState], RenewalState]) -> RenewalState:
    """Compare and swap. Raises Conflict when others keep changing the row."""
    for _ in range(_TRIES):
        before = read_state(store)
        after = change(before)
        if after == before:
            return before
        try:
            return save_state(store, after)
        except Conflict:
            continue
    raise Conflict
