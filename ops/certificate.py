"""`python -m ops certificate`: the renewal of the certificate, for the engineer. The work is done by ticks."""

import argparse
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from shared import renewal_requests
from shared.base64url import random_id
from shared.public_part import FILE_NAME
from shared.renewal import POLICY, manual_reason, start_of
from shared.renewal_alarms import conditions
from shared.renewal_state import LONG_AGO, Asked, CertificateVersion, Phase, RenewalState, read_state
from shared.renewal_tick import tick
from shared.services import Services
from shared.settings import read_settings

_ASK: Final = {
    "generate": (Asked.GENERATE, "make the next certificate now; it is used once Microsoft knows it"),
    "rotate": (Asked.ROTATE, "replace the certificate now, and retire the old one after some minutes"),
    "revoke": (
        Asked.REVOKE,
        "replace the certificate now; at that moment the vault stops signing with the old one",
    ),
    "roll-back": (Asked.ROLL_BACK, "go back to the previous certificate, and pause the renewal"),
}
_LOOK_EVERY_SECONDS: Final = 5


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse has no public type for it
    """Add `certificate` and what can be done with it."""
    parser = commands.add_parser("certificate", help="look at the certificate and its renewal, or steer it")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    status = actions.add_parser("status", help="show what signs, what comes next and when (JSON)")
    status.set_defaults(run=_status)
    for name, (_, what) in _ASK.items():
        action = actions.add_parser(name, help=what)
        action.add_argument(
            "--wait",
            type=int,
            default=0,
            metavar="MINUTES",
            help="run ticks until it is done, and show each step",
        )
        action.set_defaults(run=_ask, ask=name)
    download = actions.add_parser("download", help=f"write the public part, {FILE_NAME}, for the portal")
    download.add_argument("--to", type=Path, default=Path(FILE_NAME), help="the file to write")
    download.set_defaults(run=_download)
    for name, what in (
        ("pause", "let nothing change by itself"),
        ("resume", "go on after a pause or a roll-back"),
        ("look", "look at once whether the certificate has been uploaded"),
    ):
        actions.add_parser(name, help=what).set_defaults(run=_steer, steer=name)


def _status(services: Services, options: argparse.Namespace) -> str:
    del options
    return json.dumps(describe(services), indent=2)


def describe(services: Services) -> dict[str, object]:
    """Say where the renewal stands, for a person or a program: times in UTC, empty where there is nothing to say."""
    state, settings, now = read_state(services.store), read_settings(services.store), services.clock()
    reason = manual_reason(state, settings.object_id, POLICY, now)
    mode = "paused" if state.paused else "manual" if reason else "automatic"
    current, client_id = state.current, settings.client_id
    starts = start_of(current, client_id, state.generation + 1, POLICY) if current is not None else None
    return {
        "phase": state.phase,
        "generation": state.generation,
        "mode": mode,
        "why": reason,
        "asked": state.request.kind if state.request else "",
        "current": _version(state.current),
        "next": _version(state.next),
        "previous": _version(state.previous),
        "next_renewal_from": _time(starts),
        "last_tick": _time(state.last_tick_at),
        "next_try": _time(state.next_attempt_at),
        "last_error": state.last_error,
        "clock_skew_seconds": round(state.clock_skew.total_seconds(), 1),
        "alarms": list(conditions(state, now)),
    }


def _version(version: CertificateVersion | None) -> dict[str, str] | None:
    if version is None:
        return None
    return {
        "version": version.version,
        "x5t#S256": version.thumbprint,
        "valid_until": _time(version.not_after),
        "registered": _time(version.registered_at),
        "signs_since": _time(version.switched_at),
        "accepted_last": _time(version.ok_at),
    }


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment is not None and moment > LONG_AGO else ""


def _ask(services: Services, options: argparse.Namespace) -> str:
    kind, _ = _ASK[options.ask]
    read_settings(services.store).application  # noqa: B018 - raises NotConfigured: there is nothing to renew for
    state = renewal_requests.ask(services.store, kind, random_id(), services.clock())
    if not options.wait:
        return "Asked for. The timer does it within the hour, requests sooner; `certificate status` shows how far it is."
    deadline = time.monotonic() + options.wait * 60
    shown = ""
    while time.monotonic() < deadline:
        tick(services, with_chores=False)
        state = read_state(services.store)
        if (line := _line(state)) != shown:
            print(line, flush=True)
            shown = line
        if state.request is None and state.phase in {Phase.IDLE, Phase.OVERLAP}:
            if kind is Asked.ROLL_BACK and not state.paused:
                raise ValueError("The previous certificate cannot sign any more: nothing was changed.")
            return "Done."
        if _waits_for_upload(services, state):
            return f"Upload {FILE_NAME} (certificate download) to Microsoft; it is used by itself then."
        time.sleep(_LOOK_EVERY_SECONDS)
    return "Not done yet. The timer goes on with it."


def _waits_for_upload(services: Services, state: RenewalState) -> bool:
    settings = read_settings(services.store)
    by_hand = manual_reason(state, settings.object_id, POLICY, services.clock())
    return state.phase is Phase.REGISTER and bool(by_hand)


def _line(state: RenewalState) -> str:
    probes = f", {state.next.ok_run} good probes" if state.next and state.phase is Phase.PROVE else ""
    paused = ", paused" if state.paused else ""
    trouble = f" ({state.last_error})" if state.last_error else ""
    return f"{state.phase}{paused}{probes}{trouble}"


def _download(services: Services, options: argparse.Namespace) -> str:
    options.to.write_bytes(renewal_requests.download(services.store, services.vault))
    waiting = read_state(services.store).next is not None
    which = "next certificate" if waiting else "certificate in use (`generate --wait 10` makes the next one)"
    place = "Entra admin center › App registrations › Certificates & secrets"
    return f"{options.to} holds the {which}. To upload it: {place}."


def _steer(services: Services, options: argparse.Namespace) -> str:
    steer = {
        "pause": renewal_requests.pause,
        "resume": renewal_requests.resume,
        "look": renewal_requests.look_now,
    }[options.steer]
    steer(services.store, services.clock())
    if options.steer == "look":
        tick(services, with_chores=False)
    return f"The renewal is in {_line(read_state(services.store))}."
