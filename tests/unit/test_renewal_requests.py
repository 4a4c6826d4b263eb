"""What the Owner asks: once for each form, at any phase, while a tick works on the row."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.errors import Conflict, NotConfigured, UpstreamUnavailable
from shared.ports import Store, VaultCertificate
from shared.renewal_requests import ask, download, look_now, pause, resume
from shared.renewal_state import Asked, Phase, RenewalState, Request, read_state, save_state
from tests.house import PaperVault
from tests.memory import MemoryStore
from tests.unit.renewal_samples import CURRENT, DAY, HOUR, NEXT, NOW, SECOND, asked, row
from tests.unit.spy_store import SpyStore

NONCE = "a nonce"
REGISTERED = replace(NEXT, registered_at=NOW)


def put(state: RenewalState) -> SpyStore:
    """Give a store with this row."""
    store = SpyStore()
    save_state(store, state)
    return store


def in_phase(phase: Phase, **changes: object) -> RenewalState:
    """Give a row in this phase, whose next attempt is far off."""
    versions = {"next": REGISTERED} if phase is Phase.PROVE else {}
    return row(phase, **{"next_attempt_at": NOW + DAY, "refusal": "graph_403"} | versions | changes)


NO_GENERATE_NOW = "wait until the old one is retired"
REFUSED_IN: dict[tuple[Asked, Phase], str] = {
    (Asked.GENERATE, Phase.CREATE): "is being made",
    (Asked.GENERATE, Phase.PROVE): "registered already",
    (Asked.GENERATE, Phase.OVERLAP): NO_GENERATE_NOW,
    (Asked.GENERATE, Phase.RETIRE): NO_GENERATE_NOW,
} | {(Asked.ROLL_BACK, phase): "no previous certificate" for phase in Phase if phase is not Phase.OVERLAP}
"""What makes no sense in which phase, and a part of the sentence that says so."""


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", Asked)
def test_each_request_in_each_phase(kind: Asked, phase: Phase) -> None:
    """It is written down with the version that signs, once, and the next tick is due; or it is refused with a sentence."""
    before = in_phase(phase)
    store = put(before)
    problem = REFUSED_IN.get((kind, phase))
    if problem is not None:
        with pytest.raises(ValueError, match=problem) as caught:
            ask(store, kind, NONCE, NOW)
        assert str(caught.value).endswith(".")
        assert read_state(store) == before
        return
    after = ask(store, kind, NONCE, NOW)
    assert after == read_state(store)
    assert after.request == Request(kind, NONCE, "v1")
    assert after.answered == (NONCE,)
    assert after.next_attempt_at <= NOW
    assert after.refusal == ""
    assert [(note.name, note.warning) for note in after.notes] == [(f"renewal.asked.{kind}", True)]
    unchanged = replace(
        after, request=None, answered=(), refusal="graph_403", next_attempt_at=NOW + DAY, notes=(), count=0
    )
    assert unchanged == before


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", [Asked.GENERATE, Asked.ROTATE, Asked.REVOKE])
def test_while_paused_nothing_is_asked(kind: Asked, phase: Phase) -> None:
    """It would not be done, and the Owner would wait for it."""
    store = put(in_phase(phase, paused=True))
    with pytest.raises(ValueError, match="paused: resume it first"):
        ask(store, kind, NONCE, NOW)
    assert read_state(store).request is None


def test_while_paused_the_owner_may_go_back() -> None:
    """To pause is what people do first when something is wrong."""
    store = put(in_phase(Phase.OVERLAP, paused=True))
    assert ask(store, Asked.ROLL_BACK, NONCE, NOW).asked(Asked.ROLL_BACK)


def test_there_must_be_something_to_go_back_to() -> None:
    """After the first certificate there is nothing."""
    store = put(in_phase(Phase.OVERLAP, previous=None))
    with pytest.raises(ValueError, match="no previous certificate"):
        ask(store, Asked.ROLL_BACK, NONCE, NOW)


@pytest.mark.parametrize("registered", [False, True])
def test_another_certificate_while_one_waits_for_its_upload(*, registered: bool) -> None:
    """The Owner lost the file: another one is made, unless Microsoft knows this one by now."""
    store = put(in_phase(Phase.REGISTER, next=REGISTERED if registered else NEXT))
    if registered:
        with pytest.raises(ValueError, match="registered already"):
            ask(store, Asked.GENERATE, NONCE, NOW)
    else:
        assert ask(store, Asked.GENERATE, NONCE, NOW).asked(Asked.GENERATE)


def test_the_first_certificate() -> None:
    """On an empty store: the request makes the row."""
    store = MemoryStore()
    after = ask(store, Asked.GENERATE, NONCE, NOW)
    assert after.request == Request(Asked.GENERATE, NONCE, "")
    assert after.next_attempt_at <= NOW
    assert read_state(store) == after


# Once


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", Asked)
def test_twice_with_one_nonce_is_once(kind: Asked, phase: Phase) -> None:
    """The form was sent twice, or the browser sent it again: nothing is written the second time."""
    if (kind, phase) in REFUSED_IN:
        return
    store = put(in_phase(phase))
    first = ask(store, kind, NONCE, NOW)
    writes = store.writes
    assert ask(store, kind, NONCE, NOW + HOUR) == first
    assert store.writes == writes


def test_a_form_that_was_answered_long_ago() -> None:
    """It is known after the request is done, and also where it would be refused by now."""
    store = put(in_phase(Phase.IDLE))
    done = replace(ask(store, Asked.GENERATE, NONCE, NOW), request=None, phase=Phase.OVERLAP, paused=True)
    save_state(store, done)
    assert ask(store, Asked.GENERATE, NONCE, NOW) == done


@pytest.mark.parametrize(
    ("pending", "later", "problem"),
    [
        (Asked.REVOKE, Asked.GENERATE, "being revoked"),
        (Asked.REVOKE, Asked.ROTATE, "being revoked"),
        (Asked.ROTATE, Asked.GENERATE, "being made"),
    ],
)
def test_a_pending_request_is_not_weakened(pending: Asked, later: Asked, problem: str) -> None:
    """A revocation, above all, is never lost to a later and milder wish."""
    store = put(in_phase(Phase.IDLE))
    ask(store, pending, "one", NOW)
    with pytest.raises(ValueError, match=problem):
        ask(store, later, "two", NOW)
    assert read_state(store).asked(pending)


def test_another_form_is_another_request() -> None:
    """The latest one counts: who asks to revoke after asking to rotate gets that."""
    store = put(in_phase(Phase.IDLE))
    ask(store, Asked.ROTATE, "one", NOW)
    after = ask(store, Asked.REVOKE, "other", NOW)
    assert after.request == Request(Asked.REVOKE, "other", "v1")
    assert after.answered == ("one", "other")
    assert len(after.notes) == len({note.key for note in after.notes}) == 2


def test_the_latest_twenty_forms_are_known() -> None:
    """The row does not grow for ever."""
    store = put(in_phase(Phase.IDLE))
    for n in range(25):
        ask(store, Asked.ROTATE, f"nonce {n}", NOW)
    after = read_state(store)
    assert after.answered == tuple(f"nonce {n}" for n in range(5, 25))


# Races


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", Asked)
def test_a_tick_that_writes_at_the_same_moment(kind: Asked, phase: Phase) -> None:
    """Neither change is lost."""
    if (kind, phase) in REFUSED_IN:
        return
    store = put(in_phase(phase))
    store.before_write(
        1, lambda: save_state(store, replace(read_state(store), attempts=7, lease_owner="a tick"))
    )
    after = ask(store, kind, NONCE, NOW)
    assert (after.attempts, after.lease_owner) == (7, "a tick")
    assert after.asked(kind)
    assert read_state(store) == after


def test_a_tick_that_makes_it_senseless_at_the_same_moment() -> None:
    """What was possible when the Owner pressed the button is not any more."""
    store = put(in_phase(Phase.OVERLAP))
    finished = {"phase": Phase.IDLE, "previous": None}
    store.before_write(1, lambda: save_state(store, replace(read_state(store), **finished)))  # type: ignore[arg-type] # fields
    with pytest.raises(ValueError, match="no previous certificate"):
        ask(store, Asked.ROLL_BACK, NONCE, NOW)
    assert read_state(store).request is None


def test_the_switch_at_the_same_moment() -> None:
    """The request is about the version that signs when it is written down."""
    store = put(in_phase(Phase.PROVE))
    store.before_write(
        1, lambda: save_state(store, replace(read_state(store), current=REGISTERED, next=None))
    )
    after = ask(store, Asked.REVOKE, NONCE, NOW)
    assert after.request == Request(Asked.REVOKE, NONCE, "v2")


def test_one_form_twice_at_the_same_moment() -> None:
    """A double click: one request, said once."""
    store = put(in_phase(Phase.IDLE))
    store.before_write(1, lambda: ask(store, Asked.ROTATE, NONCE, NOW))
    after = ask(store, Asked.ROTATE, NONCE, NOW)
    assert after == read_state(store)
    assert len(after.notes) == 1
    assert after.answered == (NONCE,)


def busy(store: SpyStore, times: int) -> None:
    """Let others write the row just before each of the next writes."""

    def interfere(left: int) -> None:
        saved = replace(read_state(store), attempts=left)
        if left > 1:
            store.before_write(2, lambda: interfere(left - 1))
        save_state(store, saved)

    store.before_write(1, lambda: interfere(times))


CHANGES: dict[str, Callable[[Store], RenewalState]] = {
    "ask": lambda store: ask(store, Asked.ROTATE, NONCE, NOW),
    "pause": lambda store: pause(store, NOW),
    "look_now": lambda store: look_now(store, NOW),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("times", [4, 5])
def test_a_row_that_others_keep_changing(change: str, times: int) -> None:
    """After five tries the person is told, instead of waiting for ever."""
    store = put(in_phase(Phase.IDLE))
    before = store.writes
    busy(store, times)
    if times < 5:
        assert CHANGES[change](store) == read_state(store)
    else:
        with pytest.raises(Conflict):
            CHANGES[change](store)
    assert store.writes - before == times + 5 if times == 5 else 2 * times + 1


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_that_is_away(change: str) -> None:
    """Is said as it is, and asked once."""
    store = put(in_phase(Phase.IDLE))
    store.away = True
    with pytest.raises(UpstreamUnavailable):
        CHANGES[change](store)


# Pause and resume


@pytest.mark.parametrize("phase", Phase)
def test_pause_and_resume(phase: Phase) -> None:
    """In any phase; both are said, the next tick is due, and nothing else changes."""
    before = in_phase(phase, request=asked(Asked.ROTATE))
    store = put(before)
    paused = pause(store, NOW)
    assert paused.paused
    resumed = resume(store, NOW + HOUR)
    assert resumed == read_state(store)
    assert [note.name for note in resumed.notes] == ["renewal.paused", "renewal.resumed"]
    assert all(note.warning for note in resumed.notes)
    assert paused.next_attempt_at < NOW < resumed.next_attempt_at < NOW + HOUR
    assert replace(resumed, notes=(), count=0, next_attempt_at=NOW + DAY) == before


def test_to_pause_twice_is_to_pause_once() -> None:
    """Nothing is written, and nothing is said, that has happened already."""
    store = put(in_phase(Phase.IDLE))
    assert resume(store, NOW) == in_phase(Phase.IDLE)
    paused = pause(store, NOW)
    writes = store.writes
    assert pause(store, NOW + HOUR) == paused
    assert store.writes == writes


# The next look


def test_look_now() -> None:
    """The next tick is due, the directory is asked again where it had refused, and nothing else changes."""
    store = put(in_phase(Phase.REGISTER))
    after = look_now(store, NOW)
    assert after.next_attempt_at < NOW
    assert after.refusal == ""
    assert replace(after, next_attempt_at=NOW + DAY, refusal="graph_403") == in_phase(Phase.REGISTER)


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_is_called_before_the_time_that_was_asked_for(change: str) -> None:
    """A service said `Retry-After`: the Owner cannot hurry it."""
    store = put(in_phase(Phase.REGISTER, blocked_until=NOW + HOUR))
    after = CHANGES[change](store)
    assert after.next_attempt_at == NOW + HOUR
    assert after.blocked_until == NOW + HOUR


def test_a_time_that_has_passed_blocks_nothing() -> None:
    """`Retry-After` of yesterday."""
    store = put(in_phase(Phase.REGISTER, blocked_until=NOW - DAY))
    assert NOW - 2 * SECOND < look_now(store, NOW).next_attempt_at < NOW


# The certificate to upload


def der(name: str) -> bytes:
    """Make a certificate that says which one it is."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, NOW, NOW + 365 * DAY)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module", name="vault")
def vault_with_two() -> PaperVault:
    """A vault with the current and the next version."""
    vault = PaperVault()
    for each in (CURRENT, NEXT):
        vault.certificates[each.version] = VaultCertificate(each.version, der(each.version), enabled=True)
    return vault


@pytest.mark.parametrize("phase", Phase)
def test_the_certificate_to_upload(phase: Phase, vault: PaperVault) -> None:
    """In any phase: the next one as soon as there is one, else the one that signs."""
    pem = download(put(in_phase(phase)), vault)
    subject = x509.load_pem_x509_certificate(pem).subject.rfc4514_string()
    assert subject == ("CN=v2" if phase in {Phase.REGISTER, Phase.PROVE} else "CN=v1")
    assert pem.count(b"-----BEGIN") == 1


@pytest.mark.parametrize(
    "state",
    [RenewalState(), row(Phase.CREATE, current=None), row(current=replace(CURRENT, version="gone"))],
    ids=["no row", "in the making", "gone from the vault"],
)
def test_no_certificate_to_upload(state: RenewalState, vault: PaperVault) -> None:
    """The error says what is missing."""
    with pytest.raises(NotConfigured) as caught:
        download(put(state), vault)
    assert caught.value.what == "certificate"
