"""Numbers with their unit and the range that is possible; what is outside is refused when read."""

from typing import Annotated

import msgspec

# A time that JSON can hold and a person can live through: no NaN, no infinity.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
# A pass makes images, so it takes a microsecond at least; ratios and logarithms rely on it.
PassSeconds = Annotated[float, msgspec.Meta(ge=1e-6, le=1e9)]
# Of the yardstick's unit of work; ratios and logarithms rely on it.
UnitSeconds = Annotated[float, msgspec.Meta(ge=1e-9, le=1e6)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
# Floating-point operations, a multiply-add counting two.
Flops = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
FlopsPerSecond = Annotated[float, msgspec.Meta(gt=0, le=1e18)]
# The system-wide monotonic clock in seconds, shared by parent and workers.
Clock = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
# Bytes gained or lost.
ByteChange = Annotated[int, msgspec.Meta(ge=-(1 << 60), le=1 << 60)]
# As configurations allow them (``plan/config.py``).
Steps = Annotated[int, msgspec.Meta(ge=1, le=1000)]
GuidanceScale = Annotated[float, msgspec.Meta(ge=0, le=100)]
Block = Annotated[int, msgspec.Meta(ge=0, lt=10_000)]
Resolution = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}\Z")]
