"""The lock files say what pyproject.toml and package.json ask for. Needs no network."""

import json
import re
import sys
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.files import ROOT

_PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)
_BLOCK = re.compile(r"^\S.*(?:\n[ \t]+.*)*", re.MULTILINE)


def problems() -> list[str]:
    """Name every difference between what is asked for and what is locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    production = project["project"]["dependencies"]
    development = project["dependency-groups"]["dev"]
    return [
        *_python("requirements.txt", production),
        *_python("requirements-dev.txt", production + development),
        *_production_differs(),
        *_node(),
    ]


def _python(lock: str, asked: list[str]) -> list[str]:
    text = (ROOT / lock).read_text()
    locked = _pins(text)
    wanted = {canonicalize_name(r.name): r for r in map(Requirement, asked)}
    unmet = [
        f"{lock}: {requirement} is not met"
        for name, requirement in wanted.items()
        if name not in locked or not requirement.specifier.contains(locked[name], prereleases=True)
    ]
    direct = {_name(block) for block in _BLOCK.findall(text) if "(pyproject.toml" in block}
    stale = [
        f"{lock}: {name} is locked for pyproject.toml, which does not ask for it"
        for name in direct - set(wanted)
    ]
    unhashed = [
        f"{lock}: {_name(block)} has no hash"
        for block in _BLOCK.findall(text)
        if _PIN.match(block) and "--hash=" not in block
    ]
    return unmet + stale + unhashed


def _production_differs() -> list[str]:
    tested = _pins((ROOT / "requirements-dev.txt").read_text())
    deployed = _pins((ROOT / "requirements.txt").read_text())
    return [
        f"requirements.txt: {name} {version} is deployed, {tested.get(name)} is tested"
        for name, version in deployed.items()
        if tested.get(name) != version
    ]


def _node() -> list[str]:
    asked = json.loads((ROOT / "local/package.json").read_text())["dependencies"]
    lock = json.loads((ROOT / "local/package-lock.json").read_text())["packages"]
    found = ["local/package-lock.json differs from package.json"] if lock[""]["dependencies"] != asked else []
    hosts = [
        f"local/package-lock.json: {name} names a registry"
        for name, entry in lock.items()
        if "resolved" in entry
    ]
    return found + hosts


def _pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in _PIN.findall(text)}


def _name(block: str) -> str:
    return canonicalize_name(re.split("[=; ]", block, maxsplit=1)[0])


if __name__ == "__main__":
    differences = problems()
    sys.exit("\n".join([*differences, "`make lock` writes the lock files anew."]) if differences else 0)
