"""Every other address, and every door knocked at in the wrong way."""

import pytest

from functions.app import build_app
from functions.elsewhere import ALLOWED
from tests.house import House

NOT_IN_THE_TABLE = {"{*path}", "assets/{name}"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WRONG = [
    (route, method) for route in ALLOWED for method in METHODS if method not in ALLOWED[route].split(", ")
]


def registered(house: House) -> dict[str, set[str]]:
    """Collect the methods of each route, as they were registered with the host."""
    found: dict[str, set[str]] = {}
    for method, route in house.doors:
        found.setdefault(route.strip("/"), set()).add(method)
    return {route: methods for route, methods in found.items() if route not in NOT_IN_THE_TABLE}


def test_the_table_agrees_with_what_is_registered(house: House) -> None:
    """Each door stands in the table with exactly its methods, and nothing else does."""
    allowed = {route: set(methods.split(", ")) for route, methods in ALLOWED.items()}
    with_head = {
        route: methods | ({"HEAD"} if "GET" in methods else set())
        for route, methods in registered(house).items()
    }
    assert allowed == with_head


def test_the_catch_all_is_the_last_by_name(house: House) -> None:
    """The host tries routes in the order of the functions' names (azure-functions-host #9876)."""
    functions = build_app(house.services).get_functions()
    last = max(functions, key=lambda function: str(function.get_function_name()).lower())
    trigger = last.get_trigger()
    assert trigger is not None
    assert trigger.get_dict_repr()["route"] == "{*path}"


@pytest.mark.parametrize(("route", "method"), WRONG)
def test_a_wrong_method_is_told_the_right_ones(house: House, route: str, method: str) -> None:
    """RFC 9110, 15.5.6: a 405 names the methods of the door, in any case of its letters."""
    for spelling in (route, route.upper()):
        answer = house.call(method, f"/{spelling}", {} if method == "POST" else None)
        assert answer.status == 405
        assert answer.header("Allow") == ALLOWED[route]


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/login/x", "/azure/../login", "/.git/config", "/admin", "/%00", "/signin.php"],
)
def test_an_unknown_address_is_a_page(house: House, path: str) -> None:
    """404 with the way to the start page, and nothing of the address on the page."""
    answer = house.get(path)
    assert (answer.status, answer.title) == (404, "There is no such page")
    assert answer.header("Allow") == ""
    assert 'href="/"' in answer.text
    assert "nowhere" not in answer.text


def test_noise_is_not_logged(house: House) -> None:
    """Scanners knock all day: they do not fill the audit table."""
    house.get("/wp-login.php")
    house.call("DELETE", "/login")
    assert house.events() == []


def test_elsewhere_needs_nothing(house: House) -> None:
    """The answer does not depend on store or vault."""
    house.move_to(house.instance())
    house.store.away = house.vault.away = True
    assert house.get("/nowhere").status == 404
