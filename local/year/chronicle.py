"""What happened in the year, in order: what the renewal says in the audit table, and what the world did."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from shared.ports import Store, Table
from shared.renewal_row import AUDIT_PARTITION

_RENEWAL: Final = {
    "renewal.asked.generate": ("owner", "the Owner asks for a new certificate"),
    "renewal.asked.rotate": ("owner", "the Owner asks: rotate now"),
    "renewal.asked.revoke": ("owner", "the Owner asks: revoke the certificate that signs"),
    "renewal.asked.roll_back": ("owner", "the Owner asks: roll back"),
    "renewal.paused": ("owner", "the Owner pauses the renewal"),
    "renewal.resumed": ("owner", "the Owner resumes the renewal"),
    "renewal.begin": ("step", "begins"),
    "renewal.created": ("step", "has its certificate, made in the vault"),
    "renewal.found": ("step", "Microsoft knows the certificate: it is being proven"),
    "renewal.add_key.outcome": ("step", "addKey"),
    "renewal.absent": ("step", "Microsoft does not know the certificate after an hour: once more"),
    "renewal.switch": ("switch", "switched: the new certificate signs"),
    "renewal.roll_back": ("switch", "rolled back: the previous certificate signs again"),
    "renewal.refuse_roll_back": ("step", "cannot roll back"),
    "renewal.retire": ("step", "the overlap is over: the old certificate retires"),
    "renewal.remove_key.outcome": ("step", "removeKey"),
    "renewal.leave_key": ("step", "the old key stays on the application: nobody here may remove it"),
    "renewal.disable.outcome": ("step", "the vault signs with the old certificate no more"),
    "renewal.disable_abandoned.outcome": ("step", "the vault signs with a given-up certificate no more"),
    "renewal.finish": ("step", "finished"),
    "chores.failed": ("step", "the daily chores fail"),
}
_ONCE_IN: Final = timedelta(days=1)
"""The same line of the renewal stands once in the timeline within so long."""
_ALARM: Final = "renewal.alarm."
_WITH_REASON: Final = frozenset({"renewal.add_key.outcome", "renewal.remove_key.outcome", "chores.failed"})


@dataclass(frozen=True, slots=True, order=True)
class Happening:
    """One line. `kind`: step, switch, alarm, owner, fault, failure, broken or note."""

    at: datetime
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}  {self.text}"


@dataclass(slots=True)
class Chronicle:
    """The lines so far."""

    lines: list[Happening] = field(default_factory=list)
    _read: set[str] = field(default_factory=set)
    _said: dict[str, datetime] = field(default_factory=dict)
    _told: int = 0

    def tell(self, at: datetime, text: str, kind: str) -> None:
        """Write a line."""
        self.lines.append(Happening(at, kind, text))

    def read(self, store: Store) -> None:
        """Take in what the renewal has said since."""
        for row in store.query(Table.AUDIT, AUDIT_PARTITION):
            if row.key in self._read:
                continue
            self._read.add(row.key)
            said = json.loads(str(row.values["line"]))
            kind, text = _sentence(said["event"], said.get("reason", ""))
            at, line = (
                datetime.fromisoformat(said["at"]),
                f"generation {int(row.key.partition(':')[0])}  {text}",
            )
            again = line in self._said and at - self._said[line] < _ONCE_IN
            if text and not again:
                self._said[line] = at
                self.tell(at, line, kind)

    def untold(self) -> list[Happening]:
        """Give the lines that have come since the last call, in order."""
        new = sorted(self.lines[self._told :])
        self._told = len(self.lines)
        return new

    def of_kind(self, *kinds: str) -> list[Happening]:
        """Give the lines of some kinds, in order."""
        return sorted(line for line in self.lines if line.kind in kinds)


def _sentence(event: str, reason: str) -> tuple[str, str]:
    if event.startswith(_ALARM):
        name = event.removeprefix(_ALARM)
        return "alarm", f"ALARM {name} {reason}".rstrip()
    kind, text = _RENEWAL.get(event, ("", ""))
    outcome = reason.partition(": ")
    if event in _WITH_REASON and text:
        # A key id tells a reader nothing.
        text = f"{text}: {outcome[0] if outcome[0] == 'done' else reason}"
    return kind, text
