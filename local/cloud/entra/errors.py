"""Entra's errors: an OAuth error code for programs, an AADSTS number for people."""

from datetime import datetime
from http import HTTPStatus
from uuid import uuid4

from local.cloud.web import Json


class EntraError(Exception):
    """A refusal: `number` is the AADSTS one, `error` that of RFC 6749 or OpenID Connect Core."""

    def __init__(self, number: int, error: str, text: str) -> None:
        super().__init__(number)
        self.number = number
        self.error = error
        self.text = text

    @property
    def status(self) -> int:
        """The status at the token endpoint (RFC 6749, section 5.2)."""
        return HTTPStatus.UNAUTHORIZED if self.error == "invalid_client" else HTTPStatus.BAD_REQUEST

    def document(self, now: datetime, correlation_id: str, error_host: str) -> Json:
        """Give the JSON body of the token endpoint, whose fields a callback receives as parameters."""
        trace_id, timestamp = str(uuid4()), f"{now:%Y-%m-%d %H:%M:%SZ}"
        ids = f"Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} {ids}",
            "error_codes": [self.number],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"{error_host}/error?code={self.number}",
        }


class PageError(EntraError):
    """A refusal that must not be sent to the address in the request: the person sees a page of Entra's."""


def tenant_not_found(tenant: str) -> PageError:
    """AADSTS90002."""
    text = f"Tenant '{tenant}' not found. Check the tenant id, and that this is the right cloud."
    return PageError(90002, "invalid_request", text)


def application_not_found(client_id: str, tenant: str) -> PageError:
    """AADSTS700016."""
    text = f"Application with identifier '{client_id}' was not found in the directory '{tenant}'."
    return PageError(700016, "unauthorized_client", text)


def parameter_missing(name: str) -> EntraError:
    """AADSTS900144."""
    return EntraError(
        900144, "invalid_request", f"The request must contain the following parameter: '{name}'."
    )


def invalid_request(text: str) -> EntraError:
    """AADSTS90023."""
    return EntraError(90023, "invalid_request", text)
