"""Which releases of torch and diffusers there are: the highest patch of each series.

Source: the project pages of the two on the Python package index, November 2026.
"""

from packaging.version import InvalidVersion, Version

_Series = tuple[int, int]
_TORCH = (
    *("1.12.1", "1.13.1", "2.0.1", "2.1.2", "2.2.2", "2.3.1", "2.4.1", "2.5.1", "2.6.0", "2.7.1"),
    *("2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0"),
)
_DIFFUSERS = (
    *("0.10.2", "0.11.1", "0.12.1", "0.13.1", "0.14.0", "0.15.1", "0.16.1", "0.17.1", "0.18.2"),
    *("0.19.3", "0.20.2", "0.21.4", "0.22.3", "0.23.1", "0.24.0", "0.25.1", "0.26.3", "0.27.2"),
    *("0.28.2", "0.29.2", "0.30.3", "0.31.0", "0.32.2", "0.33.1", "0.34.0", "0.35.2", "0.36.0"),
    *("0.37.1", "0.38.0", "0.39.0", "0.40.0", "0.41.0", "0.42.1"),
)


def _by_series(versions: tuple[str, ...]) -> dict[_Series, int]:
    found = map(Version, versions)
    return {(version.major, version.minor): version.micro for version in found}


_HIGHEST_PATCH = {"torch": _by_series(_TORCH), "diffusers": _by_series(_DIFFUSERS)}


def is_known_release(package: str, version: str) -> bool:
    """Whether it is a release of the list, with or without a local part (``2.13.0+cpu``)."""
    parsed = _parsed(version)
    if parsed is None or parsed.is_prerelease or len(parsed.release) != 3:
        return False
    highest = _HIGHEST_PATCH[package].get((parsed.major, parsed.minor))
    return highest is not None and parsed.micro <= highest


def never_released(package: str, version: str) -> bool:
    """Whether there is certainly no such release.

    What is newer than the list may exist, as may one more patch of a listed series, a build before
    a release, and what is older than the list.
    """
    parsed = _parsed(version)
    if parsed is None:
        return True
    series = _HIGHEST_PATCH[package]
    own = parsed.major, parsed.minor
    if own in series:
        return not parsed.is_prerelease and parsed.micro > series[own] + 1
    return min(series) < own < max(series)


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidVersion:
        return None
