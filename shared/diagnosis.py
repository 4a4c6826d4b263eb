"""From an error to what a person reads: what happened, who can mend it, what to do now.

The numbers of Microsoft (AADSTS…) choose a text here and decide nothing else: they may change at any time.
Source: learn.microsoft.com, "Microsoft Entra authentication and authorization error codes".
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from shared.aadsts import CREDENTIAL_ERRORS
from shared.errors import (
    AccessDenied,
    AuthorizationDenied,
    BadRequest,
    CertificateExpired,
    ForgedRequest,
    InvalidSetupToken,
    LoginRejected,
    NotConfigured,
    TooManyAttempts,
    UpstreamUnavailable,
)


class Way(StrEnum):
    """A way on from a page. The doors know the address of each."""

    TRY_AGAIN = "try_again"
    OTHER_ACCOUNT = "other_account"
    PASSWORD = "password"  # noqa: S105 - the name of a way
    HOME = "home"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a page says. `now` is a list of steps; the first of `ways` is the likely one."""

    title: str
    what: str
    who: str
    now: tuple[str, ...]
    ways: tuple[Way, ...] = ()
    tone: Literal["problem", "info", "wait"] = "problem"


_OWNER: Final = "The Owner of this system, in the Microsoft Entra admin center."
_ADMINISTRATOR: Final = "The administrator of your Microsoft accounts."
_ENGINEER: Final = "The engineer who runs this service."
_YOU: Final = "You can."
_AGAIN: Final = "Start the sign-in again."
_TELL_OWNER: Final = "Tell the Owner of this system, with the reference below."

_NOT_ASSIGNED = Diagnosis(
    "You have no access yet",
    "Your Microsoft account is known, but it has not been given access to this system.",
    "The Owner of this system, or whoever looks after Microsoft accounts where you work.",
    (
        "Ask them to assign you, or a group you are in, to this application (Entra admin center › Enterprise "
        "applications › Users and groups).",
        "If you have another Microsoft account for work, try that one.",
    ),
    (Way.OTHER_ACCOUNT,),
)
_CONSENT_MISSING = Diagnosis(
    "This system is not approved yet",
    "Microsoft asks an administrator to approve this application before anyone signs in with it.",
    _OWNER,
    ("Entra admin center › App registrations › this application › API permissions › Grant admin consent.",),
    (Way.TRY_AGAIN,),
)
_CANCELLED = Diagnosis(
    "The sign-in was cancelled",
    "You are not signed in, because the sign-in at Microsoft was cancelled or declined.",
    _YOU,
    ("Try again when you are ready.",),
    (Way.TRY_AGAIN, Way.OTHER_ACCOUNT),
    tone="info",
)
_WRONG_REDIRECT = Diagnosis(
    "The return address is not registered",
    "Microsoft does not know the address that it should send people back to.",
    _OWNER,
    (
        "Entra admin center › App registrations › this application › Authentication: register exactly the redirect "
        "URI of this system, which ends in /azure.",
    ),
    (Way.TRY_AGAIN, Way.PASSWORD),
)
_WRONG_APPLICATION = Diagnosis(
    "The application is not found at Microsoft",
    "Microsoft knows no application with the ID that is set here, in the directory that is set here.",
    _OWNER,
    ("Compare the Application (client) ID and the Directory (tenant) ID with the Azure portal.",),
    (Way.PASSWORD,),
)
_WRONG_TENANT = Diagnosis(
    "The directory is not found at Microsoft",
    "Microsoft knows no directory (tenant) with the ID that is set here, in this cloud.",
    _OWNER,
    (
        "Compare the Directory (tenant) ID with the Azure portal.",
        "Check that the right Microsoft cloud is set.",
    ),
    (Way.PASSWORD,),
)
_CREDENTIAL = Diagnosis(
    "Microsoft does not accept our certificate",
    "This system could not prove to Microsoft who it is. You did nothing wrong.",
    _OWNER,
    (
        "Check that the certificate in use is listed under App registrations › this application › Certificates & "
        "secrets, and that it has not expired.",
        "The Owner can sign in with the password meanwhile.",
    ),
    (Way.TRY_AGAIN, Way.PASSWORD),
)
_SECOND_FACTOR = Diagnosis(
    "Microsoft asks for another proof",
    "Your organisation wants a second step (such as an app or a key) that was not finished.",
    _YOU,
    (_AGAIN, "Follow what Microsoft asks for, to the end."),
    (Way.TRY_AGAIN,),
    tone="info",
)
_CONDITIONAL_ACCESS = Diagnosis(
    "Your organisation's rules do not allow this sign-in",
    "A rule (Conditional Access) of your organisation blocked it: perhaps this device, network or place.",
    _ADMINISTRATOR,
    ("Try from a device or a network of your organisation.", "Otherwise ask the administrator."),
    (Way.TRY_AGAIN,),
)
_OTHER_TENANT = Diagnosis(
    "This account belongs somewhere else",
    "The Microsoft account that you used is not part of the organisation that this system works with.",
    _YOU,
    ("Use the account of the organisation.", "Or ask the Owner to have you invited to it."),
    (Way.OTHER_ACCOUNT,),
)
_TOO_SLOW = Diagnosis(
    "The sign-in took too long",
    "It was not finished in time, or its page was used twice.",
    _YOU,
    (_AGAIN,),
    (Way.TRY_AGAIN,),
    tone="info",
)
_REJECTED = Diagnosis(
    "The sign-in could not be completed",
    "What came back from Microsoft does not belong to a sign-in that we can accept.",
    _YOU,
    (_AGAIN, "If it happens again, tell the Owner of this system, with the reference below."),
    (Way.TRY_AGAIN,),
)
_COOKIES_LOST = Diagnosis(
    "Your browser forgot the sign-in",
    "The sign-in was started, but your browser did not bring back the cookie that belongs to it.",
    _YOU,
    (
        "Allow cookies for this address; a private window or an extension may block them.",
        "Close other tabs of this system and start again.",
    ),
    (Way.TRY_AGAIN,),
)

