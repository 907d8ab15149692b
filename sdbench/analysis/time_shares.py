"""Where the time of a sitting went. Pure."""

from collections.abc import Sequence

import msgspec

from sdbench.records import Replicate


class TimeShares(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sitting's wall time went, in seconds; ``rest_s`` is sdbench's and the system's."""

    wall_s: float
    passes_s: float
    load_s: float
    import_s: float
    waited_s: float = 0.0
    comparing_s: float = 0.0

    @property
    def rest_s(self) -> float:
        """Starting processes, saving images, writing records; with fork also one import."""
        reported = self.passes_s + self.load_s + self.import_s + self.waited_s + self.comparing_s
        return max(0.0, self.wall_s - reported)


def time_shares(
    replicates: Sequence[Replicate], wall_s: float, comparing_s: float = 0.0, devices: int = 1
) -> TimeShares:
    """Split a sitting's wall time by what its workers reported.

    Of several ``devices`` that worked at the same time it is what one of them did on average.
    """
    passes_s = sum(entry.duration_s for replicate in replicates for entry in replicate.passes)
    return TimeShares(
        wall_s=wall_s,
        passes_s=passes_s / devices,
        load_s=sum(replicate.load_s or 0.0 for replicate in replicates) / devices,
        import_s=sum(replicate.import_s or 0.0 for replicate in replicates) / devices,
        waited_s=sum(replicate.gate.waited_s for replicate in replicates) / devices,
        comparing_s=comparing_s,
    )
