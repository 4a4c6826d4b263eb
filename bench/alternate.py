"""Measures taken in turn, so that a slow moment of the machine strikes all of them alike."""

from collections.abc import Callable, Mapping
from statistics import median


def medians(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Take each measure once per round, and give the median of each in seconds. One round before is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for count in range(rounds + 1):
        for name, measure in measures.items():
            seconds = measure()
            if count:
                taken[name].append(seconds)
    return {name: median(times) for name, times in taken.items()}
