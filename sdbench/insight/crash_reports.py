"""The part of a macOS crash report (``.ips``) that says why a process died. Pure text reading.

An ``.ips`` file is one line of JSON (name, system, kind of report) and then a JSON document. It
also holds user names in paths, identifiers of the machine and the list of running programs: only
what is read here is kept. Apple, "Interpreting the JSON format of a crash report".
"""

import json
import re
from typing import Any

from sdbench.schema import CrashReport, Frame

_MOST_FRAMES = 16
_LONGEST = 400


def read_crash_report(text: str) -> CrashReport | None:
    """The relevant part of an ``.ips`` file; None if nothing in it tells of a crash.

    Never raises: a report may be cut while macOS still writes it, and any value may be of any type.
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
    """What can be read of a document that is cut: every known key whose value is whole."""
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
    """The JSON value after the first mention of a key, None if it is not there or not whole."""
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
    """One line without folders, or None: a path's last part says enough and names nobody."""
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
