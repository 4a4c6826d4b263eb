"""What every door has in common: headers, cookies, forms, addresses, and the last line of defence."""

import json
import logging
import re
from datetime import timedelta

import azure.functions as func
import pytest

from functions import failures, http
from functions.http import SESSION_COOKIE, Visit
from functions.pages import asset_url
from shared import errors, limits, password_signin
from tests.house import ADDRESS, Answer, House

FORM = {"content-type": "application/x-www-form-urlencoded"}


def visit(house: House, headers: dict[str, str], body: bytes = b"") -> Visit:
    """Make a visit with these headers."""
    request = func.HttpRequest("POST", f"{ADDRESS}/signin", headers=headers, params={}, body=body)
    return Visit(house.services, request, http.new_reference())


def every_answer(house: House) -> dict[str, Answer]:
    """Knock at every door, in good and in bad ways."""
    answers = {
        path: house.get(path)
        for path in (
            "/",
            "/login",
            "/signin",
            "/setup",
            "/azure",
            "/session",
            "/healthz",
            "/readyz",
            "/nowhere",
        )
    }
    answers["jwks"] = house.get("/.well-known/jwks.json")
    answers["style"] = house.get(asset_url("style.css"))
    answers["front channel"] = house.get("/logout/microsoft")
    answers["bad form"] = house.post("/signin", {})
    answers["wrong password"] = house.sign_in("owner", "a-wrong-password-for-anybody")
    answers["password"] = house.sign_in()
    answers["start page"] = house.get("/")
    answers["signed out"] = house.call("POST", "/logout")
    answers["lost"] = house.finish_at_microsoft("s-nobody")
    answers["microsoft"] = house.sign_in_with_microsoft()
    answers["session"] = house.get("/session")
    answers["wrong method"] = house.call("DELETE", "/login")
    house.store.away = True
    answers["store away"] = house.sign_in()
    house.clock.move(minutes=30)
    answers["session while the store is away"] = house.get("/session")
    return answers


# Headers and cookies


def test_every_answer_has_the_headers(house: House) -> None:
    """HSTS and nosniff everywhere (OWASP ASVS 5.0, 3.4.1 and 3.4.4); no answer but public ones may be stored."""
    for name, answer in every_answer(house).items():
        assert answer.header("X-Content-Type-Options") == "nosniff", name
        public = name in {"jwks", "style"}
        assert answer.header("Cache-Control").startswith("public" if public else "no-store"), name
        assert answer.header("Strict-Transport-Security") == "max-age=63072000", name


def test_every_page_has_the_strictest_policy(house: House) -> None:
    """Pages run no script, are framed by nobody, and send forms to us and the application; signing out to Microsoft."""
    microsoft = " https://login.microsoftonline.com"
    pages = {n: a for n, a in every_answer(house).items() if a.response.mimetype.startswith("text/html")}
    assert len(pages) > 8
    for name, answer in pages.items():
        policy = dict(
            part.strip().split(" ", 1) for part in answer.header("Content-Security-Policy").split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "style-src": "'self'",
            "img-src": "'self'",
            "form-action": f"'self' {ADDRESS}{microsoft if 'You are signed in' in answer.text else ''}",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
        }, name
        assert answer.header("X-Frame-Options") == "DENY", name
        assert answer.header("Referrer-Policy") == "same-origin", name
        assert answer.header("Cross-Origin-Opener-Policy") == "same-origin", name
        assert "<script" not in answer.text, name
        assert " style=" not in answer.text, name


def test_no_hsts_on_a_laptop(cheap_passwords: None) -> None:
    """A browser that learnt HSTS for localhost could not be used for anything else there."""
    del cheap_passwords
    house = House(SOS_ADDRESS="http://localhost:7071")
    assert house.get("/nowhere").header("Strict-Transport-Security") == ""


