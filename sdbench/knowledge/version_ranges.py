"""Parses versions of torch and macOS as people and programs write them, and tests them against
ranges."""

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the software and the machine that a failure happened on; None is unknown.

    ``architecture`` is the process's (``arm64``, ``x86_64``), ``packages`` the other Python
    packages by their normalised names. ``in_force`` are settings that were already so (names of
    ``in_force.py``), so advice to set them would be useless.
    """

    torch: str | None = None
    macos: str | None = None
    python: str | None = None
    chip: str | None = None
    architecture: str | None = None
    dtype: str | None = None
    packages: dict[str, str] = {}
    in_force: frozenset[str] = frozenset()


UNKNOWN = Versions()


def release(version: object) -> Version | None:
    """``2.13.0+cpu`` and ``2.14.0.dev20260901`` as 2.13.0 and 2.14.0; None for text that is not a
    version."""
    try:
        return Version(Version(str(version)).base_version)
    except InvalidVersion:
        return None


def within(specifier: str, version: Version | None) -> bool:
    """Whether a release is in a PEP 440 range; an unknown release is in no range but the empty."""
    if not specifier:
        return True
    return version is not None and SpecifierSet(specifier).contains(version)


def is_prerelease(version: str | None) -> bool:
    """Whether it is a nightly or other build before a release (``2.3.0.dev20240114``)."""
    try:
        return version is not None and Version(version).is_prerelease
    except InvalidVersion:
        return False
