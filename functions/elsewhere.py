"""The answer to every address that no door takes, and to a door knocked at in the wrong way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import azure.functions as func

from functions.http import Visit, answer
from shared.errors import BadRequest

if TYPE_CHECKING:
    from shared.services import Services

_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ALLOWED: Final = {
    "": "GET, HEAD",
    "login": "GET, HEAD",
    "azure": "GET, HEAD, POST",
    "signin": "GET, HEAD, POST",
    "setup": "GET, HEAD, POST",
    "session": "GET, HEAD",
    "logout": "POST",
    "logout/microsoft": "GET, HEAD",
    ".well-known/jwks.json": "GET, HEAD",
    "healthz": "GET, HEAD",
    "readyz": "GET, HEAD",
}
"""The methods of each door, for the `Allow` of a 405. The host answers HEAD wherever it answers GET."""


def doors(services: Services) -> func.Blueprint:
    """The door behind all others."""
    blueprint = func.Blueprint()

    # The host tries routes in the order of the functions' names (azure-functions-host #9876): this one must be the last.
    @blueprint.function_name("zz_elsewhere")
    @blueprint.route(route="{*path}", methods=_METHODS)
    def elsewhere(req: func.HttpRequest) -> func.HttpResponse:
        return answer(services, req, _elsewhere)

    return blueprint


def _elsewhere(visit: Visit) -> func.HttpResponse:
    from functions.failures import failure, record

    allowed = ALLOWED.get(visit.request.route_params.get("path", "").strip("/").lower())
    error = BadRequest("method" if allowed else "not_found")
    record(visit, error)
    response = failure(visit, error)
    if allowed:
        response.headers["Allow"] = allowed
    return response
