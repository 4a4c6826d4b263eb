"""The log is silent here: a model of years says much. Hypothesis looks for wrong answers, not for slow ones."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    log = logging.getLogger("sos")
    before, log.disabled = log.disabled, True
    yield
    log.disabled = before
