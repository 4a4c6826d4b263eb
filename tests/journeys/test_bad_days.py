"""Bad days: Microsoft, the vault or the store slow, away, throttling or wrong. What people see, and what still works."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from local.laptop import Worker
from local.playground import OWNER
from shared.ports import Table
from tests.client import Browser, Page
from tests.journeys.town import NURSE, SESSION, Town, events, wait_for

pytestmark = pytest.mark.system

MICROSOFT_AWAY = "Microsoft is not answering"
VAULT_AWAY = "The key store is not answering"
STORE_AWAY = "The data store is not answering"
LONGER_THAN_WE_WAIT = 12


@pytest.fixture
def cold(town: Town) -> Iterator[Worker]:
    """An instance that has just started and knows nothing yet."""
    worker = town.start_worker()
    yield worker
    worker.kill()


def _timed(work: Callable[[], Page]) -> tuple[Page, float]:
    began = time.monotonic()
    page = work()
    return page, time.monotonic() - began


# Slow


def test_a_service_that_does_not_answer_in_time(town: Town, cold: Worker) -> None:
    """Ten seconds are enough: a slow token request, a slow vault and a slow store each end at a page that names them.

    All three at once, because they cost real time: the token request of one person, the first visit to a cold
    instance, and the Owner's password.
    """
    town.sign_in_microsoft(town.browser())
    nurse, stranger, owner = town.browser(), town.browser(cold), town.browser()
    answer = town.to_microsoft(nurse)
    form = owner.open(f"{town.address}/signin")
    town.calm()
    town.fail("entra", "delay", "POST", seconds=LONGER_THAN_WE_WAIT)
    town.fail("vault", "delay", "GET /secrets", seconds=LONGER_THAN_WE_WAIT)
    town.fail("store", "delay", "GET sosthrottle", seconds=LONGER_THAN_WE_WAIT)
    visits: list[Callable[[], Page]] = [
        lambda: nurse.submit(answer),
        lambda: stranger.open(f"{town.address}/login"),
        lambda: owner.submit(form, username=OWNER.username, password=OWNER.password),
    ]
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(_timed, visits))
    assert [page.title for page, _ in outcomes] == [MICROSOFT_AWAY, VAULT_AWAY, STORE_AWAY]
    assert [page.status for page, _ in outcomes] == [503] * 3
    assert all(9 < seconds < 20 for _, seconds in outcomes)
    assert all(town.log_of(page.reference) for page, _ in outcomes)
    # A code may have been used up by the request that got no answer: it is not sent a second time.
    assert town.calls("entra")["token"] == 1


# Microsoft


def test_microsoft_away_at_the_callback(town: Town) -> None:
    """A cut token request: a page that names Microsoft, offers the Owner's door and a new try, and no second request."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    town.fail("entra", "cut", "POST")
    page = browser.submit(answer)
    assert (page.status, page.title) == (503, MICROSOFT_AWAY)
    assert "The Owner can sign in with the password meanwhile" in page.text
    assert 'href="/signin"' in page.response.text
    assert 'href="/login"' in page.response.text
    assert town.calls("entra") == {"token": 1}
    assert any("upstream.unavailable" in line and "microsoft" in line for line in town.log_of(page.reference))
    town.calm()
    assert browser.submit(browser.open(f"{town.address}/login")).title == "You are signed in"


def test_microsoft_away_before_anything_is_known(town: Town, cold: Worker) -> None:
    """A cold instance that cannot read Microsoft's metadata says so, and the Owner's door works meanwhile."""
    town.fail("entra", "cut")
    browser = town.browser(cold)
    page = browser.open(f"{town.address}/login")
    assert (page.status, page.title) == (503, MICROSOFT_AWAY)
    assert town.enter(browser, OWNER).status == 303
    assert town.session_of(browser)["level"] == "owner"
    out = browser.send("POST", f"{town.address}/logout", came_from=town.address)
    assert (out.status, out.title) == (200, "You are signed out")
    assert town.session_of(browser) == {}


