"""What a bundle is: a zip file with these members, sealed by a manifest of their hashes.

``manifest.json``       format, and SHA-256 and size of every other member
``run.json``            the run, without what is private
``records.jsonl``       its records, one a line, in the order of the run's folder
``summary.json``        what ``run --json`` and ``diagnose --json`` say of exactly these two
``images/HASH.png``     images by the hash of their pixels
``telemetry/NAME.jsonl`` timelines, thinned
``report.html``         the page for people

But for the manifest and the summary, a bundle that is unpacked is a run folder.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from sdbench.files.access import MIB
from sdbench.records import Count

FORMAT = 1
SUFFIX = ".sdbench.zip"
MANIFEST, SUMMARY, REPORT = "manifest.json", "summary.json", "report.html"
RUN_MEMBER, RECORDS_MEMBER = "run.json", "records.jsonl"
REQUIRED = (MANIFEST, RUN_MEMBER, RECORDS_MEMBER, SUMMARY)
"""Members that every bundle has."""

_IMAGE = re.compile(r"images/[0-9a-f]{64}\.png")
_TIMELINE = re.compile(r"telemetry/[A-Za-z0-9][A-Za-z0-9._+-]{0,240}\.jsonl")

MACHINE_ID = re.compile(r"m-[0-9a-f]{16}")
"""The random id under which a machine is shared."""
MOST_MEMBERS = 20_000
MOST_BUNDLE_BYTES = 64 * MIB
"""Of the file."""
MOST_UNPACKED_BYTES = 256 * MIB
"""Of all members together."""
MOST_MANIFEST_BYTES = 4 * MIB


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the manifest says of a member."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Count


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest.json``; it does not name itself.

    ``lines_left_out`` are lines of the run's records file that were no records of this run, and
    so are in no member.
    """

    format: Annotated[int, msgspec.Meta(ge=1)]
    members: dict[str, Member]
    lines_left_out: Count = 0


def is_member(name: str) -> bool:
    """Whether a bundle may have a member of that name."""
    fixed = name in (MANIFEST, RUN_MEMBER, RECORDS_MEMBER, SUMMARY, REPORT)
    return fixed or is_image(name) or _TIMELINE.fullmatch(name) is not None


def is_image(name: str) -> bool:
    """Whether a member is an image."""
    return _IMAGE.fullmatch(name) is not None


def order_of(name: str) -> tuple[int, str]:
    """The place of a member: those that every bundle has first, then by name."""
    return (REQUIRED.index(name) if name in REQUIRED else len(REQUIRED), name)


def manifest_of(members: Mapping[str, bytes], lines_left_out: int = 0) -> Manifest:
    """The manifest of members by name, itself aside."""
    return Manifest(
        format=FORMAT,
        members={
            name: Member(sha256=hashlib.sha256(members[name]).hexdigest(), bytes=len(members[name]))
            for name in sorted(members, key=order_of)
            if name != MANIFEST
        },
        lines_left_out=lines_left_out,
    )
