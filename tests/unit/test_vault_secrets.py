import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import cycle

import pytest

from shared import jws
from shared.errors import UpstreamUnavailable
from shared.key_ring import SECRET_NAME, KeyRing
from shared.ports import Clock, Row, Store, Table, Vault, VaultSecret
from shared.secret import Secret
from shared.vault_secrets import PEPPER_NAME, load_key_ring, load_pepper, rotate_key_ring
from tests.house import START, MovableClock, PaperVault
from tests.unit.spy_store import SpyStore, crash

NAMES = {PEPPER_NAME: load_pepper, SECRET_NAME: load_key_ring}
GIVEN_UP = timedelta(minutes=5)


class CountingVault(PaperVault):
    """A vault of paper that remembers what was written, can hold a secret back, and can be interfered with."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.disabled = False
        self.forgetful = False
        self.before_set: Callable[[], object] = lambda: None

    def secret(self, name: str) -> VaultSecret | None:
        """Read a secret; a disabled one is unavailable, as the port says."""
        if self.disabled:
            raise UpstreamUnavailable("vault", "disabled", retriable=False)
        return super().secret(name)

    def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
        """Write a secret."""
        self.before_set()
        self.written.append(value.reveal())
        if not self.forgetful:
            super().set_secret(name, value, expires_on)


class Place:
    """A store, a vault and a clock that several processes share."""

    def __init__(self) -> None:
        self.store = SpyStore()
        self.vault = CountingVault()
        self.clock = MovableClock()

    def load(self, name: str) -> str:
        """Load one of the two secrets as a process does, and say what it is; "later" where it must come again."""
        load: Callable[[Store, Vault, Clock], object] = NAMES[name]
        try:
            load(self.store, self.vault, self.clock)
        except UpstreamUnavailable as error:
            come_again = (
                error.port == "vault" and error.retriable and error.retry_after == timedelta(seconds=2)
            )
            return "later" if come_again else "broken"
        return self.vault.secrets[name].value.reveal()

    def load_after_a_death(self, name: str) -> None:
        """Load in a process that dies before it writes the secret."""
        self.vault.before_set = crash
        with pytest.raises(UpstreamUnavailable):
            NAMES[name](self.store, self.vault, self.clock)
        self.vault.before_set = lambda: None


each_secret = pytest.mark.parametrize("name", NAMES)


@each_secret
def test_a_secret_is_made_once(name: str) -> None:
    """The first process makes it, the later ones read it; it has no end."""
    place = Place()
    first = place.load(name)
    assert [place.load(name) for _ in range(3)] == [first] * 3
    assert place.vault.written == [first]
    assert place.vault.secrets[name].expires_on is None


@each_secret
def test_a_secret_that_is_there_costs_one_read_of_the_vault(name: str) -> None:
    """The store is not asked, so a start does not need it."""
    place = Place()
    first = place.load(name)
    place.store.away = True
    assert place.load(name) == first
    place.vault.away = True
    with pytest.raises(UpstreamUnavailable):
        NAMES[name](place.store, place.vault, place.clock)


@each_secret
def test_many_processes_at_once_make_one_secret(name: str) -> None:
    """All of them see it missing; one makes it, the others ask to be tried again in a moment."""
    place = Place()
    together = threading.Barrier(16)

    def start(_: int) -> str:
        together.wait(10)
        return place.load(name)

    with ThreadPoolExecutor(16) as pool:
        outcomes = set(pool.map(start, range(16)))
    assert len(place.vault.written) == 1
    assert outcomes - {"later"} == set(place.vault.written)
    assert place.load(name) == place.vault.written[0]


@each_secret
def test_others_wait_for_the_maker(name: str) -> None:
    """While one makes it, another makes none, and says so."""
    place = Place()
    outcomes: list[str] = []
    place.vault.before_set = lambda: outcomes.append(place.load(name))
    made = place.load(name)
    assert outcomes == ["later"]
    assert place.vault.written == [made]


@each_secret
def test_the_losers_of_a_race_for_the_making_wait(name: str) -> None:
    """Two find the store without a maker at the same moment."""
    place = Place()
    place.store.before_write(1, lambda: place.load(name))
    assert place.load(name) == "later"
    assert len(place.vault.written) == 1


@each_secret
def test_a_maker_that_died_is_replaced_after_five_minutes(name: str) -> None:
    """Not before: it may be slow."""
    place = Place()
    place.load_after_a_death(name)
    place.clock.now = START + GIVEN_UP - timedelta(microseconds=1)
    assert place.load(name) == "later"
    place.clock.now = START + GIVEN_UP
    made = place.load(name)
    assert place.vault.written == [made]


@each_secret
def test_of_two_that_replace_a_dead_maker_one_waits(name: str) -> None:
    """The row is taken over by compare-and-swap, for as long again."""
    place = Place()
    place.load_after_a_death(name)
    place.clock.now = START + GIVEN_UP
    place.store.before_write(1, lambda: place.load_after_a_death(name))
    assert place.load(name) == "later"
    assert place.vault.written == []
    place.clock.now = START + 2 * GIVEN_UP
    assert place.load(name) == place.vault.written[0]


@each_secret
def test_a_maker_that_died_after_writing_is_not_replaced(name: str) -> None:
    """Whoever takes over looks into the vault once more: a second secret would undo the first."""
    place = Place()
    place.load_after_a_death(name)
    place.clock.now = START + GIVEN_UP
    found = KeyRing.generate(START).to_secret()
    place.store.before_write(1, lambda: place.vault.secrets.update({name: VaultSecret(found)}))
    assert place.load(name) == found.reveal()
    assert place.vault.written == []


@each_secret
def test_a_maker_without_an_end_is_not_replaced(name: str) -> None:
    """A row that makes no sense is for the engineer: nothing is made over it."""
    place = Place()
    place.store.insert(Table.SETTINGS, Row("secrets", name, {"until": "soon"}))
    place.clock.move(days=1)
    assert place.load(name) == "later"
    assert place.vault.written == []


@each_secret
def test_without_the_store_nothing_is_made(name: str) -> None:
    """It fails closed: nobody knows who else is making it."""
    place = Place()
    place.store.away = True
    with pytest.raises(UpstreamUnavailable) as caught:
        NAMES[name](place.store, place.vault, place.clock)
    assert caught.value.port == "store"
    assert place.vault.written == []


@each_secret
def test_without_the_vault_nothing_is_made(name: str) -> None:
    """And nobody becomes the maker."""
    place = Place()
    place.vault.away = True
    with pytest.raises(UpstreamUnavailable):
        NAMES[name](place.store, place.vault, place.clock)
    assert place.store.writes == 0
    place.vault.away = False
    assert place.load(name) == place.vault.written[0]


@each_secret
def test_a_disabled_secret_is_never_replaced(name: str) -> None:
    """Somebody switched it off: another one in its place would make every password, or every session, worthless."""
    place = Place()
    first = place.load(name)
    place.vault.disabled = True
    for _ in range(3):
        place.clock.move(hours=1)
        with pytest.raises(UpstreamUnavailable):
            NAMES[name](place.store, place.vault, place.clock)
    place.vault.disabled = False
    assert place.load(name) == first
    assert place.vault.written == [first]


@each_secret
def test_a_secret_that_cannot_be_read_back_is_not_used(name: str) -> None:
    """What the vault did not keep, the next start could not know."""
    place = Place()
    place.vault.forgetful = True
    with pytest.raises(UpstreamUnavailable, match="not readable after it was written"):
        NAMES[name](place.store, place.vault, place.clock)


@each_secret
def test_what_the_vault_holds_is_what_is_used(name: str) -> None:
    """After writing, the secret is read back: where another one got there first, that one counts."""
    place = Place()
    theirs = KeyRing.generate(START).to_secret()

    class LastWord(CountingVault):
        """A vault in which somebody else's secret always stands in the end."""

        def set_secret(self, name: str, value: Secret, expires_on: datetime | None = None) -> None:
            """Write another secret."""
            super().set_secret(name, value, expires_on)
            self.secrets[name] = VaultSecret(theirs)

    place.vault = LastWord()
    if name == PEPPER_NAME:
        used = load_pepper(place.store, place.vault, place.clock).password
    else:
        used = load_key_ring(place.store, place.vault, place.clock).to_secret()
    assert used.reveal() == theirs.reveal()


