"""The laptop cloud with one worker, prepared as `make run` does, and what its stand-ins have counted."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from local.laptop import Laptop, Worker
from local.playground import prepare

PASSWORD = "only-on-this-laptop"  # noqa: S105 - of people who exist in the stand-in alone


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything runs. `people` are the user names at Microsoft; `facts` is what the playground wrote."""

    laptop: Laptop
    worker: Worker
    people: list[str]
    facts: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        """The settings of another worker on the same cloud."""
        return self.laptop.environment(self.worker.url)

    @property
    def microsoft(self) -> str:
        """The origin of the pages at Microsoft."""
        parts = urlsplit(self.laptop.cloud.browser_url)
        return f"{parts.scheme}://{parts.netloc}"

    def calls(self) -> Counter[str]:
        """Give what was called so far, as "service: operation"."""
        cloud = httpx.get(f"{self.laptop.cloud.control_url}/calls", trust_env=False).json()
        cloud["store"] = httpx.get(f"{self.laptop.tables_control_url}/calls", trust_env=False).json()
        return Counter({f"{service}: {name}": n for service, ops in cloud.items() for name, n in ops.items()})


@contextmanager
def prepared(directory: Path, people: int) -> Iterator[Stage]:
    """Start everything, with this many people at Microsoft, who have consented."""
    with Laptop(directory) as laptop:
        worker = laptop.start_worker()
        prepare(worker.url, laptop.cloud, laptop.tables_connection_string, directory)
        names = [f"person{number}@clinic.example" for number in range(people)]
        _replace_people(laptop.cloud.control_url, names)
        facts = json.loads((directory / "playground.json").read_text(encoding="utf-8"))
        yield Stage(laptop, worker, names, facts)


def _replace_people(control_url: str, names: list[str]) -> None:
    present = [
        {
            "username": name,
            "name": f"Person {number}",
            "password": PASSWORD,
            "object_id": f"00000000-0000-4000-8000-{number:012}",
            "consented": True,
        }
        for number, name in enumerate(names)
    ]
    body = {"people": present}
    httpx.put(f"{control_url}/people", json=body, trust_env=False).raise_for_status()
