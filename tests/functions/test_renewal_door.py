"""The renewal as the doors meet it: a sign-in during a rotation, the timer, and ticks behind requests."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from jwt import decode_complete

from functions.app import build_app
from shared.aadsts import CREDENTIAL_ERRORS
from shared.errors import AuthorizationDenied, UpstreamUnavailable
from shared.ports import Table
from shared.renewal_state import Asked, Phase, Request, read_state, save_state
from shared.renewal_watch import RenewalWatch, needs_help
from tests.house import START, House, a_version, sign_with
from tests.memory import MemoryStore

REFUSED = AuthorizationDenied("invalid_client", (700027,))


def thumbprints(house: House) -> list[str]:
    """Tell which certificates signed the token requests."""
    headers = [
        decode_complete(assertion, options={"verify_signature": False})["header"]
        for assertion in house.identity.redeemed
    ]
    return [header["x5t#S256"] for header in headers]


def in_overlap(house: House) -> None:
    """Let v2 sign, and v1 be registered still."""
    sign_with(house.store, a_version("v2"), previous=a_version("v1"), phase=Phase.OVERLAP)
    house.move_to(house.instance())


# A sign-in during a rotation


@pytest.mark.parametrize("number", sorted(CREDENTIAL_ERRORS))
def test_a_replica_that_does_not_know_the_new_certificate(house: House, number: int) -> None:
    """Story microsoft-identity-web #2444, #2834, #3429: each credential error leads to the other version at once."""
    in_overlap(house)
    house.identity.refusals = [AuthorizationDenied("invalid_client", (number,))]
    assert house.sign_in_with_microsoft().location == "/"
    assert thumbprints(house) == ["x5t256-v2", "x5t256-v1"]


def test_the_retry_really_signs_with_the_other_one(house: House) -> None:
    """Story microsoft-identity-web #3562: a retry that sent the same assertion again had never worked, for years."""
    in_overlap(house)
    house.identity.refusals = [REFUSED]
    house.sign_in_with_microsoft()
    assert len(set(house.identity.redeemed)) == 2
    assert house.vault.signed == ["v2", "v1"]


def test_a_pointer_from_before_the_switch(house: House) -> None:
    """An instance still signs with v1, which is removed already: `next` in its memory is the one that works."""
    coming = replace(a_version("v2"), registered_at=START)
    sign_with(house.store, a_version("v1"), next=coming, phase=Phase.PROVE)
    house.move_to(house.instance())
    house.services.certificate.get()
    sign_with(house.store, a_version("v2"), next=None, phase=Phase.IDLE)
    house.identity.refusals = [REFUSED]
    assert house.sign_in_with_microsoft().location == "/"
    assert thumbprints(house) == ["x5t256-v1", "x5t256-v2"]


def test_a_next_version_that_nobody_registered_is_not_tried(house: House) -> None:
    """It could not work: the row is read again instead."""
    sign_with(house.store, a_version("v1"), next=replace(a_version("v2"), registered_at=None))
    house.move_to(house.instance())
    house.identity.refusals = [REFUSED]
    assert house.sign_in_with_microsoft().location == "/"
    assert thumbprints(house) == ["x5t256-v1", "x5t256-v1"]


def test_a_revoked_version_that_the_vault_does_not_sign_with(house: House) -> None:
    """The vault refuses before Microsoft is asked: the other version signs in the same request."""
    in_overlap(house)
    house.vault.disabled_versions = {"v2"}
    assert house.sign_in_with_microsoft().location == "/"
    assert thumbprints(house) == ["x5t256-v1"]


def test_a_vault_that_is_away_is_not_a_revoked_version(house: House) -> None:
    """Nothing is tried with the other version, and the page names the vault."""
    in_overlap(house)
    state = house.start_at_microsoft()
    house.vault.away = True
    answer = house.finish_at_microsoft(state)
    assert (answer.status, answer.title) == (503, "The key store is not answering")
    assert house.identity.redeemed == []


def test_the_extra_cost_is_one_call(house: House) -> None:
    """With the other version's assertion fresh, as just after a switch, the second token request is all there is."""
    in_overlap(house)
    house.identity.refusals = [REFUSED]
    house.sign_in_with_microsoft()
    house.another_browser()
    state = house.start_at_microsoft()
    reads = house.store_calls()
    house.finish_at_microsoft(state)
    plain = house.store_calls() - reads
    house.another_browser()
    house.identity.refusals = [REFUSED]
    state = house.start_at_microsoft()
    signed, reads = len(house.vault.signed), house.store_calls()
    house.finish_at_microsoft(state)
    assert house.store_calls() - reads == plain
    assert len(house.vault.signed) == signed


