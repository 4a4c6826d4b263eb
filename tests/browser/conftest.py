"""Chromium, axe-core and a place for screenshots. What is missing skips the test and says how to get it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ACCESSIBILITY_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run the Chromium named by CHROMIUM, or the one the system has."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium: install it (Debian: apt install chromium) or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGUMENTS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def accessibility_problems(pytestconfig: pytest.Config) -> Callable[[Page], list[str]]:
    """Judge a page by WCAG 2.2 AA with axe-core, a line per problem. Its context needs `bypass_csp=True`."""
    script = pytestconfig.rootpath / "local" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        pytest.skip("no axe-core: run `npm ci` in local/ (`make test` does)")
    source = script.read_text(encoding="utf-8")

    def judge(page: Page) -> list[str]:
        page.evaluate(source)
        return page.evaluate(  # type: ignore[no-any-return]  # what a script answers has no type
            """async rules => {
                const { violations } = await axe.run({ runOnly: rules });
                return violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.html}: ${n.failureSummary}`));
            }""",
            ACCESSIBILITY_RULES,
        )

    return judge


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config) -> Path:
    """Name the folder that keeps screenshots, `.local/screenshots`."""
    folder = pytestconfig.rootpath / ".local" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
