"""The journeys in a real browser: redirects, form posts, cookies and the content security policy as Chromium has them."""

import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from local.playground import OWNER
from tests.journeys.town import NURSE, VISITOR, Person, Town

pytestmark = [pytest.mark.system, pytest.mark.browser]

GOOD = "seven-lanterns-over-a-quiet-harbour"
SECONDS = 15_000

type Judge = Callable[[Page], list[str]]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody whom nobody knows, with the policy of our pages in force."""
    context = browser.new_context(viewport={"width": 1024, "height": 768})
    context.set_default_timeout(SECONDS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Its first tab."""
    return context.new_page()


@pytest.fixture
def keep(browser: Browser, accessibility_problems: Judge, screenshots: Path) -> Callable[[Page, str], None]:
    """Keep a picture of a page as journey-<name>.png, and find nothing wrong with it by WCAG 2.2 AA."""

    def look(page: Page, name: str) -> None:
        page.screenshot(path=screenshots / f"journey-{name}.png", full_page=True)
        # The judge is a script, which our policy forbids: it sees the same page in a context that forbids nothing.
        judged = browser.new_context(bypass_csp=True)
        try:
            copy = judged.new_page()
            copy.route("**/*", lambda route: route.continue_())
            copy.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + "/healthz")
            copy.set_content(page.content())
            assert accessibility_problems(copy) == [], name
        finally:
            judged.close()

    return look


@pytest.fixture
def app() -> Iterator[str]:
    """An application on an origin of its own."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!doctype html><title>SOS</title><h1>The lists</h1>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def _heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text, timeout=SECONDS)


def _sign_in_microsoft(page: Page, person: Person) -> None:
    page.get_by_role("button", name=person.username).click()
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Sign in").click()


def test_signing_in_with_microsoft(
    town: Town, page: Page, screenshots: Path, keep: Callable[[Page, str], None]
) -> None:
    """M9: opening the Address, Microsoft's page, the form post back, and the start page."""
    page.goto(town.address)
    _heading(page, "Pick an account")
    page.screenshot(path=screenshots / "journey-microsoft.png")
    _sign_in_microsoft(page, NURSE)
    _heading(page, "You are signed in")
    assert page.url == f"{town.address}/"
    keep(page, "signed-in")


def test_a_session_at_microsoft_leads_straight_in(town: Town, page: Page) -> None:
    """M9: with a Microsoft session the Address opens without a question."""
    page.goto(town.address)
    _sign_in_microsoft(page, NURSE)
    _heading(page, "You are signed in")
    page.context.clear_cookies(name="__Host-sos-session")
    page.goto(town.address)
    _heading(page, "You are signed in")


