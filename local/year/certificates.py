"""The life of each certificate, as every write of the row shows it."""

from dataclasses import dataclass, field
from datetime import datetime

from shared.renewal_state import CertificateVersion, RenewalState, Role


@dataclass(slots=True)
class Life:
    """One version: when it came, was registered, signed, went. None: not yet, or never."""

    version: str
    how: str
    """Why it was made, and who registered it."""
    made: datetime
    not_after: datetime
    registered: datetime | None = None
    signed: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    """From when until when; twice after a roll-back."""
    removed: datetime | None = None
    was_left: bool = False
    """Its key stayed on the application: nobody knew the key id, or might remove it."""
    disabled: datetime | None = None

    @property
    def switched(self) -> datetime | None:
        """When it first signed."""
        return self.signed[0][0] if self.signed else None

    @property
    def last_signed(self) -> datetime | None:
        """When it signed last; None while it does, or before."""
        return self.signed[-1][1] if self.signed else None

    def follow(self, seen: CertificateVersion, now: datetime, *, signs: bool) -> None:
        """Take in what the row says of it."""
        if not self.signed:  # until then it may turn out that it was not
            self.registered = seen.registered_at
        self.removed = self.removed or seen.removed_at
        self.was_left = seen.removed_at is not None and not seen.key_id
        if seen.disabled:
            self.disabled = self.disabled or now
        open_since = self.signed[-1][0] if self.signed and self.signed[-1][1] is None else None
        if signs and open_since is None:
            self.signed.append((now, None))
        elif not signs and open_since is not None:
            self.signed[-1] = (open_since, now)


@dataclass(slots=True)
class Lives:
    """All versions, the oldest first."""

    by_version: dict[str, Life] = field(default_factory=dict)
    asked: str = ""
    """What the next one is made for; empty: it is time."""

    def see(self, state: RenewalState, now: datetime) -> None:
        """Take in a write of the row."""
        for role in Role:
            seen = state.version(role)
            if seen is None:
                continue
            if seen.version not in self.by_version:
                self.by_version[seen.version] = Life(
                    seen.version, self.asked or "by itself", now, seen.not_after
                )
                self.asked = ""
            self.by_version[seen.version].follow(seen, now, signs=role is Role.CURRENT)

    @property
    def all(self) -> list[Life]:
        """Give them in the order of their making."""
        return sorted(self.by_version.values(), key=lambda life: life.made)
