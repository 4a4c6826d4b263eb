"""Versions and rows of a renewal, for the tests of its rules: what is not said is as on an ordinary day."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from shared.renewal_state import (
    Asked,
    CertificateVersion,
    Intent,
    Note,
    Phase,
    RenewalState,
    Request,
)

NOW = datetime(2027, 6, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def version(name: str, **changes: Any) -> CertificateVersion:  # noqa: ANN401 - fields of the record
    """Give a certificate of 365 days that was made just now."""
    made = CertificateVersion(
        name, f"sha256-{name}", f"sha1-{name}", NOW - 10 * MINUTE, NOW - 10 * MINUTE + 365 * DAY
    )
    return replace(made, **changes)


CURRENT = version(
    "v1",
    not_before=NOW - 200 * DAY,
    not_after=NOW + 165 * DAY,
    key_id="key-v1",
    switched_at=NOW - 190 * DAY,
    ok_at=NOW,
    probed_at=NOW,
)
NEXT = version("v2")
PREVIOUS = version(
    "v0", not_before=NOW - 300 * DAY, not_after=NOW + 65 * DAY, key_id="key-v0", switched_at=NOW - 290 * DAY
)


def row(phase: Phase = Phase.IDLE, **changes: Any) -> RenewalState:  # noqa: ANN401 - fields of the record
    """Give a row in this phase, with the versions that belong to it."""
    values: dict[str, Any] = {"phase_since": NOW, "generation": 3, "current": CURRENT}
    if phase in {Phase.REGISTER, Phase.PROVE}:
        values["next"] = NEXT
    if phase in {Phase.OVERLAP, Phase.RETIRE}:
        values["previous"] = PREVIOUS
    return RenewalState(phase=phase, **values | changes)


def asked(kind: Asked, target: str = "v1") -> Request:
    """Give a request of the Owner's; by default one that has not been answered yet."""
    return Request(kind, f"a nonce of {kind}", target)


_moments = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the time zone stands beside them
_maybe = st.none() | _moments
_names = st.text(max_size=8)
_name_lists = st.lists(_names, max_size=3).map(tuple)
versions = st.builds(
    CertificateVersion,
    version=_names,
    thumbprint=_names,
    x5t=_names,
    not_before=_moments,
    not_after=_moments,
    key_id=_names,
    registered_at=_maybe,
    run_from=_maybe,
    ok_run=st.integers(0, 9),
    ok_at=_maybe,
    probed_at=_maybe,
    refused_run=st.integers(0, 3),
    switched_at=_maybe,
    removed_at=_maybe,
    disabled=st.booleans(),
)
requests = st.builds(Request, st.sampled_from(Asked), _names, _names)
states = st.builds(
    RenewalState,
    phase=st.sampled_from(Phase),
    phase_since=_moments,
    generation=st.integers(0, 9),
    paused=st.booleans(),
    refusal=_names,
    current=st.none() | versions,
    next=st.none() | versions,
    previous=st.none() | versions,
    retired=_name_lists,
    abandoned=_name_lists,
    foreign=_name_lists,
    still_works=_names,
    add_keys=st.integers(0, 3),
    count=st.integers(0, 99),
    attempts=st.integers(0, 9),
    last_error=_names,
    next_attempt_at=_moments,
    blocked_until=_moments,
    lease_owner=_names,
    lease_until=_moments,
    last_tick_at=_moments,
    chores_at=_moments,
    keys_at=_moments,
    clock_skew=st.timedeltas(-DAY, DAY),
    request=st.none() | requests,
    answered=_name_lists,
    intent=st.none() | st.builds(Intent, _names, _names, _moments),
    notes=st.lists(st.builds(Note, _names, _names, _moments, _names, _names, st.booleans()), max_size=3).map(
        tuple
    ),
    alarms=_name_lists,
)
"""Rows of any kind, most of which no renewal would write."""
possible_states = states.filter(
    lambda state: state.next is not None or state.phase not in {Phase.REGISTER, Phase.PROVE}
)
"""Those with a next version where one must be."""
