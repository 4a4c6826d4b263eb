"""The laptop's Functions host does to requests and responses what the one in Azure does."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local.children import Child, ChildFailedError
from local.laptop import Worker
from local.ports import PortTakenError, check_free, listen

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
HOST_JSON = {"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}
APP = """
import json, logging, os
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
log = logging.getLogger("clinic")

@app.route(route="{*path}", methods=["GET", "POST"])
def zz_rest(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("rest: " + req.route_params.get("path", ""))

@app.route(route="hello", methods=["GET"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")

@app.route(route="rooms/{room}", methods=["GET"])
def room(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(dict(req.route_params)))

@app.route(route="rooms/free", methods=["GET"])
def free_room(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("12")

@app.route(route="rooms/taken", methods=["GET"])
def taken_room(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("never reached: room comes first")

@app.route(route="echo")
def echo(req: func.HttpRequest) -> func.HttpResponse:
    seen = {
        "method": req.method, "url": req.url, "headers": dict(req.headers), "params": dict(req.params),
        "body": req.get_body().decode(), "directory": os.getcwd(),
        "container": os.environ.get("CONTAINER_NAME"),
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")

@app.route(route="cookies", methods=["GET"])
def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("")
    for cookie in json.loads(req.headers["x-cookies"]):
        response.headers.add("Set-Cookie", cookie)
    return response

@app.route(route="repeated", methods=["GET"])
def repeated(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("")
    response.headers.add("X-Level", "user")
    response.headers.add("X-Level", "owner")
    return response

@app.route(route="text", methods=["GET"])
def text(req: func.HttpRequest) -> str:
    return "only text"

@app.route(route="broken", methods=["GET"])
def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("the nurse's rota")

@app.route(route="log", methods=["GET"])
def write_log(req: func.HttpRequest) -> func.HttpResponse:
    log.info(json.dumps({"event": "looked"}))
    return func.HttpResponse("")

@app.route(route="wait", methods=["GET"])
def wait(req: func.HttpRequest) -> func.HttpResponse:
    log.info("waiting")
    with open(os.environ["GATE"]) as gate:
        return func.HttpResponse(gate.read())

@app.timer_trigger(schedule="0 0 3 * * *", arg_name="timer")
def nightly(timer: func.TimerRequest) -> None:
    log.info("past due: %s", timer.past_due)
"""


class Served:
    """A host in a process of its own, and what it says."""

    def __init__(self, directory: Path, app: str) -> None:
        (directory / "function_app.py").write_text(app)
        (directory / "host.json").write_text(json.dumps(HOST_JSON))
        self.gate = directory / "gate"
        os.mkfifo(self.gate)
        self.said: Queue[str] = Queue()
        self.child = Child(
            "host",
            [sys.executable, "-m", "local", "functions", "--port", "0", "--app", str(directory)],
            environment={"CONTAINER_NAME": "box", "GATE": str(self.gate)},
            listener=lambda _, line: self.said.put(line),
            cwd=ROOT,
        )
        self.worker = Worker(self.child)

    def wait_for(self, words: str) -> str:
        """Read what it says until a line has these words."""
        while words not in (line := self.said.get(timeout=20)):
            pass
        return line


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the app above for all tests of the file."""
    host = Served(tmp_path_factory.mktemp("app"), APP)
    with host.child:
        yield host


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """Give a client of that host."""
    with httpx.Client(base_url=served.worker.url) as client:
        yield client


def echo(http: httpx.Client, method: str = "GET", path: str = "/echo", **request: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's own arguments
    """Ask what the function saw."""
    seen: dict[str, Any] = http.request(method, path, **request).json()
    return seen


def test_first_function_by_name_wins(http: httpx.Client) -> None:
    """Routes are tried in the order of the functions' names, whatever their templates (azure-functions-host #9876)."""
    assert http.get("/hello").text == "hello"
    assert http.get("/rooms/free").text == "12"
    assert http.get("/rooms/taken").json() == {"room": "taken"}
    assert http.get("/rooms/12").json() == {"room": "12"}
    assert http.get("/rooms/12/beds").text == "rest: rooms/12/beds"


def test_route_ignores_case_and_a_trailing_slash(http: httpx.Client) -> None:
    """Literals match without regard to case, and one slash at the end is not seen; an empty segment is."""
    assert http.get("/Hello/").text == "hello"
    assert http.get(f"{http.base_url}//hello").text == "rest: /hello"


def test_catch_all_takes_the_root(http: httpx.Client) -> None:
    """A catch-all matches an empty path, and then has no value."""
    assert http.get("/").text == "rest: "


def test_path_values_are_decoded_but_for_slashes(http: httpx.Client) -> None:
    """Kestrel decodes the path and leaves %2F alone."""
    assert http.get("/rooms/a%20b%2Fc").json() == {"room": "a b%2Fc"}


def test_wrong_method_falls_to_the_next_route(http: httpx.Client) -> None:
    """The method is part of the match: POST /hello is the catch-all's."""
    assert http.post("/hello").text == "rest: hello"


def test_no_route_is_an_empty_404(http: httpx.Client) -> None:
    """A method that no route takes is not found, rather than not allowed."""
    answer = http.delete("/hello")
    assert (answer.status_code, answer.content) == (404, b"")


def test_header_names_are_lower_case_and_repeats_joined(http: httpx.Client) -> None:
    """A header that comes twice reaches the function as one, with a comma."""
    headers = echo(http, headers=[("X-Ward", "A"), ("X-Ward", ""), ("X-Ward", "B")])["headers"]
    assert headers["x-ward"] == "A,B"
    assert "X-Ward" not in headers


def test_query_values_are_joined_and_empty_ones_dropped(http: httpx.Client) -> None:
    """Repeats are joined with commas whatever the case of the name; an empty value does not arrive."""
    assert echo(http, path="/echo?ward=A&Ward=B+C&bed=&ward=")["params"] == {"ward": "A,B C"}


def test_host_header_and_target_arrive_as_sent(http: httpx.Client) -> None:
    """The Host header is whatever the client says, and so is the URL."""
    seen = echo(http, path="/echo?a=%2F", headers={"Host": "evil.example"})
    assert seen["headers"]["host"] == "evil.example"
    assert seen["url"] == "http://evil.example/echo?a=%2F"


def test_forwarded_for_is_appended_to(http: httpx.Client) -> None:
    """The platform adds the peer, with its port, after what the client claims."""
    claimed, peer = echo(http, headers={"X-Forwarded-For": "192.0.2.7"})["headers"]["x-forwarded-for"].split(
        ", "
    )
    assert claimed == "192.0.2.7"
    assert peer.rsplit(":", 1)[0] in {"127.0.0.1", "[::1]"}


def test_forwarded_proto_is_the_platforms(http: httpx.Client) -> None:
    """What the client claims about the scheme does not arrive."""
    assert echo(http, headers={"X-Forwarded-Proto": "gopher"})["headers"]["x-forwarded-proto"] == "http"


def test_body_arrives_whole(http: httpx.Client) -> None:
    """A body of a megabyte reaches the function unchanged."""
    assert echo(http, "POST", content="x" * 1_000_000)["body"] == "x" * 1_000_000


def test_chunked_body_arrives_empty(http: httpx.Client) -> None:
    """The host hands a body on only when it has a Content-Length (azure-functions-host #7930)."""
    assert echo(http, "POST", content=iter([b"lost"]))["body"] == ""


def test_oversized_body_is_refused_unread(served: Served) -> None:
    """A body that says it is over the limit is refused before it is sent."""
    connection = HTTPConnection(urlsplit(served.worker.url).netloc, timeout=10)
    connection.putrequest("POST", "/echo")
    connection.putheader("Content-Length", str(1024**3))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_oversized_headers_are_refused(http: httpx.Client) -> None:
    """Over 32 KB of headers is Kestrel's limit: many cookies meet it."""
    assert http.get("/echo", headers={"Cookie": "c=" + "x" * 33_000}).status_code == 431


def test_head_has_headers_and_no_body(http: httpx.Client) -> None:
    """HEAD is a method like any other, and its answer has no body."""
    answer = http.head("/echo")
    assert int(answer.headers["content-length"]) > 0
    assert answer.content == b""


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (
            "__Host-sos-session=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600",
            "__Host-sos-session=abc; max-age=600; domain=; path=/; secure; samesite=lax; httponly",
        ),
        ("a=b/c; Path=/", "a=b%2Fc; domain=; path=/"),
        ("a=b; SameSite=None", "a=b; domain=; path=; samesite=none"),
        (
            "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "a=; expires=Thu, 01 Jan 1970 00:00:00 GMT; domain=; path=",
        ),
        ("a=b; Path=/; Partitioned", None),
    ],
    ids=["session", "value escaped", "no path", "expired", "unknown attribute"],
)
def test_cookies_are_written_by_the_host(http: httpx.Client, written: str, sent: str | None) -> None:
    """The worker parses each cookie and the host writes it again; one that it cannot parse vanishes."""
    answer = http.get("/cookies", headers={"X-Cookies": json.dumps([written])})
    assert answer.headers.get("set-cookie") == sent


def test_several_cookies_stay_several(http: httpx.Client) -> None:
    """Each cookie has a header of its own."""
    answer = http.get("/cookies", headers={"X-Cookies": json.dumps(["a=1; Path=/", "b=2; Path=/"])})
    assert answer.headers.get_list("set-cookie") == ["a=1; domain=; path=/", "b=2; domain=; path=/"]


def test_bad_cookie_date_is_a_500(http: httpx.Client) -> None:
    """An Expires that the worker cannot parse fails the request."""
    answer = http.get("/cookies", headers={"X-Cookies": json.dumps(["a=1; Expires=tomorrow"])})
    assert answer.status_code == 500


def test_repeated_response_headers_collapse_to_the_last(http: httpx.Client) -> None:
    """Only Set-Cookie may repeat."""
    assert http.get("/repeated").headers.get_list("x-level") == ["owner"]


def test_text_is_a_response(http: httpx.Client) -> None:
    """A function may return text; it is sent as such."""
    answer = http.get("/text")
    assert (answer.status_code, answer.text) == (200, "only text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_exception_is_an_empty_500(served: Served, http: httpx.Client) -> None:
    """The person sees nothing of an exception; the log has all of it."""
    answer = http.get("/broken")
    assert (answer.status_code, answer.content) == (500, b"")
    assert served.wait_for("RuntimeError: the nurse's rota")


def test_log_lines_are_unchanged(served: Served, http: httpx.Client) -> None:
    """A line of JSON leaves the process as it was logged."""
    http.get("/log")
    assert served.wait_for("looked") == '{"event": "looked"}'


def test_timer_runs_when_it_is_asked_to(served: Served, http: httpx.Client) -> None:
    """POST /admin/functions/{name} starts a timer and answers at once."""
    answer = http.post("/admin/functions/nightly", json={"input": ""})
    assert (answer.status_code, answer.content) == (202, b"")
    assert served.wait_for("past due") == "past due: False"


def test_only_timers_can_be_triggered(http: httpx.Client) -> None:
    """The admin path knows neither HTTP functions nor names that do not exist."""
    assert http.post("/admin/functions/hello").status_code == 404
    assert http.post("/admin/functions/nobody").status_code == 404


def test_function_runs_where_it_would_in_azure(http: httpx.Client, served: Served) -> None:
    """The working directory is the app's; CONTAINER_NAME, which means Azure to the worker, is not set."""
    seen = echo(http)
    assert seen["container"] is None
    assert Path(seen["directory"]) == served.gate.parent.resolve()


def wait_until_closed(url: str) -> None:
    """Return when no new connection is accepted."""
    address = urlsplit(url)
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            # Reset is not refused: the backlog took it, and went with the door.
            with contextlib.suppress(ConnectionResetError):
                socket.create_connection(("127.0.0.1", address.port or 0), timeout=10).close()


def test_requests_in_flight_finish_at_shutdown(tmp_path: Path) -> None:
    """SIGTERM closes the door, lets those inside finish, and ends with exit code 0."""
    host = Served(tmp_path, APP)
    answers: Queue[httpx.Response] = Queue()
    with host.child:
        url = f"{host.worker.url}/wait"
        request = threading.Thread(target=lambda: answers.put(httpx.get(url, timeout=20)))
        request.start()
        host.wait_for("waiting")
        os.kill(host.worker.pid, signal.SIGTERM)
        wait_until_closed(host.worker.url)
        host.gate.write_text("finished")
        assert answers.get(timeout=20).text == "finished"
        request.join()
        assert host.child.wait(20) == 0


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (APP.replace('"rooms/{room}"', '"admin/{room}"'), "keeps routes that begin with 'admin'"),
        (APP.replace('"rooms/{room}"', '"runtime"'), "keeps routes that begin with 'runtime'"),
        ("raise RuntimeError('no vault')", "RuntimeError: no vault"),
    ],
    ids=["admin", "runtime", "import fails"],
)
def test_app_that_the_host_refuses_does_not_start(tmp_path: Path, app: str, words: str) -> None:
    """An app that would not work in Azure does not start here, and the reason is said."""
    with pytest.raises(ChildFailedError, match=words):
        Served(tmp_path, app)


def test_taken_port_is_said_with_the_remedy(tmp_path: Path) -> None:
    """A port that another program has is named, and another one suggested."""
    listeners = listen(0)
    port = listeners[0].getsockname()[1]
    with pytest.raises(PortTakenError):
        check_free(port)
    command = [sys.executable, "-m", "local", "functions", "--port", str(port), "--app", str(tmp_path)]
    with pytest.raises(ChildFailedError, match=rf"port {port} is taken.* PORT={port + 100}"):
        Child("host", command, cwd=ROOT).announcement(20)
    for listener in listeners:
        listener.close()
