"""The accounts: found by id, by user name, or by Microsoft identity; never by e-mail or display name.

Rows of the table `accounts`:
  partition `account`, key = account id      the account, or a pointer `same_as` to one (a tied identity)
  partition `name`, key = hash of user name  a pointer to the account that signs in with that name
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.access import Level
from shared.base64url import base64url, random_id
from shared.errors import Conflict
from shared.ports import Row, Store, Table, Value
from shared.principal import Principal
from shared.secret import Secret
from shared.user_name import normalise_user_name

OWNER_ID = "owner"
"""The Owner is the first account and the only one of its level: its id is a constant, so it exists at most once."""

_ACCOUNT, _NAME = "account", "name"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `password_hash` is a PHC string or empty; sessions from before `sessions_from` are over."""

    id: str
    name: str
    level: Level
    created_at: datetime
    sessions_from: datetime
    user_name: str = ""
    allow_login: bool = True
    password_hash: Secret = field(default_factory=lambda: Secret(""))
    principal: Principal | None = None
    setup_token_hash: str = ""
    etag: str = ""


def account_by_id(store: Store, account_id: str) -> Account | None:
    """Read an account; None when there is none of this id."""
    row = store.get(Table.ACCOUNTS, _ACCOUNT, account_id)
    return _from_row(row) if row is not None and "same_as" not in row.values else None


def account_by_user_name(store: Store, user_name: str) -> Account | None:
    """Read the account that signs in with this user name, in any spelling `normalise_user_name` folds.

    Two reads whether or not there is one: the time it takes must not tell which names exist (ASVS 6.3.8).
    """
    pointer = store.get(Table.ACCOUNTS, _NAME, _name_key(user_name))
    account = account_by_id(store, str(pointer.values["same_as"]) if pointer else "nobody")
    # The account has the last word: a pointer left over from a renaming that did not finish is worth nothing.
    return account if account and _name_key(account.user_name) == _name_key(user_name) else None


def account_by_principal(store: Store, principal: Principal) -> Account | None:
    """Read the account of a Microsoft identity: one read, two for a tied one."""
    row = store.get(Table.ACCOUNTS, _ACCOUNT, principal.account_id)
    if row is None:
        return None
    account = account_by_id(store, str(row.values["same_as"])) if "same_as" in row.values else _from_row(row)
    return account if account and account.principal == principal else None


def provision(store: Store, principal: Principal, name: str, now: datetime) -> Account:
    """Make the account of an identity that signs in for the first time: level User, no password."""
    account = Account(
        principal.account_id, name, Level.USER, created_at=now, sessions_from=now, principal=principal
    )
    try:
        return _from_row(store.insert(Table.ACCOUNTS, _to_row(account)))
    except Conflict:
        # Another instance was first, or the identity has been tied; or a tie was undone, and its pointer is left.
        row = store.get(Table.ACCOUNTS, _ACCOUNT, account.id)
        if (existing := account_by_principal(store, principal)) is not None:
            return existing
        if row is None or "same_as" not in row.values:
            raise
        return _from_row(store.replace(Table.ACCOUNTS, _to_row(replace(account, etag=row.etag))))


def create(
    store: Store, user_name: str, name: str, level: Level, password_hash: Secret, now: datetime
) -> Account:
    """Make an account that signs in with a user name.

    Raises BadRequest for a name that nobody can have, Conflict when it is taken.
    """
    normalise_user_name(user_name)
    account_id = OWNER_ID if level is Level.OWNER else random_id()
    account = Account(
        account_id,
        name,
        level,
        created_at=now,
        sessions_from=now,
        user_name=user_name,
        password_hash=password_hash,
    )
    row = store.insert(Table.ACCOUNTS, _to_row(account))
    try:
        _claim_name(store, account)
    except Conflict:
        store.delete(Table.ACCOUNTS, row)
        raise
    return _from_row(row)


def save(store: Store, account: Account) -> Account:
    """Write an account over the version that was read. Raises Conflict when it changed since."""
    if (account.level is Level.OWNER) != (account.id == OWNER_ID):
        raise ValueError("the level Owner belongs to the first account alone")
    if account.level is Level.OWNER and not account.allow_login:
        raise ValueError("the Owner cannot be deactivated")
    return _from_row(store.replace(Table.ACCOUNTS, _to_row(account)))


