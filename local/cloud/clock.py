"""A clock that can be wrong."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class ShiftedClock:
    """The machine's clock plus `offset`. The offset is not kept between runs."""

    offset: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        """Answer the time, aware, in UTC."""
        return datetime.now(UTC) + self.offset

    def seconds(self) -> int:
        """Answer whole seconds since 1970 (a NumericDate of RFC 7519)."""
        return int(self.now().timestamp())
