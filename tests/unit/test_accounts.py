from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import accounts
from shared.access import Level
from shared.accounts import (
    OWNER_ID,
    Account,
    account_by_id,
    account_by_principal,
    account_by_user_name,
    create,
    deactivate,
    provision,
    save,
    set_owner,
    tie,
)
from shared.errors import BadRequest, Conflict, UpstreamUnavailable
from shared.ports import Row, Store, Table
from shared.principal import Principal
from shared.secret import Secret
from tests.house import NURSE, START
from tests.memory import MemoryStore
from tests.unit.spy_store import SpyStore, crash

LATER = START + timedelta(minutes=5)
DOCTOR = Principal(NURSE.tenant_id, "5d1f0c7e-9b1a-4a8e-8f46-2c1f7a9e6b02")
FIRST_TOKEN = "hash of the first token"
HASH = Secret("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA")


def make_owner(store: Store) -> Account:
    """Make the Owner as the first run does."""
    return set_owner(store, "owner", HASH, FIRST_TOKEN, START)


def make_user(store: Store, user_name: str = "nurse", level: Level = Level.USER) -> Account:
    """Make an account with a user name."""
    return create(store, user_name, user_name.title(), level, HASH, START)


def interrupted(store: SpyStore, nth_write: int, work: Callable[[], object]) -> bool:
    """Do some work in a process that dies before its n-th write; answer whether it got that far."""
    store.before_write(nth_write, crash)
    try:
        work()
    except UpstreamUnavailable:
        return True
    return False


# Finding an account


def test_by_id() -> None:
    """Every field comes back as it was written."""
    store = MemoryStore()
    made = make_user(store)
    found = account_by_id(store, made.id)
    assert found is not None
    assert replace(found, password_hash=made.password_hash) == made
    assert (made.name, made.user_name, made.level) == ("Nurse", "nurse", Level.USER)
    assert (made.created_at, made.sessions_from, made.allow_login) == (START, START, True)
    assert found_hash(store, made.id).reveal() == HASH.reveal()
    assert made.principal is None
    assert account_by_id(store, "nobody") is None
    assert account_by_id(store, "") is None


def found_hash(store: Store, account_id: str) -> Secret:
    """Answer the password hash as it was read (secrets are compared by what they reveal, not by `==`)."""
    account = account_by_id(store, account_id)
    assert account is not None
    return account.password_hash


@pytest.mark.parametrize("spelling", ["nurse", "NURSE", " Nurse ", "ｎｕｒｓｅ", "nurſe"])
def test_by_user_name_in_every_spelling(spelling: str) -> None:
    """Upper case, spaces at the ends, wide letters and a long s are one name."""
    store = MemoryStore()
    made = make_user(store)
    found = account_by_user_name(store, spelling)
    assert found is not None
    assert found.id == made.id


def test_other_names_find_nobody() -> None:
    """Neither a part of a name, nor a display name, nor an id, nor an account that has no user name."""
    store = MemoryStore()
    made = make_user(store, "nurse.one")
    provision(store, NURSE, "Nurse", START)
    for name in ("nurse", "nurse.one2", "n", made.id, NURSE.account_id, "nobody", "Nurse@clinic.example"):
        assert account_by_user_name(store, name) is None


def test_by_microsoft_identity() -> None:
    """Tenant and object together; neither alone, nor exchanged, finds anybody."""
    store = MemoryStore()
    made = provision(store, NURSE, "Nurse", START)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert (found.id, found.principal) == (made.id, NURSE)
    for stranger in (
        DOCTOR,
        Principal(DOCTOR.object_id, NURSE.object_id),
        Principal(NURSE.object_id, NURSE.tenant_id),
    ):
        assert account_by_principal(store, stranger) is None


def test_an_account_at_the_place_of_an_identity_must_name_it() -> None:
    """The id is derived, and the row has the last word."""
    store = MemoryStore()
    made = provision(store, NURSE, "Nurse", START)
    save(store, replace(made, principal=DOCTOR))
    assert account_by_principal(store, NURSE) is None


