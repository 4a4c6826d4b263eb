"""Everything that can go wrong, each kind with a stable `code`.

Wrong is not broken: what a person or Microsoft got wrong (`LoginRejected`, `AccessDenied`, `WrongCredentials`)
and what is out of order (`UpstreamUnavailable`, `ConfigurationError`) are different kinds. Only
`functions/failures.py` knows which HTTP status each one is.

No message here ever holds a token, a code, a key, a password or a person's name.
"""

from datetime import datetime, timedelta
from typing import ClassVar


class SignInError(Exception):
    """The root of the errors of this product."""

    code: ClassVar[str] = "sign_in_error"


class ConfigurationError(SignInError):
    """Ours: the settings of the deployment are wrong. Holds every problem at once, each with its remedy."""

    code = "configuration"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["The configuration is not usable:", *(f"- {p}" for p in problems)]))
        self.problems = tuple(problems)


class LoginRejected(SignInError):
    """Theirs: this Microsoft sign-in is not accepted; another try may be."""

    code = "login_rejected"


class TransactionMissing(LoginRejected):
    """The browser brought no transaction for this answer: a stale tab, the Back button, or cookies refused."""

    code = "transaction_missing"


class TransactionExpired(LoginRejected):
    """The person took longer than the transaction lives."""

    code = "transaction_expired"


class StateMismatch(LoginRejected):
    """The answer belongs to another request (RFC 6749, section 10.12), or is malformed."""

    code = "state_mismatch"


class TransactionReplayed(LoginRejected):
    """This transaction has already made a session."""

    code = "transaction_replayed"


class AuthorizationDenied(LoginRejected):
    """Microsoft answered with an error. `error` is the OAuth code, `aadsts` the numbers that choose a help text."""

    code = "authorization_denied"

    def __init__(self, error: str, aadsts: tuple[int, ...] = ()) -> None:
        super().__init__(f"{error} {aadsts}" if aadsts else error)
        self.error = error
        self.aadsts = aadsts


class InvalidIdToken(LoginRejected):
    """The ID token breaks a rule; `kind` names it (see `id_token`)."""

    code = "invalid_id_token"

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class InvalidSession(SignInError):
    """There is no session, or it has ended; `kind` says which (missing, malformed, expired, revoked …)."""

    code = "invalid_session"

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class AccessDenied(SignInError):
    """The person is who they say, and may not sign in this way; `reason` is a slug of `access`."""

    code = "access_denied"

    def __init__(self, reason: str, account_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.account_id = account_id


class WrongCredentials(SignInError):
    """The password sign-in failed. Deliberately silent about the cause (no account discovery)."""

    code = "wrong_credentials"


class WeakPassword(SignInError):
    """A new password breaks rules; `problems` are sentences for the person who chose it."""

    code = "weak_password"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class TooManyAttempts(SignInError):
    """The password door waits before the next try; `closed`: no wait opens it again, from this browser."""

    code = "too_many_attempts"

    def __init__(self, retry_after: timedelta, *, closed: bool = False) -> None:
        super().__init__("closed" if closed else f"retry after {retry_after.total_seconds():.0f} s")
        self.retry_after = retry_after
        self.closed = closed


class ForgedRequest(SignInError):
    """A form that did not come from our page (cross-site request forgery), or lost its token."""

    code = "forged_request"


class BadRequest(SignInError):
    """The request cannot be understood; `kind` names what is wrong with it."""

    code = "bad_request"

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class InvalidSetupToken(SignInError):
    """The set-up link is wrong, expired or used."""

    code = "invalid_setup_token"


class NotConfigured(SignInError):
    """Something the Owner or the engineer sets has not been set yet; `what` names it."""

    code = "not_configured"

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class CertificateExpired(SignInError):
    """Microsoft knows us no more, so nobody can sign in with it. `next_try`: when the renewal looks for a new one."""

    code = "certificate_expired"

    def __init__(self, next_try: datetime, retry_after: timedelta) -> None:
        super().__init__("expired")
        self.next_try = next_try
        self.retry_after = retry_after


class Conflict(SignInError):
    """The row changed since it was read, or exists already: read again and decide again."""

    code = "conflict"


class DirectoryRefused(SignInError):
    """Microsoft Graph refused a change of the application's certificates; `reason` is its error code."""

    code = "directory_refused"

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class UpstreamUnavailable(SignInError):
    """A service we need does not answer as it should. `port` is microsoft, graph, vault or store.

    `nothing_done`: the request had no effect, for sure; otherwise it may have had one. `key_unusable`: the vault says that
    this very version is disabled, expired or gone.
    """

    code = "upstream_unavailable"

    def __init__(
        self,
        port: str,
        detail: str = "",
        *,
        retriable: bool = True,
        retry_after: timedelta | None = None,
        nothing_done: bool = False,
        key_unusable: bool = False,
    ) -> None:
        super().__init__(f"{port}: {detail}" if detail else port)
        self.port = port
        self.retriable = retriable
        self.retry_after = retry_after
        self.nothing_done = nothing_done
        self.key_unusable = key_unusable

    @property
    def is_refusal_to_sign(self) -> bool:
        """Whether the vault is there, and does not sign with this version, for whatever reason."""
        return self.port == "vault" and not self.retriable
