"""The year as a picture: one bar for each certificate, marks for what happened, sign-ins week by week. SVG 1.1."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from html import escape
from typing import Final

from local.year.certificates import Life
from local.year.chronicle import Happening
from local.year.play import Played

_WIDTH: Final = 800
_LEFT, _RIGHT = 158, 784
_AXIS: Final = 64
_ROW: Final = 26
_BAR: Final = 14
_STRIP: Final = 46
_THINNEST: Final = 2.0
"""Pixels; a day is 1.7, and what took minutes shall be seen."""
_WEEK: Final = timedelta(days=7)

_STYLE: Final = """
svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --waits: #c8e1ff; --signs: #0969da;
  --overlap: #79b4f2; --gone: #aab2bb; --fault: #bc4c00; --owner: #8250df; --alarm: #cf222e; --good: #2da44e; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #0d1117; --ink: #f0f6fc; --faint: #9aa4af; --line: #30363d; --waits: #1c3a5e; --signs: #4493f8;
    --overlap: #2a65b0; --gone: #6e7681; --fault: #f0883e; --owner: #b083f0; --alarm: #ff6a61; --good: #3fb950; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: var(--ink); }
.title { font-size: 15px; font-weight: 600; }
.faint { fill: var(--faint); }
.paper { fill: var(--paper); stroke: var(--line); }
.line { stroke: var(--line); }
.waits { fill: var(--waits); } .signs { fill: var(--signs); } .overlap { fill: var(--overlap); }
.gone { fill: var(--gone); } .fault { fill: var(--fault); } .owner { fill: var(--owner); }
.alarm { fill: var(--alarm); } .good { fill: var(--good); } .failure { fill: var(--alarm); }
"""

_MARKS: Final = (
    ("owner", "people's acts", "M0,-6 L5,0 L0,6 L-5,0 Z"),
    ("fault", "faults", "M0,-6 L5.5,5 L-5.5,5 Z"),
    ("alarm", "alarms", "M-4.5,-4.5 H4.5 V4.5 H-4.5 Z"),
)
_BARS: Final = (
    ("waits", "made, not used yet"),
    ("signs", "signs"),
    ("overlap", "overlap: both are registered"),
    ("gone", "removed, until the vault disables it"),
)


def draw(played: Played) -> str:
    """Draw a year that was played; gives an SVG document for light and dark surroundings."""
    return "\n".join(_Drawing(played).lines()) + "\n"


class _Drawing:
    """What is drawn, from top to bottom."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._lives = played.world.lives.all
        self._marks = _AXIS + 14 + _ROW * len(self._lives) + 12
        self._strip = self._marks + _ROW * len(_MARKS) + 8
        self._legend = self._strip + _STRIP + 30
        self._height = self._legend + 48

    def lines(self) -> Iterator[str]:
        """Write the document."""
        played = self._played
        sign_ins = played.world.sign_ins
        tried, failed = sign_ins.tried.total(), len(sign_ins.failed)
        title = f"Twelve months of certificate renewal (seed {played.seed})"
        said = (
            f"{len(self._lives)} certificates · {tried:,} sign-ins, {failed} failed, "
            f"{len(sign_ins.retried)} needed the other certificate · {played.world.ticks.total():,} ticks"
        )
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self._height}" width="{_WIDTH}" '
            f'height="{self._height}" role="img" aria-label="{escape(title)}: {escape(said)}">'
        )
        yield f"<title>{escape(title)}</title>"
        yield f"<style>{_STYLE}</style>"
        yield f'<rect class="paper" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{self._height - 1}" rx="6"/>'
        yield _text(16, 26, title, "title")
        yield _text(16, 45, said, "faint")
        yield from self._axis()
        for row, life in enumerate(self._lives):
            yield from self._certificate(row, life)
        for row, (kind, label, _) in enumerate(_MARKS):
            yield from self._happenings(row, kind, label)
        yield from self._sign_ins()
        yield from self._explanation()
        yield "</svg>"

    def _axis(self) -> Iterator[str]:
        bottom = self._strip + _STRIP
        month = self._played.begin
        while month < self._played.end:
            x = self._x(month)
            yield f'<path class="line" d="M{x},{_AXIS} V{bottom}"/>'
            if month.day == 1:
                yield _text(x + 4, _AXIS + 8, f"{month:%b}", "faint")
            month = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield f'<path class="line" d="M{_LEFT},{bottom} H{_RIGHT}"/>'

    def _certificate(self, row: int, life: Life) -> Iterator[str]:
        y = _AXIS + 14 + _ROW * row
        yield _text(16, y + 13, str(row + 1), "faint")
        yield _text(34, y + 13, life.how)
        for kind, begin, end in self._spans(life):
            left = min(self._x(begin), _RIGHT - _THINNEST)
            width = max(self._x(end) - left, _THINNEST)
            tip = f"{kind}: {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
            yield (
                f'<rect class="{kind}" x="{left:.1f}" y="{y + 2}" width="{width:.1f}" height="{_BAR}">'
                f"<title>{tip}</title></rect>"
            )

    def _spans(self, life: Life) -> Iterator[tuple[str, datetime, datetime]]:
        """Cut a life into what it is drawn as; the later part covers the earlier one."""
        end = self._played.end
        if life.last_signed is not None and life.disabled is not None:
            yield "gone", life.removed or life.last_signed, life.disabled
        if life.last_signed is not None:
            yield "overlap", life.signed[0][0], life.removed or life.disabled or end
        yield "waits", life.made, life.switched or life.disabled or end
        for begin, until in life.signed:
            yield "signs", begin, until or end

    def _happenings(self, row: int, kind: str, label: str) -> Iterator[str]:
        y = self._marks + _ROW * row + 8
        shape = next(shape for name, _, shape in _MARKS if name == kind)
        lines = [line for line in self._played.world.chronicle.of_kind(kind) if self._is_inside(line)]
        yield _text(16, y + 4, f"{label} ({len(lines)})")
        for line in lines:
            yield (
                f'<path class="{kind}" fill-opacity="0.8" transform="translate({self._x(line.at):.1f},{y})" d="{shape}">'
                f"<title>{escape(str(line))}</title></path>"
            )

    def _sign_ins(self) -> Iterator[str]:
        played = self._played
        failed = [at for at, _ in played.world.sign_ins.failed]
        weeks: dict[int, list[int]] = {}
        for day, count in played.world.sign_ins.tried.items():
            weeks.setdefault((day - played.begin) // _WEEK, [0, 0])[0] += count
        for at in failed:
            weeks[(at - played.begin) // _WEEK][1] += 1
        most = max((count for count, _ in weeks.values()), default=1)
        bottom = self._strip + _STRIP
        yield _text(16, self._strip + 24, "sign-ins a week")
        yield _text(16, self._strip + 40, f"up to {most}, {len(failed)} failed", "faint")
        for week, (count, wrong) in sorted(weeks.items()):
            x = self._x(played.begin + week * _WEEK)
            width = min(self._x(played.begin + (week + 1) * _WEEK), _RIGHT) - x - 2
            for kind, number in (("good", count), ("failure", wrong)):
                height = _STRIP * number / most
                if number:
                    yield (
                        f'<rect class="{kind}" x="{x + 1:.1f}" y="{bottom - height:.1f}" width="{width:.1f}" '
                        f'height="{height:.1f}"><title>{number}</title></rect>'
                    )

    def _explanation(self) -> Iterator[str]:
        x = 16.0
        for kind, label in _BARS:
            yield f'<rect class="{kind}" x="{x:.0f}" y="{self._legend - 10}" width="18" height="{_BAR - 2}"/>'
            yield _text(x + 24, self._legend, label)
            x += 24 + 6.6 * len(label) + 22
        x = 16.0
        for kind, label, shape in _MARKS:
            yield f'<path class="{kind}" transform="translate({x + 9:.0f},{self._legend + 20})" d="{shape}"/>'
            yield _text(x + 24, self._legend + 24, label)
            x += 24 + 6.6 * len(label) + 22
        for kind, label in (("good", "sign-ins that succeeded"), ("failure", "sign-ins that failed")):
            yield f'<rect class="{kind}" x="{x:.0f}" y="{self._legend + 14}" width="18" height="{_BAR - 2}"/>'
            yield _text(x + 24, self._legend + 24, label)
            x += 24 + 6.6 * len(label) + 22

    def _is_inside(self, line: Happening) -> bool:
        return self._played.begin <= line.at <= self._played.end

    def _x(self, moment: datetime) -> float:
        share = (moment - self._played.begin) / (self._played.end - self._played.begin)
        return round(_LEFT + (_RIGHT - _LEFT) * min(max(share, 0.0), 1.0), 1)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    styled = f' class="{kind}"' if kind else ""
    return f'<text{styled} x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'
