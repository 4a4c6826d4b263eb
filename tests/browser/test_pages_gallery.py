"""Every page as people meet it: narrow and wide, light and dark, by keyboard, enlarged, without scripts."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from functions.pages import Action, asset, render
from shared.diagnosis import diagnose
from shared.errors import CertificateExpired

pytestmark = pytest.mark.browser

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
VIEWS: list[tuple[int, Literal["light", "dark"]]] = [
    (320, "light"),
    (320, "dark"),
    (1280, "light"),
    (1280, "dark"),
]

SIGN_IN: dict[str, object] = {
    "csrf_token": "csrf",
    "next": "/",
    "username": "",
    "error": None,
    "wait": None,
    "reference": "7F3K-9QX2-B4MD",
    "microsoft_url": None,
    "sso_active": False,
    "address": "sos.clinic.example",
}
OWNER = SIGN_IN | {"sso_active": True, "microsoft_url": "/login", "username": "owner"}
REPAIR = diagnose(CertificateExpired(datetime(2027, 3, 1, 8, 5, tzinfo=UTC), timedelta(minutes=5)))
SETUP: dict[str, object] = {
    "csrf_token": "csrf",
    "token": "token",
    "username": "",
    "problems": [],
    "minimum_length": 15,
    "recovery": False,
}
SAMPLES: dict[str, tuple[str, dict[str, object]]] = {
    "signin": ("signin", SIGN_IN),
    "signin-microsoft": ("signin", SIGN_IN | {"microsoft_url": "/login"}),
    "signin-error": (
        "signin",
        SIGN_IN | {"username": "nurse", "error": "The username or password is not right."},
    ),
    "signin-owner": ("signin", OWNER | {"username": ""}),
    "signin-owner-error": ("signin", OWNER | {"error": "The username or password is not right."}),
    "signin-owner-wait": ("signin", OWNER | {"wait": "30 seconds"}),
    "setup": ("setup", SETUP),
    "setup-problems": (
        "setup",
        SETUP
        | {
            "username": "owner",
            "problems": [
                "The password has 9 characters. It needs at least 15.",
                "The two passwords are not the same.",
            ],
        },
    ),
    "setup-recovery": (
        "setup",
        SETUP
        | {
            "username": "owner",
            "recovery": True,
            "problems": ["This password is on lists of passwords that have been stolen. Choose another."],
        },
    ),
    "setup-done": ("setup_done", {}),
    "landing": (
        "landing",
        {
            "name": "Doctor on call, Department of Anaesthesiology",
            "level": "User",
            "method": "Microsoft",
            "since": "23 November 2025, 16:05 UTC",
            "csrf_token": "csrf",
        },
    ),
    "signed-out": ("signed_out", {"signin_url": "/login", "still_at_microsoft": False}),
    "signed-out-microsoft": ("signed_out", {"signin_url": "/login", "still_at_microsoft": True}),
    "message-not-assigned": (
        "message",
        {
            "tone": "problem",
            "title": "Your account is not assigned to SOS",
            "what": "Microsoft knows you, but your work account has no access to this application.",
            "who": "The people who manage Microsoft accounts in your organisation can assign you.",
            "now": [
                "Ask them to assign your account to the application “SOS”.",
                "If you have another work account, sign in with that one.",
            ],
            "reference": "7F3K-9QX2-B4MD",
            "actions": [
                Action("Use another account", "/login", primary=True),
                Action("Go to the start page", "/"),
            ],
            "csrf_token": "csrf",
        },
    ),
    "message-upstream": (
        "message",
        {
            "tone": "wait",
            "title": "Microsoft does not answer",
            "what": "Your sign-in could not be finished, because Microsoft's service is not responding.",
            "who": "Microsoft. Nothing is wrong with your account.",
            "now": ["Wait a minute, then try again."],
            "reference": "7F3K-9QX2-B4MD",
            "actions": [Action("Try again", "/login", primary=True)],
        },
    ),
    "message-being-repaired": (
        "message",
        {
            "tone": REPAIR.tone,
            "title": REPAIR.title,
            "what": REPAIR.what,
            "who": REPAIR.who,
            "now": list(REPAIR.now),
            "reference": "7F3K-9QX2-B4MD",
            "actions": [
                Action("Try again", "/login", primary=True),
                Action("Sign in with a password", "/signin"),
            ],
        },
    ),
    "message-not-found": (
        "message",
        {
            "tone": "info",
            "title": "There is no such page",
            "what": "The address may be mistyped, or the link may be old.",
            "who": "",
            "now": [],
            "reference": "7F3K-9QX2-B4MD",
            "actions": [Action("Go to SOS", "/", primary=True)],
        },
    ),
}


class Gallery(ThreadingHTTPServer):
    """Serves each sample at `/<its name>` under the real policy, and remembers the forms that are sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GalleryHandler)
        self.forms: list[dict[str, list[str]]] = []

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class GalleryHandler(BaseHTTPRequestHandler):
    """Answers one request to the gallery."""

    server: Gallery

    def do_GET(self) -> None:
        """Send a sample or an asset."""
        name = self.path.rpartition("/")[2]
        if name in SAMPLES:
            page, context = SAMPLES[name]
            self.answer(200, "text/html; charset=utf-8", render(page, **context).encode())
        elif file := asset(name):
            self.answer(200, file.content_type, file.body)
        else:
            self.answer(404, "text/plain", b"")

    def do_POST(self) -> None:
        """Keep the form."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.forms.append({"path": [self.path], **parse_qs(body, keep_blank_values=True)})
        self.answer(200, "text/plain", b"received")

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        """Send a body with the headers the doors send."""
        self.send_response(status)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the signature http.server has
        """Say nothing: a test's output is its assertions."""


