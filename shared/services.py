"""Everything a door needs, in one record: the ports, and what is kept in memory between requests."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from shared.errors import CertificateExpired, NotConfigured, UpstreamUnavailable
from shared.refreshed import BACK_OFF, Refreshed

if TYPE_CHECKING:
    from datetime import datetime

    from shared.audit import AuditLog
    from shared.certificate import ClientAssertions
    from shared.config import Config
    from shared.key_ring import KeyRing
    from shared.ports import Application, Clock, Directory, IdentityProvider, Store, Vault
    from shared.renewal_state import RenewalState
    from shared.renewal_watch import RenewalWatch
    from shared.session import Issuer
    from shared.settings import SsoSettings
    from shared.signing_keys import SigningKeys
    from shared.vault_secrets import Pepper

_SETTINGS_FRESH: Final = timedelta(seconds=60)
_IDLE: Final = timedelta(minutes=15)
"""An instance that nobody asked for this long reads again before it answers."""
_POINTER_IDLE: Final = timedelta(minutes=5)
"""The same for the certificate: *rotate now* retires the old one after 11 minutes."""
_RING_FRESH: Final = timedelta(minutes=10)
_RING_COOL_DOWN: Final = timedelta(minutes=1)
_THREADS_KEPT_FREE: Final = 2
"""While Microsoft hangs, this many still serve the Owner's door and those who are signed in."""
_VAULT_ASKED_EVERY: Final = timedelta(seconds=5)
_PEPPER_FRESH: Final = timedelta(hours=24)


class Services:
    """The ports, and the values that are read once and kept.

    What needs a large library is imported by the loader that first needs it: importing this module must stay cheap,
    because it is part of every cold start.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: Store,
        vault: Vault,
        identity: IdentityProvider,
        directory: Directory,
    ) -> None:
        self.config = config
        self.clock = clock
        self.store = store
        self.vault = vault
        self.identity = identity
        self.directory = directory
        self.settings: Refreshed[SsoSettings] = Refreshed(self._load_settings, clock, _SETTINGS_FRESH, _IDLE)
        self.certificate: Refreshed[RenewalState] = Refreshed(
            self._load_certificate, clock, _SETTINGS_FRESH, _POINTER_IDLE
        )
        self.key_ring: Refreshed[KeyRing] = Refreshed(self._load_key_ring, clock, _RING_FRESH, _IDLE)
        self.pepper: Refreshed[Pepper] = Refreshed(self._load_pepper, clock, _PEPPER_FRESH)
        self.redemptions = threading.BoundedSemaphore(max(1, config.threads - _THREADS_KEPT_FREE))
        self._lock = threading.Lock()
        self._newer_ring_asked_at: datetime | None = None
        self._row_asked_at: datetime | None = None
        self._asking_vault = threading.Lock()
        self._vault_answer: tuple[datetime, UpstreamUnavailable | None] | None = None
        self._signing_keys: dict[str, SigningKeys] = {}
        self._assertions: ClientAssertions | None = None

    @cached_property
    def audit(self) -> AuditLog:
        """Where events are written."""
        from shared.audit import AuditLog, flush_at_exit

        audit = AuditLog(self.store)
        flush_at_exit(audit)
        return audit

    @property
    def issuer(self) -> Issuer:
        """What session tokens say of where they come from and whom they are for."""
        from shared.session import Issuer

        return Issuer(self.config.address, self.config.audience)

    @cached_property
    def watch(self) -> RenewalWatch:
        """Who notices, behind a request, that the timer of the renewal has stopped."""
        from shared.renewal_watch import RenewalWatch

        return RenewalWatch(self)

    def newer_key_ring(self, seen: KeyRing) -> KeyRing:
        """Read the key ring again, for a key that we do not know; at most once a minute.

        Another instance may have signed or sealed with a newer ring than ours.
        """
        now = self.clock()
        with self._lock:
            asked_at = self._newer_ring_asked_at
            if asked_at is not None and timedelta(0) <= now - asked_at < _RING_COOL_DOWN:
                return seen
            self._newer_ring_asked_at = now
        return self.key_ring.refresh()

    def certificate_that_signs(self, known: RenewalState) -> RenewalState:
        """Give the row `known`; read again, at most every few seconds, where nothing in it signs.

        The Owner has just uploaded the certificate, perhaps: nobody shall be turned away because of what is in memory.
        """
        now = self.clock()
        with suppress(NotConfigured, CertificateExpired):
            known.signing(now)
            return known
        with self._lock:
            asked_at = self._row_asked_at
            if asked_at is not None and timedelta(0) <= now - asked_at < BACK_OFF:
                return known
            self._row_asked_at = now
        return self.certificate.refresh()

    def ask_vault(self) -> None:
        """Raise UpstreamUnavailable unless the vault answers. Asks it every few seconds at most, whoever wants to know."""
        from shared.vault_secrets import PEPPER_NAME

        with self._asking_vault:
            now, known = self.clock(), self._vault_answer
            if known is None or not timedelta(0) <= now - known[0] < _VAULT_ASKED_EVERY:
                try:
                    self.vault.secret(PEPPER_NAME)
                except UpstreamUnavailable as error:
                    known = self.clock(), error
                else:
                    known = now, None
                self._vault_answer = known
        if known[1] is not None:
            raise known[1].with_traceback(None)

    def signing_keys(self, application: Application) -> SigningKeys:
        """Give the keys of Microsoft's tokens for this tenant."""
        from shared.signing_keys import SigningKeys

        with self._lock:
            if application.tenant_id not in self._signing_keys:
                keys = SigningKeys(lambda: self.identity.fetch_keys(application), self.clock)
                self._signing_keys = {application.tenant_id: keys}
            return self._signing_keys[application.tenant_id]

    @property
    def assertions(self) -> ClientAssertions:
        """Give the maker of client assertions."""
        from shared.certificate import CERTIFICATE_NAME, ClientAssertions

        with self._lock:
            if self._assertions is None:
                self._assertions = ClientAssertions(
                    lambda version, digest: self.vault.sign(CERTIFICATE_NAME, version, "PS256", digest),
                    self.clock,
                )
            return self._assertions

    def _load_settings(self) -> SsoSettings:
        from shared.settings import read_settings

        return read_settings(self.store)

    def _load_certificate(self) -> RenewalState:
        from shared.renewal_state import read_state

        return read_state(self.store)

    def _load_key_ring(self) -> KeyRing:
        from shared.vault_secrets import load_key_ring

        return load_key_ring(self.store, self.vault, self.clock)

    def _load_pepper(self) -> Pepper:
        from shared.vault_secrets import load_pepper

        return load_pepper(self.store, self.vault, self.clock)