def test_two_reads_whether_or_not_a_name_exists() -> None:
    """The time a look-up takes does not tell which names there are (ASVS 6.3.8)."""
    store = SpyStore()
    make_user(store)
    deactivate(store, make_user(store, "gone"), START)
    set_owner(store, "first name", HASH, "token 1", START)
    set_owner(store, "second name", HASH, "token 2", START)
    for name in ("nurse", "nobody", "gone", "first name", "second name", "x" * 128):
        before = store.reads
        account_by_user_name(store, name)
        assert store.reads - before == 2, name


def test_a_sign_in_with_microsoft_reads_once() -> None:
    """One read for most, two for a tied identity."""
    store = SpyStore()
    provision(store, NURSE, "Nurse", START)
    tie(store, make_owner(store), DOCTOR)
    for principal, reads in ((NURSE, 1), (DOCTOR, 2), (Principal("a", "b"), 1)):
        before = store.reads
        account_by_principal(store, principal)
        assert store.reads - before == reads


def test_a_pointer_is_not_an_account() -> None:
    """The id of a tied identity names no account of its own: sessions of the one it had are over."""
    store = MemoryStore()
    provision(store, NURSE, "Nurse", START)
    tie(store, make_owner(store), NURSE)
    assert account_by_id(store, NURSE.account_id) is None


def test_a_row_without_its_times_is_an_error_of_ours() -> None:
    """A row that lost `sessions_from` must not pass for one whose sessions never end."""
    store = MemoryStore()
    made = make_user(store)
    row = store.get(Table.ACCOUNTS, "account", made.id)
    assert row is not None
    for name in ("sessions_from", "created_at"):
        broken = store.replace(Table.ACCOUNTS, replace(row, values={**row.values, name: "yesterday"}))
        with pytest.raises(TypeError, match="a row without its"):
            account_by_id(store, made.id)
        row = store.replace(Table.ACCOUNTS, replace(row, etag=broken.etag))


# The first sign-in with Microsoft


def test_a_new_identity_gets_a_user() -> None:
    """Level User, no password, no user name, allowed to sign in."""
    made = provision(MemoryStore(), NURSE, "Nurse", START)
    assert (made.id, made.principal, made.name) == (NURSE.account_id, NURSE, "Nurse")
    assert (made.level, made.allow_login, made.user_name) == (Level.USER, True, "")
    assert made.password_hash.reveal() == ""
    assert (made.created_at, made.sessions_from) == (START, START)


def test_two_first_sign_ins_at_once_make_one_account() -> None:
    """The later one gets what the earlier one made, and undoes nothing of it."""
    store = SpyStore()
    store.before_write(1, lambda: deactivate(store, provision(store, NURSE, "Nurse", START), START))
    found = provision(store, NURSE, "Another name", LATER)
    assert (found.id, found.name, found.created_at) == (NURSE.account_id, "Nurse", START)
    assert not found.allow_login


def test_many_first_sign_ins_at_once() -> None:
    """Twenty tabs of one person, on any instance."""
    store = MemoryStore()
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda n: provision(store, NURSE, f"Nurse {n}", START), range(20)))
    assert len({(account.id, account.name, account.etag) for account in made}) == 1


def test_a_first_sign_in_does_not_undo_a_tie() -> None:
    """The Owner's identity is tied while its first sign-in is under way: it is the Owner's from then on."""
    store = SpyStore()
    owner = make_owner(store)
    assert account_by_principal(store, NURSE) is None
    tie(store, owner, NURSE)
    assert provision(store, NURSE, "Nurse", LATER).id == OWNER_ID
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.id == OWNER_ID


def test_a_first_sign_in_overwrites_no_account() -> None:
    """An account that stands at an identity's place and names another one is left as it is."""
    store = MemoryStore()
    save(store, replace(provision(store, NURSE, "Nurse", START), principal=DOCTOR))
    with pytest.raises(Conflict):
        provision(store, NURSE, "Nurse", LATER)
    found = account_by_id(store, NURSE.account_id)
    assert found is not None
    assert found.principal == DOCTOR


def test_a_first_sign_in_that_loses_every_race_says_so() -> None:
    """Between its writes another one changed the pointer: nobody's work is lost."""
    store = SpyStore()
    owner = tie(store, make_owner(store), NURSE)
    tie(store, owner, None)
    store.before_write(2, lambda: provision(store, NURSE, "The first", START))
    with pytest.raises(Conflict):
        provision(store, NURSE, "The second", START)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.name == "The first"