def test_only_one_retry(house: House) -> None:
    """Both refused: a page, and no third request."""
    in_overlap(house)
    house.identity.refusals = [REFUSED, REFUSED, REFUSED]
    assert house.sign_in_with_microsoft().title == "Microsoft does not accept our certificate"
    assert len(house.identity.redeemed) == 2


# The timer


def run_timer(house: House) -> None:
    """Fire the timer as the host does."""
    (timer,) = [f for f in build_app(house.services).get_functions() if f.get_function_name() == "renewal"]
    timer.get_user_function()(None)


def test_the_timer_is_hourly_monitored_and_not_run_at_startup(house: House) -> None:
    """It must not run on every cold start, and a missed run is made up for."""
    (timer,) = [f for f in build_app(house.services).get_functions() if f.get_function_name() == "renewal"]
    trigger = timer.get_trigger()
    assert trigger is not None
    facts = trigger.get_dict_repr()
    assert (facts["schedule"], facts["runOnStartup"], facts["useMonitor"]) == ("0 7 * * * *", False, True)


def test_the_timer_ticks(house: House) -> None:
    """The row says when."""
    house.clock.move(hours=2)
    run_timer(house)
    assert read_state(house.store).last_tick_at == house.clock.now


def test_a_tick_that_fails_is_said_and_no_stack_trace(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """The store is away: a line that an alert can match, and the timer lives."""
    house.store.away = True
    with caplog.at_level(logging.INFO):
        run_timer(house)
    assert '"event": "renewal.tick_failed"' in caplog.text
    assert "Traceback" not in caplog.text


# Ticks behind requests


@pytest.fixture
def stopped(house: House) -> House:
    """A house whose timer has stopped seven hours ago; its people come for 21 seconds."""
    house.sign_in_with_microsoft()
    house.clock.move(hours=7)
    house.services.certificate.refresh()
    return house


def test_any_request_notices_that_the_timer_has_stopped(stopped: House) -> None:
    """The first request after six hours of silence starts a tick behind itself."""
    stopped.get("/healthz")
    (work,) = stopped.behind
    work()
    assert read_state(stopped.store).last_tick_at == stopped.clock.now


def test_the_request_does_not_wait_for_the_tick(stopped: House) -> None:
    """The answer is there before anything is asked of the store."""
    calls = stopped.store_calls()
    assert stopped.get("/healthz").status == 200
    assert stopped.store_calls() == calls


def test_never_two_at_once(stopped: House) -> None:
    """While one works, other requests start none; a minute after it, one may."""
    for _ in range(5):
        stopped.clock.move(seconds=6)
        stopped.get("/healthz")
    assert len(stopped.behind) == 1
    stopped.behind[0]()
    stopped.clock.move(seconds=59)
    stopped.get("/healthz")
    assert len(stopped.behind) == 1


def test_a_tick_behind_a_request_speaks_with_the_next_one(
    stopped: House, caplog: pytest.LogCaptureFixture
) -> None:
    """The host drops lines of our own threads: the alarm that the timer is silent is said by the next invocation."""
    with caplog.at_level(logging.INFO):
        stopped.get("/healthz")
        stopped.behind[0]()
        assert "renewal.alarm.silent" not in caplog.text
        stopped.services.audit.say_unsaid()
    assert '"event": "renewal.alarm.silent"' in caplog.text


def test_a_tick_that_fails_behind_a_request_harms_nobody(
    stopped: House, caplog: pytest.LogCaptureFixture
) -> None:
    """The store is away: it is said, and tried again a minute later."""
    stopped.get("/healthz")
    stopped.store.away = True
    stopped.behind[0]()
    with caplog.at_level(logging.INFO):
        stopped.services.audit.say_unsaid()
    assert '"event": "renewal.tick_failed"' in caplog.text
    stopped.store.away = False
    stopped.clock.move(seconds=61)
    stopped.get("/healthz")
    assert len(stopped.behind) == 2


def test_no_thread_to_be_had(stopped: House) -> None:
    """The request is answered all the same, and the next one asks again."""

    def none_left(work: object) -> None:
        del work
        raise RuntimeError

    stopped.services.watch = RenewalWatch(stopped.services, spawn=none_left)
    stopped.clock.move(seconds=21)
    assert stopped.get("/healthz").status == 200
    stopped.services.watch._spawn = stopped.behind.append  # noqa: SLF001 - threads are to be had again
    stopped.clock.move(seconds=6)
    stopped.get("/healthz")
    assert len(stopped.behind) == 1


def test_an_instance_that_starts_has_better_things_to_do(house: House) -> None:
    """For 20 seconds nothing is looked at: a cold start is the first thing a person feels."""
    house.clock.move(hours=7)
    house.move_to(house.instance())
    house.get("/healthz")
    house.clock.move(seconds=19)
    calls = house.store_calls()
    house.get("/healthz")
    assert (house.behind, house.store_calls()) == ([], calls)


@pytest.mark.parametrize(
    ("minutes", "facts", "expected"),
    [
        (60, {}, False),
        (359, {}, False),
        (361, {}, True),
        (60, {"next": a_version("v2"), "next_attempt_at": START + timedelta(minutes=59)}, True),
        (60, {"next": a_version("v2"), "next_attempt_at": START + timedelta(minutes=61)}, False),
        (60, {"request": Request(Asked.ROTATE, "n", "v1")}, True),
        (
            60,
            {"request": Request(Asked.ROTATE, "n", "v1"), "blocked_until": START + timedelta(minutes=61)},
            False,
        ),
        (60, {"current": a_version("v1", START)}, True),
    ],
    ids=[
        "healthy",
        "just under six hours",
        "the timer has stopped",
        "a certificate is on its way, and due",
        "a certificate is on its way, not due",
        "the Owner asked",
        "the Owner asked, and Microsoft asked for patience",
        "expired",
    ],
)
def test_when_a_request_helps(minutes: int, facts: dict[str, object], expected: bool) -> None:  # noqa: FBT001 - a table
    """After six hours of silence, or when somebody waits for the next step."""
    store = MemoryStore()
    sign_with(store, a_version("v1"))
    state = replace(read_state(store), **facts)  # type: ignore[arg-type] # fields of the row, by name
    assert needs_help(state, START + timedelta(minutes=minutes)) is expected


def test_whoever_waits_for_an_upload_is_signed_in_without_the_timer(house: House) -> None:
    """Recovery after expiry: requests alone carry the new certificate from REGISTER to signing, within ten minutes."""
    house.clock.move(days=366)
    now = house.clock.now
    waiting = replace(a_version("v2", START + timedelta(days=700)), registered_at=None)
    save_state(
        house.store,
        replace(read_state(house.store), next=waiting, phase=Phase.REGISTER, generation=2, last_tick_at=now),
    )
    house.set_sso(active=True)
    house.move_to(house.instance())
    for _ in range(10):
        house.clock.move(minutes=1)
        house.get("/login")
        for work in house.behind:
            work()
        house.behind.clear()
    assert house.sign_in_with_microsoft().status == 303
    current = read_state(house.store).current
    assert current is not None
    assert current.version == "v2"


def test_the_renewals_events_are_in_the_audit_table(house: House) -> None:
    """In a partition of their own, by operation, where sweeping days does not reach."""
    state = read_state(house.store).noted("renewal.begin", START, "v2")
    save_state(house.store, state)
    run_timer(house)
    (row,) = house.store.query(Table.AUDIT, "renewal")
    assert row.values["event"] == "renewal.begin"


def test_a_vault_refusal_of_both_versions_is_the_vaults_page(house: House) -> None:
    """Somebody took the right to sign away: one retry, then the page that names the vault."""
    in_overlap(house)
    house.vault.disabled_versions = {"v1", "v2"}
    assert house.sign_in_with_microsoft().title == "The key store is not answering"
    with pytest.raises(UpstreamUnavailable):
        house.vault.sign("k", "v1", "PS256", b"")


def test_an_upload_a_moment_ago_turns_nobody_away(house: House) -> None:
    """The row in memory says "expired"; it is read again before anybody is told so, and at most every five seconds."""
    house.clock.move(days=366)
    house.services.certificate.get()
    assert house.get("/login").status == 503
    sign_with(house.store, a_version("v2", START + timedelta(days=700)))
    house.clock.move(seconds=4)
    calls = house.store_calls()
    assert house.get("/login").status == 503
    assert house.store_calls() == calls
    house.clock.move(seconds=2)
    assert house.sign_in_with_microsoft().location == "/"