@pytest.fixture(scope="module")
def gallery() -> Iterator[Gallery]:
    """Serve the samples on a free port of loopback."""
    with Gallery() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def inspected(browser: Browser) -> Iterator[BrowserContext]:
    """Open pages that tests may look into with scripts of their own, which the policy would forbid."""
    with browser.new_context(bypass_csp=True, reduced_motion="reduce") as context:
        yield context


@pytest.fixture
def page(inspected: BrowserContext) -> Iterator[Page]:
    """Open one tab."""
    with inspected.new_page() as tab:
        yield tab


def overflow(page: Page) -> list[str]:
    """Name what sticks out of the window to the right, or out of its own box."""
    found: list[str] = page.evaluate(
        """() => {
            const window_right = document.documentElement.clientWidth + 0.5;
            const spills = e => e.clientWidth && e.tagName !== 'INPUT' && e.scrollWidth > e.clientWidth + 1;
            return [...document.body.querySelectorAll('*')]
                .filter(e => e.getBoundingClientRect().right > window_right || spills(e))
                .map(e => e.outerHTML.slice(0, 120));
        }"""
    )
    return found


@pytest.mark.parametrize("sample", SAMPLES)
def test_accessible_in_every_view(
    gallery: Gallery,
    page: Page,
    screenshots: Path,
    accessibility_problems: Callable[[Page], list[str]],
    sample: str,
) -> None:
    """A page meets WCAG 2.2 AA and fits the window, narrow and wide, light and dark."""
    page.goto(f"{gallery.address}/{sample}")
    for width, scheme in VIEWS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=screenshots / f"page-{sample}-{width}-{scheme}.png", full_page=True)
        assert overflow(page) == [], (width, scheme)
        assert accessibility_problems(page) == [], (width, scheme)


@pytest.mark.parametrize("sample", SAMPLES)
def test_twice_the_text_size(gallery: Gallery, page: Page, screenshots: Path, sample: str) -> None:
    """Nothing is cut off or needs sideways scrolling when the text is twice as large."""
    page.goto(f"{gallery.address}/{sample}")
    page.add_style_tag(content="html { font-size: 200% }")
    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.screenshot(path=screenshots / f"page-{sample}-{width}-large-text.png", full_page=True)
        assert overflow(page) == [], width


