"""Lists in pages, as Key Vault gives them."""

from collections.abc import Sequence
from urllib.parse import urlencode

from local.cloud.key_vault.errors import bad_parameter
from local.cloud.web import Json, Request, Response, json_response

_PAGE_SIZE = 25


def listing(url: str, request: Request, items: Sequence[Json]) -> Response:
    """Answer one page of at most `maxresults` items and where the next one is."""
    size, start = request.query.get("maxresults", str(_PAGE_SIZE)), request.query.get("$skiptoken", "0")
    if not (size.isdecimal() and start.isdecimal() and 1 <= int(size) <= _PAGE_SIZE):
        message = f"maxresults is from 1 to {_PAGE_SIZE}"
        raise bad_parameter(message)
    end = int(start) + int(size)
    following = urlencode({**request.query, "$skiptoken": end})
    more = f"{url}{request.path}?{following}" if end < len(items) else None
    return json_response({"value": items[int(start) : end], "nextLink": more})
