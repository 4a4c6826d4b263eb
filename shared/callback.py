"""The end of a Microsoft sign-in: its answer is taken, and becomes a session. Its start is `signin`.

Asks Microsoft once and the store twice; the vault only when no client assertion is fresh.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import accounts, session, transaction
from shared.aadsts import OUTSIDE_ITS_TIME, is_credential_error, numbers_in
from shared.access import AuthenticationMethod, Level, level_with_roles, refusal
from shared.audit import Event
from shared.errors import (
    AccessDenied,
    AuthorizationDenied,
    Conflict,
    LoginRejected,
    StateMismatch,
    TransactionExpired,
    TransactionMissing,
    TransactionReplayed,
    UpstreamUnavailable,
)
from shared.id_token import Expectation, VerifiedClaims, validate_id_token
from shared.key_ring import KEY_ID_LENGTH
from shared.renewal_state import CertificateVersion, RenewalState
from shared.services import Services
from shared.session import Session, SignedIn
from shared.transaction import LoginTransaction

_CLOCK_TOLERANCE = timedelta(minutes=1)
_THEIRS = frozenset({"server_error", "temporarily_unavailable"})
"""RFC 6749, section 4.1.2.1: the provider is out of order, and nobody was refused."""
_BUSY_FOR = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Finished:
    """A person is signed in. `next` is where they wanted to go, or empty."""

    session: Session
    next: str


def finish(
    services: Services, answer: Mapping[str, str], cookies: Mapping[str, str], reference: str
) -> Finished:
    """Take Microsoft's answer and make a session. Raises LoginRejected (which kind says why) or AccessDenied."""
    now = services.clock()
    login = _open_transaction(services, answer, cookies, now)
    _check_issuer(services, login, answer)
    if "error" in answer:
        raise _denied(answer)
    raw_token = _redeem(services, login, answer, reference)
    claims = _validate(services, login, raw_token)
    signed_in = _admit(services, login, claims, now)
    try:
        made = session.create(services.store, signed_in, now)
    except Conflict:
        raise TransactionReplayed from None
    services.audit.record(
        Event("signin.succeeded", now, reference, signed_in.account.id, AuthenticationMethod.MICROSOFT)
    )
    return Finished(made, login.next)


def _open_transaction(
    services: Services, answer: Mapping[str, str], cookies: Mapping[str, str], now: datetime
) -> LoginTransaction:
    state = answer.get("state", "")
    if not state:
        raise StateMismatch
    name = transaction.cookie_name(state)
    cookie = cookies.get(name, "")
    ring = services.key_ring.get()
    if cookie and ring.find(cookie[:KEY_ID_LENGTH]) is None:
        ring = services.newer_key_ring(ring)
    login = transaction.open_sealed(cookie, name, ring.sealing_keys, KEY_ID_LENGTH)
    if login is None:
        raise TransactionMissing
    if not hmac.compare_digest(login.request.state.encode(), state.encode()):
        raise StateMismatch
    if not -_CLOCK_TOLERANCE <= now - login.issued_at < transaction.LIFETIME:
        raise TransactionExpired
    if login.application != services.settings.get().application:
        raise TransactionExpired  # the Owner named another application meanwhile
    return login


def _check_issuer(services: Services, login: LoginTransaction, answer: Mapping[str, str]) -> None:
    """Refuse an answer of another issuer, where it names one (RFC 9207, section 2.4)."""
    if "iss" in answer and answer["iss"] != services.identity.metadata(login.application).issuer:
        raise StateMismatch


def _denied(answer: Mapping[str, str]) -> LoginRejected | UpstreamUnavailable:
    # Only the numbers are taken from the text: they choose a help page. What happens goes by `error` alone.
    numbers = numbers_in(answer.get("error_description", ""))
    error = answer["error"] if re.fullmatch(r"[a-z_]{1,60}", answer["error"]) else "unknown"
    if error in _THEIRS:
        return UpstreamUnavailable("microsoft", error)
    return AuthorizationDenied(error, numbers)