_BY_NUMBER: Final = dict.fromkeys(CREDENTIAL_ERRORS, _CREDENTIAL) | {
    50105: _NOT_ASSIGNED,
    65001: _CONSENT_MISSING,
    90094: _CONSENT_MISSING,
    90095: _CONSENT_MISSING,
    65004: _CANCELLED,
    50011: _WRONG_REDIRECT,
    700016: _WRONG_APPLICATION,
    90002: _WRONG_TENANT,
    50076: _SECOND_FACTOR,
    50079: _SECOND_FACTOR,
    53000: _CONDITIONAL_ACCESS,
    53003: _CONDITIONAL_ACCESS,
    50020: _OTHER_TENANT,
    50034: _OTHER_TENANT,
    16000: _OTHER_TENANT,
    54005: _TOO_SLOW,
    70008: _TOO_SLOW,
}
_BY_ERROR: Final = {
    "access_denied": _CANCELLED,
    "invalid_client": _CREDENTIAL,
    "invalid_tenant": _WRONG_TENANT,
    "consent_required": _CONSENT_MISSING,
    "unauthorized_client": _WRONG_APPLICATION,
    "temporarily_unavailable": Diagnosis(
        "Microsoft is not available",
        "Microsoft answered that it cannot sign people in at the moment.",
        "Microsoft. It usually takes minutes.",
        ("Wait a moment and try again.",),
        (Way.TRY_AGAIN, Way.PASSWORD),
        tone="wait",
    ),
}
_BY_REASON: Final = {
    "deactivated": Diagnosis(
        "This account is switched off",
        "Your account in this system may not sign in at present.",
        "The Owner or an Admin of this system.",
        ("Ask them to allow your account to sign in again.",),
        (Way.OTHER_ACCOUNT,),
    ),
    "sso_not_active": Diagnosis(
        "Microsoft sign-in is not switched on",
        "This system does not use Microsoft accounts at present.",
        "The Owner of this system.",
        ("Sign in with your user name and password.",),
        (Way.PASSWORD,),
        tone="info",
    ),
}
_BY_PORT: Final = {
    "microsoft": (
        "Microsoft is not answering",
        "Microsoft cannot be reached, or is too busy to sign you in.",
        "Microsoft. It usually takes minutes.",
    ),
    "vault": (
        "The key store is not answering",
        "The place that keeps this system's keys (Key Vault) cannot be reached at the moment.",
        _ENGINEER,
    ),
    "store": (
        "The data store is not answering",
        "The place that keeps accounts and sessions cannot be reached at the moment. Nobody is let in unchecked.",
        _ENGINEER,
    ),
}
_BY_KIND: Final = {
    "not_found": Diagnosis(
        "There is no such page",
        "The address is not one of this system's.",
        _YOU,
        ("Check the address, or go to the start page.",),
        (Way.HOME,),
        tone="info",
    ),
    "method": Diagnosis(
        "This address works differently",
        "It was opened in a way that it does not answer to.",
        _YOU,
        ("Go to the start page.",),
        (Way.HOME,),
        tone="info",
    ),
    "too_large": Diagnosis(
        "That was too much at once",
        "The form that was sent is larger than this system accepts.",
        _YOU,
        ("Go back and send less.",),
        (Way.HOME,),
    ),
}
_UNREADABLE: Final = Diagnosis(
    "The request could not be read",
    "What was sent is not what this page expects.",
    _YOU,
    ("Go back to the start page and try again.",),
    (Way.HOME,),
)
_FORGED: Final = Diagnosis(
    "Please send the form again",
    "The form did not come from a fresh page of this system, so nothing was done with it.",
    _YOU,
    ("Open the page again and fill it in.", "If it keeps happening, allow cookies for this address."),
    (Way.PASSWORD,),
    tone="info",
)
_SETUP_LINK: Final = Diagnosis(
    "This link does not work",
    "A set-up link works once, for 24 hours. This one has been used, is too old, or is not complete.",
    _ENGINEER,
    ("Ask the engineer for a new link.", "If you have set your password already, sign in with it."),
    (Way.PASSWORD,),
    tone="info",
)
_NOT_SET_UP: Final = Diagnosis(
    "Sign-in is not set up yet",
    "Something that signing in with Microsoft needs has not been set in this system.",
    "The Owner of this system.",
    ("The Owner can sign in with the password and finish the set-up.",),
    (Way.PASSWORD,),
)
_OURS: Final = Diagnosis(
    "Something went wrong here",
    "The fault is ours, and it has been written down.",
    _ENGINEER,
    ("Try again.", _TELL_OWNER),
    (Way.TRY_AGAIN, Way.PASSWORD),
)


