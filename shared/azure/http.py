"""One pooled HTTP session for everything that leaves this process, with time-outs and bounded retries.

Every wait here is short: a person stands before the page. A service that asks for more patience than that is answered with
`UpstreamUnavailable`, which carries what it asked for.
"""

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Literal

import certifi
import requests
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from shared.config import Config
from shared.errors import UpstreamUnavailable

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
_PAUSES: Final = (0.2, 0.8)
"""Seconds before the second and the third try."""
_LONGEST_PAUSE: Final = 2.0
"""A `Retry-After` beyond this many seconds is passed on instead of waited for."""
_STOP_RETRYING_AFTER: Final = 5.0
_NOTHING_DONE: Final = frozenset({429, 503})
"""Statuses that say so: any request may be sent again."""
_OUTCOME_UNKNOWN: Final = frozenset({408, 500, 502, 504})
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_ONE_DAY_SECONDS: Final = 86_400


def pooled_session(config: Config) -> requests.Session:
    """Make the session that all adapters share."""
    session = requests.Session()
    # Neither proxies nor certificate bundles of the environment: REQUESTS_CA_BUNDLE would override ours.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    trusted = ssl.create_default_context(cafile=config.trusted_ca_file or certifi.where())
    adapter = _OneContext(trusted)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class _OneContext(HTTPAdapter):
    """Connects with one TLS context. Without it the certificate authorities are read anew for every connection (36 ms)."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=8, pool_maxsize=32, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of requests
        """Hand the context to every pool."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: object, cert: object) -> None:  # noqa: ANN401 - as above
        """Verify always: the context requires a certificate and checks the host name. Names no file to read."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"


def transport(session: requests.Session) -> RequestsTransport:
    """Make the SDKs use the shared session, with our time-outs. Their own retries are switched off where it is used."""
    return RequestsTransport(
        session=session,
        session_owner=False,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        use_env_settings=False,
    )


def call[T](port: str, work: Callable[[], T], *, repeatable: bool) -> T:
    """Do some work that calls a service, with at most two more tries.

    `repeatable` says that doing it twice is as good as once: only then is it tried again when its outcome is unknown
    (a lost answer, or a 5xx that may have come too late). Raises UpstreamUnavailable, with `nothing_done` when no try
    had an effect; an error of the 4xx that is an answer about the request is left to the adapter.
    """
    began, nothing_done = time.monotonic(), True
    for pause in (*_PAUSES, None):
        try:
            return work()
        except (AzureError, requests.RequestException) as error:
            status, headers = _answer(error)
            if _CLIENT_ERROR <= status < _SERVER_ERROR and status not in _NOTHING_DONE | _OUTCOME_UNKNOWN:
                raise
            asked = retry_after(headers)
            what = f"http {status}" if status else type(error).__name__
            without_effect = status in _NOTHING_DONE or _never_sent(error)
            nothing_done = nothing_done and without_effect
            failure = UpstreamUnavailable(port, what, retry_after=asked, nothing_done=nothing_done)
            again = without_effect or (repeatable and (not status or status in _OUTCOME_UNKNOWN))
        wait = max(pause or 0, asked.total_seconds() if asked else 0)
        if (
            not again
            or pause is None
            or wait > _LONGEST_PAUSE
            or time.monotonic() - began > _STOP_RETRYING_AFTER
        ):
            raise failure
        time.sleep(wait)
    raise AssertionError("unreachable")


def send(
    port: str,
    session: requests.Session,
    method: Literal["GET", "POST"],
    url: str,
    *,
    data: Mapping[str, str] | bytes | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> requests.Response:
    """Send one request by the rules of `call`. Any answer below 500 is returned, but 408 and 429."""

    def work() -> requests.Response:
        response = session.request(
            method,
            url,
            data=data,
            params=params,
            headers=headers,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
        )
        if response.status_code >= _SERVER_ERROR or response.status_code in _NOTHING_DONE | _OUTCOME_UNKNOWN:
            raise requests.HTTPError(response=response)
        return response

    return call(port, work, repeatable=method == "GET")


def json_object(port: str, response: requests.Response) -> Mapping[str, Any]:
    """Read the JSON object of an answer. Raises UpstreamUnavailable for anything else: a page of a proxy in the way, say."""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise UpstreamUnavailable(port, "the answer is not a JSON object")
    return body


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read `Retry-After` (RFC 9110, section 10.2.3), seconds or a date, at most a day; None without a sane one."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:6]), _ONE_DAY_SECONDS))
    with suppress(ValueError):
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
        return timedelta(seconds=min(max(seconds, 0), _ONE_DAY_SECONDS))
    return None


def _answer(error: Exception) -> tuple[int, Mapping[str, str]]:
    """Give the status and the headers of the answer behind an error; 0 when there was none."""
    response = getattr(error, "response", None)
    return (response.status_code, response.headers) if response is not None else (0, {})


def _never_sent(error: Exception) -> bool:
    if isinstance(error, requests.RequestException):
        cause = getattr(error.args[0] if error.args else None, "reason", None)
        return isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError)
    return isinstance(error, ServiceRequestError)
