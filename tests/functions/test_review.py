"""Bounds and edges at the doors: crowds, guessers, strangers' cookies, and parts that are away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest

from functions.http import DEVICE_COOKIE, SESSION_COOKIE
from shared import accounts, limits, password_signin, settings, setup, throttle, transaction
from shared.certificate import ClientAssertions
from shared.config import Config
from shared.errors import AuthorizationDenied, ConfigurationError, UpstreamUnavailable
from shared.key_ring import KEY_ID_LENGTH
from shared.password import CHEAPEST, Verification, evaluation_place, hash_password
from shared.ports import Application, AuthorizationRequest, ProviderMetadata, Table, VaultSecret
from shared.secret import Secret
from shared.transaction import COOKIE_PREFIX, LoginTransaction
from tests.house import (
    ADDRESS,
    APPLICATION,
    OWNER_PASSWORD,
    START,
    Answer,
    House,
    MovableClock,
    a_version,
)

WRONG = "a-wrong-password-for-anybody"
NEW_PASSWORD = "seven-lamps-over-a-quiet-harbour"
ELSEWHERE = {"x-forwarded-for": "198.51.100.9:1234"}
ENVIRONMENT = {
    "SOS_ADDRESS": ADDRESS,
    "KEY_VAULT_URL": "https://vault.example",
    "TABLES_URL": "https://tables.example",
}


def guess(house: House, times: int = 1, user_name: str = "owner", **headers: str) -> Answer:
    """Type a wrong password so often; gives the last answer."""
    form = {"csrf_token": house.get("/signin").csrf_token, "username": user_name, "password": WRONG}
    answers = [house.post("/signin", form, **headers) for _ in range(times)]
    return answers[-1]


def open_link(house: House) -> tuple[str, Answer]:
    """Make a set-up link and open it; gives its token and its page."""
    token = setup.new_link(house.vault, house.clock, ADDRESS).partition("token=")[2]
    return token, house.get(f"/setup?token={token}")


def set_password(house: House) -> Answer:
    """Set the Owner's password by a new link."""
    token, page = open_link(house)
    form = {"csrf_token": page.csrf_token, "token": token, "username": "owner"}
    return house.post("/setup", form | {"password": NEW_PASSWORD, "password_again": NEW_PASSWORD})


def set_admin_role(house: House, role: str) -> None:
    """Name another app role, known at once."""
    settings.save_settings(house.store, replace(settings.read_settings(house.store), admin_role=role))
    house.services.settings.forget()