def test_the_key_ring() -> None:
    """A ring with one key, which signs from the moment it was made."""
    place = Place()
    ring = load_key_ring(place.store, place.vault, place.clock)
    assert len(ring.keys) == 1
    assert ring.keys[0].signs_from == START
    assert load_key_ring(place.store, place.vault, place.clock).public_jwks() == ring.public_jwks()


def test_an_unreadable_key_ring_is_not_replaced() -> None:
    """It is an error for the engineer: a new ring would end every session, and hide what happened."""
    place = Place()
    place.vault.secrets[SECRET_NAME] = VaultSecret(Secret("not a ring"))
    with pytest.raises(ValueError, match="not readable"):
        load_key_ring(place.store, place.vault, place.clock)
    assert place.vault.written == []


def test_the_pepper_and_its_keys() -> None:
    """256 random bits; the keys derived from it are 256 bits each, and differ from it and from each other."""
    place, other = Place(), Place()
    pepper = load_pepper(place.store, place.vault, place.clock)
    assert len(pepper.password.reveal()) == 43
    keys = [pepper.throttle_key, pepper.device_key, pepper.form_key]
    assert [len(key) for key in keys] == [32, 32, 32]
    assert len({pepper.password.reveal().encode(), *keys}) == 4
    again = load_pepper(place.store, place.vault, place.clock)
    assert [again.throttle_key, again.device_key, again.form_key] == keys
    another = load_pepper(other.store, other.vault, other.clock)
    assert not {another.throttle_key, another.device_key, another.form_key} & set(keys)
    assert another.password.reveal() != pepper.password.reveal()


