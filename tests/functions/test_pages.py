"""The pages as text: what they say, that they escape what they are given, that the policy can hold them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from functions import pages
from functions.pages import Action, asset, asset_url, render

HOSTILE = """"'><script>alert(1)</script>"""
TEMPLATES = sorted(Path(pages.__file__).parent.glob("*.html.j2"))
NOT_PAGES = {"base", "parts"}

SIGN_IN: dict[str, object] = {
    "csrf_token": "csrf",
    "next": "/lists",
    "username": "",
    "error": None,
    "wait": None,
    "reference": "7F3K-9QX2-B4MD",
    "microsoft_url": None,
    "sso_active": False,
    "address": "sos.clinic.example",
}
SETUP: dict[str, object] = {
    "csrf_token": "csrf",
    "token": "token",
    "username": "",
    "problems": [],
    "minimum_length": 15,
    "recovery": False,
}
MESSAGE: dict[str, object] = {
    "tone": "problem",
    "title": "Not assigned",
    "what": "Your account has no access.",
    "who": "Your IT team.",
    "now": ["Ask them.", "Try again."],
    "reference": "7F3K",
    "actions": [],
}
EVERYTHING_HOSTILE: dict[str, dict[str, object]] = {
    "signin": SIGN_IN
    | dict.fromkeys(("csrf_token", "next", "username", "error", "microsoft_url", "address"), HOSTILE),
    "setup": SETUP | {"token": HOSTILE, "username": HOSTILE, "problems": [HOSTILE, HOSTILE]},
    "setup_done": {},
    "landing": dict.fromkeys(("name", "level", "method", "since"), HOSTILE),
    "signed_out": {"signin_url": HOSTILE, "still_at_microsoft": True},
    "message": dict.fromkeys(("title", "what", "who", "reference"), HOSTILE)
    | {
        "tone": "problem",
        "now": [HOSTILE, HOSTILE],
        "actions": [Action(HOSTILE, HOSTILE), Action(HOSTILE, HOSTILE)],
    },
}


class Elements(HTMLParser):
    """Collects the elements of a page: their names, and attributes by name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; HTMLParser calls this for each."""
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Give the attributes of every element of this name."""
        return [attributes for name, attributes in self.found if name == tag]

    def fields(self) -> dict[str | None, dict[str, str | None]]:
        """Give the attributes of every input by its name."""
        return {attributes.get("name"): attributes for attributes in self.named("input")}


def test_every_page_has_a_hostile_sample() -> None:
    """No page escapes the tests below."""
    assert {path.name.removesuffix(".html.j2") for path in TEMPLATES} - NOT_PAGES == set(EVERYTHING_HOSTILE)


@pytest.mark.parametrize("page", EVERYTHING_HOSTILE)
def test_values_are_escaped(page: str) -> None:
    """A value can neither start an element nor leave its attribute."""
    html = render(page, **EVERYTHING_HOSTILE[page])
    elements = Elements(html).found
    assert "<script" not in html
    assert {tag for tag, _ in elements} <= {
        *("html", "head", "meta", "title", "link", "body", "header", "main", "footer", "section"),
        *("h1", "h2", "p", "ul", "li", "dl", "dt", "dd", "div", "span", "strong", "code", "wbr"),
        *("form", "input", "label", "button", "a", "img", "svg", "rect", "circle", "path"),
    }
    assert not any(re.search("""["'<>]""", name) for _, attributes in elements for name in attributes)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_nothing_the_policy_forbids(template: Path) -> None:
    """A template has no inline style, no script, no event handler, and nothing from elsewhere."""
    source = template.read_text(encoding="utf-8")
    assert not re.search(r"<(script|style|iframe|object|embed|base)\b", source, re.IGNORECASE)
    assert not re.search(r"\s(style|on[a-z]+)\s*=", source, re.IGNORECASE)
    assert not re.search(r"https?:|javascript:|\|\s*safe\b", source, re.IGNORECASE)


def test_the_stylesheet_asks_nobody() -> None:
    """The stylesheet loads no font, image or other stylesheet."""
    style = asset(asset_url("style.css").removeprefix("/assets/"))
    assert style is not None
    assert not re.search(rb"url\(|@import|@font-face", style.body)


def test_a_missing_value_is_an_error() -> None:
    """A page is never shown with a hole in it."""
    with pytest.raises(UndefinedError, match="next"):
        render("signin", **{name: value for name, value in SIGN_IN.items() if name != "next"})


@pytest.mark.parametrize(
    ("name", "content_type"), [("style.css", "text/css"), ("favicon.svg", "image/svg+xml")]
)
def test_assets_are_found_by_their_url(name: str, content_type: str) -> None:
    """A file's URL holds its hash, which is its strong ETag too, and the pages link to that URL."""
    url = asset_url(name)
    file = asset(url.removeprefix("/assets/"))
    assert file is not None
    assert file.url == url
    assert file.content_type.startswith(content_type)
    assert re.fullmatch(r'"[0-9a-f]{16}"', file.etag)
    assert file.etag.strip('"') in url
    assert f'"{url}"' in render("setup_done")