def _redeem(services: Services, login: LoginTransaction, answer: Mapping[str, str], reference: str) -> str:
    """Exchange the code, and once more with the other certificate when the one that signs is refused.

    Microsoft checks the client before it looks at the code, so the code is still good for the second try.
    """
    known = services.certificate_that_signs(services.certificate.get())
    certificate = known.signing(services.clock())
    try:
        return _redeem_once(services, login, answer, certificate)
    except AuthorizationDenied as error:
        if not is_credential_error(error.error, error.aadsts):
            raise
        reason = str(error.aadsts[0]) if error.aadsts else error.error
        if known.other is None or OUTSIDE_ITS_TIME in error.aadsts:
            services.assertions.forget(certificate)
    except UpstreamUnavailable as error:
        if not error.is_refusal_to_sign:
            raise
        reason = "vault"  # it signs with this version no more
    services.audit.record(
        Event("credential.refused", services.clock(), reference, reason=reason, warning=True)
    )
    return _redeem_once(services, login, answer, _other(services, known))


def _other(services: Services, known: RenewalState) -> CertificateVersion:
    """Choose what to try when the version that signs was refused.

    While two are registered, what is in memory names the other: a replica of Microsoft may not know the new one yet, or
    the old one any more. Otherwise the row is read again; where nothing changed, an assertion made anew is worth a try.
    """
    if known.other is not None:
        return known.other
    fresh = services.certificate.refresh()
    signing = fresh.signing(services.clock())
    return fresh.other if signing == known.current and fresh.other is not None else signing


def _redeem_once(
    services: Services,
    login: LoginTransaction,
    answer: Mapping[str, str],
    certificate: CertificateVersion,
) -> str:
    client_id = login.application.client_id
    if not services.redemptions.acquire(blocking=False):
        raise UpstreamUnavailable("microsoft", "too many wait for it", retry_after=_BUSY_FOR)
    try:
        return services.identity.redeem(
            login.application,
            services.config.redirect_uri,
            login.request,
            answer,
            lambda token_endpoint: services.assertions.make(client_id, token_endpoint, certificate),
        )
    finally:
        services.redemptions.release()


def _validate(services: Services, login: LoginTransaction, raw_token: str) -> VerifiedClaims:
    application = login.application
    expected = Expectation(
        issuer=services.identity.metadata(application).issuer,
        client_id=application.client_id,
        tenant_id=application.tenant_id,
        nonce=login.request.nonce_in_token,
    )
    return validate_id_token(
        raw_token, keys=services.signing_keys(application), expected=expected, now=services.clock()
    )


def _admit(services: Services, login: LoginTransaction, claims: VerifiedClaims, now: datetime) -> SignedIn:
    """Find or make the account, and ask `access`. An account made here is not younger than its first session."""
    settings = services.settings.get()
    account = accounts.account_by_principal(services.store, claims.principal)
    if account is None:
        if not settings.sso_active:
            raise AccessDenied("sso_not_active")
        account = accounts.provision(services.store, claims.principal, claims.name, now)
    level = level_with_roles(account.level, claims.roles, settings.admin_role)
    method = AuthenticationMethod.MICROSOFT
    if reason := refusal(method, level, sso_active=settings.sso_active, allow_login=account.allow_login):
        raise AccessDenied(reason, account.id)
    if claims.name and claims.name != account.name and account.level is not Level.OWNER:
        account = _rename(services, account, claims.name)
    return SignedIn(account, level, method, login.session_key, settings.admin_role, claims.provider_session)


def _rename(services: Services, account: accounts.Account, name: str) -> accounts.Account:
    """Follow a changed display name. It decides nothing, so a lost race is left to the next sign-in."""
    renamed = replace(account, name=name)
    try:
        return accounts.save(services.store, renamed)
    except Conflict:
        return renamed
