"""From settings to services: the one place that joins the rules to the adapters."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import RequestsTransport

    from shared.config import Config


def connect(config: Config, *, as_person: bool = False) -> Services:
    """Make the services. Nothing is imported or called before it is first needed.

    The functions are a managed identity; with `as_person`, whoever is signed in to Azure on this computer.
    """
    logging.getLogger("azure").setLevel(logging.WARNING)  # the SDKs log each request at INFO
    wire = _Wire(config, as_person=as_person)
    return Services(
        config,
        _clock,
        _OnFirstUse(wire.store),
        _OnFirstUse(wire.vault),
        _OnFirstUse(wire.identity),
        _OnFirstUse(wire.directory),
    )


def _clock() -> datetime:
    """Tell the time by `_now`, looked up at each call: replacing that one moves the clock of everything."""
    return _now()


def _now() -> datetime:
    return datetime.now(UTC)


class _OnFirstUse:
    """Stands for an adapter until it is first used; the SDKs are most of a cold start (facts in docs/performance)."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._made: object | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the adapter has under this name
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return getattr(self._made, name)


class _Wire:
    """Builds the adapters on one HTTP session and one credential."""

    def __init__(self, config: Config, *, as_person: bool) -> None:
        self._config = config
        self._as_person = as_person
        self._lock = threading.Lock()
        self._shared: tuple[requests.Session, RequestsTransport] | None = None
        self._credential: TokenCredential | None = None

    def store(self) -> object:
        from shared.azure.tables import TablesStore

        _session, transport = self._http()
        return TablesStore(self._config, _OnFirstUse(self._identity), transport)

    def vault(self) -> object:
        from shared.azure.key_vault import KeyVault

        _session, transport = self._http()
        return KeyVault(self._config, self._identity(), transport)

    def identity(self) -> object:
        from shared.azure.entra import Entra

        session, _transport = self._http()
        return Entra(self._config, session, _clock)

    def directory(self) -> object:
        from shared.azure.graph import Graph

        session, _transport = self._http()
        return Graph(self._config, session)

    def _http(self) -> tuple[requests.Session, RequestsTransport]:
        from shared.azure.http import pooled_session, transport

        with self._lock:
            if self._shared is None:
                session = pooled_session(self._config)
                self._shared = session, transport(session)
            return self._shared

    def _identity(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        _session, transport = self._http()
        client_id = self._config.managed_identity_client_id or None
        with self._lock:
            if self._credential is None and self._as_person:
                self._credential = DefaultAzureCredential(
                    managed_identity_client_id=client_id, transport=transport, retry_total=0
                )
            elif self._credential is None:
                self._credential = ManagedIdentityCredential(
                    client_id=client_id, transport=transport, retry_total=0
                )
            return self._credential
