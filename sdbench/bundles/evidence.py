"""What a bundle has in addition to records, so that others can check these."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdbench.runs import LoadedRun


@dataclass(frozen=True)
class Evidence:
    """Images that processes made, and processes whose times nothing in the bundle confirms."""

    images: int
    unconfirmed_processes: int


def evidence_of(
    loaded: LoadedRun, members: Mapping[str, bytes], unconfirmed_processes: int
) -> Evidence:
    """The evidence of a bundle with these members (``times.unconfirmed`` counts the processes)."""
    made = {
        picture.pixels_sha256
        for entry in loaded.replicates
        for one in entry.passes
        for picture in one.images
    }
    return Evidence(sum(f"images/{name}.png" in members for name in made), unconfirmed_processes)
