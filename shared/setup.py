"""First run and recovery: a link from the engineer lets the Owner choose a user name and a password, once.

The token is a secret in the vault, with an end. The Owner's row remembers the hash of the token that was used, and the
write that sets the password writes it too: of two requests with one token, one wins.
"""

import hmac
import re
import secrets
from datetime import timedelta
from hashlib import sha256

from shared import accounts, device, limits, throttle
from shared.audit import Event
from shared.errors import BadRequest, Conflict, InvalidSetupToken, WeakPassword
from shared.password import check_new_password, hash_password
from shared.ports import Clock, Vault
from shared.secret import Secret
from shared.services import Services
from shared.user_name import normalise_user_name

SETUP_TOKEN_NAME = "sos-setup-token"  # noqa: S105 - the name of the secret, not the secret
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
LINK_LIFETIME = timedelta(hours=24)


def new_link(vault: Vault, clock: Clock, address: str) -> str:
    """Make a set-up link that works once, for 24 hours; an earlier link stops working."""
    token = secrets.token_urlsafe(32)
    vault.set_secret(SETUP_TOKEN_NAME, Secret(token), expires_on=clock() + LINK_LIFETIME)
    return f"{address}/setup?token={token}"


def check_token(services: Services, token: str) -> accounts.Account | None:
    """Give the Owner as they are now (None at the first run). Raises InvalidSetupToken unless the token is good."""
    if not _TOKEN.fullmatch(token):  # before the vault is asked, which strangers must not keep busy
        raise InvalidSetupToken
    stored = services.vault.secret(SETUP_TOKEN_NAME)
    good = stored is not None and hmac.compare_digest(_hash(stored.value.reveal()), _hash(token))
    if stored is None or not good:
        raise InvalidSetupToken
    if stored.expires_on is None or services.clock() >= stored.expires_on:
        raise InvalidSetupToken
    owner = accounts.account_by_id(services.store, accounts.OWNER_ID)
    if owner is not None and hmac.compare_digest(owner.setup_token_hash, _hash(token)):
        raise InvalidSetupToken
    return owner


def finish(services: Services, token: str, user_name: str, password: Secret, reference: str) -> str:
    """Set the Owner's password (at the first run the user name too), and use up the token. Gives the device cookie.

    The browser that set the password is one that the Owner knows: guessing from elsewhere must not close it.

    Raises InvalidSetupToken, or WeakPassword with every problem of the name or the password.
    """
    owner = check_token(services, token)
    name = owner.user_name if owner else user_name
    problems: tuple[str, ...] = ()
    try:
        name = normalise_user_name(name)
    except BadRequest:
        problems = ("Choose a user name of letters, digits and signs that can be seen.",)
    problems += check_new_password(password, context=(name, "SOS Sign-in"))
    if problems:
        raise WeakPassword(problems)
    pepper, now = services.pepper.get(), services.clock()
    password_hash = Secret(hash_password(password, pepper.password))
    still = check_token(services, token)
    if (still.etag if still else "") != (owner.etag if owner else ""):
        raise InvalidSetupToken  # a newer link was used while this request waited for its turn to hash
    try:
        accounts.set_owner(services.store, name, password_hash, _hash(token), now)
    except Conflict:
        raise InvalidSetupToken from None
    # Whoever was guessing before must not keep the Owner waiting at the new password.
    throttle.reset(services.store, limits.account_limit(name, pepper.throttle_key))
    event = Event("owner.password_set", now, reference, accounts.OWNER_ID, warning=owner is not None)
    services.audit.record(event)
    return device.issue(name, pepper.device_key, now)


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