# Ties


def test_a_tied_identity_signs_in_to_the_account() -> None:
    """The Owner's password and the Owner's Microsoft account lead to one account."""
    store = MemoryStore()
    tied = tie(store, make_owner(store), NURSE)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert (found.id, found.level, found.principal) == (OWNER_ID, Level.OWNER, NURSE)
    assert tied.etag == found.etag


def test_a_tie_replaces_the_account_that_the_identity_had() -> None:
    """Whoever was provisioned as a User and is then tied to the Owner signs in as the Owner."""
    store = MemoryStore()
    provision(store, NURSE, "Nurse", START)
    tie(store, make_owner(store), NURSE)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.id == OWNER_ID


def test_an_identity_is_let_go() -> None:
    """After an untying the identity is a stranger, and gets a User of its own at its next sign-in."""
    store = MemoryStore()
    tied = tie(store, make_owner(store), NURSE)
    untied = tie(store, tied, None)
    assert untied.principal is None
    assert account_by_principal(store, NURSE) is None
    again = provision(store, NURSE, "Nurse", LATER)
    assert (again.id, again.level) == (NURSE.account_id, Level.USER)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.id == NURSE.account_id


def test_a_tie_to_another_identity_lets_the_first_go() -> None:
    """One account has at most one identity."""
    store = MemoryStore()
    tie(store, tie(store, make_owner(store), NURSE), DOCTOR)
    assert account_by_principal(store, NURSE) is None
    found = account_by_principal(store, DOCTOR)
    assert found is not None
    assert found.id == OWNER_ID


def test_an_identity_comes_back() -> None:
    """Tied, let go, tied again: the pointer that was left is used."""
    store = MemoryStore()
    tied = tie(store, tie(store, tie(store, make_owner(store), NURSE), None), NURSE)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found == replace(tied, password_hash=found.password_hash)


def test_an_account_tied_to_its_own_identity() -> None:
    """A provisioned account needs no pointer, and must not be replaced by one to itself."""
    store = MemoryStore()
    made = provision(store, NURSE, "Nurse", START)
    tie(store, made, NURSE)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.id == made.id


@pytest.mark.parametrize("had_an_account", [False, True])
@pytest.mark.parametrize("nth_write", [1, 2])
def test_a_tie_that_dies_half_way_changes_no_sign_in(nth_write: int, *, had_an_account: bool) -> None:
    """The identity keeps the account it had, or none; and the same tie can be made again."""
    store = SpyStore()
    owner = make_owner(store)
    if had_an_account:
        provision(store, NURSE, "Nurse", START)
    assert interrupted(store, nth_write, lambda: tie(store, owner, NURSE))
    found = account_by_principal(store, NURSE)
    assert (found.id if found else None) == (NURSE.account_id if had_an_account else None)
    by_name = account_by_user_name(store, "owner")
    assert by_name is not None
    assert by_name.id == OWNER_ID

    provision(store, NURSE, "Nurse", LATER)
    tie(store, by_name, NURSE)
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.id == OWNER_ID


def test_an_untying_that_dies_changes_nothing() -> None:
    """One write, done or not done."""
    store = SpyStore()
    tied = tie(store, make_owner(store), NURSE)
    assert interrupted(store, 1, lambda: tie(store, tied, None))
    found = account_by_principal(store, NURSE)
    assert found is not None
    assert found.id == OWNER_ID


def test_a_tie_notices_a_change_of_the_account() -> None:
    """What was decided on a stale account is decided again."""
    store = MemoryStore()
    stale = make_owner(store)
    set_owner(store, "owner", HASH, "another token", LATER)
    with pytest.raises(Conflict):
        tie(store, stale, NURSE)
    assert account_by_principal(store, NURSE) is None


# User names


def test_a_name_is_taken_once() -> None:
    """In any spelling; the account that has it stays as it was."""
    store = MemoryStore()
    first = make_user(store, "nurse")
    with pytest.raises(Conflict):
        make_user(store, "NURSE")
    found = account_by_user_name(store, "nurse")
    assert found is not None
    assert found.id == first.id


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "nurse\0", "nur\u200bse"])
def test_a_name_that_nobody_can_have(name: str) -> None:
    """It is refused before anything is written."""
    store = SpyStore()
    with pytest.raises(BadRequest):
        make_user(store, name)
    assert store.writes == 0


