"""Compares what a hosted Mac found wrong with the list of what is known to be wrong there. Strict.

    python tools/expected_failures.py EXPECTED.toml FOUND --need doctor run-quick ...

FOUND is a folder of what the verbs printed: ``doctor.json``, ``selftest.json``, ``run-NAME.json``
(from ``diagnose --json``), ``localise.json`` and ``unit-tests.xml`` (JUnit). A failure is named
``doctor/CHECK``, ``probe/NAME``, ``selftest/LINE``, ``run-NAME/FINDING``, ``localise/OPERATOR`` or
``unit-tests/TEST``. EXPECTED.toml lists those that are known, each with a reason and a public
source:

    [[failure]]
    id = "probe/conv-65536-refused"
    reason = "macOS 15.0 refuses these convolutions"
    source = "https://github.com/pytorch/pytorch/issues/152278"

Prints a summary in Markdown. The exit code is 1 where something failed that is not listed, where
something listed did not fail (it has to be taken off), or where a document that is needed is
missing or cannot be read. With ``record = true`` in the list it is always 0: for images on which
nothing is gated.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHOWN = ("shown", "died", "hung")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary and return the exit code."""
    parser = argparse.ArgumentParser(description="Compare failures with those that are expected.")
    parser.add_argument("expected", type=Path)
    parser.add_argument("found", type=Path)
    parser.add_argument("--need", nargs="*", default=[], metavar="NAME")
    options = parser.parse_args(arguments)
    listed = tomllib.loads(options.expected.read_text(encoding="utf-8"))
    expected = {entry["id"]: entry["reason"] for entry in listed.get("failure", [])}
    failed, read = set[str](), list[str]()
    for path in sorted(options.found.glob("*.*")):
        try:
            failed |= set(failures(path))
            read.append(path.stem)
        except (ValueError, KeyError, TypeError, ElementTree.ParseError):
            print(f"- {path.name} cannot be read", file=sys.stderr)
    missing = [name for name in options.need if name not in read]
    print(summary(expected, failed, missing, options.expected.stem))
    wrong = failed - expected.keys() or expected.keys() - failed or missing
    return 1 if wrong and not listed.get("record", False) else 0


def failures(path: Path) -> Iterator[str]:
    """What one document says is wrong, by name.

    Raises:
        ValueError, KeyError, TypeError, ElementTree.ParseError: it is no such document.
    """
    if path.suffix == ".xml":
        for case in ElementTree.parse(path).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                yield f"unit-tests/{case.attrib['classname']}.{case.attrib['name']}"
        return
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if path.stem == "doctor":
        yield from (f"doctor/{c['id']}" for c in document["checks"] if c["status"] == "fail")
        for result in document["deep"]["probes"]["results"]:
            if result["verdict"] in _SHOWN:
                yield f"probe/{result['name']}"
    elif path.stem == "selftest":
        yield from (f"selftest/{e['id']}" for e in document["lines"] if e["status"] == "fail")
        if document["not_vouched_for"]:
            yield "selftest/not-vouched-for"
    elif path.stem == "localise":
        yield from (f"localise/{op['op']}" for op in document["ops"] if op["beyond"])
    else:
        # Findings that only inform, such as what slicing costs, are no failures.
        for finding in document["findings"]:
            if finding["severity"] == "error":
                yield f"{path.stem}/{finding['code']}"


def summary(expected: dict[str, str], failed: set[str], missing: Sequence[str], image: str) -> str:
    """One line a failure, unexpected ones first."""
    lines = [f"## sdbench on {image}", ""]
    lines += [f"- **missing**: {name} was not written" for name in missing]
    lines += [f"- **not expected**: `{name}`" for name in sorted(failed - expected.keys())]
    lines += [
        f"- **expected, but did not fail** (take it off the list): `{name}`"
        for name in sorted(expected.keys() - failed)
    ]
    lines += [f"- expected: `{n}` ({expected[n]})" for n in sorted(failed & expected.keys())]
    if len(lines) == 2:
        lines.append("Nothing failed.")
    return "\n".join([*lines, "", "A virtual GPU: times mean nothing for a real Mac."])


if __name__ == "__main__":
    raise SystemExit(main())