def test_the_keys_of_a_pepper_never_change() -> None:
    """The next release reads the counters and the cookies of this one.

    The expected bytes: HKDF-SHA-256 (RFC 5869) by hand, from two HMACs.
    """
    place = Place()
    place.vault.secrets[PEPPER_NAME] = VaultSecret(Secret("a pepper"))
    pepper = load_pepper(place.store, place.vault, place.clock)
    assert pepper.password.reveal() == "a pepper"
    assert [key.hex()[:16] for key in (pepper.throttle_key, pepper.device_key, pepper.form_key)] == [
        "7cd6fc93e5cce523",
        "33b16a567a0c746b",
        "0421b61e262f78b1",
    ]


def test_a_pepper_is_not_shown() -> None:
    """Neither the pepper nor a key derived from it stands in its repr."""
    place = Place()
    pepper = load_pepper(place.store, place.vault, place.clock)
    assert pepper.password.reveal() not in repr(pepper)
    for key in (pepper.throttle_key, pepper.device_key, pepper.form_key):
        assert repr(key) not in repr(pepper)


# Rotation of the key ring

DAY, SECOND, NO_TIME = timedelta(days=1), timedelta(seconds=1), timedelta(0)


def held(vault: PaperVault) -> KeyRing:
    """Read the ring that the vault holds."""
    return KeyRing.from_secret(vault.secrets[SECRET_NAME].value)


def vault_with_a_ring() -> CountingVault:
    """Make a vault whose ring began to sign at the start."""
    vault = CountingVault()
    vault.secrets[SECRET_NAME] = VaultSecret(KeyRing.generate(START).to_secret())
    return vault


def test_a_rotation_is_written_when_it_is_due() -> None:
    """Once: the second call finds the ring as it should be."""
    vault = vault_with_a_ring()
    assert not rotate_key_ring(vault, START)
    assert vault.written == []
    assert rotate_key_ring(vault, START + 28 * DAY)
    assert not rotate_key_ring(vault, START + 28 * DAY)
    assert len(vault.written) == 1
    assert [each.signs_from - START for each in held(vault).keys] == [NO_TIME, 30 * DAY + SECOND]


def test_a_rotation_makes_no_first_ring() -> None:
    """Who first needs it makes it, one of all; a rotation at that moment does not interfere."""
    place = Place()
    assert not rotate_key_ring(place.vault, START)
    assert place.vault.written == []
    seen: list[bool] = []
    place.vault.before_set = lambda: seen.append(rotate_key_ring(place.vault, START))
    made = place.load(SECRET_NAME)
    seen.append(rotate_key_ring(place.vault, START))
    assert seen == [False, False]
    assert place.vault.written == [made]