def test_a_name_of_an_unfinished_creation_is_taken_over() -> None:
    """A process died between the name and the account: the next one gets the name."""
    store = SpyStore()
    assert interrupted(store, 2, lambda: make_user(store, "nurse"))
    assert account_by_user_name(store, "nurse") is None
    made = make_user(store, "nurse")
    found = account_by_user_name(store, "nurse")
    assert found is not None
    assert found.id == made.id


def test_of_two_that_take_over_a_name_one_loses() -> None:
    """The pointer is changed by compare-and-swap."""
    store = SpyStore()
    assert interrupted(store, 2, lambda: make_user(store, "nurse"))
    winners: list[Account] = []
    store.before_write(2, lambda: winners.append(make_user(store, "nurse")))
    with pytest.raises(Conflict):
        make_user(store, "nurse")
    found = account_by_user_name(store, "nurse")
    assert found is not None
    assert [found.id] == [winner.id for winner in winners]


@pytest.mark.parametrize("nth_write", [1, 2])
def test_two_creations_of_one_name_at_once(nth_write: int) -> None:
    """One succeeds; whoever was told of success can sign in with the name."""
    store = SpyStore()
    told: list[Account] = []

    def try_to_make() -> None:
        with suppress(Conflict):
            told.append(make_user(store, "nurse"))

    store.before_write(nth_write, try_to_make)
    try_to_make()
    found = account_by_user_name(store, "nurse")
    assert found is not None
    assert [account.id for account in told] == [found.id]
    assert [row.key for row in store.query(Table.ACCOUNTS, "account")] == [found.id]


def test_ids_are_random_and_the_owners_is_not() -> None:
    """Only the Owner's id is known beforehand, so that there is one Owner at most."""
    store = MemoryStore()
    ids = {make_user(store, f"user {n}").id for n in range(50)}
    assert len(ids) == 50
    assert all(len(account_id) == 22 for account_id in ids)
    assert make_user(store, "owner", Level.OWNER).id == OWNER_ID == "owner"
    with pytest.raises(Conflict):
        make_user(store, "second owner", Level.OWNER)
    assert account_by_user_name(store, "second owner") is None


@given(st.text(min_size=1, max_size=128))
def test_any_name_that_can_be_had_can_be_found(name: str) -> None:
    """Whatever stands in it: no character of a name reaches a key of the store."""
    store = MemoryStore()
    try:
        made = make_user(store, name)
    except BadRequest:
        return
    found = account_by_user_name(store, name)
    assert found is not None
    assert found.id == made.id
    key = next(row.key for row in store.query(Table.ACCOUNTS, "name"))
    assert len(key) == 43
    assert key.isascii()
    assert not set(key) & set("/\\#?")


# Changes


def test_a_save_is_compare_and_swap() -> None:
    """Of two changes to one account one is decided again."""
    store = MemoryStore()
    read = make_user(store)
    saved = save(store, replace(read, name="Head nurse"))
    assert saved.name == "Head nurse"
    assert saved.etag != read.etag
    with pytest.raises(Conflict):
        save(store, replace(read, name="Night nurse"))
    assert save(store, replace(saved, name="Day nurse")).name == "Day nurse"


def test_deactivating_ends_the_sessions_in_the_same_write() -> None:
    """No moment in between, in which the account is off and its sessions are on."""
    store = SpyStore()
    read = make_user(store)
    before = store.writes
    gone = deactivate(store, read, LATER)
    assert store.writes - before == 1
    assert (gone.allow_login, gone.sessions_from) == (False, LATER)
    found = account_by_id(store, read.id)
    assert found is not None
    assert (found.allow_login, found.sessions_from) == (False, LATER)


@pytest.mark.parametrize("stored", ["true", 1, 0, "", False])
def test_only_true_allows_a_sign_in(stored: str | int | bool) -> None:  # noqa: FBT001 - a value of the store
    """Anything else in the store is a no."""
    store = MemoryStore()
    made = make_user(store)
    row = store.get(Table.ACCOUNTS, "account", made.id)
    assert row is not None
    store.replace(Table.ACCOUNTS, replace(row, values={**row.values, "allow_login": stored}))
    found = account_by_id(store, made.id)
    assert found is not None
    assert found.allow_login is False


