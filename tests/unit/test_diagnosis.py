import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors, id_token
from shared.aadsts import CREDENTIAL_ERRORS
from shared.diagnosis import Diagnosis, Way, diagnose, minutes_and_seconds

MARK = "QZXQZX"
WAIT = timedelta(seconds=90)

NUMBERS = {
    # Each number that a person meets, and a word that its page must have
    50105: "access",
    65001: "consent",
    90094: "consent",
    90095: "consent",
    65004: "cancelled",
    50011: "redirect URI",
    700016: "Application (client) ID",
    90002: "Directory (tenant) ID",
    700027: "certificate",
    700024: "certificate",
    1000502: "certificate",
    7000214: "certificate",
    7000274: "certificate",
    7000277: "certificate",
    50076: "second step",
    50079: "second step",
    53000: "Conditional Access",
    53003: "Conditional Access",
    50020: "not part of the organisation",
    50034: "not part of the organisation",
    16000: "not part of the organisation",
    54005: "too long",
    70008: "too long",
}
SAMPLES: dict[str, errors.SignInError] = {
    "SignInError": errors.SignInError(),
    "ConfigurationError": errors.ConfigurationError(["A problem"]),
    "LoginRejected": errors.LoginRejected(),
    "TransactionMissing": errors.TransactionMissing(),
    "TransactionExpired": errors.TransactionExpired(),
    "StateMismatch": errors.StateMismatch(),
    "TransactionReplayed": errors.TransactionReplayed(),
    "AuthorizationDenied": errors.AuthorizationDenied("access_denied"),
    "InvalidIdToken": errors.InvalidIdToken("issuer"),
    "InvalidSession": errors.InvalidSession("ended"),
    "AccessDenied": errors.AccessDenied("deactivated"),
    "WrongCredentials": errors.WrongCredentials(),
    "WeakPassword": errors.WeakPassword(("Too short.",)),
    "TooManyAttempts": errors.TooManyAttempts(WAIT),
    "ForgedRequest": errors.ForgedRequest(),
    "BadRequest": errors.BadRequest("form"),
    "InvalidSetupToken": errors.InvalidSetupToken(),
    "NotConfigured": errors.NotConfigured("application"),
    "CertificateExpired": errors.CertificateExpired(datetime(2027, 3, 1, 8, 5, tzinfo=UTC), WAIT),
    "DirectoryRefused": errors.DirectoryRefused(403, "Authorization_RequestDenied"),
    "Conflict": errors.Conflict(),
    "UpstreamUnavailable": errors.UpstreamUnavailable("store"),
}
DEFAULT = diagnose(Exception())
REJECTED = diagnose(errors.LoginRejected())


def text_of(told: Diagnosis) -> str:
    """Write all that a page would show of it."""
    return "\n".join([told.title, told.what, told.who, *told.now])


def assert_complete(told: Diagnosis) -> None:
    """Hold a diagnosis to its form: what happened, who can mend it, what to do now, and a way on."""
    for text in (told.title, told.what, told.who, *told.now):
        assert text.strip() == text
        assert len(text) > 5
    assert all(text.endswith((".", "?")) for text in (told.what, told.who, *told.now))
    assert not told.title.endswith(".")
    assert told.now
    assert told.ways
    assert len(set(told.ways)) == len(told.ways)
    assert told.tone in {"problem", "info", "wait"}


