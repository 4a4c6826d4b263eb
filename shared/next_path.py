"""Where a person goes after signing in: a path on our own Address, or nowhere (RFC 9700, section 4.11.1)."""

import re
from urllib.parse import quote, unquote

MAX_LENGTH = 512
"""Characters, once percent-encoded; with this much the sealed transaction still fits a cookie."""

# One slash and no second one; a backslash nowhere, because browsers read it as a slash. Control characters are refused
# as well: browsers drop tabs and line ends, so "/<tab>/evil" would become "//evil".
_LOCAL_PATH = re.compile(r"/(?!/)[^\\]*")
_IN_A_URL = "!#$%&'()*+,-./:;=?@[]_~"
"""RFC 3986, section 2, and the percent sign of what is encoded already."""
_DOT_SEGMENT = re.compile(r"/\.{1,2}(/|$)")
_DOORS = re.compile(r"/(azure|login|logout|signin|setup|session)(/.*)?", re.IGNORECASE)
"""Our own doors: nobody means to come back to one of these, and a path back to them can loop."""


def local_path(text: str) -> str:
    """Give back a safe place to go, percent-encoded where it must be; else an empty text (the caller has a default)."""
    if not text.isprintable() or not _LOCAL_PATH.fullmatch(text):
        return ""
    encoded = quote(text, safe=_IN_A_URL)
    # Browsers read %2e as a dot, and the host decodes a path before it looks for the door.
    path = unquote(re.split(r"[?#]", encoded, maxsplit=1)[0])
    if len(encoded) > MAX_LENGTH or _DOT_SEGMENT.search(path) or _DOORS.fullmatch(path):
        return ""
    return encoded
