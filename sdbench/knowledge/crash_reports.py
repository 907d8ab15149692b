"""Extracts from a macOS crash report why a process died. Pure text parsing.

Two forms: the ``.ips`` file, and the text that Console shows (and macOS 11 and before wrote).

An ``.ips`` file is one line of JSON (name, system, kind of report) and then a JSON document. It
also holds user names in paths, identifiers of the machine and the list of running programs: only
what is read here is kept. Apple, "Interpreting the JSON format of a crash report".
"""

import json
import re
from typing import Any

from sdbench.records import CrashReport, Frame

_MOST_FRAMES = 16
_LONGEST = 400


def read_crash_report(text: str) -> CrashReport | None:
    """The relevant part of an ``.ips`` file; None if nothing in it reports a crash.

    Never raises: a report may be truncated while macOS is still writing it, and any value may have
    any type.
    """
    first_line, _, rest = text.partition("\n")
    header, body = _object(first_line), _object(rest) or _parts(text)
    exception = _mapping(body.get("exception"))
    termination = _mapping(body.get("termination"))
    if not exception and not termination:
        return None
    thread = _faulting_thread(body)
    frames = _sequence(body.get("lastExceptionBacktrace")) or _sequence(thread.get("frames"))
    images = _sequence(body.get("usedImages"))
    return CrashReport(
        process=_text(body.get("procName")) or _text(header.get("name")),
        os_version=_text(header.get("os_version")),
        exception_type=_text(exception.get("type")),
        signal=_text(exception.get("signal")),
        termination=_termination(termination),
        message=_message(body, exception),
        queue=_text(thread.get("queue")),
        frames=[_frame(frame, images) for frame in frames[:_MOST_FRAMES]],
    )


_IPS = re.compile(r'^\s{0,8}\{[^\n]{0,2000}"(?:bug_type|app_name|procName|exception)"', re.M)
_THREAD = re.compile(
    r"^Thread \d{1,4} Crashed:?:?"
    r"(?: {1,4}Dispatch queue: (?P<queue>[^\n]{1,200})|[^\n]{0,200})\n"
    r"(?P<frames>(?:\d{1,4} .{0,400}\n?){1,400})",
    re.M,
)
_SAID = re.compile(r"^Application Specific Information:\n(?P<said>(?:.{1,600}\n?){1,8})", re.M)
_FRAME = re.compile(
    r"\d{1,4}\s{1,8}(.{1,80}?)\s{1,40}0x[0-9a-f]{1,16}\s?(.{0,300}?)(?: \+ \d+.*)?$"
)


def find_crash_report(text: str) -> CrashReport | None:
    """The first crash report in a pasted text, in either form, surrounded by any other text."""
    start = _IPS.search(text)
    if start is not None:
        found = read_crash_report(text[start.start() :].lstrip())
        if found is not None:
            return found
    return read_text_report(text)


def read_text_report(text: str) -> CrashReport | None:
    """The relevant part of a crash report in text form; None if the text is not a crash report."""
    kind = re.search(r"^Exception Type: {1,20}(\S{1,60})(?: \((SIG\w{1,10})\))?", text, re.M)
    if kind is None or re.search(r"^(?:Process|Thread \d{1,4} Crashed)\b", text, re.M) is None:
        return None
    thread, said = _THREAD.search(text), _SAID.search(text)
    return CrashReport(
        process=_text(_line("Process", text)),
        os_version=_text(_line("OS Version", text)),
        exception_type=_text(kind[1]),
        signal=_text(kind[2]),
        termination=_text(_line("Termination Reason", text)),
        message=_text_lines(said["said"] if said else ""),
        queue=None if thread is None else _text(thread["queue"]),
        frames=[] if thread is None else _text_frames(thread["frames"]),
    )


def _line(name: str, text: str) -> str | None:
    match = re.search(rf"^{name}: {{1,40}}([^\n]{{1,400}})", text, re.M)
    return None if match is None else match[1]


