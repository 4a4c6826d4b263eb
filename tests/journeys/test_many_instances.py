"""Several worker processes on one store: what holds for one holds for all together, and one that dies leaves no mess."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from local.laptop import Worker
from local.playground import OWNER
from shared import accounts
from shared.limits import FREE_FAILURES
from shared.ports import Table
from shared.principal import Principal
from tests.client import Browser, Page
from tests.journeys.town import NURSE, SESSION, Town, wait_for

pytestmark = pytest.mark.system

GOOD = "seven-lanterns-over-a-quiet-harbour"


@pytest.fixture(scope="module")
def instances(whole_town: Town) -> Iterator[list[Worker]]:
    """Two more instances beside the one that the town has."""
    more = [whole_town.start_worker() for _ in range(2)]
    yield [whole_town.worker, *more]
    for worker in more:
        worker.stop()


def _at_once[T](*work: Callable[[], T]) -> list[T]:
    with ThreadPoolExecutor(len(work)) as pool:
        return [done.result() for done in [pool.submit(one) for one in work]]


def test_any_instance_goes_on_where_another_began(town: Town, instances: list[Worker]) -> None:
    """The transaction of one instance is finished by a second; a third accepts and renews the session, and ends it."""
    browser = town.browser(instances[0])
    answer = town.to_microsoft(browser)
    browser.served_by[town.address] = instances[1].url
    assert browser.submit(answer).title == "You are signed in"
    browser.served_by[town.address] = instances[2].url
    assert town.session_of(browser)["name"] == NURSE.name
    town.age_session(browser, timedelta(minutes=6))
    assert town.session_of(browser)["name"] == NURSE.name
    old = browser.cookies(town.address)[SESSION]
    browser.send("POST", f"{town.address}/logout", came_from=town.address)
    browser.served_by[town.address] = instances[0].url
    browser.set_cookie(town.address, SESSION, old)
    town.age_session(browser, timedelta(minutes=6))
    assert town.session_of(browser) == {}


def test_a_form_of_one_instance_is_taken_by_another(town: Town, instances: list[Worker]) -> None:
    """The token of a form, and the device cookie, are made from what all instances share."""
    browser = town.browser(instances[0])
    page = browser.open(f"{town.address}/signin")
    browser.served_by[town.address] = instances[1].url
    done = browser.submit(page, follow=False, username=OWNER.username, password=OWNER.password)
    assert done.status == 303


def test_parallel_guesses_get_no_more_tries_than_serial_ones(town: Town, instances: list[Worker]) -> None:
    """Eighteen guesses at one name, at once, over three instances: five are verified at most, whatever the timing."""
    guesses = []
    for number in range(18):
        browser = town.browser(instances[number % 3])
        page = browser.open(f"{town.address}/signin")
        guesses.append((browser, page, f"a-parallel-guess-{number}"))
    before = len([line for line in town.lines() if '"reason": "wrong_password"' in line])

    def guess(browser: Browser, page: Page, password: str) -> int:
        return browser.submit(page, follow=False, username=OWNER.username, password=password).status

    statuses = _at_once(*(partial(guess, *one) for one in guesses))
    for instance in instances:  # a line that comes after all others by the same pipe
        last = town.browser(instance).send("POST", town.redirect_uri, data={"code": "c", "state": "r-x"})
        town.log_of(last.reference)
    verified = len([line for line in town.lines() if '"reason": "wrong_password"' in line]) - before
    assert set(statuses) == {403, 429}
    assert statuses.count(403) == verified
    assert 1 <= verified <= FREE_FAILURES
    assert town.enter(town.browser(instances[0]), OWNER).status == 429


def test_failures_add_up_over_instances(town: Town, instances: list[Worker]) -> None:
    """Two failures here, two there and one elsewhere make the sixth attempt wait at every instance."""
    for number in range(FREE_FAILURES):
        page = town.sign_in_password(town.browser(instances[number % 3]), OWNER.username, "a-wrong-guess")
        assert page.status == 403
    assert [town.enter(town.browser(one), OWNER).status for one in instances] == [429] * 3


def test_a_setup_link_works_once_under_a_race(town: Town, instances: list[Worker]) -> None:
    """Six people with one link press the button at the same moment: one password is saved, and it is the one that works."""
    link = town.ops("setup-link").stdout.strip()
    forms = []
    for number in range(6):
        browser = town.browser(instances[number % 3])
        forms.append((browser, browser.open(link), f"{GOOD}-{number}"))

    def save(browser: Browser, page: Page, password: str) -> Page:
        return browser.submit(page, username=OWNER.username, password=password, password_again=password)

    titles = [page.title for page in _at_once(*(partial(save, *form) for form in forms))]
    winners = [form for form, title in zip(forms, titles, strict=True) if title == "Your password is saved"]
    assert len(winners) == 1
    assert town.sign_in_password(town.browser(), OWNER.username, winners[0][2]).status == 303


def test_a_callback_posted_twice_at_once_makes_one_session(town: Town, instances: list[Worker]) -> None:
    """The same answer of Microsoft reaches two instances in the same moment: one session, no error that is ours."""
    person = town.new_person()
    town.sign_in_microsoft(town.browser(), person)
    first = town.browser(instances[1])
    answer = town.to_microsoft(first, person)
    second = town.browser(instances[2])
    for name, value in first.cookies(town.address).items():
        second.set_cookie(town.address, name, value, "none")
    account = _account(town, person.object_id)
    before = len(town.sessions_of(account.id))
    form = answer.forms[0].fields

    def post(browser: Browser) -> Page:
        return browser.send("POST", town.redirect_uri, data=form, came_from=answer.url)

    pages = _at_once(partial(post, first), partial(post, second))
    assert len(town.sessions_of(account.id)) == before + 1
    assert all(page.status < 500 for page in pages)
    assert [bool(town.session_of(browser)) for browser in (first, second)].count(True) == 1


def test_a_first_sign_in_on_two_instances_makes_one_account(town: Town, instances: list[Worker]) -> None:
    """A new colleague with two devices finishes on both at the same moment: one account, two sessions."""
    person = town.new_person()
    browsers = [town.browser(instances[1]), town.browser(instances[2])]
    answers = [town.to_microsoft(browser, person) for browser in browsers]
    done = _at_once(*(partial(browser.submit, page) for browser, page in zip(browsers, answers, strict=True)))
    assert [page.title for page in done] == ["You are signed in"] * 2
    assert len({town.session_of(browser)["account"] for browser in browsers}) == 1


def test_an_instance_that_dies_leaves_nothing_half_done(town: Town) -> None:
    """Killed between the account and the session of a first sign-in: the person signs in elsewhere, to the same account."""
    doomed = town.start_worker()
    town.sign_in_microsoft(town.browser(doomed))
    person = town.new_person()
    browser = town.browser(doomed)
    answer = town.to_microsoft(browser, person)
    town.fail("store", "delay", "POST sossessions", seconds=3, times=1)
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(lambda: browser.submit(answer))
        wait_for(lambda: _find_account(town, person.object_id))
        doomed.kill()
        assert killed.exception(20) is not None
    browser.served_by.clear()
    page = browser.open(f"{town.address}/login")
    assert browser.submit(page).title == "You are signed in"
    assert town.session_of(browser)["account"] == _account(town, person.object_id).id
    assert town.session_of(browser)["level"] == "user"


def test_an_instance_that_dies_in_a_crowd_stops_nobody(town: Town) -> None:
    """Killed while many sign in: each of them is signed in by the next instance at the next try, and no row is half."""
    doomed = town.start_worker()
    people = [town.browser(doomed) for _ in range(6)]
    answers = [town.to_microsoft(browser) for browser in people]
    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(b.submit, a) for b, a in zip(people, answers, strict=True)]
        wait_for(lambda: any(one.done() for one in running))
        doomed.kill()
    for browser in people:
        browser.served_by.clear()
        page = browser.open(f"{town.address}/login")
        done = browser.submit(page) if page.forms and page.title == "One moment" else page
        assert done.title == "You are signed in"
    for row in town.rows(Table.SESSIONS):
        assert {"account", "method", "auth_time", "last_seen"} <= set(row)


def test_a_restarted_instance_knows_everybody(town: Town) -> None:
    """Sessions outlive the process that made them: a new one accepts and renews them."""
    first = town.start_worker()
    browser = town.browser(first)
    town.sign_in_microsoft(browser)
    first.kill()
    second = town.start_worker()
    browser.served_by[town.address] = second.url
    town.age_session(browser, timedelta(minutes=6))
    assert town.session_of(browser)["name"] == NURSE.name
    second.stop()


def _account(town: Town, object_id: str) -> accounts.Account:
    account = _find_account(town, object_id)
    assert account is not None
    return account


def _find_account(town: Town, object_id: str) -> accounts.Account | None:
    principal = Principal(town.application["tenant_id"], object_id)
    return accounts.account_by_principal(town.services.store, principal)