def count_vault_reads(house: House, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list that grows with every secret that is asked for."""
    asked: list[str] = []
    real = house.vault.secret

    def secret(name: str) -> VaultSecret | None:
        asked.append(name)
        return real(name)

    monkeypatch.setattr(house.vault, "secret", secret)
    return asked


# A crowd that waits for Microsoft


def narrow_house() -> House:
    """Make a house whose worker has three threads, so that one answer of Microsoft at a time is waited for."""
    house = House(PYTHON_THREADPOOL_THREAD_COUNT="3")
    house.furnish()
    return house


@pytest.mark.usefixtures("cheap_passwords")
def test_when_too_many_wait_for_microsoft_the_next_is_told_to_come_back() -> None:
    """503 with Retry-After and Microsoft's page at once; no code is redeemed, and the Owner's door stays open."""
    house = narrow_house()
    state = house.start_at_microsoft()
    with house.services.redemptions:
        answer = house.finish_at_microsoft(state)
        assert (answer.status, answer.title) == (503, "Microsoft is not answering")
        assert answer.header("Retry-After") == "3"
        assert house.identity.redeemed == []
        assert SESSION_COOKIE not in house.cookies
        assert house.sign_in().status == 303
    assert house.events()[0]["event"] == "upstream.unavailable"


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("threads", [4, 7, 32])
def test_two_threads_are_kept_from_waiting_for_microsoft(threads: int) -> None:
    """All but two of the worker's threads may wait for Microsoft."""
    places = House(PYTHON_THREADPOOL_THREAD_COUNT=str(threads)).services.redemptions
    assert [places.acquire(blocking=False) for _ in range(threads - 1)] == [True] * (threads - 2) + [False]


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_with_few_threads_one_place_is_left(threads: str) -> None:
    """However small the worker, somebody can sign in with Microsoft."""
    house = House(PYTHON_THREADPOOL_THREAD_COUNT=threads)
    house.furnish()
    assert house.sign_in_with_microsoft().location == "/"


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize(
    "refusals",
    [
        [],
        [AuthorizationDenied("invalid_grant", (54005,))],
        [AuthorizationDenied("invalid_client", (700027,))],
        [UpstreamUnavailable("microsoft", "away")],
        [RuntimeError("nobody foresaw this")],
    ],
    ids=["success", "refusal", "refusal of the credential", "failure", "surprise"],
)
def test_a_place_is_given_back(refusals: list[Exception]) -> None:
    """After whatever came of one sign-in, the next finds the only place free."""
    house = narrow_house()
    house.identity.refusals = list(refusals)
    house.sign_in_with_microsoft()
    house.another_browser()
    assert house.sign_in_with_microsoft().location == "/"


@pytest.mark.usefixtures("cheap_passwords")
def test_a_place_is_given_back_when_the_vault_is_away() -> None:
    """The assertion is signed while the place is held: a vault that fails does not keep it."""
    house = narrow_house()
    house.get("/login")
    house.vault.away = True
    assert house.sign_in_with_microsoft().status == 503
    house.vault.away = False
    house.clock.move(seconds=5)
    assert house.sign_in_with_microsoft().location == "/"


def test_the_threads_of_the_worker_are_configured() -> None:
    """The platform's own setting is read; without it the number is the pool's default, 32 at most."""
    assert Config.from_environ(ENVIRONMENT | {"PYTHON_THREADPOOL_THREAD_COUNT": " 12 "}).threads == 12
    assert Config.from_environ(ENVIRONMENT | {"PYTHON_THREADPOOL_THREAD_COUNT": "32"}).threads == 32
    assert Config.from_environ(ENVIRONMENT | {"PYTHON_THREADPOOL_THREAD_COUNT": "1"}).threads == 1


@pytest.mark.parametrize(("processors", "threads"), [(1, 5), (2, 6), (64, 32), (None, 5)])
def test_the_default_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, processors: int | None, threads: int
) -> None:
    """Four more than there are processors (concurrent.futures, ThreadPoolExecutor)."""
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert Config.from_environ(ENVIRONMENT).threads == threads


@pytest.mark.parametrize("value", ["0", "33", "-1", "1.5", "many", "²", "٣", "00320", "0001" + "9" * 5000])
def test_a_number_of_threads_that_cannot_be_is_a_problem(value: str) -> None:
    """A sentence with the remedy, and never the value."""
    with pytest.raises(ConfigurationError) as caught:
        Config.from_environ(ENVIRONMENT | {"PYTHON_THREADPOOL_THREAD_COUNT": value})
    assert caught.value.problems == (
        "PYTHON_THREADPOOL_THREAD_COUNT is not a number from 1 to 32: set it to 32, or remove it.",
    )


# Guessers


def test_a_throttled_guesser_takes_no_evaluation_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who must wait is sent away before the queue of those whose passwords are verified."""
    taken: list[bool] = []
    real = evaluation_place

    @contextmanager
    def counted(*, known_browser: bool) -> Iterator[None]:
        taken.append(known_browser)
        with real(known_browser=known_browser):
            yield

    monkeypatch.setattr(password_signin, "evaluation_place", counted)
    guess(house, 5)
    assert taken == [False] * 5
    assert guess(house, 3).status == 429
    assert len(taken) == 5


def test_an_impossible_user_name_is_treated_like_any_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is charged, verified and recorded, so that neither time nor throttle tells it from one that is unknown."""
    verified: list[str | None] = []

    def verify(_password: Secret, phc: str | None, _pepper: Secret) -> Verification:
        verified.append(phc)
        return Verification(matches=False, rehash_needed=False)

    monkeypatch.setattr(password_signin, "verify_password", verify)
    for user_name in ("", "a\u0000b", "x" * 500, "\u202eowner", "\u0007"):
        assert guess(house, 1, user_name).status == 403
    assert verified == [None] * 5
    recorded = [(event["event"], event["reason"]) for event in house.events()]
    assert recorded == [("signin.refused", "unknown_account")] * 5
    assert guess(house, 1, "\u0001").status == 429
    assert len(verified) == 5