def test_every_cookie_is_for_this_host_alone(house: House) -> None:
    """`__Host-`, Secure, HttpOnly, Path=/, no Domain, a SameSite of its own, and under 4,096 bytes (RFC 6265bis)."""
    state = house.start_at_microsoft(f"?next=/{'%C3%A9' * 150}")
    headers = [house.get(f"/login?next=/{'x' * 1000}").set_cookies[0]]
    headers += house.finish_at_microsoft(state).set_cookies
    headers += [header for answer in every_answer(house).values() for header in answer.set_cookies]
    assert len(headers) > 10
    for header in headers:
        pair, *attributes = header.split("; ")
        name = pair.partition("=")[0]
        facts = {part.partition("=")[0]: part.partition("=")[2] for part in attributes}
        assert name.startswith("__Host-"), header
        assert {"Secure", "HttpOnly"} <= set(facts), header
        assert facts["Path"] == "/", header
        assert "Domain" not in facts, header
        assert facts["SameSite"] == ("None" if name.startswith("__Host-sos-login-") else "Lax"), header
        assert len(header) < 4096, header


def test_how_long_cookies_live(house: House) -> None:
    """Session and form go with the browser, a transaction after ten minutes, a device after 400 days."""
    headers = [
        *house.get("/login").set_cookies,
        *house.get("/signin").set_cookies,
        *house.sign_in().set_cookies,
    ]
    lifetimes = {
        re.match(r"__Host-sos-[a-z]+", header)[0]: header.partition("Max-Age=")[2]  # type: ignore[index] # see above
        for header in headers
    }
    assert lifetimes == {
        "__Host-sos-login": "600",
        "__Host-sos-form": "",
        "__Host-sos-session": "",
        "__Host-sos-device": "34560000",
    }


def test_a_long_destination_still_fits_a_cookie(house: House) -> None:
    """The longest `next` that is accepted is kept whole."""
    path = "/" + "x" * 511
    assert house.finish_at_microsoft(house.start_at_microsoft(f"?next={path}")).location == path


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1; a=2", {"a": "1"}),
        ("a", {}),
        ("=x; ; ;;", {"": "x"}),
        ("a=b=c", {"a": "b=c"}),
        ('a="x"', {"a": '"x"'}),
    ],
)
def test_cookies_are_read_with_suspicion(house: House, header: str, expected: dict[str, str]) -> None:
    """What is not a cookie is passed over; of two with one name the first counts."""
    assert visit(house, {"cookie": header}).cookies == expected


# Where a request comes from


