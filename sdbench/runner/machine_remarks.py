"""What the user should know of a Mac before a run starts."""

from collections.abc import Iterator, Mapping
from typing import Any

from sdbench.knowledge.coverage import beyond_tables
from sdbench.process.find_device import FoundDevice
from sdbench.process.room import VIRTUAL_MAC_FREE_BYTES, VIRTUAL_MAC_LIMIT_BYTES
from sdbench.records import StackInfo


def machine_remarks(
    device: FoundDevice,
    identity: Mapping[str, Any],
    stacks: Mapping[str, StackInfo],
) -> Iterator[str]:
    """On mps: that the Mac is a virtual one, and what is assumed beyond sdbench's tables."""
    if device.kind != "mps":
        return
    if identity["virtual"] is True or device.facts.get("virtualised"):
        yield (
            "this is a virtual Mac: a run shows whether it works and whether images are right; "
            "its times mean nothing for a real Mac and get no verdict. Its GPU can use about "
            f"{VIRTUAL_MAC_LIMIT_BYTES / 1e9:g} GB, and less than "
            f"{VIRTUAL_MAC_FREE_BYTES / 1e9:g} GB for one array"
        )
    macos = device.facts.get("macos")
    if macos is None and identity["system"] == "Darwin":
        macos = identity["release"]
    for stack in stacks.values():
        yield from beyond_tables(
            chip=identity["chip"], macos=macos, torch=stack.packages.get("torch")
        )