def test_every_kind_of_error_has_a_sample_here() -> None:
    """A kind that is added must be thought about."""
    kinds = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.SignInError)
    }
    assert kinds == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_error_has_a_text(name: str) -> None:
    """Nobody meets an empty page."""
    assert_complete(diagnose(SAMPLES[name]))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.TransactionMissing(), "cookie"),
        (errors.TransactionExpired(), "took too long"),
        (errors.TransactionReplayed(), "used twice"),
        (errors.StateMismatch(), "does not belong to a sign-in"),
        (errors.InvalidIdToken("signature"), "does not belong to a sign-in"),
        (errors.AccessDenied("deactivated"), "switched off"),
        (errors.AccessDenied("sso_not_active"), "does not use Microsoft"),
        (errors.ForgedRequest(), "did not come from a fresh page"),
        (errors.InvalidSetupToken(), "new link"),
        (errors.NotConfigured("application"), "not set up yet"),
        (errors.BadRequest("not_found"), "no such page"),
        (errors.BadRequest("method"), "does not answer to"),
        (errors.BadRequest("too_large"), "larger than"),
        (errors.BadRequest("form"), "could not be read"),
        (errors.UpstreamUnavailable("microsoft"), "Microsoft cannot be reached"),
        (errors.UpstreamUnavailable("vault"), "Key Vault"),
        (errors.UpstreamUnavailable("store"), "accounts and sessions"),
        (errors.TooManyAttempts(WAIT), "too many attempts"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_a_person_reads(error: errors.SignInError, words: str) -> None:
    """Each failure has words of its own."""
    assert words in text_of(diagnose(error))
    assert diagnose(error) != DEFAULT


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_of_microsoft_that_people_meet(number: int) -> None:
    """The number chooses a text of its own, whatever `error` says."""
    for error in ("invalid_client", "server_error", "unknown", "access_denied"):
        told = diagnose(errors.AuthorizationDenied(error, (number,)))
        assert_complete(told)
        assert NUMBERS[number] in text_of(told)
        assert told not in (REJECTED, DEFAULT)


def test_every_number_that_means_the_certificate() -> None:
    """What makes the sign-in be tried again is also told as what it is."""
    assert {number for number, word in NUMBERS.items() if word == "certificate"} == CREDENTIAL_ERRORS


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("access_denied", "cancelled"),
        ("invalid_client", "certificate"),
        ("invalid_tenant", "Directory (tenant) ID"),
        ("consent_required", "consent"),
        ("unauthorized_client", "Application (client) ID"),
        ("temporarily_unavailable", "at the moment"),
    ],
)
@pytest.mark.parametrize("numbers", [(), (99999,)])
def test_errors_of_oauth(error: str, words: str, numbers: tuple[int, ...]) -> None:
    """Without a number that is known, the code of OAuth chooses."""
    told = diagnose(errors.AuthorizationDenied(error, numbers))
    assert_complete(told)
    assert words in text_of(told)


def test_the_first_number_that_is_known_counts() -> None:
    """Microsoft names several at times; unknown ones are passed over."""
    told = diagnose(errors.AuthorizationDenied("invalid_grant", (1, 50105, 700027)))
    assert told == diagnose(errors.AuthorizationDenied("invalid_grant", (50105,)))


def test_unknown_answers_have_a_default() -> None:
    """What Microsoft adds tomorrow is a sign-in that could not be completed, and can be tried again."""
    assert diagnose(errors.AuthorizationDenied("brand_new", (123456,))) == REJECTED
    assert diagnose(errors.AuthorizationDenied("brand_new")) == REJECTED
    assert REJECTED.ways[0] is Way.TRY_AGAIN
    assert diagnose(errors.AccessDenied("brand_new")) == diagnose(
        errors.AuthorizationDenied("interaction_required", (50105,))
    )
    assert diagnose(errors.BadRequest("brand_new")) == diagnose(errors.BadRequest("form"))
    assert "fault is ours" in diagnose(errors.UpstreamUnavailable("brand_new")).what


@pytest.mark.parametrize("kind", id_token.Kind)
def test_a_token_that_breaks_a_rule_does_not_say_which(kind: str) -> None:
    """Which check a forged token fails is for the log."""
    assert diagnose(errors.InvalidIdToken(kind)) == REJECTED


def test_anything_else_is_our_fault() -> None:
    """A defect has a page as well, with a reference to give to the engineer."""
    for error in (ZeroDivisionError(), KeyError("x"), errors.SignInError(), errors.Conflict()):
        assert diagnose(error) == DEFAULT
    assert "reference" in text_of(DEFAULT)
    assert "engineer" in DEFAULT.who


@pytest.mark.parametrize(
    ("error", "tone"),
    [
        (errors.AuthorizationDenied("x", (65004,)), "info"),
        (errors.AuthorizationDenied("x", (50076,)), "info"),
        (errors.TransactionExpired(), "info"),
        (errors.ForgedRequest(), "info"),
        (errors.InvalidSetupToken(), "info"),
        (errors.AccessDenied("sso_not_active"), "info"),
        (errors.BadRequest("not_found"), "info"),
        (errors.BadRequest("method"), "info"),
        (errors.AuthorizationDenied("temporarily_unavailable"), "wait"),
        (errors.UpstreamUnavailable("store"), "wait"),
        (errors.TooManyAttempts(WAIT), "wait"),
        (errors.AccessDenied("deactivated"), "problem"),
        (errors.AuthorizationDenied("x", (50105,)), "problem"),
        (errors.AuthorizationDenied("invalid_client", (700027,)), "problem"),
        (errors.StateMismatch(), "problem"),
        (ZeroDivisionError(), "problem"),
    ],
    ids=repr,
)
def test_the_tone_of_a_page(error: Exception, tone: str) -> None:
    """What a person can mend with another try is no alarm; what passes asks to wait; the rest is a problem."""
    assert diagnose(error).tone == tone


