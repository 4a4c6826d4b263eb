"""`/setup?token=`: the Owner chooses a password with a link that works once, for 24 hours."""

from functools import partial
from urllib.parse import quote, urlsplit

import pytest

from functions.http import SESSION_COOKIE
from shared import accounts, setup
from shared.password import CHEAPEST, hash_password
from shared.ports import VaultSecret
from shared.secret import Secret
from shared.setup import SETUP_TOKEN_NAME
from tests.house import ADDRESS, OWNER_PASSWORD, Answer, House

NEW_PASSWORD = "seven-lamps-over-a-quiet-harbour"
REFUSED = "This link does not work"


@pytest.fixture
def empty_house(cheap_passwords: None) -> House:
    """A system that nobody has set up yet."""
    del cheap_passwords
    return House()


def link(house: House) -> str:
    """Make a set-up link as the engineer does; gives its path and query."""
    made = setup.new_link(house.vault, house.clock, ADDRESS)
    assert made.startswith(f"{ADDRESS}/setup?token=")
    parts = urlsplit(made)
    return f"{parts.path}?{parts.query}"


def fill(house: House, path: str, **changes: str) -> Answer:
    """Open a link and send its form."""
    page = house.get(path)
    form = {
        "csrf_token": page.csrf_token,
        "token": path.partition("token=")[2],
        "username": "owner",
        "password": NEW_PASSWORD,
        "password_again": changes.get("password", NEW_PASSWORD),
    } | changes
    return house.post("/setup", form)


def test_the_first_run_makes_the_owner(empty_house: House) -> None:
    """The link opens a form; name and password make the Owner's account, who can sign in with them."""
    path = link(empty_house)
    assert empty_house.get(path).title == "Create the Owner account"
    answer = fill(empty_house, path, username="Matron")
    assert answer.status == 200
    assert NEW_PASSWORD not in answer.text
    assert empty_house.sign_in("matron", NEW_PASSWORD).status == 303
    assert empty_house.get("/session").json["level"] == "owner"
    assert [event["event"] for event in empty_house.events()] == ["owner.password_set", "signin.succeeded"]


def test_setting_a_password_signs_nobody_in(empty_house: House) -> None:
    """The link is not a session: who holds it must still type the password."""
    answer = fill(empty_house, link(empty_house))
    assert not any(SESSION_COOKIE in header for header in answer.set_cookies)


def test_recovery_changes_the_password_and_not_the_name(house: House) -> None:
    """An Owner who lost the password gets a new one; the user name in the form is shown, and is not believed."""
    path = link(house)
    page = house.get(path)
    assert page.title == "Set a new Owner password"
    assert 'value="owner"' in page.text
    assert fill(house, path, username="somebody-else").status == 200
    assert house.sign_in("owner", OWNER_PASSWORD).status == 403
    assert house.sign_in("somebody-else", NEW_PASSWORD).status == 403
    assert house.sign_in("owner", NEW_PASSWORD).status == 303


def test_recovery_ends_the_owners_sessions(house: House) -> None:
    """Whoever was signed in as the Owner is out at the next renewal."""
    house.sign_in()
    house.clock.move(minutes=1)
    fill(house, link(house))
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


