"""Every relative link of every Markdown file leads to a file, and to a heading where it names one."""

import re
import sys
from pathlib import Path

from tools.files import ROOT, repository_files

_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def broken_links(page: Path) -> list[str]:
    """Name the links of a page, relative to the root, that lead nowhere."""
    text = _CODE.sub("", (ROOT / page).read_text())
    links = [link for link in _LINK.findall(text) if not _ELSEWHERE.match(link)]
    return [f"{page}: {link}" for link in links if not _resolves(page, link)]


def _resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = ROOT / page.parent / path if path else ROOT / page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in _anchors(target.read_text())


def _anchors(text: str) -> set[str]:
    """Make the anchors of the headings, as GitHub does."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


if __name__ == "__main__":
    pages = [path for path in repository_files() if path.suffix == ".md"]
    broken = [problem for page in pages for problem in broken_links(page)]
    sys.exit("\n".join(["Links that lead nowhere:", *broken]) if broken else 0)