@pytest.mark.parametrize("missing", ["tenant_id", "object_id"])
def test_half_an_identity_is_none(missing: str) -> None:
    """A person is a tenant and an object: one of them names nobody."""
    store = MemoryStore()
    made = provision(store, NURSE, "Nurse", START)
    row = store.get(Table.ACCOUNTS, "account", made.id)
    assert row is not None
    store.replace(Table.ACCOUNTS, replace(row, values={**row.values, missing: ""}))
    found = account_by_id(store, made.id)
    assert found is not None
    assert found.principal is None
    assert account_by_principal(store, NURSE) is None


@pytest.mark.parametrize("level", [Level.USER, Level.ADMIN])
def test_the_owner_keeps_the_level(level: Level) -> None:
    """Nobody can take the Owner's rights, and nobody else can be given them."""
    store = SpyStore()
    owner, user = make_owner(store), make_user(store)
    before = store.writes
    with pytest.raises(ValueError, match="first account alone"):
        save(store, replace(owner, level=level))
    with pytest.raises(ValueError, match="first account alone"):
        save(store, replace(user, level=Level.OWNER))
    assert store.writes == before


def test_the_owner_cannot_be_deactivated() -> None:
    """The one account that must get in when all else is broken."""
    store = SpyStore()
    owner = make_owner(store)
    before = store.writes
    with pytest.raises(ValueError, match="cannot be deactivated"):
        deactivate(store, owner, LATER)
    with pytest.raises(ValueError, match="cannot be deactivated"):
        save(store, replace(owner, allow_login=False))
    assert store.writes == before


# The Owner's password


def test_the_first_run_makes_the_owner() -> None:
    """Name, password, and the token that was used, in the Owner's row."""
    store = MemoryStore()
    owner = set_owner(store, "The Owner", HASH, "hash of a token", START)
    assert (owner.id, owner.level, owner.name, owner.user_name) == (
        OWNER_ID,
        Level.OWNER,
        "Owner",
        "The Owner",
    )
    assert owner.password_hash.reveal() == HASH.reveal()
    assert (owner.setup_token_hash, owner.created_at, owner.sessions_from) == (
        "hash of a token",
        START,
        START,
    )
    found = account_by_user_name(store, "the owner")
    assert found is not None
    assert found.id == OWNER_ID


def test_a_new_password_ends_the_owners_sessions() -> None:
    """Whoever was in with the old one is out; the rest of the account stays."""
    store = MemoryStore()
    tie(store, make_owner(store), NURSE)
    changed = set_owner(store, "owner", Secret("new hash"), "second token", LATER)
    assert (changed.sessions_from, changed.created_at) == (LATER, START)
    assert changed.password_hash.reveal() == "new hash"
    assert changed.principal == NURSE


def test_a_new_user_name_takes_the_place_of_the_old_one() -> None:
    """The old name signs nobody in, and may be given to somebody else."""
    store = MemoryStore()
    make_owner(store)
    set_owner(store, "new name", HASH, "second token", LATER)
    assert account_by_user_name(store, "owner") is None
    found = account_by_user_name(store, "new name")
    assert found is not None
    assert found.id == OWNER_ID
    user = make_user(store, "owner")
    found = account_by_user_name(store, "owner")
    assert found is not None
    assert found.id == user.id


def test_the_owner_cannot_take_a_name_that_is_taken() -> None:
    """And stays as they were."""
    store = MemoryStore()
    make_owner(store)
    user = make_user(store, "nurse")
    with pytest.raises(Conflict):
        set_owner(store, "nurse", Secret("new hash"), "second token", LATER)
    found = account_by_user_name(store, "nurse")
    assert found is not None
    assert found.id == user.id
    assert found_hash(store, OWNER_ID).reveal() == HASH.reveal()


@pytest.mark.parametrize("first_run", [True, False])
def test_a_token_works_once(*, first_run: bool) -> None:
    """A second request with the same token changes nothing, although it looked at the token before the first wrote."""
    store = MemoryStore()
    if not first_run:
        make_owner(store)
    set_owner(store, "owner", Secret("hash of the first"), "one token", START)
    with pytest.raises(Conflict):
        set_owner(store, "owner", Secret("hash of the second"), "one token", LATER)
    assert found_hash(store, OWNER_ID).reveal() == "hash of the first"


