"""The password door: who signs in here, and what it costs to guess.

Every attempt goes the same way: a charge at the throttle, then exactly one Argon2id verification, then one answer. A wrong
password, an unknown account, a deactivated one and one that must use Microsoft cannot be told apart, by text or by time.
"""

from dataclasses import dataclass, replace

from shared import accounts, device, limits, session, throttle
from shared.access import AuthenticationMethod, Level, refusal
from shared.audit import Event
from shared.base64url import random_id
from shared.errors import BadRequest, SignInError, TooManyAttempts, WrongCredentials
from shared.password import evaluation_place, hash_password, verify_password
from shared.secret import Secret
from shared.services import Services
from shared.session import Session, SignedIn
from shared.settings import read_settings
from shared.user_name import normalise_user_name


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person typed, and what is known of where they are."""

    user_name: str
    password: Secret
    client_address: str
    device_cookie: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A person is signed in; `device_cookie` marks the browser as one that has signed in before."""

    session: Session
    device_cookie: str


def sign_in(services: Services, typed: Credentials, reference: str) -> Admitted:
    """Sign a person in by password. Raises WrongCredentials for every kind of no, or TooManyAttempts."""
    now = services.clock()
    store, pepper = services.store, services.pepper.get()
    # Read from the store itself: whether the door is the Owner's alone must not be a minute old.
    sso_active = read_settings(store).sso_active
    try:
        user_name = normalise_user_name(typed.user_name)
    except BadRequest:
        user_name = ""  # a name that no account can have: charged and verified like any other
    known = device.known(typed.device_cookie, user_name, pepper.device_key, now)
    attempt = limits.attempt_from(user_name, typed.client_address, known, pepper.throttle_key)
    try:
        throttle.require_no_wait(store, attempt, now)  # who must wait takes nobody's place
    except TooManyAttempts as error:
        if known is None or not error.closed:
            raise
        # A known browser that closed itself is one like any other: what opens the user name opens it too.
        known, attempt = None, limits.attempt_from(user_name, typed.client_address, None, pepper.throttle_key)
        throttle.require_no_wait(store, attempt, now)
    with evaluation_place(known_browser=known is not None):
        reservation = throttle.reserve(store, attempt, now)
        account = accounts.account_by_user_name(store, user_name) if user_name else None
        stored = account.password_hash.reveal() if account else ""
        verification = verify_password(typed.password, stored or None, pepper.password)
    if reason := _reason(account, sso_active=sso_active, right_password=verification.matches):
        _record_refusal(services, account, reason, reference)
    if account is None or reason:
        raise WrongCredentials
    throttle.settle(store, reservation)
    if verification.rehash_needed:
        account = _rehash(services, account, typed.password)
    made = session.create(
        store, SignedIn(account, account.level, AuthenticationMethod.PASSWORD, random_id()), now
    )
    services.audit.record(
        Event(
            "signin.succeeded",
            now,
            reference,
            account.id,
            AuthenticationMethod.PASSWORD,
            # With SSO active every use of this door is worth a look: it is the way around Microsoft.
            warning=sso_active,
        )
    )
    return Admitted(made, device.issue(user_name, pepper.device_key, now))


def _reason(account: accounts.Account | None, *, sso_active: bool, right_password: bool) -> str:
    """Say why it is a no, for the log alone; empty for a yes."""
    if account is None:
        return "unknown_account"
    if not right_password:
        return "wrong_password"
    method = AuthenticationMethod.PASSWORD
    return refusal(method, account.level, sso_active=sso_active, allow_login=account.allow_login)


def _record_refusal(
    services: Services, account: accounts.Account | None, reason: str, reference: str
) -> None:
    event = Event(
        "signin.refused",
        services.clock(),
        reference,
        account.id if account else "",
        AuthenticationMethod.PASSWORD,
        reason,
        warning=account is not None and account.level is Level.OWNER,
    )
    services.audit.record(event)


def _rehash(services: Services, account: accounts.Account, password: Secret) -> accounts.Account:
    """Write the password again with today's parameters. Not worth failing a sign-in for."""
    try:
        renewed = Secret(hash_password(password, services.pepper.get().password))
        return accounts.save(services.store, replace(account, password_hash=renewed))
    except SignInError:
        return account
