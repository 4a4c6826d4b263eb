"""Bad input: each kind has its named answer, a page with a way on, and never an empty 500."""

from urllib.parse import parse_qs, quote, urlsplit

import pytest

from functions.elsewhere import ALLOWED
from local.playground import OWNER
from shared import throttle
from shared.limits import BURST, Attempt, attempt_from
from shared.ports import Table
from tests.client import Page
from tests.journeys.town import NURSE, SESSION, Town

pytestmark = pytest.mark.system

FORM_COOKIE = "__Host-sos-form"
FORM = "application/x-www-form-urlencoded"
BAD_NEXT = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example/",
    "https:evil.example",
    "javascript:alert(1)",
    "evil.example",
    "/%09/evil.example".replace("%09", "\t"),
    "/ward\r\nSet-Cookie: a=b",
    "/ward\x00",
    "/\u2028",
    "/./login",
    "/../logout",
    "/logout",
    "/login?next=/login",
    "/azure",
    "/" + "w" * 2000,
]


def _transactions(page: Page) -> list[str]:
    return [line for line in page.response.headers.get_list("set-cookie") if "sos-login" in line]


def _form_page(town: Town) -> tuple[str, str]:
    """Open `/signin` and answer its cookie and its token."""
    browser = town.browser()
    page = browser.open(f"{town.address}/signin")
    return browser.cookies(town.address)[FORM_COOKIE], page.forms[0].fields["csrf_token"]


def _post(town: Town, path: str, body: bytes, content_type: str = FORM, **headers: str) -> Page:
    """Post raw bytes with a valid form cookie."""
    browser = town.browser()
    if path == "/signin":
        browser.open(f"{town.address}/signin")
    return browser.send(
        "POST", town.address + path, content=body, headers={"Content-Type": content_type, **headers}
    )


# Addresses and methods


@pytest.mark.parametrize(
    "path", ["/nowhere", "/azure/deeper", "/settings/%F0%9F%92%A5", "/.git/config", "/a/b/c.php"]
)
def test_an_unknown_address_has_a_page(town: Town, path: str) -> None:
    """404 with a way to the start page."""
    page = town.browser().get(town.address + path)
    assert (page.status, page.title) == (404, "There is no such page")
    assert 'href="/"' in page.response.text


@pytest.mark.parametrize("door", sorted(ALLOWED))
def test_a_wrong_method_is_told_the_right_ones(town: Town, door: str) -> None:
    """405 with `Allow` (RFC 9110, section 15.5.6) at every door, HEAD and OPTIONS included; only HEAD has no body."""
    browser, allowed = town.browser(), ALLOWED[door].split(", ")
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allowed):
        page = browser.send(method, f"{town.address}/{door}")
        assert (page.status, page.response.headers.get("allow")) == (405, ALLOWED[door]), method
        assert method == "HEAD" or page.title == "This address works differently"


# Forms


@pytest.mark.parametrize("path", ["/signin", "/setup", "/azure"])
def test_a_form_of_a_megabyte_is_too_large(town: Town, path: str) -> None:
    """413, before a field of it is read."""
    body = b"username=owner&state=s&code=c&password=" + b"x" * 1_000_000
    page = _post(town, path, body)
    assert (page.status, page.title) == (413, "That was too much at once")


@pytest.mark.parametrize("path", ["/signin", "/setup", "/azure"])
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"username": "owner"}', "application/json", 415),
        (
            b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nowner\r\n--x--',
            "multipart/form-data; boundary=x",
            415,
        ),
        (b"username=owner", "text/plain", 415),
        (b"username=owner", "", 415),
        (b"username=owner&username=user&state=a&state=b", FORM, 400),
        (b"username=%FF%FE&state=%C3", FORM, 400),
        ("username=Ärztin&code=ä".encode(), FORM, 400),
        (b"&".join(b"field%d=x" % number for number in range(200)), FORM, 400),
    ],
    ids=["json", "multipart", "text", "untyped", "twice", "not-utf8", "not-ascii", "many"],
)
def test_a_body_that_is_not_a_form_is_refused(
    town: Town, path: str, body: bytes, content_type: str, status: int
) -> None:
    """415 for another media type, 400 for a form that cannot be read one way only; always a page."""
    page = _post(town, path, body, content_type)
    assert (page.status, page.title) == (status, "The request could not be read")


