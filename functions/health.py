"""`/healthz`, `/readyz` and the static files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import azure.functions as func

from functions.http import Visit, answer, json_answer, respond
from shared.errors import BadRequest, SignInError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.services import Services


def doors(services: Services) -> func.Blueprint:
    """What monitors ask, and what browsers fetch beside a page."""
    blueprint = func.Blueprint()

    @blueprint.function_name("healthz")
    @blueprint.route(route="healthz", methods=["GET"])
    def healthz(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _alive, speaks="json")

    @blueprint.function_name("readyz")
    @blueprint.route(route="readyz", methods=["GET"])
    def readyz(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _ready, speaks="json")

    @blueprint.function_name("assets")
    @blueprint.route(route="assets/{name}", methods=["GET"])
    def assets(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _asset)

    return blueprint


def _alive(visit: Visit) -> func.HttpResponse:
    return json_answer(visit, {"alive": True})


def _ready(visit: Visit) -> func.HttpResponse:
    """Say whether a person could sign in now: each part by a word, nothing of what is inside."""
    from shared.settings import read_settings

    services = visit.services
    checks = {
        # Asked anew, because what is remembered says nothing about now; the vault at most every few seconds.
        "store": _state(lambda: read_settings(services.store)),
        "vault": _state(lambda: _vault(services)),
        "certificate": _state(lambda: _certificate(services)),
    }
    ready = all(state == "ok" for state in checks.values())
    return json_answer(visit, {"ready": ready, **checks}, status=200 if ready else 503)


def _vault(services: Services) -> None:
    services.ask_vault()
    services.pepper.get()
    services.key_ring.get()


def _certificate(services: Services) -> None:
    if services.settings.get().sso_active:
        services.certificate.get().signing(services.clock())


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except SignInError as error:
        return str(getattr(error, "kind", error.code))
    return "ok"


def _asset(visit: Visit) -> func.HttpResponse:
    from functions.pages import asset

    found = asset(visit.request.route_params.get("name", ""))
    if found is None:
        raise BadRequest("not_found")
    # The name holds the hash of the content, so it never changes.
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": found.etag}
    return respond(visit, found.body, headers=headers, media_type=found.content_type)