def test_recovery_is_an_alert(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A new password for an Owner who had one is logged as a warning."""
    with caplog.at_level("INFO", logger="sos"):
        fill(house, link(house))
    (record,) = [one for one in caplog.records if "owner.password_set" in one.getMessage()]
    assert record.levelname == "WARNING"


def test_recovery_ends_the_wait_of_the_door(house: House) -> None:
    """Whoever was guessing before does not keep the Owner waiting at the new password."""
    for _ in range(6):
        house.sign_in("owner", "a-wrong-guess-in-the-night")
    assert house.sign_in().status == 429
    fill(house, link(house))
    assert house.sign_in("owner", NEW_PASSWORD).status == 303


def test_recovery_keeps_the_tie_to_microsoft(house: House) -> None:
    """A new password does not untie the Owner's Microsoft account."""
    owner = accounts.account_by_id(house.store, accounts.OWNER_ID)
    assert owner is not None
    accounts.tie(house.store, owner, house.identity.person)
    fill(house, link(house))
    house.another_browser()
    house.sign_in_with_microsoft()
    assert house.get("/session").json["account"] == "owner"


# A link that does not work


@pytest.mark.parametrize("token", ["", "wrong", "é", "x" * 9000])
def test_a_wrong_token_opens_nothing(house: House, token: str) -> None:
    """A wrong link is refused in words, on the page and in the form, and changes nothing."""
    link(house)
    answer = house.get(f"/setup?token={quote(token)}")
    assert (answer.status, answer.title) == (403, REFUSED)
    form = {"csrf_token": house.get("/signin").csrf_token, "token": token, "username": "owner"}
    answer = house.post("/setup", form | {"password": NEW_PASSWORD, "password_again": NEW_PASSWORD})
    assert (answer.status, answer.title) == (403, REFUSED)
    assert house.sign_in().status == 303


def test_without_a_link_there_is_no_set_up(empty_house: House) -> None:
    """Where no link was ever made, none works: the first run is the engineer's to begin."""
    assert empty_house.get("/setup?token=anything").status == 403
    assert empty_house.get("/setup").status == 403


def test_a_link_lives_24_hours(house: House) -> None:
    """A second before its end it works, at its end it does not."""
    path = link(house)
    house.clock.move(hours=23, minutes=59, seconds=59)
    assert house.get(path).status == 200
    house.clock.move(seconds=1)
    assert (house.get(path).status, house.get(path).title) == (403, REFUSED)


def test_a_link_that_expires_while_the_form_is_open_is_refused(house: House) -> None:
    """The end is looked at when the password is set, too."""
    path = link(house)
    page = house.get(path)
    house.clock.move(hours=24)
    form = {
        "csrf_token": page.csrf_token,
        "token": path.partition("token=")[2],
        "username": "owner",
        "password": NEW_PASSWORD,
        "password_again": NEW_PASSWORD,
    }
    assert house.post("/setup", form).status == 403
    assert house.sign_in().status == 303


def test_a_link_without_an_end_is_refused(house: House) -> None:
    """A secret that somebody wrote by hand without an expiry is no link."""
    house.vault.secrets[SETUP_TOKEN_NAME] = VaultSecret(Secret("by-hand"))
    assert house.get("/setup?token=by-hand").status == 403


def test_a_link_works_once(house: House) -> None:
    """A used link is over, for the page and for the form."""
    path = link(house)
    fill(house, path)
    assert house.get(path).status == 403
    page = house.get("/signin")
    other = "another-password-for-the-thief"
    form = {"csrf_token": page.csrf_token, "token": path.partition("token=")[2], "username": "owner"}
    answer = house.post("/setup", form | {"password": other, "password_again": other})
    assert (answer.status, answer.title) == (403, REFUSED)
    assert house.sign_in("owner", NEW_PASSWORD).status == 303


def test_a_new_link_takes_the_place_of_the_old(house: House) -> None:
    """Of two links only the later one works."""
    first, second = link(house), link(house)
    assert house.get(first).status == 403
    assert house.get(second).status == 200


def test_of_two_that_race_with_one_link_one_wins(
    house: House, empty_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second form of one link, sent while the first is being hashed, is told that the link is used."""
    cheaply = partial(hash_password, parameters=CHEAPEST)
    other = "the-loser-types-something-else"
    for raced in (house, empty_house):
        path = link(raced)
        token = path.partition("token=")[2]

        def overtaken(password: Secret, pepper: Secret, raced: House = raced, token: str = token) -> str:
            monkeypatch.setattr(setup, "hash_password", cheaply)
            setup.finish(raced.services, token, "owner", Secret(NEW_PASSWORD), "the winner")
            return cheaply(password, pepper)

        monkeypatch.setattr(setup, "hash_password", overtaken)
        answer = fill(raced, path, password=other)
        assert (answer.status, answer.title) == (403, REFUSED)
        assert raced.sign_in("owner", other).status == 403
        assert raced.sign_in("owner", NEW_PASSWORD).status == 303


# The password


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "fewer than 15"),
        ("x" * 257, "more than 256"),
        ("passwordpassword", "common"),
        ("ownerownerownerowner", "user name"),
        ("1234567890123456", "row of keys"),
        ("", "fewer than 15"),
    ],
)
def test_a_weak_password_is_refused_with_the_reason(house: House, password: str, words: str) -> None:
    """The form comes back with what is wrong, without the password; the link is not used up."""
    path = link(house)
    answer = fill(house, path, password=password)
    assert answer.status == 422
    assert words in answer.text
    assert not password or f'value="{password}"' not in answer.text
    assert fill(house, path).status == 200


def test_two_passwords_that_differ_are_refused(house: House) -> None:
    """A slip in one of the two is said; nothing is changed."""
    path = link(house)
    answer = fill(house, path, password_again="something-else-entirely-here")
    assert answer.status == 422
    assert "not the same" in answer.text
    assert house.sign_in().status == 303


@pytest.mark.parametrize("user_name", ["", "   ", "a\u0007b", "x" * 200])
def test_a_user_name_that_cannot_be_is_refused(empty_house: House, user_name: str) -> None:
    """At the first run the name is checked with the password, and both problems are said at once."""
    path = link(empty_house)
    answer = fill(empty_house, path, username=user_name, password="short")
    assert answer.status == 422
    assert "user name" in answer.text
    assert "fewer than 15" in answer.text
    assert accounts.account_by_id(empty_house.store, accounts.OWNER_ID) is None


# Bad days and foreign forms


def test_a_foreign_form_sets_no_password(house: House) -> None:
    """Without the form's own token, or from another site, nothing happens, though the link is right."""
    path = link(house)
    token = path.partition("token=")[2]
    form = {"token": token, "username": "owner", "password": NEW_PASSWORD, "password_again": NEW_PASSWORD}
    assert house.post("/setup", form | {"csrf_token": "0" * 64}).status == 403
    good = form | {"csrf_token": house.get(path).csrf_token}
    assert house.post("/setup", good, origin="https://evil.example").status == 403
    assert house.sign_in().status == 303


@pytest.mark.parametrize(("away", "word"), [("vault", "key store"), ("store", "data store")])
def test_what_is_away_is_named(house: House, away: str, word: str) -> None:
    """Set-up needs vault and store; a page names the one that does not answer."""
    path = link(house)
    getattr(house, away).away = True
    answer = house.get(path)
    assert answer.status == 503
    assert word in answer.title


def test_the_link_is_not_sent_on(house: House) -> None:
    """The page with the link in its address sends no referrer to other sites and is not stored."""
    answer = house.get(link(house))
    assert answer.header("Referrer-Policy") == "same-origin"
    assert answer.header("Cache-Control") == "no-store"


def test_the_store_holds_no_token(house: House) -> None:
    """What remains of a used link is its hash; the log has nothing of it."""
    path = link(house)
    token = path.partition("token=")[2]
    fill(house, path)
    written = str([row.values for row in house.store._rows.values()])  # noqa: SLF001 - the store cannot list
    assert token not in written + str(house.events())
    assert NEW_PASSWORD not in written