def test_signing_out_works_while_microsoft_is_away(town: Town, cold: Worker) -> None:
    """The session is ended here even where an instance cannot learn Microsoft's sign-out address."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    account = town.session_of(browser)["account"]
    before = len(town.sessions_of(account))
    browser.served_by[town.address] = cold.url
    town.fail("entra", "cut")
    page = browser.send("POST", f"{town.address}/logout", came_from=town.address)
    assert (page.status, page.title) == (200, "You are signed out")
    assert len(town.sessions_of(account)) == before - 1


def test_a_short_retry_after_is_waited_for(town: Town) -> None:
    """429 with Retry-After: 1 costs the person a second and nothing else, at Microsoft and at the store."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    town.fail("entra", "status", "POST", status=429, retry_after=1, times=1)
    town.fail("store", "status", "POST sossessions", status=503, retry_after=1, times=1)
    page, seconds = _timed(lambda: browser.submit(answer))
    assert page.title == "You are signed in"
    assert town.calls("entra")["token"] == 2
    assert seconds >= 2


def test_a_long_retry_after_is_passed_on(town: Town) -> None:
    """429 with Retry-After: 120 is not waited for: header and page say two minutes."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    town.fail("entra", "status", "POST", status=429, retry_after=120)
    page, seconds = _timed(lambda: browser.submit(answer))
    assert (page.status, page.response.headers["retry-after"]) == (503, "120")
    assert "Wait 2 minutes and try again" in page.text
    assert town.calls("entra")["token"] == 1
    assert seconds < 5


def test_an_error_of_microsoft_is_a_page_about_microsoft(town: Town) -> None:
    """A 500 at the token endpoint is not retried (the code may be used) and not blamed on the person."""
    browser = town.browser()
    answer = town.to_microsoft(browser)
    town.calm()
    town.fail("entra", "status", "POST", status=500)
    page = browser.submit(answer)
    assert (page.status, page.title) == (503, MICROSOFT_AWAY)
    assert town.calls("entra")["token"] == 1


def test_reading_is_tried_again(town: Town, cold: Worker) -> None:
    """One failed read of Microsoft's metadata, of its keys, of the vault and of the store each goes unnoticed."""
    town.fail("entra", "status", "openid-configuration", status=500, times=1)
    town.fail("entra", "status", "/keys", status=502, times=1)
    town.fail("vault", "status", "GET /secrets", status=500, times=1)
    town.fail("vault", "status", "POST /keys", status=503, times=1)
    town.fail("store", "cut", "GET sossettings", times=1)
    assert town.sign_in_microsoft(town.browser(cold)).title == "You are signed in"


def test_known_keys_serve_while_the_key_endpoint_is_away(town: Town) -> None:
    """A warm instance verifies tokens with the keys it has."""
    town.sign_in_microsoft(town.browser())
    town.fail("entra", "cut", "/keys")
    town.fail("entra", "cut", "openid-configuration")
    assert town.sign_in_microsoft(town.browser()).title == "You are signed in"


@pytest.mark.parametrize("seconds", [-200, 50])
def test_clocks_may_differ_a_little(town: Town, seconds: int) -> None:
    """Some minutes ahead of Microsoft's clock, or less than a minute behind it, nobody notices anything."""
    town.control("POST", "clock", {"service": "entra", "offset_seconds": seconds})
    assert town.sign_in_microsoft(town.browser()).title == "You are signed in"


@pytest.mark.parametrize(
    ("seconds", "title"),
    [
        (3600, "Microsoft does not accept our certificate"),
        (-3600, "Microsoft does not accept our certificate"),
        (690, "The sign-in could not be completed"),
    ],
)
def test_a_wrong_clock_lets_nobody_in(town: Town, cold: Worker, seconds: int, title: str) -> None:
    """With an hour between the clocks the assertion is refused; with less the token comes from the future. Both are told."""
    browser = town.browser(cold)
    town.control("POST", "clock", {"service": "entra", "offset_seconds": seconds})
    page = town.sign_in_microsoft(browser)
    assert page.title == title
    assert page.status in {400, 403}
    assert town.log_of(page.reference)
    assert SESSION not in browser.cookies(town.address)


