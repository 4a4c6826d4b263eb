"""How many guesses the password door allows: what is counted, and the rule of each counter.

=======  ===========================  ==================================================================
scope    counts                       rule
=======  ===========================  ==================================================================
account  failures in a row of all     5 are free, then waits of 30 s doubling to 1 h; after 100 no more
         browsers we do not know      until a sign-in from a known browser, or a new set-up link
device   failures in a row of one     the same for itself alone; the account's counter and the address's
         browser we know              do not apply, so a stranger cannot keep its person out
address  failures of one client       30 at once, one more each minute
         address, on any account
=======  ===========================  ==================================================================

It counts names, not accounts, so it tells nobody whether an account exists. Counters are named by keyed
hashes: the store learns no user name and no address.

Clocks: a row that lies further in the future than clocks disagree is brought back to now when it is met, so
no wait is longer than its rule by more than the tolerance. A clock that jumps ahead ends the wait that is
running and no more. Accepted risk: instances that keep disagreeing by more than the tolerance shorten waits
by the difference; the limit of 100 needs no clock.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address

from shared.device import DeviceId
from shared.errors import UpstreamUnavailable
from shared.ports import Row, Value

FREE_FAILURES = 5
"""People mistype: so many failures in a row are followed by no wait, and the last of them by the first."""

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
MAX_FAILURES = 100
"""NIST SP 800-63B-4, section 3.2.2: waits of 30 seconds up to an hour, at most 100 failures in a row."""

BURST = 30
REGAIN = timedelta(minutes=1)
"""One address may be a whole clinic, so it gets more at once than an account; each REGAIN gives one back."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""What clocks of instances may differ by without any effect on the rules."""

KEEP = timedelta(days=365)
"""A counter of failures that rests so long may be swept away. The rules themselves never forget with time."""

NO_WAIT = timedelta(0)


class Scope(StrEnum):
    """What is counted together."""

    ACCOUNT = "account"
    DEVICE = "device"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class Limit:
    """One counter: its scope, and the keyed hash of what it counts."""

    scope: Scope
    key: str

    @property
    def partition(self) -> str:
        """Sixteen for each scope: a flood is spread, and a sweep can still name them all."""
        return f"{self.scope}-{self.key[0]}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt is charged to, in this order, and which counters a success clears."""

    charges: tuple[Limit, ...]
    clears: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """How long the attempt must wait (zero: it may go ahead), and what is to be written (None: nothing).

    What is written is the charge when it may go ahead, a row brought back from the future when it may not.
    """

    wait: timedelta
    values: Mapping[str, Value] | None
    closed: bool = False
    """No wait opens it again: only a sign-in from a known browser, a new set-up link, or `ops unlock`."""


def attempt_from(user_name: str, address: str, device: DeviceId | None, key: bytes) -> Attempt:
    """Say what an attempt counts against.

    `user_name` is normalised, `address` is the client's as text, `device` is whom `device.known` recognised.
    """
    account = account_limit(user_name, key)
    if device is not None:
        browser = Limit(Scope.DEVICE, _hash(key, Scope.DEVICE, user_name, device))
        return Attempt(charges=(browser,), clears=(browser, account))
    client = Limit(Scope.ADDRESS, _hash(key, Scope.ADDRESS, _address_group(address)))
    # The address comes first: its charge can be given back when the account turns out to have to wait.
    return Attempt(charges=(client, account), clears=(account,))


def account_limit(user_name: str, key: bytes) -> Limit:
    """Name the counter that a new set-up link resets. `user_name` is normalised."""
    return Limit(Scope.ACCOUNT, _hash(key, Scope.ACCOUNT, user_name))


def decide(limit: Limit, row: Row | None, now: datetime) -> Decision:
    """Apply the rule of a counter to its row. Raises UpstreamUnavailable when the row makes no sense."""
    return _budget(row, now) if limit.scope is Scope.ADDRESS else _failures_in_a_row(row, now)


def refunded(row: Row) -> Mapping[str, Value]:
    """Answer an address's row with one charge given back."""
    return _budget_values(_time(row, "full_at") - REGAIN)


def _failures_in_a_row(row: Row | None, now: datetime) -> Decision:
    """Free failures first, then a wait after each, then no more."""
    failures, last = (0, now) if row is None else (_integer(row, "failures"), _time(row, "last_failure"))
    if failures >= MAX_FAILURES:
        return Decision(LONGEST_WAIT, None, closed=True)
    if failures >= FREE_FAILURES:
        from_the_future = last > now + CLOCK_TOLERANCE
        last = now if from_the_future else last
        wait = last + _wait_after(failures) - now
        if wait > NO_WAIT:
            return Decision(wait, _failures_values(failures, last) if from_the_future else None)
    return Decision(NO_WAIT, _failures_values(failures + 1, now))


def _wait_after(failures: int) -> timedelta:
    doublings = min(failures - FREE_FAILURES, 10)  # bounded, because a timedelta is
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def _failures_values(failures: int, last: datetime) -> Mapping[str, Value]:
    return {"failures": failures, "last_failure": last, "expires_at": last + KEEP}


def _budget(row: Row | None, now: datetime) -> Decision:
    """Decide by the generic cell rate algorithm (ITU-T I.371): a budget that refills, kept as one time.

    `full_at` is when the budget is whole again. A charge moves it by REGAIN, to at most BURST times REGAIN
    from now.
    """
    empty = now + BURST * REGAIN
    full_at = now if row is None else max(now, _time(row, "full_at"))
    from_the_future = full_at > empty + CLOCK_TOLERANCE
    full_at = empty if from_the_future else full_at
    wait = full_at + REGAIN - empty
    if wait > NO_WAIT:
        return Decision(wait, _budget_values(full_at) if from_the_future else None)
    return Decision(NO_WAIT, _budget_values(full_at + REGAIN))


def _budget_values(full_at: datetime) -> Mapping[str, Value]:
    return {"full_at": full_at, "expires_at": full_at}


def _hash(key: bytes, scope: Scope, *what: str) -> str:
    # No part holds a control character, so NUL separates them without doubt.
    return hmac.digest(key, "\0".join((scope, *what)).encode(), "sha256").hex()


def _address_group(address: str) -> str:
    """Answer what counts as one client: an IPv4 address, 64 bits of an IPv6 address, "unknown" for all else.

    A port is ignored; an IPv4-mapped IPv6 address is the IPv4 address (RFC 4291, section 2.5.5.2).
    """
    host = address.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        client = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(client, IPv6Address):
        return str(client.ipv4_mapped or client.exploded[:19])
    return str(client)


def _integer(row: Row, name: str) -> int:
    value = row.values.get(name)
    if isinstance(value, int):
        return value
    raise _malformed()


def _time(row: Row, name: str) -> datetime:
    value = row.values.get(name)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    raise _malformed()


def _malformed() -> UpstreamUnavailable:
    port = "store"
    return UpstreamUnavailable(port, "a row of the throttle makes no sense", retriable=False)
