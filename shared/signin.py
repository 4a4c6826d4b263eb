"""The start of a Microsoft sign-in: a browser is sent to Microsoft. No network, no store. The rest is `callback`."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared import transaction
from shared.base64url import random_id
from shared.key_ring import KEY_ID_LENGTH
from shared.services import Services
from shared.transaction import LoginTransaction


@dataclass(frozen=True, slots=True)
class Hints:
    """What the application knows of the person, passed on to Microsoft."""

    login_hint: str = ""
    domain_hint: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """Where the browser goes, and the cookie that it keeps meanwhile."""

    url: str
    cookie_name: str
    cookie: str


def start(services: Services, next_path: str, hints: Hints, *, second_try: bool = False) -> Started:
    """Begin a sign-in. Raises NotConfigured while the Owner has not named the application.

    Raises CertificateExpired when it is known that Microsoft would not know us.
    """
    application = services.settings.get().application
    state = transaction.new_state(second_try=second_try)
    url, request = services.identity.start(
        application,
        services.config.redirect_uri,
        state=state,
        login_hint=hints.login_hint,
        domain_hint=hints.domain_hint,
        prompt=hints.prompt,
    )
    now = services.clock()
    login = LoginTransaction(request, application, next_path, now, random_id())
    key = services.key_ring.get().signing_key(now)
    cookie = transaction.seal(login, key.sealing_key, key.key_id)
    # Where it is known that Microsoft would send the person back in vain. A cold start does not read the row for that.
    if (known := services.certificate.known) is not None:
        services.certificate_that_signs(known).signing(now)
    return Started(url, transaction.cookie_name(state), cookie)


def transactions_to_drop(services: Services, cookies: Mapping[str, str]) -> list[str]:
    """Name the transaction cookies that must go so that one more fits: foreign ones, then the oldest."""
    ours = [name for name in cookies if name.startswith(transaction.COOKIE_PREFIX)]
    if len(ours) < transaction.MAX_AT_ONCE:
        return []
    keys = services.key_ring.get().sealing_keys
    opened = {name: transaction.open_sealed(cookies[name], name, keys, KEY_ID_LENGTH) for name in ours}
    oldest_first = sorted(
        ours, key=lambda name: login.issued_at.timestamp() if (login := opened[name]) else 0
    )
    return oldest_first[: len(ours) - transaction.MAX_AT_ONCE + 1]
