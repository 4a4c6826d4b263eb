"""The tenant at its addresses: what every endpoint of Entra needs to know."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from local.cloud.clock import ShiftedClock
from local.cloud.entra.errors import application_not_found, tenant_not_found
from local.cloud.entra.replicas import Replicas
from local.cloud.entra.sessions import BrowserSessions
from local.cloud.entra.state import EntraState
from local.cloud.entra.tokens import TOKEN_LIFETIME, Grant
from local.cloud.web import Request


@dataclass(slots=True)
class Tenant:
    """The tenant, where it is served, and what it remembers while it runs."""

    state: EntraState
    clock: ShiftedClock
    authority_host: str
    browser_url: str
    sessions: BrowserSessions = field(default_factory=BrowserSessions)
    grants: dict[str, Grant] = field(default_factory=dict)
    """By authorization code. Redeemed and expired ones stay, so that they are told from unknown ones."""
    access_tokens: dict[str, tuple[str, datetime]] = field(default_factory=dict, repr=False)
    """Of the application itself: for which resource, until when."""
    replicas: Replicas = field(default_factory=Replicas)
    """Of the token endpoint."""
    forced_errors: list[int] = field(default_factory=list)
    """AADSTS numbers that the next client authentications fail with."""

    @property
    def issuer(self) -> str:
        """The issuer of ID tokens."""
        return f"{self.authority_host}/{self.state.application.tenant_id}/v2.0"

    @property
    def token_endpoint(self) -> str:
        """The address of the token endpoint."""
        return f"{self.authority_host}/{self.state.application.tenant_id}/oauth2/v2.0/token"

    def sign_everyone_out(self) -> None:
        """Forget all sessions and codes."""
        self.sessions = BrowserSessions()
        self.grants.clear()

    def issue_access_token(self, resource: str) -> str:
        """Give the application a token for a resource. It is opaque, as Microsoft's is to an application."""
        now, token = self.clock.now(), secrets.token_urlsafe(64)
        self.access_tokens = {t: v for t, v in self.access_tokens.items() if v[1] > now}
        self.access_tokens[token] = resource, now + TOKEN_LIFETIME
        return token

    def resource_of(self, token: str) -> str | None:
        """Give the resource that an access token is for; None when it is unknown or has expired."""
        resource, expires = self.access_tokens.get(token, (None, self.clock.now()))
        return resource if expires > self.clock.now() else None

    def require_tenant(self, request: Request) -> None:
        """Return when the tenant in the path is this one. Raises PageError (90002) otherwise."""
        asked = request.parts["tenant"]
        if asked.lower() != self.state.application.tenant_id.lower():
            raise tenant_not_found(asked)

    def require_client(self, client_id: str) -> None:
        """Return when the client id is the application's. Raises PageError (700016) otherwise."""
        application = self.state.application
        if client_id.lower() != application.client_id.lower():
            raise application_not_found(client_id, application.tenant_id)


def correlation_id(request: Request) -> str:
    """Give the caller's own id for this request, or a new one."""
    named = request.headers.get("client-request-id") or request.query.get("client-request-id")
    return named or str(uuid4())
