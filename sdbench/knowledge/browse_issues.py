"""The catalogue of known issues for reading: filtered, and each issue in words. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from sdbench.errors import UsageError
from sdbench.knowledge.known_issues import KnownIssue, When
from sdbench.knowledge.version_ranges import release, within
from sdbench.records import spelling
from sdbench.words import did_you_mean, gigabytes, shortened

_FIXED_IN = re.compile(r"(torch|macOS) ([0-9.]+)")
_THREAD = re.compile(r"https://github\.com/[^/]+/([^/]+)/(?:issues|pull)/([0-9]+)")
_SOFTWARE = ("torch", "macOS", "diffusers")


def browse(
    entries: Sequence[KnownIssue],
    *,
    word: str | None = None,
    issue_id: str | None = None,
    torch: str | None = None,
    macos: str | None = None,
) -> list[KnownIssue]:
    """The issues that a person asks for, in the catalogue's order.

    Args:
        entries: the catalogue.
        word: must be in the id, the texts, the symptoms, the settings or a link; case is ignored.
        issue_id: the id of one issue.
        torch: a release; issues that are not met with it are left out. An issue whose releases
            are not known stays.
        macos: likewise.

    Raises:
        UsageError: the id is not in the catalogue, or a version is none.
    """
    if issue_id is not None:
        ids = [entry.id for entry in entries]
        if issue_id not in ids:
            hint = did_you_mean(issue_id, ids)
            raise UsageError(f"no known issue {shortened(issue_id)!r}; {hint}see sdbench issues")
    versions = {"torch": _version(torch, "--torch"), "macOS": _version(macos, "--macos")}
    return [
        entry
        for entry in entries
        if issue_id in (None, entry.id)
        and (word is None or word.casefold() in _searched(entry).casefold())
        and _may_be_met(entry, versions["torch"], versions["macOS"])
    ]


def settings_words(entry: KnownIssue) -> str:
    """The settings and sizes with which it is met, one way after another; empty if any."""
    ways = dict.fromkeys(_way_words(when) for when in entry.when)
    return "; or ".join(way for way in ways if way)


def since_words(entry: KnownIssue) -> str | None:
    """The first releases it was seen on: ``torch 1.12``; None where it may always have been."""
    earliest = Version("0")
    words = []
    for name in _SOFTWARE:
        bounds = [
            bound
            for when in entry.when
            for bound in _lower_bounds(_specifiers(when)[name]) or [earliest]
        ]
        first = min(bounds, default=earliest)
        words += [f"{name} {first}"] if first > earliest else []
    return ", ".join(words) or None


def link_words(link: str) -> str:
    """``pytorch#187521`` for a thread on GitHub; other addresses as they are."""
    thread = _THREAD.fullmatch(link)
    return link if thread is None else f"{thread[1]}#{thread[2]}"


def issue_document(entry: KnownIssue) -> dict[str, Any]:
    """All of an issue, for JSON, with its settings and first releases in words."""
    document: dict[str, Any] = msgspec.to_builtins(entry)
    for when in document["when"]:
        when["settings"] = {axis: of for axis, of in when["settings"].items() if of is not None}
    return document | {"settings": settings_words(entry), "since": since_words(entry)}


def _version(text: str | None, option: str) -> Version | None:
    found = release(text) if text is not None else None
    if text is not None and found is None:
        raise UsageError(f"{option}: expected a version such as 2.8, got {shortened(text)!r}")
    return found


def _searched(entry: KnownIssue) -> str:
    texts = (entry.id, entry.title, entry.what, entry.workaround, settings_words(entry))
    return " ".join([*texts, *entry.symptoms, *entry.failures, *entry.links])


def _may_be_met(entry: KnownIssue, torch: Version | None, macos: Version | None) -> bool:
    if not entry.when:
        return not _is_fixed(entry, "torch", torch) and not _is_fixed(entry, "macOS", macos)
    return any(
        (torch is None or within(when.torch, torch))
        and (macos is None or within(when.macos, macos))
        for when in entry.when
    )


def _is_fixed(entry: KnownIssue, name: str, version: Version | None) -> bool:
    """Whether ``fixed_in`` names a release of that alone, and the version is not before it."""
    fixed = _FIXED_IN.fullmatch(entry.fixed_in or "")
    return (
        fixed is not None
        and version is not None
        and fixed[1] == name
        and version >= Version(fixed[2])
    )


def _specifiers(when: When) -> dict[str, str]:
    return dict(zip(_SOFTWARE, (when.torch, when.macos, when.diffusers), strict=True))


def _lower_bounds(specifier: str) -> list[Version]:
    bounds = (
        one.version.removesuffix(".*")
        for one in SpecifierSet(specifier)
        if one.operator in (">=", "==", "~=", ">")
    )
    return [Version(bound) for bound in bounds]


def _way_words(when: When) -> str:
    settings = msgspec.structs.asdict(when.settings)
    words = [
        f"{axis}={','.join(map(spelling, values))}"
        for axis, values in settings.items()
        if values is not None
    ]
    if when.device != ("mps",):
        words.append(f"on {', '.join(when.device)}")
    if when.pipeline is not None:
        words.append(f"families {', '.join(when.pipeline)}")
    words += [text for text in _size_words(when) if text]
    return ", ".join(words)


def _size_words(when: When) -> Iterable[str | None]:
    yield _limit("at least", when.min_pixels, "pixels")
    yield _limit("at most", when.max_pixels, "pixels")
    yield _limit("at least", when.min_batch, "images in a batch")
    yield _limit("attention scores of at least", when.min_score_elements, "elements")
    if when.min_score_bytes is not None:
        yield f"attention scores of at least {gigabytes(when.min_score_bytes)}"


def _limit(what: str, count: int | None, of: str) -> str | None:
    return None if count is None else f"{what} {count:,} {of}"