def deactivate(store: Store, account: Account, now: datetime) -> Account:
    """Untick "Allow Login". The same write ends every session of the account."""
    return save(store, replace(account, allow_login=False, sessions_from=now))


def set_owner(
    store: Store, user_name: str, password_hash: Secret, setup_token_hash: str, now: datetime
) -> Account:
    """Make the Owner, or give the Owner a new user name and password; ends the Owner's sessions.

    One compare-and-swap writes the password and uses up the set-up token, so that a token works once even when
    two requests bring it at the same moment: the later one raises Conflict.
    """
    owner = account_by_id(store, OWNER_ID)
    if owner is not None and owner.setup_token_hash == setup_token_hash:
        raise Conflict
    fresh = Account(OWNER_ID, "Owner", Level.OWNER, created_at=now, sessions_from=now)
    changed = replace(
        owner or fresh,
        user_name=user_name,
        password_hash=password_hash,
        setup_token_hash=setup_token_hash,
        sessions_from=now,
    )
    _claim_name(store, changed)
    return save(store, changed) if owner else _from_row(store.insert(Table.ACCOUNTS, _to_row(changed)))


def tie(store: Store, account: Account, principal: Principal | None) -> Account:
    """Tie an account to a Microsoft identity (or to none), so that both sign in to the same account.

    The account names its identity and has the last word; the pointer is only how it is found. A crash between
    the two writes leaves the identity with the account it had.
    """
    saved = save(store, replace(account, principal=principal))
    if principal is None or principal.account_id == account.id:
        return saved
    row = store.get(Table.ACCOUNTS, _ACCOUNT, principal.account_id)
    pointer = Row(_ACCOUNT, principal.account_id, {"same_as": account.id}, row.etag if row else "")
    if row is None:
        store.insert(Table.ACCOUNTS, pointer)
    else:
        store.replace(Table.ACCOUNTS, pointer)
    return saved


def _claim_name(store: Store, account: Account) -> None:
    """Point the user name at the account. A pointer to an account that does not bear the name is taken over."""
    pointer = Row(_NAME, _name_key(account.user_name), {"same_as": account.id})
    try:
        store.insert(Table.ACCOUNTS, pointer)
    except Conflict:
        row = store.get(Table.ACCOUNTS, _NAME, pointer.key)
        holder = account_by_user_name(store, account.user_name)
        if row is None or (holder is not None and holder.id != account.id):
            raise
        store.replace(Table.ACCOUNTS, replace(pointer, etag=row.etag))


def _name_key(user_name: str) -> str:
    # The characters / \ # ? cannot stand in a key (Tables, "Characters disallowed in key fields").
    digest = hashlib.sha256(normalise_user_name(user_name).encode()).digest()
    return base64url(digest)


def _to_row(account: Account) -> Row:
    values: dict[str, Value] = {
        "name": account.name,
        "level": account.level.slug,
        "created_at": account.created_at,
        "sessions_from": account.sessions_from,
        "user_name": account.user_name,
        "allow_login": account.allow_login,
        "password_hash": account.password_hash.reveal(),
        "tenant_id": account.principal.tenant_id if account.principal else "",
        "object_id": account.principal.object_id if account.principal else "",
        "setup_token_hash": account.setup_token_hash,
    }
    return Row(_ACCOUNT, account.id, values, account.etag)


def _from_row(row: Row) -> Account:
    values = row.values
    tenant_id, object_id = str(values["tenant_id"]), str(values["object_id"])
    return Account(
        id=row.key,
        name=str(values["name"]),
        level=Level[str(values["level"]).upper()],
        created_at=row.time("created_at"),
        sessions_from=row.time("sessions_from"),
        user_name=str(values["user_name"]),
        allow_login=values["allow_login"] is True,
        password_hash=Secret(str(values["password_hash"])),
        principal=Principal(tenant_id, object_id) if tenant_id and object_id else None,
        setup_token_hash=str(values["setup_token_hash"]),
        etag=row.etag,
    )
