"""The identity provider, on Microsoft Entra ID: MSAL makes the requests, and what it answers is validated elsewhere."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msal
import requests

from shared.aadsts import numbers_in
from shared.azure.http import json_object, send
from shared.config import Config
from shared.errors import AuthorizationDenied, UpstreamUnavailable
from shared.ports import Application, AuthorizationRequest, Clock, ProviderMetadata
from shared.refreshed import Refreshed
from shared.secret import Secret

_PORT: Final = "microsoft"
_NUMBERS_KEPT: Final = 5
_METADATA_FRESH: Final = timedelta(hours=24)
_SCOPES: Final[list[str]] = []
"""Sign-in only. MSAL adds openid and profile, and offline_access is taken out: no token of Microsoft is kept."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A discovery document, as it came (for MSAL) and parsed."""

    response: requests.Response
    document: Mapping[str, object]


class _MsalHttp:
    """What MSAL asks of an HTTP client, on the shared session. Discovery documents are kept."""

    def __init__(self, session: requests.Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._documents: dict[str, Refreshed[_Kept]] = {}
        self.clock_skew: timedelta | None = None

    def document(self, url: str) -> Mapping[str, object]:
        """Read a discovery document, kept for a day and the last good one longer."""
        with self._lock:
            kept = self._documents.get(url)
            if kept is None:
                kept = Refreshed(lambda: self._fetch(url), self._clock, _METADATA_FRESH)
                self._documents[url] = kept
        return kept.get().document

    def get(self, url: str, params: Mapping[str, str] | None = None, **_: object) -> requests.Response:
        """Answer MSAL from what is kept: it asks for discovery documents only, once per client it makes."""
        del params
        with self._lock:
            kept = self._documents.get(url)
        return kept.get().response if kept else self._fetch(url).response

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: object,
    ) -> requests.Response:
        """Send a token request, and compare the clocks by its answer. Raises UpstreamUnavailable when that is no JSON."""
        response = send(_PORT, self._session, "POST", url, params=params, data=data, headers=headers)
        json_object(_PORT, response)  # MSAL would fail over a page of a proxy in the way, and log it
        if theirs := _date(response):
            self.clock_skew = self._clock() - response.elapsed / 2 - theirs
        return response

    def close(self) -> None:
        """Keep the shared session open: it is not MSAL's."""

    def _fetch(self, url: str) -> _Kept:
        response = send(_PORT, self._session, "GET", url)
        if response.status_code != requests.codes.ok:
            body = json_object(_PORT, response)
            raise AuthorizationDenied(str(body.get("error", "invalid_tenant"))[:60], _numbers(body))
        return _Kept(response, json_object(_PORT, response))