@pytest.mark.parametrize(
    ("port", "password"), [("microsoft", True), ("vault", False), ("store", False), ("brand_new", False)]
)
def test_the_way_around_microsoft_is_shown_when_microsoft_is_away(port: str, *, password: bool) -> None:
    """The Owner's door works without Microsoft; it does not without the store or the vault."""
    told = diagnose(errors.UpstreamUnavailable(port))
    assert (Way.PASSWORD in told.ways) == password
    assert ("Owner can sign in with the password" in text_of(told)) == password
    assert told.tone == "wait"


@pytest.mark.parametrize("number", sorted(CREDENTIAL_ERRORS | {50011, 700016, 90002}))
def test_a_broken_set_up_shows_the_owners_door(number: int) -> None:
    """Where nobody can get in by Microsoft, the Owner must find the way around it."""
    assert Way.PASSWORD in diagnose(errors.AuthorizationDenied("invalid_client", (number,))).ways


@pytest.mark.parametrize(
    "make", [errors.TooManyAttempts, lambda wait: errors.UpstreamUnavailable("store", retry_after=wait)]
)
def test_a_wait_is_told(make: Callable[[timedelta], errors.SignInError]) -> None:
    """How long, in words; for a service that does not say, a minute."""
    assert "2 minutes" in text_of(diagnose(make(timedelta(seconds=90))))
    assert "Wait a minute" in text_of(diagnose(errors.UpstreamUnavailable("store")))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "1 second"),
        (0, "1 second"),
        (0.2, "1 second"),
        (1, "1 second"),
        (1.001, "2 seconds"),
        (30, "30 seconds"),
        (59, "59 seconds"),
        (59.5, "1 minute"),
        (60, "1 minute"),
        (61, "2 minutes"),
        (120, "2 minutes"),
        (121, "3 minutes"),
        (3540, "59 minutes"),
        (3600, "1 hour"),
        (3601, "2 hours"),
        (7200, "2 hours"),
    ],
)
def test_waits_in_words(seconds: float, words: str) -> None:
    """Rounded up, so that nobody comes too early; one of a thing is singular."""
    assert minutes_and_seconds(seconds) == words


@given(st.floats(0, 1e6))
def test_a_wait_is_never_told_too_short(seconds: float) -> None:
    """Whoever waits as long as the page says is let in."""
    number, unit = minutes_and_seconds(seconds).split()
    size = {"second": 1, "minute": 60, "hour": 3600}[unit.rstrip("s")]
    assert int(number) * size >= seconds
    assert (number == "1") == (not unit.endswith("s"))


texts = st.text(max_size=20).map(lambda text: f"{MARK}{text}")


@given(texts, st.integers(1, 10**8))
def test_nothing_of_an_error_is_shown(text: str, number: int) -> None:
    """An error's own text may hold a name, a token, or HTML from Microsoft: no page shows any of it."""
    shown = [
        errors.SignInError(text),
        errors.ConfigurationError([text]),
        errors.LoginRejected(text),
        errors.TransactionMissing(text),
        errors.StateMismatch(text),
        errors.AuthorizationDenied(text),
        errors.AuthorizationDenied(text, (number,)),
        errors.InvalidIdToken(text),
        errors.InvalidSession(text),
        errors.AccessDenied(text, text),
        errors.AccessDenied("deactivated", text),
        errors.WrongCredentials(text),
        errors.WeakPassword((text,)),
        errors.ForgedRequest(text),
        errors.BadRequest(text),
        errors.InvalidSetupToken(text),
        errors.NotConfigured(text),
        errors.Conflict(text),
        errors.UpstreamUnavailable(text, text),
        errors.UpstreamUnavailable("vault", text),
        ValueError(text),
        KeyError(text),
        OSError(number, text, text),
    ]
    for error in shown:
        told = diagnose(error)
        assert_complete(told)
        assert MARK not in text_of(told)
        assert not set(text_of(told)) & set("<>{}")


def test_texts_name_places_not_numbers() -> None:
    """A person reads words; the number of Microsoft stands in the log."""
    for number in NUMBERS:
        told = text_of(diagnose(errors.AuthorizationDenied("x", (number,))))
        assert str(number) not in told
        assert "AADSTS" not in told