def _text_lines(said: str) -> str | None:
    lines = [line for line in map(_text, said.splitlines()) if line and line != "abort() called"]
    return " | ".join(lines)[: 4 * _LONGEST] or None


def _text_frames(lines: str) -> list[Frame]:
    """``3   libtorch_cpu.dylib    0x0000000106b1c4a4 at::mps::run() + 120`` as its two names."""
    found = []
    for line in lines.splitlines()[:_MOST_FRAMES]:
        match = _FRAME.match(line)
        if match is not None:
            symbol = None if match[2].startswith("0x") else _text(match[2])
            found.append(Frame(image=_text(match[1]), symbol=symbol))
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


_KEYS = (
    "procName",
    "exception",
    "termination",
    "asi",
    "exceptionReason",
    "lastExceptionBacktrace",
    "faultingThread",
    "usedImages",
)


def _parts(text: str) -> dict[str, Any]:
    """Parse a truncated document: every known key whose value is complete."""
    found: dict[str, Any] = {}
    for key in _KEYS:
        value = _value_of(key, text, 0)
        if value is not None:
            found[key] = value
    crashed = re.search(r'"triggered"\s*:\s*true', text)
    if crashed is not None:
        found["threads"] = [
            {
                "triggered": True,
                "frames": _value_of("frames", text, crashed.end()),
                "queue": _value_of("queue", text, crashed.end()),
            }
        ]
    return found


def _value_of(key: str, text: str, start: int) -> Any:
    """The JSON value after the first mention of a key, None if it is missing or incomplete."""
    place = re.compile(rf'"{key}"\s*:\s*').search(text, start)
    if place is None:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, place.end())[0]
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    """One line in which each path is reduced to its last part, or None. The last part identifies
    the file without naming a user."""
    if not isinstance(value, str) or not value.strip():
        return None
    one_line = " ".join(value[: 10 * _LONGEST].split())
    return re.sub(r"(?:/[^/\s'\"`:]+)+/(?=[^/\s])", "", one_line)[:_LONGEST]


def _termination(termination: dict[str, Any]) -> str | None:
    """``SIGNAL 6: Abort trap: 6``, with reasons where the system gave some."""
    namespace, code = _text(termination.get("namespace")), termination.get("code")
    reasons = [_text(reason) for reason in _sequence(termination.get("reasons"))]
    said = [_text(termination.get("indicator")), *reasons]
    words = "; ".join(part for part in said if part)
    where = f"{namespace} {code}" if namespace and isinstance(code, int) else namespace
    return _text(": ".join(part for part in (where, words) if part))


def _message(body: dict[str, Any], exception: dict[str, Any]) -> str | None:
    """Application-specific information, the Objective-C exception and the fault's address."""
    reason = _mapping(body.get("exceptionReason"))
    name, composed = _text(reason.get("name")), _text(reason.get("composed_message"))
    parts = [
        line
        for lines in _mapping(body.get("asi")).values()
        for line in map(_text, _sequence(lines))
        if line and line != "abort() called"
    ]
    if name or composed:
        parts.append(f"uncaught exception '{name or 'unnamed'}', reason: {composed or 'unknown'}")
    parts.append(_text(exception.get("subtype")) or "")
    return " | ".join(part for part in parts if part)[: 4 * _LONGEST] or None


def _faulting_thread(body: dict[str, Any]) -> dict[str, Any]:
    threads = [_mapping(thread) for thread in _sequence(body.get("threads"))]
    for thread in threads:
        if thread.get("triggered") is True:
            return thread
    index = body.get("faultingThread")
    if isinstance(index, int) and 0 <= index < len(threads):
        return threads[index]
    return {}


def _frame(frame: Any, images: list[Any]) -> Frame:
    index = _mapping(frame).get("imageIndex")
    image = images[index] if isinstance(index, int) and 0 <= index < len(images) else None
    name = _mapping(image).get("name") or _mapping(image).get("path")
    short = name.rsplit("/", 1)[-1] if isinstance(name, str) else None
    return Frame(image=_text(short), symbol=_text(_mapping(frame).get("symbol")))