# The vault


def test_the_vault_away_stops_no_warm_instance(town: Town) -> None:
    """Sign-ins of both kinds and sessions go on with the keys, the pepper and the assertion in memory."""
    warm = town.start_worker()
    town.sign_in_microsoft(town.browser(warm))
    town.enter(town.browser(warm), OWNER)
    town.fail("vault", "cut")
    browser = town.browser(warm)
    assert town.sign_in_microsoft(browser).title == "You are signed in"
    assert town.session_of(browser)
    assert town.enter(town.browser(warm), OWNER).status == 303
    warm.stop()


@pytest.mark.parametrize("service", ["vault", "identity"])
def test_the_vault_away_is_told_by_a_cold_instance(town: Town, cold: Worker, service: str) -> None:
    """Without keys nobody can be signed in: a page that names the key store, whether it or our identity is away."""
    town.fail("vault" if service == "vault" else "identity", "status", status=500)
    for path in ("/login", "/signin"):
        page = town.browser(cold).open(town.address + path)
        assert (page.status, page.title) == (503, VAULT_AWAY), path
        assert town.log_of(page.reference)
    assert town.browser(cold).get(f"{town.address}/healthz").status == 200
    ready = town.browser(cold).get(f"{town.address}/readyz")
    assert ready.status == 503
    assert ready.response.json()["vault"] != "ok"


def test_a_throttling_vault_is_obeyed(town: Town, cold: Worker) -> None:
    """A long Retry-After of the vault reaches the browser as a header."""
    town.fail("vault", "status", "GET /secrets", status=429, retry_after=60)
    page = town.browser(cold).open(f"{town.address}/signin")
    assert (page.status, page.title, page.response.headers["retry-after"]) == (503, VAULT_AWAY, "60")


def test_a_vault_that_forbids_is_told(town: Town, cold: Worker) -> None:
    """A 403 of the vault (a role is missing) is a page about the key store with a line in the log, not an empty 500."""
    town.fail("vault", "status", "GET /secrets", status=403)
    page = town.browser(cold).open(f"{town.address}/signin")
    assert (page.status, page.title) == (503, VAULT_AWAY)
    assert any("http 403" in line for line in town.log_of(page.reference))


# The store


def test_the_store_away_keeps_what_is_known(town: Town) -> None:
    """A warm instance still sends people to Microsoft and still answers who is signed in; it starts no new session."""
    browser, outside = town.browser(), town.browser()
    town.sign_in_microsoft(browser)
    answer = town.to_microsoft(outside)
    form = town.browser()
    signin = form.open(f"{town.address}/signin")
    town.fail("store", "cut")

    assert town.browser().get(f"{town.address}/login").location.startswith(town.laptop.cloud.browser_url)
    assert town.session_of(browser)["name"] == NURSE.name
    callback = outside.submit(answer)
    assert (callback.status, callback.title) == (503, STORE_AWAY)
    assert "Nobody is let in unchecked" in callback.text
    assert SESSION not in outside.cookies(town.address)
    password = form.submit(signin, follow=False, username=OWNER.username, password=OWNER.password)
    assert (password.status, password.title) == (503, STORE_AWAY)
    assert SESSION not in form.cookies(town.address)

    town.calm()
    again = outside.open(f"{town.address}/login")
    assert outside.submit(again).title == "You are signed in"
    assert town.enter(form, OWNER).status == 303