def diagnose(error: Exception) -> Diagnosis:
    """Say what happened, who can mend it and what to do now. Never fails, and shows nothing of the error's own text."""
    match error:
        case AuthorizationDenied():
            return _denied(error)
        case UpstreamUnavailable():
            return _away(error)
        case TooManyAttempts():
            return _wait(error)
        case AccessDenied():
            return _BY_REASON.get(error.reason, _NOT_ASSIGNED)
        case BadRequest():
            return _BY_KIND.get(error.kind, _UNREADABLE)
        case CertificateExpired():
            return _expired(error)
        case NotConfigured() | ForgedRequest() | InvalidSetupToken():
            return _BY_CODE[error.code]
        case LoginRejected():
            return _BY_CODE.get(error.code, _REJECTED)
        case _:
            return _OURS


_BY_CODE: Final = {
    "not_configured": _NOT_SET_UP,
    "forged_request": _FORGED,
    "invalid_setup_token": _SETUP_LINK,
    "transaction_missing": _COOKIES_LOST,
    "transaction_expired": _TOO_SLOW,
    "transaction_replayed": _TOO_SLOW,
}


def minutes_and_seconds(seconds: float) -> str:
    """Write a wait for a person, rounded up: "30 seconds", "2 minutes", "1 hour"."""
    whole = max(1, -int(-seconds // 1))
    for size, unit in ((3600, "hour"), (60, "minute")):
        if whole >= size:
            count = -(-whole // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{whole} second{'s' if whole > 1 else ''}"


def _denied(error: AuthorizationDenied) -> Diagnosis:
    by_number = next((_BY_NUMBER[number] for number in error.aadsts if number in _BY_NUMBER), None)
    return by_number or _BY_ERROR.get(error.error, _REJECTED)


def _away(error: UpstreamUnavailable) -> Diagnosis:
    title, what, who = _BY_PORT.get(error.port, (_OURS.title, _OURS.what, _OURS.who))
    wait = minutes_and_seconds(error.retry_after.total_seconds()) if error.retry_after else "a minute"
    ways = (Way.TRY_AGAIN, Way.PASSWORD) if error.port == "microsoft" else (Way.TRY_AGAIN,)
    owner = ("The Owner can sign in with the password meanwhile.",) if error.port == "microsoft" else ()
    return Diagnosis(title, what, who, (f"Wait {wait} and try again.", *owner), ways, tone="wait")


def _expired(error: CertificateExpired) -> Diagnosis:
    wait = minutes_and_seconds(error.retry_after.total_seconds())
    return Diagnosis(
        "Signing in is being repaired",
        "The certificate by which Microsoft recognises this system has expired. Nothing is wrong with your account.",
        _OWNER,
        (
            f"The system looks for a new certificate at {error.next_try:%H:%M} UTC, in {wait}. Try again then.",
            "The Owner can sign in with the password, and upload the new certificate to Microsoft.",
        ),
        (Way.TRY_AGAIN, Way.PASSWORD),
        tone="wait",
    )


def _wait(error: TooManyAttempts) -> Diagnosis:
    wait = minutes_and_seconds(error.retry_after.total_seconds())
    return Diagnosis(
        "Too many attempts",
        "There were too many attempts with a wrong password.",
        _YOU,
        (f"Wait {wait}, then try again.",),
        (Way.PASSWORD,),
        tone="wait",
    )