def test_signing_out_ends_at_our_page(town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """POST `/logout` may go on to Microsoft under our policy (form-action), which signs out and brings back."""
    page.goto(town.address)
    _sign_in_microsoft(page, NURSE)
    _heading(page, "You are signed in")
    page.get_by_role("button", name="Sign out").click()
    _heading(page, "You are signed out")
    assert page.url == town.redirect_uri
    keep(page, "signed-out")
    page.goto(town.address)
    _heading(page, "Pick an account")


def test_the_owner_signs_in_by_keyboard_alone(
    town: Town, page: Page, keep: Callable[[Page, str], None]
) -> None:
    """M10: name, Tab, password, Enter: the password door needs no mouse."""
    page.goto(f"{town.address}/signin")
    _heading(page, "Owner sign-in")
    keep(page, "owner-sign-in")
    page.keyboard.type(OWNER.username)
    page.keyboard.press("Tab")
    page.keyboard.type(OWNER.password)
    page.keyboard.press("Enter")
    _heading(page, "You are signed in")
    expect(page.get_by_text("Owner").first).to_be_visible()


def test_a_wrong_password_is_told_beside_the_form(
    town: Town, page: Page, keep: Callable[[Page, str], None]
) -> None:
    """The refusal is announced, the name stays, and the cursor is where the next try begins."""
    page.goto(f"{town.address}/signin")
    page.get_by_label("Username").fill(OWNER.username)
    page.get_by_label("Password").fill("a-password-that-is-wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(
        "is wrong, or this account does not sign in with a password"
    )
    expect(page.get_by_label("Username")).to_have_value(OWNER.username)
    expect(page.get_by_label("Password")).to_be_focused()
    keep(page, "wrong-password")


def test_waiting_is_told(town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """After five failures the page says how long to wait."""
    for _ in range(5):
        town.sign_in_password(town.browser(), OWNER.username, "a-guess-that-is-wrong")
    page.goto(f"{town.address}/signin")
    page.get_by_label("Username").fill(OWNER.username)
    page.get_by_label("Password").fill(OWNER.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Too many attempts. Wait")
    keep(page, "wait")


def test_a_person_who_is_not_assigned(town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """M7: the page says that access is missing, who gives it, and offers another account."""
    town.control("PUT", "application", {"assignment_error_to_callback": True})
    page.goto(town.address)
    _sign_in_microsoft(page, VISITOR)
    _heading(page, "You have no access yet")
    keep(page, "not-assigned")
    page.get_by_role("link", name="Use another account").click()
    _heading(page, "Pick an account")
    _sign_in_microsoft(page, NURSE)
    _heading(page, "You are signed in")


def test_microsoft_away(town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """While Microsoft does not answer, the page says so, and the Owner goes on from it to the password door."""
    town.sign_in_microsoft(town.browser())
    town.fail("entra", "cut", "/token")
    page.goto(town.address)
    _sign_in_microsoft(page, NURSE)
    _heading(page, "Microsoft is not answering")
    keep(page, "microsoft-away")
    page.get_by_role("link", name="Sign in with a password").click()
    _heading(page, "Owner sign-in")


def test_a_page_that_does_not_exist(town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """An unknown address has a page with a way on."""
    page.goto(f"{town.address}/nowhere")
    _heading(page, "There is no such page")
    keep(page, "not-found")


def test_without_cookies_the_way_ends(town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """A browser that loses our cookies sees a page after the second try, not a loop."""

    def lose(route: Route) -> None:
        page.context.clear_cookies(name=re.compile("^__Host-sos-login"))
        route.continue_()

    page.route(town.redirect_uri, lose)
    page.goto(f"{town.address}/login")
    _sign_in_microsoft(page, NURSE)
    _heading(page, "Your browser forgot the sign-in")
    keep(page, "cookies-refused")


def test_the_first_run(young_town: Town, page: Page, keep: Callable[[Page, str], None]) -> None:
    """The engineer's link, a weak password with its reasons, a good one, and the first sign-in of the Owner."""
    young_town.forget_owner()
    page.goto(young_town.ops("setup-link").stdout.strip())
    _heading(page, "Create the Owner account")
    keep(page, "first-run")
    page.get_by_label("Username").fill(OWNER.username)
    for label in ("New password", "New password, once more"):
        page.get_by_label(label, exact=True).fill("password1234567890")
    page.get_by_role("button", name="Create the account").click()
    expect(page.get_by_role("alert")).to_be_visible()
    keep(page, "first-run-weak")
    for label in ("New password", "New password, once more"):
        page.get_by_label(label, exact=True).fill(GOOD)
    page.get_by_role("button", name="Create the account").click()
    _heading(page, "Your password is saved")
    keep(page, "first-run-done")
    page.get_by_role("link", name="Sign in as the Owner").click()
    page.get_by_label("Username").fill(OWNER.username)
    page.get_by_label("Password").fill(GOOD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    _heading(page, "You are signed in")


def test_the_password_door_leads_to_an_application_elsewhere(town: Town, page: Page, app: str) -> None:
    """POST `/signin` may go on to an application on another origin under our policy (form-action)."""
    worker = town.laptop.start_worker(0, {"SOS_APP_URL": f"{app}/lists"})
    page.goto(f"{worker.url}/signin")
    page.get_by_label("Username").fill(OWNER.username)
    page.get_by_label("Password").fill(OWNER.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    _heading(page, "The lists")
    assert page.url == f"{app}/lists"
    worker.stop()


def test_pages_break_no_policy(town: Town, page: Page) -> None:
    """Chromium reports nothing that our content security policy had to stop, and no file that is missing."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in ("/signin", "/azure"):
        page.goto(town.address + path)
    page.goto(f"{town.address}/signin")
    page.get_by_label("Username").fill(OWNER.username)
    page.get_by_label("Password").fill(OWNER.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    _heading(page, "You are signed in")
    page.get_by_role("button", name="Sign out").click()
    _heading(page, "You are signed out")
    assert said == []