@pytest.mark.parametrize("sample", SAMPLES)
def test_keyboard_reaches_everything(gallery: Gallery, page: Page, sample: str) -> None:
    """Tab visits every control from top to bottom; each shows its focus and is large enough to hit."""
    page.goto(f"{gallery.address}/{sample}")
    controls = page.locator("a, button, input:not([type=hidden])").element_handles()
    page.locator(".brand").click()  # Tab goes on from here, whatever had the focus at first
    tops = []
    for control in controls:
        page.keyboard.press("Tab")
        assert control.evaluate("e => e === document.activeElement")
        style: dict[str, Any] = control.evaluate(
            "e => { const s = getComputedStyle(e); return { width: s.outlineWidth, style: s.outlineStyle } }"
        )
        assert style == {"width": "3px", "style": "solid"}
        box: dict[str, float] = control.evaluate("e => e.getBoundingClientRect().toJSON()")
        assert min(box["width"], box["height"]) >= 24
        tops.append(box["y"] + page.evaluate("scrollY"))
    assert tops == sorted(tops)


@pytest.mark.parametrize(
    ("sample", "focused"),
    [("signin", "username"), ("signin-error", "password"), ("signin-owner-error", "password")],
)
def test_typing_can_begin_at_once(gallery: Gallery, page: Page, sample: str, focused: str) -> None:
    """The sign-in puts the cursor where typing goes on: the username, or the password when it is known."""
    page.goto(f"{gallery.address}/{sample}")
    assert page.evaluate("document.activeElement.id") == focused


@pytest.mark.parametrize("sample", ["signin-error", "signin-owner-wait", "setup-problems", "setup-recovery"])
def test_a_refusal_is_announced(gallery: Gallery, page: Page, sample: str) -> None:
    """What went wrong stands in the title, in an alert, and in the description of the password."""
    page.goto(f"{gallery.address}/{sample}")
    assert page.title().startswith("Error: ")
    alert = page.get_by_role("alert")
    described_by = page.locator("#password").get_attribute("aria-describedby") or ""
    assert alert.get_attribute("id") in described_by.split()
    assert alert.inner_text().strip()


@pytest.mark.parametrize("sample", SAMPLES)
def test_kept_by_the_policy(gallery: Gallery, browser: Browser, sample: str) -> None:
    """Under the real policy nothing of a page is blocked, and the stylesheet and the mark arrive."""
    complaints: list[str] = []
    with browser.new_context() as context, context.new_page() as page:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(f"{gallery.address}/{sample}")
        assert page.locator(".brand img").evaluate("e => e.naturalWidth > 0")
        assert page.locator(".card").evaluate("e => getComputedStyle(e).borderTopStyle") == "solid"
    assert complaints == []


def test_sign_in_without_scripts(gallery: Gallery, browser: Browser) -> None:
    """The form is sent, hidden fields and all, by a browser that runs no script."""
    with browser.new_context(java_script_enabled=False) as context, context.new_page() as page:
        page.goto(f"{gallery.address}/signin-owner")
        page.get_by_label("Username").fill("owner")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()
    assert gallery.forms.pop() == {
        "path": ["/signin"],
        "csrf_token": ["csrf"],
        "next": ["/"],
        "username": ["owner"],
        "password": ["correct horse"],
    }


def test_forced_colours(gallery: Gallery, page: Page, screenshots: Path) -> None:
    """With the system's own few colours, buttons keep a border and Microsoft's symbol keeps its colours."""
    page.emulate_media(forced_colors="active")
    page.goto(f"{gallery.address}/signin-owner")
    page.screenshot(path=screenshots / "page-signin-owner-forced-colours.png", full_page=True)
    for control in page.locator(".button, .microsoft").all():
        width, border, background = control.evaluate(
            """e => {
                const style = getComputedStyle(e);
                return [style.borderTopWidth, style.borderTopColor, style.backgroundColor];
            }"""
        )
        assert width == "1px"
        assert border != background
    assert (
        page.locator(".microsoft rect").first.evaluate("e => getComputedStyle(e).fill") == "rgb(242, 80, 34)"
    )
