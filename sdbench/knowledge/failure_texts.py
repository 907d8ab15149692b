"""The rules that recognise a failure: reads and applies ``failure_texts.toml``. Pure.

A message may be cut at either end and broken by other output, so a rule asks for as few words as
identify it, a blank in a pattern stands for any white space, and each number is looked for on its
own. What a rule says may depend on versions, dtype and other words of the text: its ``case`` tables
refine it, the first that holds wins, and what needs a version that is unknown does not hold.
A remedy has parts in brackets that are left out where the failed run already had what they advise
(``fitted``).
"""

import functools
import re
import string
from collections import deque
from importlib import resources
from typing import Literal, TypeVar

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from sdbench.files.toml import parse_toml
from sdbench.knowledge.chips import Chip, is_one_of
from sdbench.knowledge.settings_in_force import check_condition, holds
from sdbench.knowledge.version_ranges import UNKNOWN, Versions, is_prerelease, release, within
from sdbench.records import Confidence, FailureCause

T = TypeVar("T")
Tier = Literal["abort", "raised", "gpu-work", "general", "ended", "remark"]
"""The kinds of text that a rule matches, most specific first.

``abort``: written by what then ended the process. ``raised``: of an exception. ``gpu-work``: Metal
on a piece of work that failed, after which the process may have gone on. ``general``: that a check
failed, hardly why. ``ended``: only that the process ended. ``remark``: no failure, though it looks
like one.
"""
TIERS: tuple[Tier, ...] = ("abort", "raised", "gpu-work", "general", "ended", "remark")

_LONGEST_QUOTE = 300
_LONGEST_NAME = 120
_GROUP = re.compile(r"\[([^\[\]]*)\]")
# As far before a match as a message may begin: long paths stand in messages of the loader.
_CONTEXT = 600

# Parts that several patterns have.
_PARTS = {
    "SIZE": r"\d{1,15}(?:\.\d{1,6})?\s{0,3}(?:bytes|[KMGT]i?B)",
    "METHOD": r"(?:\[MPS\w{0,40},?[^\]\n]{0,160}\] Error: )?",
    "CODE": r"(?: \([^)\n]{0,120}\)?)?",  # of a Metal command buffer's error
}