def close(house: House) -> None:
    """Let a stranger fail a hundred times at the Owner's name, waiting as told."""
    for _ in range(limits.MAX_FAILURES):
        assert guess(house, 1, **ELSEWHERE).status == 403
        house.clock.move(hours=1)


def test_after_a_hundred_failures_the_page_says_what_opens_the_door(house: House) -> None:
    """No wait opens it, so none is named; the engineer's unlock does."""
    close(house)
    answer = house.sign_in()
    assert answer.status == 429
    assert "Wait 1 hour" not in answer.text
    assert "60 minutes" not in answer.text
    assert "ask the engineer to open it again" in " ".join(answer.text.split())
    house.clock.move(days=30)
    assert house.sign_in().status == 429
    throttle.reset(house.store, limits.account_limit("owner", house.services.pepper.get().throttle_key))
    assert house.sign_in().status == 303


def test_a_wait_that_ends_is_told_as_one(house: House) -> None:
    """Before the hundredth failure the page says how long to wait, and does not send anybody to the engineer."""
    guess(house, 5)
    answer = house.sign_in()
    assert answer.status == 429
    assert "30 seconds" in answer.text
    assert "engineer" not in answer.text


@pytest.mark.usefixtures("cheap_passwords")
def test_the_browser_that_set_the_password_is_a_known_one() -> None:
    """A hundred failures from elsewhere close the door to strangers, and not to the browser of the set-up."""
    house = House()
    assert set_password(house).status == 200
    known = {DEVICE_COOKIE: house.cookies[DEVICE_COOKIE]}
    house.another_browser()
    close(house)
    assert house.sign_in("owner", NEW_PASSWORD).status == 429
    house.cookies = known
    assert house.sign_in("owner", NEW_PASSWORD).status == 303


# Cookies, images and destinations


@pytest.mark.parametrize("space", ["\u2000", "\u00a0", "\u0085", "\u3000", "\u000b", "\u001f"])
def test_a_cookie_with_another_space_before_its_name_is_not_ours(house: House, space: str) -> None:
    """Other hosts of the domain can set such a cookie, and no `__Host-` rule stops them (RFC 6265, section 5.2)."""
    house.sign_in_with_microsoft()
    token = house.cookies[SESSION_COOKIE]
    house.another_browser()
    assert house.get("/session", cookie=f"a=b;{space}{SESSION_COOKIE}={token}").status == 401
    assert house.get("/session", cookie=f"{space}{SESSION_COOKIE}={token}").status == 401
    assert house.get("/session", cookie=f"{space}{SESSION_COOKIE}=x; {SESSION_COOKIE}={token}").status == 200


@pytest.mark.parametrize("destination", ["image", "script", "empty", "iframe"])
def test_only_a_page_starts_a_sign_in(house: House, destination: str) -> None:
    """An image of another site must not fill the browser with transactions (Fetch Metadata, Sec-Fetch-Dest)."""
    answer = house.get("/login", **{"sec-fetch-dest": destination})
    assert (answer.status, answer.set_cookies, answer.location) == (400, [], "")


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-dest": "document"}])
def test_a_page_starts_a_sign_in(house: House, headers: dict[str, str]) -> None:
    """A browser that opens the address, and one too old to say so, are sent to Microsoft."""
    answer = house.get("/login", **headers)
    assert answer.status == 302
    assert answer.set_cookies[0].startswith(COOKIE_PREFIX)