def test_an_empty_post_to_the_callback_is_refused(town: Town) -> None:
    """A post without a code and without an error is no answer of Microsoft."""
    assert _post(town, "/azure", b"").status in {400, 415}
    assert _post(town, "/azure", b"hello=world").status == 400


@pytest.mark.parametrize("path", ["/signin", "/setup"])
def test_a_form_without_its_token_does_nothing(town: Town, path: str) -> None:
    """403 and nothing done: without a token, with a foreign one, with a token whose cookie is gone."""
    cookie, token = _form_page(town)
    for sent_cookie, sent_token in [
        (cookie, ""),
        (cookie, "0" * 64),
        ("", token),
        (cookie[:-1] + ("A" if cookie[-1] != "A" else "B"), token),
        (cookie, "é" * 10),
    ]:
        browser = town.browser()
        if sent_cookie:
            browser.set_cookie(town.address, FORM_COOKIE, sent_cookie)
        data = {
            "csrf_token": sent_token,
            "username": OWNER.username,
            "password": OWNER.password,
            "token": "t",
        }
        page = browser.send("POST", town.address + path, data=data, came_from=town.address)
        assert (page.status, page.title) == (403, "Please send the form again")
        assert SESSION not in browser.cookies(town.address)


@pytest.mark.parametrize("path", ["/signin", "/setup", "/logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=["origin", "null", "cross-site", "same-site"],
)
def test_a_cross_site_post_does_nothing(town: Town, path: str, headers: dict[str, str]) -> None:
    """403 for a form that another site sent, even with the right cookie and token."""
    cookie, token = _form_page(town)
    browser = town.browser()
    browser.set_cookie(town.address, FORM_COOKIE, cookie)
    data = {"csrf_token": token, "username": OWNER.username, "password": OWNER.password, "token": "t"}
    page = browser.send("POST", town.address + path, data=data, headers=headers)
    assert (page.status, page.title) == (403, "Please send the form again")
    assert SESSION not in browser.cookies(town.address)


def test_control_characters_in_a_name_are_a_wrong_name(town: Town) -> None:
    """A user name that nobody can have is refused like any other, and is shown again without harm."""
    for user_name in (
        "own\x00er",
        "owner\r\nSet-Cookie: a=b",
        "\u202eowner",
        "<script>alert(1)</script>",
        "o" * 5000,
    ):
        browser = town.browser()
        page = town.sign_in_password(browser, user_name, "a-wrong-guess")
        assert page.status == 403
        assert "<script>" not in page.response.text
        assert "a" not in browser.cookies(town.address)


def test_a_password_of_any_kind_is_only_wrong(town: Town) -> None:
    """Very long, with control characters, or beyond the basic plane: a wrong password, not an error."""
    for password in ("x" * 20_000, "\x00\x01\x02", "🔑" * 100, " "):
        town.empty(Table.THROTTLE)
        assert town.sign_in_password(town.browser(), OWNER.username, password).status == 403


# Where to go next


@pytest.mark.parametrize("target", BAD_NEXT, ids=lambda target: repr(target)[:24])
def test_next_leads_nowhere_else(town: Town, target: str) -> None:
    """A `next` that is not a plain path of ours is dropped: the form holds none, and posting it leads to the start page."""
    browser = town.browser()
    page = browser.open(f"{town.address}/signin?next={quote(target, safe='')}")
    assert page.status == 200
    assert page.forms[0].fields["next"] == ""
    assert "evil.example" not in page.response.headers.get("location", "")


@pytest.mark.parametrize("target", ["//evil.example", "https:evil.example", "/\\evil.example"])
def test_next_leads_nowhere_else_after_a_sign_in(town: Town, target: str) -> None:
    """An open redirect is neither in the sealed transaction nor in the posted form."""
    browser = town.browser()
    answer = town.to_microsoft(browser, NURSE, f"/login?next={quote(target, safe='')}")
    assert browser.submit(answer, follow=False).location == f"{town.address}/"
    owner = town.browser()
    form = owner.open(f"{town.address}/signin")
    done = owner.submit(form, follow=False, username=OWNER.username, password=OWNER.password, next=target)
    assert done.location == f"{town.address}/"
    signed_in = owner.get(f"{town.address}/login?next={quote(target, safe='')}")
    assert signed_in.location == f"{town.address}/"


# The callback


def test_a_foreign_state_is_started_again_once(town: Town) -> None:
    """An answer with a state that this browser never had: one new try, no network before that, no session."""
    browser = town.browser()
    town.calm()
    data = {"code": "a-code-from-elsewhere", "state": "s-a-state-from-elsewhere"}
    page = browser.send("POST", town.redirect_uri, data=data)
    assert (page.status, page.location) == (303, f"{town.address}/login?again=1")
    assert town.calls("entra") == {}
    second = browser.send("POST", town.redirect_uri, data=data | {"state": "r-a-state-from-elsewhere"})
    assert (second.status, second.title) == (400, "Your browser forgot the sign-in")
    assert town.log_of(second.reference)


def test_a_code_for_another_browser_is_worth_nothing(town: Town) -> None:
    """Login CSRF: the answer meant for one browser, posted by another, signs nobody in."""
    attacker, victim = town.browser(), town.browser()
    answer = town.to_microsoft(attacker)
    page = victim.send("POST", town.redirect_uri, data=answer.forms[0].fields, came_from=answer.url)
    assert page.location == f"{town.address}/login?again=1"
    assert SESSION not in victim.cookies(town.address)


def test_the_state_of_one_tab_with_the_cookie_of_another_is_refused(town: Town) -> None:
    """The sealed transaction is bound to its state: under another name it does not open."""
    browser = town.browser()
    first, second = town.to_microsoft(browser), town.to_microsoft(browser)
    cookies = {n: v for n, v in browser.cookies(town.address).items() if "sos-login" in n}
    assert len(cookies) == 2
    (name_a, value_a), (name_b, value_b) = cookies.items()
    browser.set_cookie(town.address, name_a, value_b, "none")
    browser.set_cookie(town.address, name_b, value_a, "none")
    for answer in (first, second):
        page = browser.submit(answer, follow=False)
        assert page.location == f"{town.address}/login?again=1"
    assert SESSION not in browser.cookies(town.address)


def test_a_callback_without_a_state_is_refused(town: Town) -> None:
    """A code, or an error, that belongs to no request."""
    for data in ({"code": "a-code-from-elsewhere"}, {"error": "access_denied"}):
        page = town.browser().send("POST", town.redirect_uri, data=data)
        assert page.location == f"{town.address}/login?again=1"


def test_an_error_of_microsoft_needs_its_transaction(town: Town) -> None:
    """An error with a state that we did not give out shows no page of Microsoft's choosing."""
    data = {"error": "access_denied", "error_description": "AADSTS50105: evil", "state": "s-elsewhere"}
    page = town.browser().send("POST", town.redirect_uri, data=data)
    assert page.location == f"{town.address}/login?again=1"


def test_the_text_of_an_error_is_never_shown(town: Town) -> None:
    """Only the number chooses a text; what the description says, and a made-up code, stay out of page and log."""
    browser = town.browser()
    state = parse_qs(urlsplit(browser.get(f"{town.address}/login").location).query)["state"][0]
    data = {
        "error": "<b>made-up</b>",
        "error_description": "AADSTS53003: call +1 555 0100 <script>alert(1)</script>",
        "state": state,
    }
    page = browser.send("POST", town.redirect_uri, data=data)
    assert page.title == "Your organisation's rules do not allow this sign-in"
    assert "555" not in page.text
    assert "made-up" not in page.text
    assert not [line for line in town.log_of(page.reference) if "555" in line or "made-up" in line]


def test_an_issuer_in_the_answer_must_be_ours(town: Town) -> None:
    """RFC 9207: an `iss` beside the code is compared, and a foreign one ends the sign-in before the code is used."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    data = answer.forms[0].fields | {"iss": "https://evil.example"}
    page = browser.send("POST", town.redirect_uri, data=data, came_from=answer.url)
    assert page.location == f"{town.address}/login?again=1"
    assert "token" not in town.calls("entra")


def test_a_code_in_the_query_needs_the_same(town: Town) -> None:
    """GET `/azure` follows the same rules as POST."""
    page = town.browser().get(f"{town.redirect_uri}?code=abc&state=s-elsewhere")
    assert page.location == f"{town.address}/login?again=1"


# Cookies and headers


@pytest.mark.parametrize(
    "cookie",
    [
        "=",
        ";;;",
        "a",
        "__Host-sos-session",
        "__Host-sos-session=",
        "__Host-sos-session=eyJhbGciOiJub25lIn0.e30.",
        "__Host-sos-session=" + "x" * 6000,
        '__Host-sos-session="quoted; __Host-sos-form=é',
        "__Host-sos-form=<script>",
        "__Host-sos-login-x=" + "A" * 3000,
        "; ".join(f"__Host-sos-login-{number}=x" for number in range(40)),
        "__Host-sos-device=!!!",
    ],
    ids=lambda cookie: cookie[:24],
)
def test_broken_cookies_are_no_cookies(town: Town, cookie: str) -> None:
    """Whatever stands in the Cookie header, every door answers as to somebody who brought none."""
    header = {"Cookie": cookie.encode("utf-8").decode("latin-1")}
    browser = town.browser()
    assert browser.get(f"{town.address}/signin", **header).status == 200
    assert browser.get(f"{town.address}/session", **header).status == 401
    assert browser.get(f"{town.address}/", **header).location == f"{town.address}/login"
    assert browser.get(f"{town.address}/login", **header).status == 302
    assert browser.send("POST", f"{town.address}/logout", headers=header).status == 200


def test_a_forged_host_is_not_believed(town: Town) -> None:
    """Neither the redirect URI nor a page nor a redirect takes its host from the request."""
    browser = town.browser()
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Original-Host": "evil.example"}
    login = browser.get(f"{town.address}/login", **forged)
    assert parse_qs(urlsplit(login.location).query)["redirect_uri"] == [f"{town.address}/azure"]
    for path in ("/", "/signin", "/session", "/nowhere", "/azure"):
        page = browser.get(town.address + path, **forged)
        assert "evil.example" not in page.response.text
        assert "evil.example" not in str(page.response.headers)


def test_a_forged_forwarded_address_does_not_escape_the_throttle(town: Town) -> None:
    """What a client claims in X-Forwarded-For is not what it is counted by."""
    pepper, store, now = town.services.pepper.get(), town.services.store, town.services.clock()
    for number in range(BURST):
        for address in ("127.0.0.1", "::1"):
            attempt = attempt_from(f"name-{number}-{address}", address, None, pepper.throttle_key)
            throttle.reserve(store, Attempt(attempt.charges[:1], ()), now)
    browser = town.browser()
    for forged in ("198.51.100.7", "198.51.100.8, 203.0.113.9", "[2001:db8::1]:443"):
        page = browser.open(f"{town.address}/signin")
        data = page.forms[0].fields | {"username": "somebody", "password": "a-wrong-guess"}
        answer = browser.send(
            "POST", page.forms[0].action, data=data, came_from=page.url, headers={"X-Forwarded-For": forged}
        )
        assert answer.status == 429


def test_a_forged_principal_of_the_platform_is_ignored(town: Town) -> None:
    """X-MS-CLIENT-PRINCIPAL and its kin sign nobody in: anyone can send them."""
    forged = {
        "X-MS-CLIENT-PRINCIPAL": "eyJhdXRoX3R5cCI6ImFhZCJ9",
        "X-MS-CLIENT-PRINCIPAL-ID": "owner",
        "X-MS-CLIENT-PRINCIPAL-NAME": "owner",
        "X-SOS-Account": "owner",
        "X-SOS-Level": "owner",
        "Authorization": "Bearer owner",
    }
    page = town.browser().get(f"{town.address}/session", **forged)
    assert page.status == 401
    assert "x-sos-account" not in page.response.headers


# What every answer has in common


@pytest.mark.parametrize(
    "path",
    [
        "/%00",
        "/%ED%A0%80",
        "/signin?next=%00%FF",
        "/signin?next=%ED%A0%80",
        "/login?login_hint=%00&domain_hint=%0d%0a",
        "/login?next=%F0%9F%92%A5&login_hint=" + "x" * 5000,
        "/azure?state=%ED%A0%80&code=%00",
        "/azure?error=%00&state=%FF",
        "/logout/microsoft?sid=%00&iss=%FF",
        "/setup?token=%ED%A0%80",
        "/setup?token=" + "x" * 5000,
        "/assets/%2e%2e%2fhost.json",
        "/assets/..%5chost.json",
        "/session?x=" + "y" * 8000,
        "/login?next=" + "%2525" * 500,
    ],
    ids=lambda path: path[:28],
)
def test_strange_addresses_never_break_anything(town: Town, path: str) -> None:
    """No answer is a 500, and every refusal is a page or JSON that names itself."""
    page = town.browser().get(town.address + path)
    assert page.status < 500
    assert page.text or page.location


def test_every_reference_on_a_page_stands_in_the_log(town: Town) -> None:
    """Whoever reads a reference number out to the engineer must be found."""
    wrong = town.browser()
    pages = [
        wrong.get(f"{town.address}/nowhere"),
        wrong.send("DELETE", f"{town.address}/login"),
        wrong.get(f"{town.address}/setup?token=wrong"),
        _post(town, "/azure", b"hello=world"),
        _post(town, "/signin", b"x" * 100_000),
        _post(town, "/signin", b"username=owner"),
    ]
    last = wrong.send("POST", town.redirect_uri, data={"code": "c", "state": "r-elsewhere"})
    shown = {page.reference: page.title for page in pages if page.reference}
    assert shown
    # The line of the page that came last comes by the same pipe as the others, and after them.
    town.log_of(last.reference)
    assert [title for reference, title in shown.items() if reference not in "".join(town.lines())] == []


def test_every_page_has_the_headers_that_protect_it(town: Town) -> None:
    """CSP without scripts, no framing, no sniffing, no store, on pages of every kind and status."""
    browser = town.browser()
    owner = town.browser()
    town.enter(owner, OWNER)
    pages = [
        browser.get(f"{town.address}/signin"),
        browser.get(f"{town.address}/nowhere"),
        browser.get(f"{town.address}/azure"),
        browser.get(f"{town.address}/setup?token=wrong"),
        browser.send("PUT", f"{town.address}/login"),
        browser.send("POST", f"{town.address}/logout"),
        town.sign_in_password(town.browser(), OWNER.username, "a-wrong-guess"),
        owner.get(f"{town.address}/"),
    ]
    for page in pages:
        headers = page.response.headers
        policy = headers["content-security-policy"]
        assert headers["content-type"].startswith("text/html"), page.url
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "<script" not in page.response.text


def test_redirects_and_json_are_not_cached_either(town: Town) -> None:
    """What depends on who asks is never kept by a cache; key set and files may be."""
    browser = town.browser()
    for path in ("/", "/login", "/session", "/healthz", "/readyz"):
        headers = browser.get(town.address + path).response.headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    assert "max-age" in browser.get(f"{town.address}/.well-known/jwks.json").response.headers["cache-control"]


def test_nothing_secret_is_written_down(town: Town) -> None:
    """After sign-ins that worked, failed and were refused, no log and no row holds a secret of theirs."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    town.enter(town.browser(), OWNER)
    town.sign_in_password(town.browser(), OWNER.username, "a-wrong-password-of-a-journey")
    answer = town.to_microsoft(town.browser())
    town.control("POST", "certificate-errors", {"code": 700027, "times": 2})
    town.browser().send("POST", town.redirect_uri, data=answer.forms[0].fields)
    replayed = browser.open(f"{town.address}/login?prompt=select_account")
    browser.submit(browser.submit(replayed, 1, account=NURSE.username))
    assert len(browser.secrets) > 3
    town.services.audit.flush()
    assert town.leaks() == []
