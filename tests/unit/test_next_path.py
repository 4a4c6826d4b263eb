import re
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.next_path import MAX_LENGTH, local_path

ADDRESS = "https://signin.clinic.example"
DOORS = ["azure", "login", "logout", "signin", "setup", "session"]
NASTY = [
    "/",
    "\\",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "%09",
    "\t",
    "\n",
    "\r",
    "\0",
    " ",
    "@",
    ":",
    "?",
    "#",
]
NASTY += [
    "https:",
    "http://",
    "//",
    "evil.example",
    "azure",
    "login",
    "%61zure",
    "lists",
    ";",
    "%",
    "%00",
    "‥",
    "／",
]

texts = st.text(max_size=60) | st.lists(st.sampled_from(NASTY), max_size=8).map("".join)
paths = texts.map(lambda text: f"/{text}")


def browser_target(reference: str) -> str:
    """Answer where a browser goes that was given `Location: reference` on our Address.

    The parts of the URL Standard (WHATWG, sections 4.4 and 4.1) in which it differs from RFC 3986: control
    characters and spaces at the ends are dropped, tabs and line ends everywhere, and a backslash is a slash.
    """
    seen = reference.strip("".join(map(chr, range(0x21))))
    seen = re.sub(r"[\t\n\r]", "", seen).replace("\\", "/")
    return urljoin(f"{ADDRESS}/login", seen)


def segments_for_a_browser(reference: str) -> list[str]:
    """Answer the path segments that remain when a browser has taken out dots, `%2e` included (WHATWG, 4.4)."""
    remaining: list[str] = []
    for segment in urlsplit(browser_target(reference)).path.split("/")[1:]:
        dots = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
        if dots == "..":
            del remaining[-1:]
        elif dots != ".":
            remaining.append(segment)
    return remaining


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/lists",
        "/lists/7?day=2027-03-01&ward=%C3%A4#top",
        "/lists/",
        "/a//b",
        "/a/b..c",
        "/.well-known/x",
        "/...",
        "/..lists",
        "/a?next=//evil.example",
        "/a?x=../azure",
        "/a?x=/../b",
        "/loginx",
        "/sessions",
        "/x/login",
        "/azureports",
        "/%2f%2fevil.example",
        "/@evil.example",
        "/:8080",
        "/%",
        "/settings/sso",
    ],
)
def test_a_local_path_is_given_back(path: str) -> None:
    """What people bookmark comes back as it was."""
    assert local_path(path) == path


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/liste für heute", "/liste%20f%C3%BCr%20heute"),
        ("/名簿?q=病棟", "/%E5%90%8D%E7%B0%BF?q=%E7%97%85%E6%A3%9F"),
        ("/a%20b", "/a%20b"),
        ("/a b#c d", "/a%20b#c%20d"),
    ],
)
def test_what_cannot_stand_in_a_header_is_encoded(text: str, encoded: str) -> None:
    """A Location is ASCII; what is encoded already is not encoded twice."""
    assert local_path(text) == encoded


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "lists",
        "?x",
        "#x",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "/a\\..\\b",
        "/lists\\",
        "https:evil.example",
        "https:/evil.example",
        "https://evil.example",
        "https:///evil.example",
        "HTTPS://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        " //evil.example",
        " /lists",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r/evil.example",
        "/\r\nSet-Cookie: x=y",
        "\t//evil.example",
        "/lists\0",
        "/lists\x7f",
        "/lists\x1f",
        "/lists\x85",
        "/\u2028evil",
        "/\u202eevil",
        "/\u200b/evil.example",
        "/\u3000x",
        "/\ufeffx",
        "/\ud800",
        "/.",
        "/..",
        "/./lists",
        "/../lists",
        "/a/..",
        "/a/.",
        "/a/../azure",
        "/a/./b",
        "/.//evil.example",
        "/..//evil.example",
        "/a/..?x",
        "/a/.#x",
    ],
)
def test_what_leads_elsewhere_is_refused(text: str) -> None:
    """Other origins in all the spellings that browsers understand, what cannot be seen, and ways up."""
    assert local_path(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "/%2e",
        "/%2E%2e/lists",
        "/a/%2e%2e",
        "/a/.%2e/b",
        "/a/%2E./b",
        "/%2e//evil.example",
        "/a/%2e/b?x",
        "/%2e%2e#x",
    ],
)
def test_encoded_dot_segments_are_dot_segments(text: str) -> None:
    """A browser reads `%2e` in a path as a dot (WHATWG URL, section 4.4)."""
    assert local_path(text) == ""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", ["/{}", "/{}/", "/{}/microsoft", "/{}?x=1", "/{}#x", "/{}/?x", "/{}//"])
def test_our_own_doors_are_refused(door: str, form: str) -> None:
    """Nobody means to come back to a door, and a way back to it can loop; the host ignores case."""
    assert local_path(form.format(door)) == ""
    assert local_path(form.format(door.upper())) == ""


@pytest.mark.parametrize(
    "text", ["/%6cogin", "/logi%6E?x", "/%61zure", "/%41ZURE/", "/session%2f", "/%2e/login"]
)
def test_encoded_doors_are_doors(text: str) -> None:
    """The host decodes a path before it looks for the door."""
    assert local_path(text) == ""


def test_length() -> None:
    """The length counts as it will stand in the cookie: encoded."""
    longest = "/" + "x" * (MAX_LENGTH - 1)
    assert local_path(longest) == longest
    assert local_path(longest + "x") == ""
    assert len(local_path("/" + "é" * 85)) == 511
    assert local_path("/" + "é" * 86) == ""
    assert local_path("/" + "x" * 1_000_000) == ""


@given(texts | paths)
@example("/%2e//evil.example")
@example("/\t/evil.example")
def test_whatever_comes_back_is_on_our_address(text: str) -> None:
    """No text leads to another origin, neither by RFC 3986 nor by what browsers do."""
    path = local_path(text)
    if path:
        assert path.startswith("/")
        for target in (urljoin(f"{ADDRESS}/login", path), browser_target(path)):
            parts = urlsplit(target)
            assert (parts.scheme, parts.netloc) == ("https", "signin.clinic.example")


@given(texts | paths)
def test_whatever_comes_back_can_stand_in_a_header(text: str) -> None:
    """ASCII that can be seen, without spaces and line ends, and short."""
    path = local_path(text)
    assert re.fullmatch(r"[!-~]*", path)
    assert len(path) <= MAX_LENGTH


@given(texts | paths)
@example("/%6cogin")
@example("/a/%2e%2e/login")
@example("/%2e/login")
def test_whatever_comes_back_is_no_door(text: str) -> None:
    """Not to a browser, which takes out dots, nor to the host, which decodes."""
    path = local_path(text)
    if path:
        first = segments_for_a_browser(path)[:1] or [""]
        assert unquote(first[0]).partition("/")[0].lower() not in DOORS


@given(texts | paths)
def test_a_path_that_came_back_comes_back_again(text: str) -> None:
    """The path is checked twice on its way through the password form: the second look must agree with the first."""
    path = local_path(text)
    assert local_path(path) == path