def test_another_account_is_asked_for_without_a_hint(house: House) -> None:
    """Microsoft refuses `select_account` together with the name of one account; the domain may stand."""
    url = "/login?prompt=select_account&login_hint=nurse%40clinic.example&domain_hint=clinic.example"
    asked = parse_qs(urlsplit(house.get(url).location).query)
    assert asked["prompt"] == ["select_account"]
    assert "login_hint" not in asked
    assert asked["domain_hint"] == ["clinic.example"]


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize(
    "spelling",
    [
        "HTTPS://Sign-In.Clinic.Example",
        f"{ADDRESS}:443",
        f"{ADDRESS}/",
        "https://SIGN-IN.clinic.example:443/",
    ],
)
def test_the_address_in_another_spelling_is_no_application_elsewhere(spelling: str) -> None:
    """Whoever is signed in sees the start page there, instead of going in circles."""
    house = House(SOS_APP_URL=spelling)
    house.furnish()
    house.sign_in_with_microsoft()
    assert house.get("/").title == "You are signed in"
    assert house.get("/login?next=/lists").location == "/lists"


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize(
    ("app_url", "expected"),
    [
        ("https://sos.clinic.example/lists", "https://sos.clinic.example/today?ward=east"),
        ("https://SOS.clinic.example:8443", "https://sos.clinic.example:8443/today?ward=east"),
        (f"{ADDRESS}/app", "/today?ward=east"),
        ("", "/today?ward=east"),
    ],
    ids=["another host", "another port", "the same origin", "none"],
)
def test_next_leads_to_the_application(app_url: str, expected: str) -> None:
    """`next` is a path of the application, wherever that is: by Microsoft, with a session, and by password."""
    house = House(SOS_APP_URL=app_url)
    house.furnish()
    state = house.start_at_microsoft("?next=/today%3Fward%3Deast")
    assert house.finish_at_microsoft(state).location == expected
    assert house.get("/login?next=/today%3Fward%3Deast").location == expected
    house.another_browser()
    assert house.sign_in(next_path="/today?ward=east").location == expected


@pytest.mark.usefixtures("cheap_passwords")
def test_an_application_on_a_path_of_the_address_is_elsewhere() -> None:
    """A proxy sends that path to it: "/" is ours, and leads there without a circle."""
    house = House(SOS_APP_URL=f"{ADDRESS}/app")
    house.furnish()
    house.sign_in_with_microsoft()
    assert house.get("/").location == f"{ADDRESS}/app"


def test_the_longest_destination_makes_a_small_cookie() -> None:
    """With a verifier of the greatest length (RFC 7636, section 4.1), five transactions stay within the host's headers."""
    state = transaction.new_state(second_try=False)
    request = AuthorizationRequest(state, Secret("n" * 64), Secret("v" * 128))
    application = Application(APPLICATION.tenant_id, APPLICATION.client_id)
    longest = LoginTransaction(request, application, "/" + "a" * 511, START, "k" * 22)
    cookie = transaction.seal(longest, b"k" * 32, "i" * KEY_ID_LENGTH)
    assert len(transaction.cookie_name(state)) + len(cookie) < 1500


@pytest.mark.parametrize(("length", "kept"), [(512, True), (513, False)])
def test_how_long_a_destination_may_be(house: House, length: int, *, kept: bool) -> None:
    """The longest is carried through Microsoft whole; a longer one is forgotten."""
    path = "/" + "a" * (length - 1)
    state = house.start_at_microsoft(f"?next={path}")
    (name,) = [name for name in house.cookies if name.startswith(COOKIE_PREFIX)]
    assert len(name) + len(house.cookies[name]) < 1500
    assert house.finish_at_microsoft(state).location == (path if kept else "/")


# The set-up link


def test_a_link_is_refused_when_the_owner_changed_while_it_hashed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the turn to hash is read again: a change in between is not written over."""
    cheaply = partial(hash_password, parameters=CHEAPEST)

    def hash_meanwhile(password: Secret, pepper: Secret) -> str:
        owner = accounts.account_by_id(house.store, accounts.OWNER_ID)
        assert owner is not None
        accounts.save(house.store, replace(owner, name="Changed meanwhile"))
        return cheaply(password, pepper)

    monkeypatch.setattr(setup, "hash_password", hash_meanwhile)
    answer = set_password(house)
    assert (answer.status, answer.title) == (403, "This link does not work")
    assert DEVICE_COOKIE not in house.cookies
    assert house.sign_in("owner", NEW_PASSWORD).status == 403
    assert house.sign_in("owner", OWNER_PASSWORD).status == 303


def test_a_link_is_refused_that_was_replaced_while_it_hashed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engineer made a newer link in between: the older one sets no password any more."""
    cheaply = partial(hash_password, parameters=CHEAPEST)

    def hash_meanwhile(password: Secret, pepper: Secret) -> str:
        setup.new_link(house.vault, house.clock, ADDRESS)
        return cheaply(password, pepper)

    monkeypatch.setattr(setup, "hash_password", hash_meanwhile)
    assert set_password(house).status == 403
    assert house.sign_in("owner", OWNER_PASSWORD).status == 303