class Entra:
    """`shared.ports.IdentityProvider` on Microsoft Entra ID."""

    def __init__(self, config: Config, session: requests.Session, clock: Clock) -> None:
        self._authority_host = config.authority_host
        self._graph_scope = f"{config.graph_url}/.default"
        self._http = _MsalHttp(session, clock)
        self._session = session
        self._lock = threading.Lock()
        self._starters: dict[
            Application, tuple[Mapping[str, object], msal.ConfidentialClientApplication]
        ] = {}

    def start(
        self,
        application: Application,
        redirect_uri: str,
        *,
        state: str,
        login_hint: str = "",
        domain_hint: str = "",
        prompt: str = "",
    ) -> tuple[str, AuthorizationRequest]:
        """Make an authorization request (form_post, PKCE, nonce) and its URL. No network once metadata is known."""
        flow = self._starter(application).initiate_auth_code_flow(
            _SCOPES,
            redirect_uri=redirect_uri,
            state=state,
            login_hint=login_hint or None,
            domain_hint=domain_hint or None,
            prompt=prompt or None,
            response_mode="form_post",
        )
        request = AuthorizationRequest(flow["state"], Secret(flow["nonce"]), Secret(flow["code_verifier"]))
        return flow["auth_uri"], request

    def redeem(
        self,
        application: Application,
        redirect_uri: str,
        request: AuthorizationRequest,
        answer: Mapping[str, str],
        assertion: Callable[[str], str],
    ) -> str:
        """Exchange the code in `answer` for an ID token, not yet validated. One request."""
        flow = {
            "state": request.state,
            "nonce": request.nonce.reveal(),
            "code_verifier": request.code_verifier.reveal(),
            "redirect_uri": redirect_uri,
            "scope": _SCOPES,
            "claims_challenge": None,
        }
        client = self._msal(application, lambda facts: assertion(facts["token_endpoint"]))
        try:
            result = client.acquire_token_by_auth_code_flow(flow, dict(answer))
        except (RuntimeError, ValueError, TypeError, KeyError):
            # MSAL reads the ID token first and looks at its nonce; what it says of them shows values.
            raise AuthorizationDenied("invalid_response") from None
        if "error" in result:
            raise _denied(result)
        return str(result.get("id_token", ""))

    def metadata(self, application: Application) -> ProviderMetadata:
        """Answer the provider's metadata; from memory once known."""
        document = self._document(application)
        return ProviderMetadata(str(document["issuer"]), str(document.get("end_session_endpoint", "")))

    def fetch_keys(self, application: Application) -> Mapping[str, object]:
        """Fetch the provider's JSON Web Key Set. One request, every time."""
        url = str(self._document(application)["jwks_uri"])
        response = send(_PORT, self._session, "GET", url)
        return json_object(_PORT, response)

    def authenticate(self, application: Application, assertion: Callable[[str], str]) -> Secret:
        """Get an access token for the directory as the application itself. One request, never from a cache."""
        self._document(application)  # kept here; MSAL alone would fetch it for every client
        client = self._msal(application, lambda facts: assertion(facts["token_endpoint"]))
        result = client.acquire_token_for_client([self._graph_scope])
        if "error" in result:
            raise _denied(result)
        if not (token := result.get("access_token")):
            raise UpstreamUnavailable(_PORT, "the answer holds no token")
        return Secret(token)

    def clock_skew(self) -> timedelta | None:
        """Say how far our clock is ahead of the provider's, to about a second, by its latest token answer."""
        return self._http.clock_skew

    def _authority(self, application: Application) -> str:
        return f"{self._authority_host}/{application.tenant_id}"

    def _document(self, application: Application) -> Mapping[str, object]:
        """Read the discovery document, and believe it only when it speaks for this tenant (Discovery 1.0, 4.3)."""
        authority = self._authority(application)
        document = self._http.document(f"{authority}/v2.0/.well-known/openid-configuration")
        if document.get("issuer") != f"{authority}/v2.0":
            raise UpstreamUnavailable(_PORT, "the metadata names another issuer", retriable=False)
        for name in ("token_endpoint", "jwks_uri"):
            if not str(document.get(name, "")).startswith("https://"):
                raise UpstreamUnavailable(_PORT, f"the metadata has no https {name}", retriable=False)
        return document

    def _starter(self, application: Application) -> msal.ConfidentialClientApplication:
        """Give a client that begins sign-ins. It signs and keeps nothing, so one serves all until the metadata changes."""
        document = self._document(application)
        with self._lock:
            known = self._starters.get(application)
            if known is None or known[0] is not document:
                known = document, self._msal(application)
                self._starters = {application: known}
            return known[1]

    def _msal(
        self, application: Application, assertion: Callable[[dict[str, str]], str] | None = None
    ) -> msal.ConfidentialClientApplication:
        """Make a client with caches of its own: MSAL keeps tokens (even after a bad nonce), refusals and throttling."""
        return msal.ConfidentialClientApplication(
            application.client_id,
            client_credential={"client_assertion": assertion} if assertion else None,
            authority=self._authority(application),
            http_client=self._http,
            # The authority is ours by configuration: nobody else is asked whether it exists.
            instance_discovery=False,
            exclude_scopes=["offline_access"],
        )


def _date(response: requests.Response) -> datetime | None:
    """Read the `Date` of an answer (RFC 9110, section 6.6.1), None without one that tells its zone."""
    try:
        date = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None
    return date if date.tzinfo else None


def _denied(result: Mapping[str, Any]) -> AuthorizationDenied:
    """Take the error code as RFC 6749, section 5.2, spells it, and nothing else that could stand there."""
    error = str(result["error"])
    return AuthorizationDenied(error if re.fullmatch(r"[a-z_]{1,60}", error) else "unknown", _numbers(result))


def _numbers(body: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the AADSTS numbers of an error, first those of its own list."""
    listed = body.get("error_codes")
    if isinstance(listed, list) and all(isinstance(number, int) for number in listed):
        return tuple(listed[:_NUMBERS_KEPT])
    return numbers_in(str(body.get("error_description", "")))
