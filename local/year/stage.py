"""Where the year is played: the stand-ins in this process, Azurite beside it, and a clock that leaps."""

import logging
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from local.azurite import Azurite
from local.cloud.entra.replicas import Replicas
from local.cloud.graph.policies import GraphPolicies
from local.cloud.key_vault.vault import CreationPace
from local.cloud.server import steerable
from local.year.clock import YearClock, time_of
from local.year.world import ADDRESS, World

_REPLICAS: Final = (timedelta(), timedelta(seconds=40), timedelta(seconds=120))
_VAULT_TAKES: Final = CreationPace(polls=99, seconds=30)


@contextmanager
def world_from(begin: datetime, seed: int, folder: Path) -> Generator[World]:
    """Start everything, at a moment of the year's own time, until the block ends."""
    _be_quiet()
    with ExitStack() as running:
        azurite = Azurite()
        running.callback(azurite.child.stop)
        cloud = running.enter_context(steerable(folder))
        steered = cloud.steered
        steered.tenant.state.change_application({"redirect_uris": [f"{ADDRESS}/azure"]})
        steered.tenant.replicas = Replicas(_REPLICAS)
        steered.graph.policies = GraphPolicies(graph_may_read=True)
        steered.vault.creation_pace = _VAULT_TAKES
        os.environ |= {
            "IDENTITY_ENDPOINT": cloud.addresses.identity_endpoint,
            "IDENTITY_HEADER": cloud.addresses.identity_header,
        }
        clock = YearClock(begin, (steered.tenant.clock, steered.vault.clock))
        running.enter_context(time_of(clock))
        azurite.wait_until_ready()
        world = World(cloud, azurite, clock, seed)
        running.callback(world.person.leave)
        yield world


def _be_quiet() -> None:
    """Keep log lines off the screen: the timeline tells what they say."""
    for name in ("sos", "msal"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