@pytest.mark.parametrize(
    "name", ["", "style.css", "style.0000000000000000.css", "../__init__.py", "base.html.j2"]
)
def test_nothing_else_is_an_asset(name: str) -> None:
    """Only the fixed files are served, and only in their present version."""
    assert asset(name) is None


def test_sign_in_form() -> None:
    """The form carries its hidden fields, helps password managers, and leaves the username as typed."""
    page = Elements(render("signin", **SIGN_IN | {"username": "nurse"}))
    fields = page.fields()
    assert page.named("form") == [{"method": "post", "action": "/signin"}]
    assert fields["csrf_token"]["value"] == "csrf"
    assert fields["next"]["value"] == "/lists"
    assert fields["username"]["value"] == "nurse"
    assert fields["username"]["autocomplete"] == "username"
    assert (fields["username"]["autocapitalize"], fields["username"]["spellcheck"]) == ("off", "false")
    assert fields["password"]["autocomplete"] == "current-password"
    assert "value" not in fields["password"]
    assert "maxlength" not in fields["password"]


def test_sign_in_for_all() -> None:
    """Before Microsoft sign-in is active the page speaks to everyone and offers no other way."""
    html = render("signin", **SIGN_IN)
    assert "<h1>Sign in</h1>" in html
    assert "Owner" not in html
    assert "Microsoft" not in html
    assert 'role="alert"' not in html


def test_sign_in_for_the_owner() -> None:
    """Once it is active the page says that only the Owner has a password here, and sends everyone else on."""
    html = render("signin", **SIGN_IN | {"sso_active": True, "microsoft_url": "/login?next=/lists"})
    assert "<h1>Owner sign-in</h1>" in html
    assert "Only the Owner signs in with a password here." in html
    assert [link["href"] for link in Elements(html).named("a")] == ["/login?next=/lists"]
    assert "work or school account" in html


def test_microsoft_symbol() -> None:
    """The button has Microsoft's four squares in their places and colours, and Microsoft's words."""
    html = render("signin", **SIGN_IN | {"microsoft_url": "/login"})
    squares = {
        (square["x"], square["y"]): square["fill"]
        for square in Elements(html).named("rect")
        if "fill" in square
    }
    assert squares == {
        ("1", "1"): "#F25022",
        ("11", "1"): "#7FBA00",
        ("1", "11"): "#00A4EF",
        ("11", "11"): "#FFB900",
    }
    assert "<span>Sign in with Microsoft</span>" in html


def test_too_many_attempts() -> None:
    """A wait is told instead of the error, and the fields are not called wrong."""
    html = render("signin", **SIGN_IN | {"wait": "30 seconds", "error": "Wrong."})
    assert "Wait 30 seconds, then try again." in html
    assert "Wrong." not in html
    assert "aria-invalid" not in html


@pytest.mark.parametrize("recovery", [True, False])
def test_setup_form(*, recovery: bool) -> None:
    """A new password is typed twice; in a recovery the username stands and cannot be changed."""
    page = Elements(render("setup", **SETUP | {"username": "owner", "recovery": recovery}))
    fields = page.fields()
    assert page.named("form") == [{"method": "post", "action": "/setup"}]
    assert set(fields) == {"csrf_token", "token", "username", "password", "password_again"}
    assert ("readonly" in fields["username"]) is recovery
    for name in ("password", "password_again"):
        assert fields[name]["autocomplete"] == "new-password"
        assert fields[name]["minlength"] == "15"


def test_message_says_it_all() -> None:
    """A failure says what happened, who can help, what to do, and its reference, in this order."""
    html = render("message", **MESSAGE)
    places = [html.index(text) for text in ("Not assigned</h1>", "no access", "IT team", "Ask them", "7F3K")]
    assert places == sorted(places)
    assert '<p class="reference">Reference: <code>7F3K</code></p>' in html


def test_message_leaves_out_what_there_is_not() -> None:
    """A heading with nothing below it is not shown."""
    html = render("message", **MESSAGE | {"who": "", "now": [], "reference": ""})
    assert "<h2>" not in html
    assert "Reference" not in html


def test_message_actions() -> None:
    """Each action is a link, and the likely one stands out."""
    actions = [Action("Try again", "/login", primary=True), Action("Go to the start page", "/")]
    page = Elements(render("message", **MESSAGE | {"actions": actions}))
    assert page.named("a") == [
        {"class": "button primary", "href": "/login"},
        {"class": "button", "href": "/"},
    ]


@pytest.mark.parametrize("still_at_microsoft", [True, False])
def test_signed_out_here_and_there(*, still_at_microsoft: bool) -> None:
    """Where Microsoft's session goes on, the page says so."""
    page = render("signed_out", signin_url="/login", still_at_microsoft=still_at_microsoft)
    assert [link["href"] for link in Elements(page).named("a")] == ["/login"]
    assert ("still signed in to Microsoft" in page) is still_at_microsoft