@pytest.mark.parametrize("first_run", [True, False])
@pytest.mark.parametrize("nth_write", [1, 2])
def test_a_token_works_once_for_two_at_the_same_moment(nth_write: int, *, first_run: bool) -> None:
    """Wherever the other one cuts in, the later one raises Conflict."""
    store = SpyStore()
    if not first_run:
        make_owner(store)
    store.before_write(nth_write, lambda: set_owner(store, "owner", Secret("theirs"), "one token", START))
    with pytest.raises(Conflict):
        set_owner(store, "owner", Secret("mine"), "one token", START)
    assert found_hash(store, OWNER_ID).reveal() == "theirs"


@pytest.mark.parametrize("first_run", [True, False])
def test_a_token_works_once_for_many_threads(*, first_run: bool) -> None:
    """Twenty requests with one token: one of them sets the password."""
    store = MemoryStore()
    if not first_run:
        make_owner(store)

    def attempt(n: int) -> str:
        try:
            return set_owner(store, "owner", Secret(f"hash {n}"), "one token", START).password_hash.reveal()
        except Conflict:
            return ""

    with ThreadPoolExecutor(20) as pool:
        outcomes = [outcome for outcome in pool.map(attempt, range(20)) if outcome]
    assert outcomes == [found_hash(store, OWNER_ID).reveal()]


@pytest.mark.parametrize("nth_write", [1, 2])
@pytest.mark.parametrize("new_name", ["owner", "new name"])
def test_a_setting_of_the_owner_that_dies_can_be_done_again(nth_write: int, new_name: str) -> None:
    """Until the last write the old password is good, and the token is not used."""
    store = SpyStore()
    make_owner(store)
    assert interrupted(
        store, nth_write, lambda: set_owner(store, new_name, Secret("new hash"), "second token", LATER)
    )
    found = account_by_user_name(store, "owner")
    assert found is not None
    assert found.password_hash.reveal() == HASH.reveal()
    assert found.setup_token_hash != "second token"
    set_owner(store, new_name, Secret("new hash"), "second token", LATER)
    found = account_by_user_name(store, new_name)
    assert found is not None
    assert found.password_hash.reveal() == "new hash"


@pytest.mark.parametrize("nth_write", [1, 2])
def test_a_first_run_that_dies_can_be_done_again(nth_write: int) -> None:
    """A name without an Owner is nobody."""
    store = SpyStore()
    assert interrupted(store, nth_write, lambda: make_owner(store))
    assert account_by_id(store, OWNER_ID) is None
    assert account_by_user_name(store, "owner") is None
    assert make_owner(store).id == OWNER_ID


# What is stored, and what is shown


def test_a_password_hash_is_not_shown() -> None:
    """Accounts stand in logs and tracebacks by their repr."""
    assert HASH.reveal() not in repr(make_user(MemoryStore()))


def test_no_two_accounts_share_a_default() -> None:
    """An account without a password has an empty hash of its own."""
    nobody = Account("x", "X", Level.USER, START, START)
    assert nobody.password_hash.reveal() == ""
    assert nobody.allow_login


def test_every_write_names_its_place() -> None:
    """Rows of accounts and of names lie in their own partitions, as the module's docstring says."""
    store = MemoryStore()
    ids = count(1)
    for _ in range(3):
        make_user(store, f"user {next(ids)}")
    provision(store, NURSE, "Nurse", START)
    rows = store.query(Table.ACCOUNTS, "account")
    names = store.query(Table.ACCOUNTS, "name")
    assert (len(rows), len(names)) == (4, 3)
    assert {row.values["same_as"] for row in names} < {row.key for row in rows}


def test_a_pointer_that_leads_nowhere_is_nobody() -> None:
    """Neither a name nor an identity whose account is gone signs anybody in, or fails."""
    store = MemoryStore()
    store.insert(Table.ACCOUNTS, Row("account", NURSE.account_id, {"same_as": "gone"}))
    assert account_by_principal(store, NURSE) is None
    assert accounts.provision(store, NURSE, "Nurse", START).principal == NURSE