@pytest.mark.parametrize(
    "token", ["", "a", "a" * 42, "a" * 44, "a" * 42 + ".", "a" * 43 + "%0A", "%C3%A9" * 43]
)
def test_a_token_of_the_wrong_form_never_reaches_the_vault(
    house: House, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """Strangers cannot keep the vault busy with what is no token."""
    house.get("/signin")
    asked = count_vault_reads(house, monkeypatch)
    assert house.get(f"/setup?token={token}").status == 403
    assert asked == []


# Readiness


def test_readiness_asks_the_vault_once_in_five_seconds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many monitors knock, the vault is asked once."""
    house.get("/readyz")
    house.clock.move(seconds=5)
    asked = count_vault_reads(house, monkeypatch)
    for _ in range(10):
        assert house.get("/readyz").status == 200
    house.clock.move(seconds=5, microseconds=-1)
    house.get("/readyz")
    assert len(asked) == 1
    house.clock.move(microseconds=1)
    house.get("/readyz")
    assert len(asked) == 2


def test_a_vault_that_fails_is_not_asked_by_every_monitor(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure is everybody's for five seconds, and forgotten then."""
    house.get("/readyz")
    house.clock.move(seconds=5)
    asked = count_vault_reads(house, monkeypatch)
    house.vault.away = True
    assert house.get("/readyz").status == 503
    house.vault.away = False
    house.clock.move(seconds=5, microseconds=-1)
    answer = house.get("/readyz")
    assert (answer.status, answer.json["vault"]) == (503, "upstream_unavailable")
    assert len(asked) == 1
    house.clock.move(microseconds=1)
    assert house.get("/readyz").status == 200
    assert len(asked) == 2


def test_a_clock_that_is_set_back_does_not_keep_a_failure(house: House) -> None:
    """What was learnt in the future is not believed: it would be for as long as the clock was ahead."""
    house.get("/readyz")
    house.clock.move(seconds=5)
    house.vault.away = True
    assert house.get("/readyz").status == 503
    house.vault.away = False
    house.clock.move(hours=-1)
    assert house.get("/readyz").status == 200


# Signing out, and coming back from it


def refuse_metadata(_application: Application) -> ProviderMetadata:
    """Answer as Microsoft does for a directory that is gone."""
    raise AuthorizationDenied("invalid_tenant", (90002,))


def test_signing_out_does_not_need_a_directory_that_microsoft_knows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends here, on the server and in the browser, and the page says what goes on at Microsoft."""
    house.sign_in_with_microsoft()
    token = house.cookies[SESSION_COOKIE]
    monkeypatch.setattr(house.identity, "metadata", refuse_metadata)
    answer = house.post("/logout", {})
    assert (answer.status, answer.title) == (200, "You are signed out")
    assert "still signed in to Microsoft" in answer.text
    assert SESSION_COOKIE not in house.cookies
    assert not any(table is Table.SESSIONS for table, _, _ in house.store._rows)  # noqa: SLF001 - the store cannot list
    house.cookies[SESSION_COOKIE] = token
    house.clock.move(minutes=5)
    assert house.get("/session").status == 401


def test_signing_out_at_a_fresh_instance_without_the_vault_clears_the_browser(house: House) -> None:
    """The session cannot be read, so it cannot be ended: the page says so, and this computer forgets it all the same."""
    house.sign_in_with_microsoft()
    house.move_to(house.instance())
    house.vault.away = True
    answer = house.post("/logout", {})
    assert (answer.status, answer.title) == (503, "The key store is not answering")
    assert SESSION_COOKIE not in house.cookies


@pytest.mark.usefixtures("cheap_passwords")
@pytest.mark.parametrize("app_url", ["", "https://sos.clinic.example/lists"])
def test_who_is_signed_in_is_not_told_to_be_signed_out(app_url: str) -> None:
    """The redirect URI without an answer sends a person with a session on, with the next token when it is time."""
    house = House(SOS_APP_URL=app_url)
    house.furnish()
    house.sign_in_with_microsoft()
    answer = house.get("/azure")
    assert (answer.status, answer.location, answer.set_cookies) == (303, app_url or "/", [])
    house.clock.move(minutes=6)
    answer = house.get("/azure")
    assert answer.location == (app_url or "/")
    assert [header.partition("=")[0] for header in answer.set_cookies] == [SESSION_COOKIE]


# The app role


@pytest.mark.parametrize("after", ["SOS.Chief", ""])
def test_another_app_role_takes_the_level_away_at_the_next_renewal(house: House, after: str) -> None:
    """Who was an Admin by a role that counts no longer is a User in ten minutes, and is again when it counts again."""
    set_admin_role(house, "SOS.Admin")
    house.identity.claims = {"roles": ["SOS.Admin"]}
    house.sign_in_with_microsoft()
    assert house.get("/session").json["level"] == "admin"
    set_admin_role(house, after)
    house.clock.move(minutes=4)
    assert house.get("/session").json["level"] == "admin"
    house.clock.move(minutes=1)
    assert house.get("/session").json["level"] == "user"
    set_admin_role(house, "SOS.Admin")
    house.clock.move(minutes=5)
    assert house.get("/session").json["level"] == "admin"


# Found by the tests of the review itself


def test_who_waited_for_the_signature_shares_its_failure() -> None:
    """Two at once while the vault hangs: it is asked once, and nobody waits for two time-outs."""
    clock, asked, waits = MovableClock(), list[str](), threading.Event()

    def sign(version: str, digest: bytes) -> bytes:
        del digest
        asked.append(version)
        if len(asked) == 1:
            second.start()
            assert waits.wait(5)
            clock.move(seconds=10)
        raise UpstreamUnavailable("vault")

    made = ClientAssertions(sign, clock)
    version = a_version("v1")

    def ask() -> None:
        if threading.current_thread() is second:
            waits.set()
        with pytest.raises(UpstreamUnavailable):
            made.make("a client", "an audience", version)

    second = threading.Thread(target=ask)
    ask()
    second.join(5)
    assert len(asked) == 1


def test_who_waited_for_the_vault_at_readyz_shares_its_failure(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vault takes ten seconds to fail: the next monitor in the queue does not wait again."""
    house.get("/readyz")
    house.clock.move(seconds=5)
    asked: list[str] = []

    def secret(name: str) -> VaultSecret | None:
        asked.append(name)
        house.clock.move(seconds=10)
        raise UpstreamUnavailable("vault")

    monkeypatch.setattr(house.vault, "secret", secret)
    house.get("/readyz")
    house.get("/readyz")
    assert len(asked) == 1


def test_a_throttle_row_from_the_future_is_brought_back_at_the_door(house: House) -> None:
    """Failures written by a clock that was a year ahead keep nobody out for a year."""
    house.clock.move(days=365)
    guess(house, 5)
    house.clock.move(days=-365)
    assert house.sign_in().status == 429
    house.clock.move(seconds=61)
    assert house.sign_in().status == 303


def test_unlock_opens_a_known_browser_that_closed_itself(house: House) -> None:
    """A hundred wrong passwords in a known browser close it; what opens the user name opens it as well."""
    house.sign_in()
    known_browser = dict(house.cookies)
    for _ in range(100):
        guess(house, 1)
        house.clock.move(hours=1)
    for _ in range(100):
        house.another_browser()
        guess(house, 1)
        house.clock.move(hours=1)
    house.cookies = known_browser
    assert house.sign_in().status == 429
    throttle.reset(house.store, limits.account_limit("owner", house.services.pepper.get().throttle_key))
    assert house.sign_in().status == 303