@pytest.mark.parametrize(
    ("header", "same_as"),
    [
        ("203.0.113.7:50123", "203.0.113.7"),
        ("10.0.0.1, 203.0.113.7:50123", "203.0.113.7"),
        ("203.0.113.7, 198.51.100.9:1", "198.51.100.9"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("[2001:db8::7]:50123", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8:0:0:ffff::1"),
        ("1.1.1.1,2.2.2.2 , [2001:db8::7]:443 ", "2001:db8::7"),
        ("", "<script>"),
        ("203.0.113.7:50123,", "unknown"),
        ("evil, 203.0.113.999:1", ""),
    ],
)
def test_the_client_is_the_last_address(house: House, header: str, same_as: str) -> None:
    """The platform appends what it saw, with a port; everything before the last comma is what the client claims."""
    key = house.services.pepper.get().throttle_key
    counted, expected = (
        limits.attempt_from("owner", address, None, key).charges[0]
        for address in (visit(house, {"x-forwarded-for": header}).client_address, same_as)
    )
    assert counted == expected
    forged = visit(house, {"x-forwarded-for": f"198.51.100.77, {header}"}).client_address
    assert limits.attempt_from("owner", forged, None, key).charges[0] == expected


@pytest.mark.parametrize("other", ["203.0.113.8", "2001:db8:0:1::7", "unknown", "2001:db8::7"])
def test_other_clients_are_counted_apart(house: House, other: str) -> None:
    """Two IPv4 addresses, and two networks of 64 bits, have budgets of their own."""
    key = house.services.pepper.get().throttle_key
    mine, theirs = (
        limits.attempt_from("owner", address, None, key).charges[0] for address in ("203.0.113.7:1", other)
    )
    assert mine != theirs


@pytest.mark.parametrize(
    ("origin", "site", "good"),
    [
        (ADDRESS, "same-origin", True),
        (ADDRESS, "", True),
        ("", "same-origin", True),
        ("", "none", True),
        ("", "", True),
        ("null", "same-origin", False),
        ("", "same-site", False),
        ("", "cross-site", False),
        ("", "something-new", False),
        ("https://evil.example", "", False),
        ("https://evil.example", "same-origin", False),
        (ADDRESS.replace("https", "http"), "", False),
        (f"{ADDRESS}:444", "", False),
        (f"{ADDRESS}.evil.example", "", False),
    ],
)
def test_a_form_must_come_from_here(house: House, origin: str, site: str, good: bool) -> None:  # noqa: FBT001 - a case
    """`Origin` decides where it stands; else `Sec-Fetch-Site` does; a browser without both has the token to show."""
    token = house.get("/signin").csrf_token
    form = {"csrf_token": token, "username": "nobody", "password": "a-wrong-password-for-anybody"}
    answer = house.post("/signin", form, origin=origin, **{"sec-fetch-site": site})
    assert answer.title == ("Owner sign-in" if good else "Please send the form again")


# Forms


@pytest.mark.parametrize(
    ("headers", "body", "kind", "status"),
    [
        (FORM, b"a=" + b"x" * 1_000_000, "too_large", 413),
        (FORM, b"a=" + b"x" * (64 * 1024 - 1), "too_large", 413),
        ({}, b"a=1", "media_type", 415),
        ({"content-type": "text/plain"}, b"a=1", "media_type", 415),
        ({"content-type": "application/json"}, b'{"a": 1}', "media_type", 415),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x", "media_type", 415),
        (FORM, b"a=1&a=2", "form", 400),
        (FORM, b"a=\xff", "form", 400),
        (FORM, b"a=%ff", "form", 400),
        (FORM, b"&".join(b"f%d=1" % n for n in range(41)), "form", 400),
    ],
    ids=[
        "1 MB",
        "64 KB and a byte",
        "no type",
        "text",
        "json",
        "multipart",
        "twice",
        "bytes",
        "not UTF-8",
        "fields",
    ],
)
def test_a_form_that_cannot_be_read_is_refused(
    house: House, headers: dict[str, str], body: bytes, kind: str, status: int
) -> None:
    """Too large, of another kind or ambiguous: a page with the right status, at both doors that take forms."""
    with pytest.raises(errors.BadRequest) as caught:
        visit(house, headers, body).form  # noqa: B018 - reading it is the test
    assert caught.value.kind == kind
    for path in ("/signin", "/setup", "/azure"):
        answer = house.call("POST", path, headers=headers, body=body)
        assert answer.status == status
        assert answer.reference
    assert house.events() == []


def test_a_form_may_be_as_large_as_it_may_be(house: House) -> None:
    """64 KB and 40 fields are accepted; the type's case and parameters do not matter."""
    body = b"&".join([b"a=" + b"x" * 65000, *(b"f%d=" % n for n in range(39))])
    headers = {"content-type": "Application/X-WWW-Form-URLencoded; charset=UTF-8"}
    assert len(visit(house, headers, body).form) == 40


def test_a_blank_field_is_a_field(house: House) -> None:
    """An empty value is kept, and percent-encoding is undone."""
    assert visit(house, FORM, b"a=&b=%C3%A9+x").form == {"a": "", "b": "é x"}


@pytest.mark.parametrize("cookie", ["x" * 64, "x" * 21, "a;b", "é" * 22, f"{'x' * 21} ", "٣" * 22, ""])
def test_a_form_cookie_that_is_not_ours_is_replaced(house: House, cookie: str) -> None:
    """A form cookie with foreign characters or length does not reach a header again."""
    house.cookies["__Host-sos-form"] = cookie
    (header,) = house.get("/signin").set_cookies
    assert re.fullmatch(r"__Host-sos-form=[A-Za-z0-9_-]{22}; .*", header)


# When something breaks


def test_an_unknown_exception_is_a_page_with_a_reference(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks inside a door: 500, the reference of the log line, and nothing of the error's own text."""

    def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(password_signin, "sign_in", broken)
    with caplog.at_level(logging.INFO, logger="sos"):
        answer = house.sign_in()
    assert (answer.status, answer.title) == (500, "Something went wrong here")
    line = json.loads(caplog.records[-1].getMessage())
    assert line["event"] == "internal_error"
    assert line["reference"] == answer.reference
    assert line["reason"] == "RuntimeError"
    assert any(re.fullmatch(r"signin\.py:\d+", where) for where in line["where"].split(" < "))
    assert "hunter2" not in answer.text + caplog.text
    assert caplog.records[-1].levelname == "ERROR"


def test_a_program_gets_json_when_something_breaks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """At /session, /readyz and the key set an unknown exception is JSON with a reference."""

    def broken() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(house.services.key_ring, "get", broken)
    monkeypatch.setattr(house.services.settings, "get", broken)
    house.cookies[SESSION_COOKIE] = "x"
    for path in ("/session", "/readyz", "/.well-known/jwks.json", "/logout/microsoft?sid=a&iss=b"):
        answer = house.get(path)
        assert answer.status == 500
        assert answer.json["error"] == "internal_error"
        assert re.fullmatch(r"[2-9A-Z]{4}(-[2-9A-Z]{4}){2}", answer.json["reference"])
        assert "secret" not in answer.text


def test_references_can_be_read_out(house: House) -> None:
    """Twelve letters in three groups, none that look alike, and never the same twice."""
    references = {house.get("/nowhere").reference for _ in range(50)}
    assert len(references) == 50
    for reference in references:
        assert re.fullmatch(r"[2-9A-HJKMNP-Z]{4}(-[2-9A-HJKMNP-Z]{4}){2}", reference)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.TransactionMissing(), 400),
        (errors.InvalidIdToken("nonce"), 400),
        (errors.AuthorizationDenied("access_denied"), 403),
        (errors.AccessDenied("deactivated"), 403),
        (errors.WrongCredentials(), 403),
        (errors.ForgedRequest(), 403),
        (errors.InvalidSetupToken(), 403),
        (errors.InvalidSession("missing"), 401),
        (errors.BadRequest("form"), 400),
        (errors.BadRequest("not_found"), 404),
        (errors.BadRequest("method"), 405),
        (errors.BadRequest("too_large"), 413),
        (errors.BadRequest("media_type"), 415),
        (errors.WeakPassword(("x",)), 422),
        (errors.Conflict(), 409),
        (errors.NotConfigured("application"), 503),
        (errors.UpstreamUnavailable("store"), 503),
        (errors.SignInError(), 500),
        (errors.ConfigurationError(["x"]), 500),
        (ValueError("x"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_its_status(error: Exception, status: int) -> None:
    """The one table from errors to statuses."""
    assert failures.status_of(error) == status


def test_each_error_that_can_be_raised_has_a_page(house: House) -> None:
    """Every kind of error renders, with a heading, a way on or a helper, and its reference."""
    kinds = [
        errors.TransactionMissing(),
        errors.TransactionExpired(),
        errors.TransactionReplayed(),
        errors.StateMismatch(),
        errors.InvalidIdToken("nonce"),
        errors.AccessDenied("a-new-reason"),
        errors.TooManyAttempts(timedelta(seconds=90)),
        errors.UpstreamUnavailable("a-new-port"),
        errors.Conflict(),
        ValueError("hunter2"),
    ]
    for error in kinds:
        answer = Answer(failures.failure(visit(house, {}), error))
        assert answer.title, error
        assert answer.reference, error
        assert "hunter2" not in answer.text
