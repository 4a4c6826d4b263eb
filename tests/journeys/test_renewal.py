"""The certificate renews itself while people sign in: through the real worker, the real SDKs and moved clocks."""

from datetime import timedelta

import pytest

from shared.renewal import POLICY, start_of
from shared.renewal_state import Phase
from tests.journeys.timed_town import MINUTE, TimedTown

pytestmark = pytest.mark.system


def test_a_whole_rotation_while_twenty_people_sign_in(timed_town: TimedTown) -> None:
    """From the day it is due to the disabled old version, with replicas 0, 20 and 90 s late: not one sign-in fails."""
    town = timed_town
    old, foreign = town.current, town.upload_foreign()
    town.control("PUT", "replicas", {"delays": [0, 20, 90]})
    town.move_to(start_of(old, town.application["client_id"], town.state.generation + 1, POLICY) - 2 * MINUTE)
    town.settle()
    with town.crowd(20) as crowd:
        crowd.wait_for_more(20)
        assert town.state.phase is Phase.IDLE
        town.pass_until(lambda state: state.phase is Phase.PROVE, step=timedelta(seconds=30))
        crowd.wait_for_more(10)
        town.pass_until(lambda state: state.phase is Phase.OVERLAP, step=2 * MINUTE)
        for _ in range(4):  # instances remember the old pointer for a minute
            town.move(timedelta(seconds=20))
            crowd.wait_for_more(10)
        town.move(timedelta(days=7))
        town.pass_until(lambda state: state.phase is Phase.RETIRE)
        for _ in range(5):  # replicas know the old one for 90 seconds
            town.move(timedelta(seconds=20))
            crowd.wait_for_more(10)
        town.move(timedelta(days=1))
        town.pass_until(lambda state: state.phase is Phase.IDLE)
        crowd.wait_for_more(20)
    assert crowd.failures == []
    assert (
        min(crowd.signed_in[phase] for phase in (Phase.IDLE, Phase.PROVE, Phase.OVERLAP, Phase.RETIRE)) >= 10
    )
    new = town.current
    assert new.thumbprint != old.thumbprint
    assert sorted(town.registered()) == sorted([new.thumbprint, foreign])
    assert town.versions() | {old.version: False, new.version: True} == town.versions()
    calls = town.calls("graph")
    assert (calls["addKey"], calls["removeKey"], calls.get("patch", 0)) == (1, 1, 0)
    assert town.most_keys == 2
