import inspect
from datetime import timedelta

import pytest

from shared import errors
from shared.errors import SignInError

CODES = {
    "SignInError": "sign_in_error",
    "ConfigurationError": "configuration",
    "LoginRejected": "login_rejected",
    "TransactionMissing": "transaction_missing",
    "TransactionExpired": "transaction_expired",
    "StateMismatch": "state_mismatch",
    "TransactionReplayed": "transaction_replayed",
    "AuthorizationDenied": "authorization_denied",
    "InvalidIdToken": "invalid_id_token",
    "InvalidSession": "invalid_session",
    "AccessDenied": "access_denied",
    "WrongCredentials": "wrong_credentials",
    "WeakPassword": "weak_password",
    "TooManyAttempts": "too_many_attempts",
    "ForgedRequest": "forged_request",
    "BadRequest": "bad_request",
    "InvalidSetupToken": "invalid_setup_token",
    "NotConfigured": "not_configured",
    "CertificateExpired": "certificate_expired",
    "DirectoryRefused": "directory_refused",
    "Conflict": "conflict",
    "UpstreamUnavailable": "upstream_unavailable",
}
KINDS = {
    name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SignInError)
}


def test_codes_are_stable() -> None:
    """Alert rules, logs and programs match them: each kind has its own, and keeps it."""
    assert {name: kind.code for name, kind in KINDS.items()} == CODES
    assert len(set(CODES.values())) == len(CODES)


def test_wrong_is_not_broken() -> None:
    """What Microsoft's answer got wrong is one family; what we need and is out of order does not belong to it."""
    family = {name for name, kind in KINDS.items() if issubclass(kind, errors.LoginRejected)}
    assert family == {
        "LoginRejected",
        "TransactionMissing",
        "TransactionExpired",
        "StateMismatch",
        "TransactionReplayed",
        "AuthorizationDenied",
        "InvalidIdToken",
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.ConfigurationError(["A", "B"]), "The configuration is not usable:\n- A\n- B"),
        (errors.AuthorizationDenied("invalid_client", (700027,)), "invalid_client (700027,)"),
        (errors.AuthorizationDenied("access_denied"), "access_denied"),
        (errors.AccessDenied("deactivated", "an account"), "deactivated"),
        (errors.WrongCredentials(), ""),
        (errors.WeakPassword(("Too short.", "Too common.")), "Too short.; Too common."),
        (errors.TooManyAttempts(timedelta(seconds=90)), "retry after 90 s"),
        (errors.UpstreamUnavailable("vault"), "vault"),
        (errors.UpstreamUnavailable("vault", "disabled"), "vault: disabled"),
    ],
)
def test_what_stands_in_the_log(error: SignInError, text: str) -> None:
    """Each says what an engineer needs; the account of a refusal is not in its text."""
    assert str(error) == text


def test_an_upstream_is_tried_again_unless_it_says_otherwise() -> None:
    """Most failures pass."""
    assert errors.UpstreamUnavailable("store").retriable
    assert errors.UpstreamUnavailable("store").retry_after is None
    wait = timedelta(seconds=2)
    told = errors.UpstreamUnavailable("store", retriable=False, retry_after=wait)
    assert (told.port, told.retriable, told.retry_after) == ("store", False, wait)
