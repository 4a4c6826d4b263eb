"""Hypothesis looks for wrong answers here, not for slow ones: the machine that runs the tests may be busy."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