def test_an_unreadable_ring_is_not_rotated() -> None:
    """What the engineer must look at stays as it is."""
    vault = CountingVault()
    vault.secrets[SECRET_NAME] = VaultSecret(Secret("not a ring"))
    with pytest.raises(ValueError, match="not readable"):
        rotate_key_ring(vault, START + 40 * DAY)
    assert vault.written == []


def test_a_rotation_that_dies_leaves_the_ring_as_it_was() -> None:
    """The next one does it."""
    vault = vault_with_a_ring()
    before = vault.secrets[SECRET_NAME]
    vault.before_set = crash
    with pytest.raises(UpstreamUnavailable):
        rotate_key_ring(vault, START + 28 * DAY)
    assert vault.secrets[SECRET_NAME] == before
    vault.before_set = lambda: None
    assert rotate_key_ring(vault, START + 28 * DAY)


class SlowTimers:
    """Rotations whose writes come long after their reads, and instances that sign and verify all the while."""

    def __init__(self) -> None:
        self.vault = vault_with_a_ring()
        self.now = START + 26 * DAY
        self.read: list[tuple[datetime, KeyRing]] = []
        self.tokens: dict[str, tuple[datetime, str]] = {}
        self.visit()

    def rotate(self, skew: timedelta = NO_TIME, others: Callable[[], object] = lambda: None) -> None:
        """Rotate by a clock that is off, and let `others` do something between the read and the write."""
        self.vault.before_set = others
        rotate_key_ring(self.vault, self.now + skew)
        self.visit()

    def wait(self, duration: timedelta) -> None:
        """Let time pass."""
        self.now += duration
        self.visit()

    def visit(self) -> None:
        """Let every instance sign that read the ring in the last day; what was signed in the last hour must verify."""
        ring = held(self.vault)
        self.read = [(at, each) for at, each in self.read if self.now - at < DAY] + [(self.now, ring)]
        signers = (each.signing_key(self.now) for _, each in self.read)
        for signer in {each.key_id: each for each in signers}.values():
            token = jws.sign({"kid": signer.key_id}, {"sub": "nurse"}, signer.private_key)
            self.tokens[signer.key_id] = self.now, token
        for key_id, (at, token) in self.tokens.items():
            if self.now - at < timedelta(hours=1):
                key = ring.find(key_id)
                assert key is not None
                jws.verify(jws.read(token), key.public_key, "ES256")


@pytest.mark.parametrize("every", [timedelta(minutes=30), timedelta(hours=5), DAY, 3 * DAY])
@pytest.mark.parametrize("delay", [NO_TIME, timedelta(minutes=10)])
def test_two_rotations_at_once_do_no_harm(every: timedelta, delay: timedelta) -> None:
    """A whole rotation between the read and the late write of another, each time: every token verifies.

    Also the tokens of instances that hold the ring of either, or one that is a day old; by clocks that differ.
    """
    timers, skew = SlowTimers(), cycle([timedelta(minutes=5), timedelta(minutes=-5), NO_TIME])

    def meanwhile() -> None:
        timers.rotate(next(skew))
        timers.wait(delay)

    while timers.now < START + 33 * DAY:
        timers.wait(every)
        timers.rotate(next(skew), meanwhile)
        assert len(held(timers.vault).keys) <= 2
    assert len(timers.tokens) == 2  # of all the keys that were made, two were ever used


def test_of_two_rotations_at_once_the_last_write_wins() -> None:
    """Both add a key; the one that is lost has signed nothing, and is not published any more."""
    timers = SlowTimers()
    timers.wait(DAY)
    timers.rotate(others=timers.rotate)
    first, second = (KeyRing.from_secret(Secret(text)) for text in timers.vault.written)
    assert len({first.keys[1].key_id, second.keys[1].key_id}) == 2
    assert held(timers.vault).public_jwks() == second.public_jwks()
    for ring in (first, second):
        assert ring.keys[1].signs_from - timers.now >= 2 * DAY
        assert ring.signing_key(timers.now + 2 * DAY).key_id == first.keys[0].key_id


def test_names_that_others_rely_on() -> None:
    """The names of the secrets in the vault, which the engineer's guide gives."""
    assert (PEPPER_NAME, SECRET_NAME) == ("sos-pepper", "sos-session-keys")
