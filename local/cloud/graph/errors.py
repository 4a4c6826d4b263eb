"""Graph's errors: a code for programs, a sentence for people, and ids for support."""

from http import HTTPStatus
from uuid import uuid4

from local.cloud.entra.tenant import correlation_id
from local.cloud.web import Request, Response, json_response


class GraphError(Exception):
    """A refusal by Graph."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(code)
        self._status = status
        self._code = code
        self._message = message

    def answer(self, request: Request) -> Response:
        """Give the answer in Graph's JSON format."""
        inner = {"request-id": str(uuid4()), "client-request-id": correlation_id(request)}
        error = {"code": self._code, "message": self._message, "innerError": inner}
        return json_response({"error": error}, self._status)


def bad_request(message: str, code: str = "Request_BadRequest") -> GraphError:
    """Say which rule the request breaks (400)."""
    return GraphError(HTTPStatus.BAD_REQUEST, code, message)


def invalid_token(message: str) -> GraphError:
    """Refuse the access token (401)."""
    return GraphError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", message)


def invalid_proof() -> GraphError:
    """Refuse the proof of possession (401). Microsoft does not say what is wrong with it."""
    message = "Access Token missing or malformed."
    return GraphError(HTTPStatus.UNAUTHORIZED, "Authentication_MissingOrMalformed", message)


def forbidden() -> GraphError:
    """Say that the application has not been granted this (403)."""
    message = "Insufficient privileges to complete the operation."
    return GraphError(HTTPStatus.FORBIDDEN, "Authorization_RequestDenied", message)


def no_such_object(identifier: str) -> GraphError:
    """Say that the tenant has no such application (404)."""
    message = f"Resource '{identifier}' does not exist or one of its queried reference-property objects are not present."
    return GraphError(HTTPStatus.NOT_FOUND, "Request_ResourceNotFound", message)


def no_such_segment(request: Request) -> GraphError:
    """Say that there is nothing at this path (404)."""
    message = f"Resource not found for the segment '{request.path.rpartition('/')[2]}'."
    return GraphError(HTTPStatus.NOT_FOUND, "ResourceNotFound", message)
