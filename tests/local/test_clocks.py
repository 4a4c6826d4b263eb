"""Clocks that can be moved: those of the stand-ins without asking, and that of a worker through a file."""

import sys
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from local.children import Child
from local.clock_file import clock_of, set_offset
from local.cloud.graph.policies import GraphPolicies
from local.cloud.server import steerable
from local.laptop import Worker
from tests.local.clients import Control, http_session

_YEAR = timedelta(days=365)
_ROOT = Path(__file__).parents[2]
_HOST_JSON = '{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}'
_APP = """
import azure.functions as func
from shared.azure import connect

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

@app.route(route="now")
def now(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(connect._now().isoformat())
"""


def ahead(now: datetime) -> timedelta:
    """Say how far a clock is ahead of the machine's."""
    return now - datetime.now(UTC)


def test_a_clock_follows_its_file(tmp_path: Path) -> None:
    """No file, or an empty one, is the machine's time; the file may be written again at any moment."""
    file, close = tmp_path / "clock", timedelta(seconds=5)
    now = clock_of(file)
    assert abs(ahead(now())) < close
    file.touch()
    assert abs(ahead(now())) < close
    for offset in (_YEAR, -timedelta(minutes=5)):
        set_offset(file, offset.total_seconds())
        assert abs(ahead(now()) - offset) < close


@pytest.mark.system
def test_a_worker_keeps_the_time_of_its_file(tmp_path: Path) -> None:
    """The functions see the moved clock while they run; without the option they see the machine's."""
    (tmp_path / "host.json").write_text(_HOST_JSON)
    (tmp_path / "function_app.py").write_text(_APP)
    file = tmp_path / "clock"
    command = [sys.executable, "-m", "local", "functions", "--port", "0", "--app", str(tmp_path)]
    close = timedelta(seconds=30)
    for options, expected in (([], timedelta()), (["--clock", str(file)], _YEAR)):
        set_offset(file, 0)
        with Child("functions", [*command, *options], cwd=_ROOT) as child:
            url = f"{Worker(child).url}/now"
            assert abs(ahead(datetime.fromisoformat(httpx.get(url, trust_env=False).text))) < close
            set_offset(file, _YEAR.total_seconds())
            assert abs(ahead(datetime.fromisoformat(httpx.get(url, trust_env=False).text)) - expected) < close


def test_stand_ins_can_be_steered_without_asking(tmp_path: Path) -> None:
    """Who runs them in the same process moves clocks and sets policies directly; the wire shows it."""
    with steerable(tmp_path) as cloud, http_session(cloud.addresses) as http:
        control = Control(cloud.addresses.control_url, http)
        cloud.steered.tenant.clock.offset = cloud.steered.vault.clock.offset = _YEAR
        cloud.steered.graph.policies = GraphPolicies(refuse_add="forbidden")
        assert control("GET", "/graph")["refuse_add"] == "forbidden"
        url = f"{cloud.addresses.graph_url}/v1.0/users"
        date = parsedate_to_datetime(http.get(url, timeout=10).headers["date"])
        assert abs(ahead(date) - _YEAR) < timedelta(seconds=30)
        assert cloud.steered.services["graph"].faults.calls() == {"not_found": 1}


def test_the_state_is_written_only_when_it_changes(tmp_path: Path) -> None:
    """A year of clocks and refused removals costs no write."""
    with steerable(tmp_path) as cloud:
        state, file = cloud.steered.tenant.state, tmp_path / "entra.json"
        before = file.stat().st_ino
        for hour in range(8760):
            cloud.steered.tenant.clock.offset = timedelta(hours=hour)
            assert not state.remove_certificate("none")
        assert file.stat().st_ino == before
