"""Bundles to be changed: as a file, byte by byte, and as members that are sealed again."""

import contextlib
from collections.abc import Mapping

from forged_bundles import RESULTS, Members, good_members, hashed, summarised
from fuzz_trees import Odd
from fuzz_ways import Files, Subject

from sdbench.bundles.format import MANIFEST, SUMMARY
from sdbench.bundles.write import sealed

NAME = "given.sdbench.zip"
_MOST_IMAGES = 3
_RUNS = ("20261122-155156-quick-587b", "20261122-155633-default-63bc")


def bundle_subjects() -> list[Subject]:
    """Sound bundles of runs in git, few of the images in them."""
    members = [summarised(_with_few_images(good_members(RESULTS / run))) for run in _RUNS]
    return [
        Subject("bundle", "file", {NAME: hashed(members[1])}),
        *(
            Subject("bundle", f"members of {run}", one)
            for run, one in zip(_RUNS, members, strict=True)
        ),
    ]


def _with_few_images(members: Members) -> Members:
    left_out = [name for name in members if name.startswith("images/")][_MOST_IMAGES:]
    return {name: data for name, data in members.items() if name not in left_out}


def bundle_of_files(subject: Subject, files: Files) -> Mapping[str, bytes | Odd]:
    """What lies on the disk: the file, or the members as one.

    A forger repairs what was not itself changed: the summary follows from the records again, where
    it can be computed, and the manifest has every hash.
    """
    if NAME in subject.tree:
        return files
    members = {name: data for name, data in files.items() if isinstance(data, bytes)}
    if members.get(SUMMARY) == subject.tree[SUMMARY]:
        with contextlib.suppress(Exception):  # else the forger leaves the summary as it is
            members = summarised(members)
    whole = members.get(MANIFEST) == subject.tree[MANIFEST]
    try:
        return {NAME: hashed(members) if whole else sealed(members)}
    except (ValueError, UnicodeError):  # a name that no archive can have
        return {NAME: b""}