def test_the_store_away_fails_closed_for_a_renewal(town: Town) -> None:
    """A token past half its life stays good to its end; one that has run out is worth nothing without its row."""
    browser = town.browser()
    for _ in range(2):
        browser.forget(town.address)
        town.sign_in_microsoft(browser)
    token = browser.cookies(town.address)[SESSION]
    town.age_session(browser, timedelta(minutes=6))
    town.fail("store", "cut")
    assert town.session_of(browser)["name"] == NURSE.name
    browser.set_cookie(town.address, SESSION, token)
    town.age_session(browser, timedelta(minutes=11))
    page = browser.get(f"{town.address}/session")
    assert page.status == 503
    assert "x-sos-account" not in page.response.headers


def test_a_store_that_is_away_at_sign_out_is_told(town: Town) -> None:
    """A session that could not be ended is not called ended: the person reads that the store is away."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    town.fail("store", "cut")
    page = browser.send("POST", f"{town.address}/logout", came_from=town.address)
    assert (page.status, page.title) == (503, STORE_AWAY)


def test_the_throttle_fails_closed(town: Town) -> None:
    """Where the counters cannot be written no password is verified, not even the right one."""
    town.fail("store", "status", "POST sosthrottle", status=403)
    page = town.enter(town.browser(), OWNER)
    assert (page.status, page.title) == (503, STORE_AWAY)


def test_an_audit_row_that_cannot_be_written_delays_nothing(town: Town) -> None:
    """With the audit table away people sign in as ever, and the log holds the event and, soon, the failure to store it."""
    town.services.audit.flush()
    before = len(events(town.lines(), "audit.not_written"))
    town.fail("store", "cut", "sosaudit")
    browser = town.browser()
    assert town.sign_in_microsoft(browser).title == "You are signed in"
    account = town.session_of(browser)["account"]
    wait_for(lambda: any(account in line for line in events(town.lines(), "signin.succeeded")))

    def said() -> bool:  # by the request that records the next event
        town.browser().send(
            "POST", town.redirect_uri, data={"error": "access_denied", "state": "r-elsewhere"}
        )
        return len(events(town.lines(), "audit.not_written")) > before

    wait_for(said)


def test_an_audit_table_that_hangs_delays_nothing(town: Town) -> None:
    """With the audit table slow, a sign-in and a refusal are answered at once."""
    town.fail("store", "delay", "sosaudit", seconds=3, times=1)
    _page, seconds = _timed(lambda: town.sign_in_microsoft(town.browser()))
    assert seconds < 3
    refused, seconds = _timed(lambda: town.sign_in_password(town.browser(), "nobody", "a-wrong-guess"))
    assert refused.status == 403
    assert seconds < 3


def test_events_reach_the_audit_table(town: Town) -> None:
    """Sign-ins, refusals and sign-outs stand in the append-only table, with account and reference, without a name."""
    browser = town.browser()
    town.sign_in_microsoft(browser)
    account = town.session_of(browser)["account"]
    browser.send("POST", f"{town.address}/logout", came_from=town.address)

    def audited() -> bool:
        lines = [str(row["line"]) for row in town.rows(Table.AUDIT) if row.get("account") == account]
        return any("signin.succeeded" in line for line in lines) and any("signout" in line for line in lines)

    wait_for(audited)
    assert not [row for row in town.rows(Table.AUDIT) if NURSE.username in str(row.get("line"))]


def test_readiness_names_the_part_that_is_away(town: Town, cold: Worker) -> None:
    """`/readyz` says which part fails by a word, and `/healthz` answers all the same."""
    browser: Browser = town.browser(cold)
    assert browser.get(f"{town.address}/readyz").response.json() == {
        "ready": True,
        "store": "ok",
        "vault": "ok",
        "certificate": "ok",
    }
    other = town.start_worker()
    town.fail("store", "cut")
    page = town.browser(other).get(f"{town.address}/readyz")
    assert page.status == 503
    assert page.response.json()["store"] == "upstream_unavailable"
    assert town.browser(other).get(f"{town.address}/healthz").response.json() == {"alive": True}
    other.kill()