def words(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a pattern; a blank is any white space (`` ?``: or none), ``%NAME%`` a part."""
    for name, part in _PARTS.items():
        pattern = pattern.replace(f"%{name}%", part)
    return re.compile(pattern.replace(" ?", r"\s{0,200}").replace(" ", r"\s{1,200}"), flags)


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must all hold. Versions are PEP 440 specifiers; ``text`` and ``not_text`` are patterns.

    ``chip`` names families of Apple's chips; a chip that is not known is of none. ``other_share``
    is met where what Metal held in addition to torch's tensors is at least that part of all that
    was held. ``held_at_most`` and ``asked_at_most`` are bytes; what the text does not say meets
    neither. ``below_limit``: what was held and asked for together is less than what was allowed, as
    far as the text says it.
    """

    torch: str = ""
    macos: str = ""
    dtype: tuple[str, ...] | None = None
    prerelease: bool | None = None
    text: str = ""
    not_text: str = ""
    chip: tuple[Chip, ...] = ()
    other_share: float | None = None
    held_at_most: int | None = None
    asked_at_most: int | None = None
    below_limit: bool = False

    def hold(self, versions: Versions, text: str, cause: FailureCause) -> bool:
        """Whether all conditions hold for a failure that was read from a text."""
        return (
            within(self.torch, release(versions.torch))
            and within(self.macos, release(versions.macos))
            and (self.dtype is None or versions.dtype in self.dtype)
            and (self.prerelease is None or is_prerelease(versions.torch) == self.prerelease)
            and (not self.text or _compiled(self.text).search(text) is not None)
            and (not self.not_text or _compiled(self.not_text).search(text) is None)
            and is_one_of(self.chip, versions.chip)
            and (self.other_share is None or _other_share(cause) >= self.other_share)
            and _at_most(_held_bytes(cause), self.held_at_most)
            and _at_most(cause.asked_bytes, self.asked_at_most)
            and (not self.below_limit or _below_limit(cause))
        )


class Refinement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What replaces a rule's fields where ``when`` holds; None keeps the rule's own value."""

    when: Conditions
    cause: str | None = None
    remedy: str | None = None
    confidence: Confidence | None = None
    since: str | None = None
    until: str | None = None
    sources: tuple[str, ...] | None = None


class FailurePattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pattern to search for and the cause and remedy that it stands for.

    ``pattern``'s named groups fill ``cause`` and ``remedy``; ``asked``, ``allocated``, ``other``
    and ``limit`` are sizes, ``quote`` the decisive words. ``sizes`` are patterns with one group
    each, looked for separately because the message may be cut before or after any of them.
    ``wrapper``: the message passes on another one, which says more if it is known. ``also`` names
    rules that may rightly match the same words. ``generic``: it says no more than the message.
    ``not_after``: a pattern that must not stand shortly before the words, as of a warning. In
    ``remedy``, ``[unless SETTING: ...]`` is advice that is left out where the run had it already.
    """

    id: str
    tier: Tier
    pattern: str
    cause: str
    remedy: str
    confidence: Confidence
    sources: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    generic: bool = False
    wrapper: bool = False
    requires: Conditions = Conditions()
    not_after: str = ""
    sizes: tuple[tuple[str, str], ...] = ()
    limit_bytes: int | None = None
    also: tuple[str, ...] = ()
    case: tuple[Refinement, ...] = ()
    examples: tuple[str, ...]
    near_misses: tuple[str, ...] = ()

    def last_match(self, text: str) -> re.Match[str] | None:
        """Where the pattern matches the text; of several matches the last one counts."""
        found = _compiled(self.pattern).finditer(text)
        if self.not_after:
            found = (match for match in found if not self._excused(text, match.start()))
        matches = deque(found, maxlen=1)
        return matches[0] if matches else None

    def _excused(self, text: str, start: int) -> bool:
        before = text[max(0, start - _CONTEXT) : start]
        return _compiled(self.not_after).search(before) is not None

    def read(self, text: str, versions: Versions = UNKNOWN) -> FailureCause | None:
        """The cause for these versions if the pattern matches the text, else None."""
        match = self.last_match(text)
        if match is None:
            return None
        found = {name: value for name, value in match.groupdict().items() if value}
        for name, pattern in self.sizes:
            values = _compiled(pattern).findall(text)
            if values:
                found[name] = values[-1]
        cause = self.cause_of(found, found.get("quote", match[0]), text, versions)
        return cause if self.requires.hold(versions, text, cause) else None

    def cause_of(
        self,
        found: dict[str, str],
        quote: str | None,
        text: str = "",
        versions: Versions = UNKNOWN,
    ) -> FailureCause:
        """Fill in the sentences."""
        sizes = {
            name: _bytes(found[name]) if name in found else None
            for name in ("asked", "allocated", "other", "limit")
        }
        sizes["limit"] = sizes["limit"] or self.limit_bytes
        named = {name: one_line(value)[:_LONGEST_NAME] for name, value in found.items()}
        filled = {
            **dict.fromkeys(_compiled(self.pattern).groupindex, "something"),
            "operator": "an operator",
            **named,
            **{name: gib(value) for name, value in sizes.items()},
            "torch": versions.torch or "this torch",
            "macos": f"macOS {versions.macos}" if versions.macos else "this macOS",
        }
        cause = FailureCause(
            kind=self.id,
            sentence="",
            remedy="",
            asked_bytes=sizes["asked"],
            allocated_bytes=sizes["allocated"],
            other_bytes=sizes["other"],
            limit_bytes=sizes["limit"],
            pool=found.get("pool"),
            operator=found.get("operator"),
            assertion=None if quote is None else one_line(quote),
        )
        holding = (one for one in self.case if one.when.hold(versions, text, cause))
        chosen = next(holding, None) or Refinement(when=Conditions())
        return msgspec.structs.replace(
            cause,
            sentence=_chosen(chosen.cause, self.cause).format_map(filled),
            remedy=fitted(_chosen(chosen.remedy, self.remedy), versions).format_map(filled),
            confidence=_chosen(chosen.confidence, self.confidence),
            generic=self.generic and chosen.cause is None,
            since=chosen.since or self.since,
            until=chosen.until or self.until,
            sources=list(_chosen(chosen.sources, self.sources)),
        )


def fitted(remedy: str, versions: Versions) -> str:
    """A remedy without the parts that advise settings which the failed run already had.

    ``[unless half: float16]`` stands only where the run was not in half precision; of
    ``[a smaller resolution | unless half: float16 | unless cpu: ...]`` those that are left are
    joined as a list. Several conditions, separated by blanks: one that holds is enough to leave the
    part out.
    """

    def left(group: re.Match[str]) -> str:
        parts = [_part(text) for text in group[1].split("|")]
        return _listed(
            [text for unless, text in parts if not any(holds(one, versions) for one in unless)]
        )

    text = re.sub(r"\s{2,}", " ", _GROUP.sub(left, remedy))
    text = re.sub(r"\s+(?=[.,;:](?:\s|$))", "", text).strip()
    return text[:1].upper() + text[1:]


def _part(text: str) -> tuple[list[str], str]:
    """A part of a remedy: the conditions under which it is omitted, and its text."""
    match = re.match(r"\s*unless ([^:]+):", text)
    return ([], text.strip()) if match is None else (match[1].split(), text[match.end() :].strip())


def _listed(parts: list[str]) -> str:
    """``a, b or c``."""
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rule: tuple[FailurePattern, ...]


@functools.cache
def load_rules() -> tuple[FailurePattern, ...]:
    """The rules that come with sdbench, in the order in which they are tried.

    A test checks them. To check them here would compile every pattern, which takes a tenth of a
    second at the end of every run.
    """
    return _decode(shipped_rules())


def shipped_rules() -> str:
    """The document of the rules that come with sdbench."""
    file = resources.files("sdbench.knowledge") / "failure_texts.toml"
    return file.read_text(encoding="utf-8")


def parse_rules(text: str) -> tuple[FailurePattern, ...]:
    """Decode and check a document of rules.

    Raises:
        ValueError: not TOML, an unknown key, a wrong type, a bad pattern or specifier, an id twice,
            a sentence with a gap that the pattern does not fill.
    """
    rules = _decode(text)
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            raise ValueError(f"{rule.id}: this id is used twice")
        seen.add(rule.id)
        try:
            _check(rule)
        except (InvalidSpecifier, re.error, ValueError) as error:
            raise ValueError(f"{rule.id}: {error}") from None
    return rules


def _decode(text: str) -> tuple[FailurePattern, ...]:
    return msgspec.convert(parse_toml(text), _Document).rule


def rules_of(*tiers: Tier) -> tuple[FailurePattern, ...]:
    """The rules of some tiers, tier by tier."""
    return tuple(rule for tier in tiers for rule in load_rules() if rule.tier == tier)


# What the name of a signal alone says.
SIGNALS = {
    "SIGKILL": "killed",
    "SIGBUS": "bus-error",
    "SIGSEGV": "segmentation-fault",
    "SIGABRT": "aborted",
    "SIGTRAP": "trapped",
    "SIGILL": "trapped",
}


def rule_of_signal(name: str | None) -> FailurePattern | None:
    """The rule for a process that a signal ended and whose error output matches no other rule."""
    wanted = SIGNALS.get(name or "")
    return next((rule for rule in load_rules() if rule.id == wanted), None)


def _check(rule: FailurePattern) -> None:
    pattern = words(rule.pattern)
    conditions = [rule.requires, *(one.when for one in rule.case)]
    for one in conditions:
        SpecifierSet(one.torch)
        SpecifierSet(one.macos)
        words(one.text)
        words(one.not_text)
    # It would ask for white space there, which the end of a text does not have.
    edges = [rule.pattern, *(text for one in conditions for text in (one.text, one.not_text))]
    if any(text != text.strip(" ") for text in edges):
        raise ValueError("a pattern begins or ends with a blank")
    given = {*pattern.groupindex, *(name for name, _ in rule.sizes), "torch", "macos", "operator"}
    given |= {"limit"} if rule.limit_bytes else set()
    remedies = [rule.remedy, *(one.remedy for one in rule.case if one.remedy)]
    for group in (group for remedy in remedies for group in _GROUP.finditer(remedy)):
        for unless, _ in map(_part, group[1].split("|")):
            for condition in unless:
                check_condition(condition)
    if any(set("[]") & set(_GROUP.sub("", remedy)) for remedy in remedies):
        raise ValueError("a bracket of a remedy has no partner")
    said = [rule.cause, rule.remedy]
    said += [words_ for one in rule.case for words_ in (one.cause, one.remedy) if words_]
    for sentence in said:
        gaps = {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}
        if gaps - given:
            raise ValueError(f"the pattern has no group named {', '.join(sorted(gaps - given))}")
    if not rule.examples:
        raise ValueError("expected at least one example")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return words(pattern)


def _chosen(refined: T | None, usual: T) -> T:
    return usual if refined is None else refined


def _held_bytes(cause: FailureCause) -> int | None:
    """What torch and Metal held together; None where the text does not say what torch held."""
    if cause.allocated_bytes is None:
        return None
    return cause.allocated_bytes + (cause.other_bytes or 0)


def _below_limit(cause: FailureCause) -> bool:
    needed = (_held_bytes(cause) or 0) + (cause.asked_bytes or 0)
    return cause.limit_bytes is None or needed < cause.limit_bytes


def _at_most(size_bytes: int | None, most_bytes: int | None) -> bool:
    return most_bytes is None or (size_bytes is not None and size_bytes <= most_bytes)


def _other_share(cause: FailureCause) -> float:
    held = (cause.allocated_bytes or 0) + (cause.other_bytes or 0)
    return (cause.other_bytes or 0) / held if held else 0.0


# torch's allocators print sizes with two decimals of powers of 1024. Older MPSAllocator.mm called
# them KB, MB, GB (its format_size divides by 1073741824 and appends "GB"), newer releases KiB, MiB,
# GiB; CUDA's was KiB, MiB, GiB always. So both spellings are binary.
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def _bytes(text: str) -> int:
    """``18.13 GB``, ``292.50 MiB``, ``7664640 bytes``, ``7664640`` as a number of bytes."""
    number = re.match(r"[\d.]+", text)
    assert number is not None
    unit = text[number.end() :].strip()[:1].lower() or "b"
    return round(float(number[0]) * 1024.0 ** _POWERS[unit])


def gib(value: int | None) -> str:
    """In the form that torch uses, so that the number can be found in the error, with the correct
    unit."""
    if value is None:
        return "an unknown amount"
    if value >= 2**30:
        return f"{value / 2**30:.2f} GiB"
    return f"{value / 2**20:.1f} MiB" if value >= 2**20 else f"{value} bytes"


def one_line(text: str) -> str:
    """One line in which each path is reduced to its last part, which identifies the file without
    naming a user."""
    line = " ".join(text.split()).strip("` ")
    if line.count("'") % 2 and "`" not in line:
        line = line.strip("'")
    return re.sub(r"(?:/[^/\s'\"`:]+)+/(?=[^/\s])", "", line)[:_LONGEST_QUOTE]
