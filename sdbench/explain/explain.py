"""Explains a pasted log, traceback or crash report: what happened and what to do. Pure.

The engine is the one that explains crashed workers (``failure_causes.py``). Here the text may come
from any program, contain several failures, and state its own versions. Each failure gets one cause:
what native code wrote before it ended the process, else the root of the exception chain, else the
way the process ended. The last failure in the text comes first.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from sdbench.explain.versions_in_text import states_software, versions_in
from sdbench.knowledge.chips import is_one_of
from sdbench.knowledge.crash_reports import find_crash_report
from sdbench.knowledge.failure_causes import first_cause
from sdbench.knowledge.failure_texts import FailurePattern, Tier, rule_of_signal, rules_of
from sdbench.knowledge.known_issues import KnownIssue, load_known_issues
from sdbench.knowledge.pasted_log import (
    from_last_exception,
    incidents,
    last_exception,
    last_words,
    without_code,
    without_progress,
)
from sdbench.knowledge.settings_in_force import dtype_in_text, of_text
from sdbench.knowledge.version_ranges import Versions, release, within
from sdbench.records import Confidence, CrashReport, FailureCause

# What is read of a log: its end, where the failure is, and its beginning for the versions.
_LONGEST_END = 512 * 1024
_LONGEST_START = 64 * 1024
_MOST_EXPLANATIONS = 3
_MOST_SOURCES = 4
# A log of days may hold thousands of tracebacks; what is asked about stands near its end.
_MOST_INCIDENTS = 50


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One explained failure: cause and remedy.

    ``confidence``: high (the message says it, or maintainers confirmed it), medium (several reports
    agree), low (a lead). ``generic``: no more than the message says is known. ``source`` names
    public threads, ``links`` are their addresses, ``quote`` the decisive words of the text.
    """

    id: str
    cause: str
    remedy: str
    confidence: Confidence
    generic: bool
    source: str | None
    links: list[str]
    since: str | None
    until: str | None
    quote: str | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The explanation of a text. ``unexplained`` is its last error if no rule matches it."""

    explanations: list[Explanation]
    versions: Versions
    versions_of: str
    """``text`` (stated in the text), ``machine`` (this machine's, because the text states none) or
    ``none``."""
    unexplained: str | None = None


def explain_text(text: str, machine: Versions) -> Explained:
    """Explain a log; ``machine`` holds this machine's versions, used if the text states none."""
    read = text[:_LONGEST_START] + "\n" + text[-_LONGEST_END:]
    versions, versions_of = _chosen(versions_in(read), machine)
    versions = msgspec.structs.replace(versions, dtype=dtype_in_text(read), in_force=of_text(read))
    report = find_crash_report(text)
    log = text[-_LONGEST_END:] if report is None else _as_log(report, text)
    if report is not None and report.os_version is not None and versions.macos is None:
        versions = msgspec.structs.replace(versions, macos=_macos(report.os_version))
    causes = read_log(log, versions)
    if report is not None:
        causes = [_with_report(cause, report) for cause in causes] or _by_signal(report, versions)
    explanations = [explanation(cause, versions) for cause in causes[:_MOST_EXPLANATIONS]]
    return Explained(
        explanations=explanations,
        versions=versions,
        versions_of=versions_of,
        unexplained=None if explanations else _last_error(log),
    )


def read_log(text: str, versions: Versions) -> list[FailureCause]:
    """The cause of each failure in a text, the last first; remarks only if there is none."""
    clean = without_code(without_progress(text))
    found = [
        (tier, cause)
        for incident in reversed(incidents(clean)[-_MOST_INCIDENTS:])
        for tier, cause in _of_incident(incident, versions)
    ]
    failures = [entry for entry in found if entry[0] not in ("ended", "remark")]
    ended = [entry for entry in found if entry[0] == "ended"]
    chosen = failures or ended[:1] or found
    return list({cause.kind: cause for _, cause in reversed(chosen)}.values())[::-1]


def explanation(cause: FailureCause, versions: Versions) -> Explanation:
    """A cause as it is shown, with links to known issues of these versions that cause
    this failure."""
    sources = [*cause.sources, *issue_sources(_issues_of(cause.kind, versions))]
    named = [*dict.fromkeys(sources)][:_MOST_SOURCES]
    return Explanation(
        id=cause.kind,
        cause=cause.sentence,
        remedy=cause.remedy,
        confidence=cause.confidence or "low",
        generic=cause.generic,
        source=", ".join(named) or None,
        links=[link_of(name) for name in named],
        since=cause.since,
        until=cause.until,
        quote=cause.assertion,
    )


def _chosen(stated: Versions, machine: Versions) -> tuple[Versions, str]:
    """The text's versions; this machine's if it states none and its Python does not differ."""
    if states_software(stated):
        return stated, "text"
    if stated.python and machine.python and not machine.python.startswith(stated.python):
        return stated, "text"
    if states_software(machine):
        return machine, "machine"
    return stated, "none"


def _of_incident(links: list[str], versions: Versions) -> list[tuple[Tier, FailureCause]]:
    """The cause of one failure, if a rule matches."""
    whole = "".join(links)
    native_or_raised = [rule for rule in rules_of("abort", "raised") if not rule.wrapper]
    raised = [rule for rule in rules_of("raised") if not rule.wrapper]
    tries: list[tuple[Tier, str, Iterable[FailurePattern]]] = []
    ending = from_last_exception(whole) if len(links) == 1 else None
    if ending is not None and last_words(ending) is None:
        tries.append(("raised", ending, native_or_raised))
    tries.append(("abort", whole, rules_of("abort")))
    tries += [("raised", link, raised) for link in links]
    tries.append(("raised", whole, [rule for rule in rules_of("raised") if rule.wrapper]))
    tries += [(tier, whole, rules_of(tier)) for tier in ("gpu-work", "general", "ended")]
    for tier, text, rules in tries:
        cause = first_cause(rules, text, versions)
        if cause is not None:
            return [(tier, cause)]
    remarks = (rule.read(whole, versions) for rule in rules_of("remark"))
    return [("remark", cause) for cause in remarks if cause is not None]


def _last_error(text: str) -> str | None:
    clean = without_code(without_progress(text))
    words = last_words(clean)
    if words is not None:
        return words
    error = last_exception(clean)
    return None if error is None else ": ".join(part for part in error if part)[:400]


def _issues_of(kind: str, versions: Versions) -> Sequence[KnownIssue]:
    torch, macos = release(versions.torch), release(versions.macos)
    return [
        issue
        for issue in load_known_issues()
        if kind in issue.failures
        and any(
            within(when.torch, torch)
            and within(when.macos, macos)
            and is_one_of(when.chip, versions.chip)
            for when in issue.when
        )
    ]


def issue_sources(issues: Iterable[KnownIssue]) -> list[str]:
    """The public threads of known issues, ``owner/repository#number`` or an address."""
    return [_name(link) for issue in issues for link in issue.links]


def link_of(name: str) -> str:
    """The address of a thread."""
    if name.startswith("https://"):
        return name
    repository, _, number = name.partition("#")
    return f"https://github.com/{repository}/issues/{number}"


def _name(link: str) -> str:
    """``owner/repository#number`` of an issue's address, or the address."""
    parts = link.removeprefix("https://github.com/").split("/")
    return f"{parts[0]}/{parts[1]}#{parts[3]}" if len(parts) == 4 else link


def _as_log(report: CrashReport, text: str) -> str:
    """The relevant fields of a crash report, one line each, in the form that rules match."""
    frames = [f"{frame.image or 'unknown'} {frame.symbol or ''}" for frame in report.frames]
    signal = f" ({report.signal})" if report.signal else ""
    translated = re.search(r'X86-64 \(Translated\)|"translated" ?: ?true', text) is not None
    head = [
        "Code Type: X86-64 (Translated)" if translated else None,
        f"Exception Type: {report.exception_type}{signal}",
        report.termination,
        report.message,
    ]
    return "\n".join(line for line in [*head, *frames] if line)


def _by_signal(report: CrashReport, versions: Versions) -> list[FailureCause]:
    rule = rule_of_signal(report.signal)
    return [] if rule is None else [_with_report(rule.cause_of({}, None, "", versions), report)]


def _with_report(cause: FailureCause, report: CrashReport) -> FailureCause:
    """The cause, completed with the library in which the crash happened if the rule is generic."""
    named = next(
        (frame for frame in report.frames if frame.image and not _is_plumbing(frame.image)), None
    )
    if not cause.generic or named is None:
        return cause
    function = f", in {named.symbol}" if named.symbol else ""
    where = f" The crash report names {named.image}{function}."
    return msgspec.structs.replace(cause, sentence=cause.sentence + where)


def _is_plumbing(image: str) -> bool:
    """Whether a library only ends a process and is not the cause."""
    return image.startswith(("libsystem", "libc++abi", "libobjc", "dyld"))


def _macos(os_version: str) -> str | None:
    return versions_in(f"OS Version: {os_version}").macos
