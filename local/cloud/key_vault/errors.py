"""Key Vault's errors: a code, a sentence, and sometimes an inner code."""

from http import HTTPStatus

from local.cloud.web import AnsweredError, Response, json_response


class VaultError(AnsweredError):
    """A refusal in Key Vault's JSON format."""

    def __init__(self, status: HTTPStatus, code: str, message: str, inner: str = "") -> None:
        super().__init__(code)
        self._status = status
        self._code = code
        self._message = message
        self._inner = inner

    def response(self) -> Response:
        """Give the answer."""
        error: dict[str, object] = {"code": self._code, "message": self._message}
        if self._inner:
            error["innererror"] = {"code": self._inner}
        return json_response({"error": error}, self._status)


def not_found(kind: str, name: str) -> VaultError:
    """Say that there is no such certificate, key or secret (404)."""
    message = f"A {kind} with (name/id) {name} was not found in this key vault."
    return VaultError(HTTPStatus.NOT_FOUND, f"{kind.capitalize()}NotFound", message)


def pending_not_found(name: str) -> VaultError:
    """Say that no certificate of this name is on its way (404)."""
    message = f"A pending certificate with (name/id) {name} was not found in this key vault."
    return VaultError(HTTPStatus.NOT_FOUND, "PendingCertificateNotFound", message)


def bad_parameter(message: str) -> VaultError:
    """Say which rule the request breaks (400)."""
    return VaultError(HTTPStatus.BAD_REQUEST, "BadParameter", message)


def conflict(message: str, inner: str = "") -> VaultError:
    """Say why the state of the object does not allow this now (409)."""
    return VaultError(HTTPStatus.CONFLICT, "Conflict", message, inner)


def forbidden(message: str, inner: str = "") -> VaultError:
    """Refuse the operation, whoever asks (403)."""
    return VaultError(HTTPStatus.FORBIDDEN, "Forbidden", message, inner)


def deleted(kind: str, name: str) -> VaultError:
    """Say that the name is taken by an object in soft delete (409)."""
    message = (
        f"{kind.capitalize()} {name} is currently in a deleted but recoverable state, and its name cannot be "
        "reused; in this state, it can only be recovered or purged."
    )
    return conflict(message, "ObjectIsDeletedButRecoverable")
