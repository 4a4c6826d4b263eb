"""How tests and the playground steer the stand-ins: plain JSON under `/_control`, on loopback only."""

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

from local.cloud.entra.assertion import CERTIFICATE_ERRORS
from local.cloud.entra.replicas import Replicas
from local.cloud.entra.state import LONGEST_DELAY, RegisteredCertificate
from local.cloud.entra.tenant import Tenant
from local.cloud.graph.applications import Graph
from local.cloud.graph.policies import GraphPolicies
from local.cloud.key_vault.vault import Vault
from local.cloud.web import Json, Request, Response, Route, Service, json_response
from local.faults import parse_faults

PREFIX: Final = "/_control"


@dataclass(frozen=True, slots=True)
class Steered:
    """What there is to steer. `services` are entra, graph, vault and identity."""

    services: dict[str, Service]
    tenant: Tenant
    graph: Graph
    vault: Vault


def control_service(steered: Steered) -> Service:
    """Serve the control paths."""

    def route(methods: str, path: str, action: Callable[[Steered, Request], object]) -> Route:
        return Route(action.__name__, methods, PREFIX + path, partial(_perform, steered, action))

    return Service(
        routes=(
            route("GET", "/calls", _calls),
            route("POST", "/faults", _add_faults),
            route("POST", "/reset", _reset),
            route("GET PUT", "/application", _application),
            route("GET POST", "/certificates", _certificates),
            route("DELETE", "/certificates/(?P<thumbprint>[^/]+)", _remove_certificate),
            route("POST", "/certificate-errors", _force_certificate_errors),
            route("GET PUT", "/people", _people),
            route("PATCH", "/people/(?P<username>[^/]+)", _change_person),
            route("POST", "/rollover", _roll_over),
            route("POST", "/clock", _set_clock),
            route("GET PUT", "/replicas", _replicas),
            route("GET PUT", "/graph", _graph_policies),
            route("GET PUT", "/vault", _vault_settings),
        ),
        not_found=lambda _: json_response({"error": "there is no such control"}, HTTPStatus.NOT_FOUND),
        broken=lambda _: {},
    )


def _perform(steered: Steered, action: Callable[[Steered, Request], object], request: Request) -> Response:
    try:
        return json_response(action(steered, request))
    except KeyError as error:
        return json_response({"error": f"unknown or missing: {error}"}, HTTPStatus.NOT_FOUND)
    except ValueError as error:
        return json_response({"error": str(error)}, HTTPStatus.BAD_REQUEST)


def _calls(steered: Steered, _: Request) -> Json:
    """Answer how often each operation of each service was called."""
    return {name: service.faults.calls() for name, service in steered.services.items()}


def _add_faults(steered: Steered, request: Request) -> Json:
    """Make one service fail; see `local.faults` for what a fault is."""
    body = request.json()
    steered.services[body["service"]].faults.add(*parse_faults(json.dumps(body["faults"]).encode()))
    return {}


def _reset(steered: Steered, _: Request) -> Json:
    """Forget faults and counts, forced errors, wrong clocks, slow replicas and the policies of Graph."""
    for service in steered.services.values():
        service.faults.reset()
    steered.tenant.forced_errors.clear()
    steered.tenant.replicas = Replicas()
    steered.graph.policies = GraphPolicies()
    steered.tenant.clock.offset = steered.vault.clock.offset = timedelta()
    return {}


def _application(steered: Steered, request: Request) -> Json:
    """Show the application, or set the fields that the body names."""
    if request.method == "PUT":
        steered.tenant.state.change_application(request.json())
    return asdict(steered.tenant.state.application)


def _certificates(steered: Steered, request: Request) -> object:
    """Show the registered certificates, or register the one in the body."""
    if request.method == "POST":
        der = base64.b64decode(request.json()["der_base64"], validate=True)
        return _describe(steered.tenant.state.register_certificate(der))
    return [_describe(c) for c in steered.tenant.state.certificates]


def _describe(registered: RegisteredCertificate) -> Json:
    certificate = registered.certificate()
    return asdict(registered) | {
        "subject": certificate.subject.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }


def _remove_certificate(steered: Steered, request: Request) -> Json:
    """Drop the certificate with this thumbprint (either kind) or key id."""
    identifier = request.parts["thumbprint"]
    if not steered.tenant.state.remove_certificate(identifier):
        raise KeyError(identifier)
    return {}


def _force_certificate_errors(steered: Steered, request: Request) -> Json:
    """Fail the next `times` client authentications with the AADSTS number `code`."""
    body = request.json()
    code, times = body["code"], body.get("times", 1)
    if code not in CERTIFICATE_ERRORS or not isinstance(times, int):
        message = f"code is one of {sorted(CERTIFICATE_ERRORS)}, times a number"
        raise ValueError(message)
    steered.tenant.forced_errors.extend([code] * times)
    return {}


def _people(steered: Steered, request: Request) -> object:
    """Show the people with their passwords, or put others, `{"people": [...]}`, in their place."""
    if request.method == "PUT":
        steered.tenant.state.replace_people(request.json()["people"])
        steered.tenant.sign_everyone_out()
    return [asdict(p) for p in steered.tenant.state.people.values()]


def _change_person(steered: Steered, request: Request) -> Json:
    """Set the fields of one person that the body names."""
    username = request.parts["username"]
    steered.tenant.state.change_person(username, request.json())
    return asdict(steered.tenant.state.people[username])


def _roll_over(steered: Steered, request: Request) -> Json:
    """Sign with a new key; `{"keep_old": false}` takes the old ones out of the key set."""
    steered.tenant.state.roll_signing_key(keep_old=request.json().get("keep_old", True))
    return {"kids": [key.kid for key in steered.tenant.state.signing_keys]}


def _set_clock(steered: Steered, request: Request) -> Json:
    """Set the clock of Entra and of Key Vault, or of the one `service`, `offset_seconds` off."""
    body = request.json()
    offset = timedelta(seconds=body["offset_seconds"])
    clocks = {"entra": steered.tenant.clock, "vault": steered.vault.clock}
    for clock in [clocks[body["service"]]] if "service" in body else clocks.values():
        clock.offset = offset
    return {name: clock.offset.total_seconds() for name, clock in clocks.items()}


def _replicas(steered: Steered, request: Request) -> Json:
    """Show or set the delay of each replica of the token endpoint, in seconds; the first one answers next.

    A certificate that was added or removed at t is known or unknown to a replica from t + its delay on.
    """
    if request.method == "PUT":
        delays = request.json()["delays"]
        longest = LONGEST_DELAY.total_seconds()
        if not delays or not all(isinstance(d, int | float) and 0 <= d <= longest for d in delays):
            message = f"delays are one or more numbers from 0 to {longest:.0f}"
            raise ValueError(message)
        steered.tenant.replicas = Replicas(tuple(timedelta(seconds=d) for d in delays))
    return {"delays": [delay.total_seconds() for delay in steered.tenant.replicas.delays]}


def _graph_policies(steered: Steered, request: Request) -> Json:
    """Show the policies of Graph, or set those that the body names."""
    if request.method == "PUT":
        steered.graph.policies = steered.graph.policies.changed(request.json())
    return asdict(steered.graph.policies)


def _vault_settings(steered: Steered, request: Request) -> Json:
    """Show or set how long a certificate stays in progress."""
    if request.method == "PUT":
        steered.vault.creation_pace = steered.vault.creation_pace.changed(request.json())
    return asdict(steered.vault.creation_pace)
