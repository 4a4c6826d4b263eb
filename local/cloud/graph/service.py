"""Graph's front door: who calls, about which application, and the answer to everything else."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from local.cloud.graph.applications import Graph, add_key, read, remove_key, replace
from local.cloud.graph.errors import GraphError, bad_request, invalid_token, no_such_object, no_such_segment
from local.cloud.web import Json, MalformedBodyError, Request, Response, Route, Service

PATH: Final = "/graph"
_PUBLIC_RESOURCE: Final = "https://graph.microsoft.com"
_APPLICATION = PATH + r"/v1\.0/applications(/(?P<object_id>[^/()]+)|\(appId='(?P<client_id>[^/']+)'\))"


def graph_service(graph: Graph) -> Service:
    """Serve the application object to who holds an access token of the application."""

    def route(operation: str, method: str, path: str, action: Callable[[Graph, Request], Response]) -> Route:
        return Route(operation, method, _APPLICATION + path, partial(_authorized, graph, action))

    return Service(
        routes=(
            route("addKey", "POST", r"/(microsoft\.graph\.)?addKey", add_key),
            route("removeKey", "POST", r"/(microsoft\.graph\.)?removeKey", remove_key),
            route("read", "GET", "", read),
            route("patch", "PATCH", "", replace),
        ),
        not_found=lambda request: no_such_segment(request).answer(request),
        broken=_broken,
        clock=graph.tenant.clock,
    )


def _authorized(graph: Graph, action: Callable[[Graph, Request], Response], request: Request) -> Response:
    try:
        _check_token(graph, request)
        _check_application(graph, request)
        return action(graph, request)
    except GraphError as error:
        return error.answer(request)
    except MalformedBodyError:
        return bad_request("Unable to read JSON request payload.", "BadRequest").answer(request)


def _check_token(graph: Graph, request: Request) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise invalid_token("Access token is empty.")
    resource = graph.tenant.resource_of(token)
    if resource is None:
        raise invalid_token("Lifetime validation failed, the token is expired.")
    if resource not in {graph.url, _PUBLIC_RESOURCE}:
        raise invalid_token("Access token validation failure. Invalid audience.")


def _check_application(graph: Graph, request: Request) -> None:
    application, parts = graph.tenant.state.application, request.parts
    asked = parts["object_id"] or parts["client_id"]
    known = application.object_id if parts["object_id"] else application.client_id
    if asked.lower() != known.lower():
        raise no_such_object(asked)


def _broken(status: HTTPStatus) -> Json:
    return {"error": {"code": status.phrase.replace(" ", ""), "message": status.description}}
