"""Expected failures: a known failure is not a regression, and a failure that has disappeared is
reported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from sdbench.comparison.result import CaseComparison
from sdbench.errors import ConfigError
from sdbench.files.access import TOO_DEEP, read_file
from sdbench.files.toml import MOST_BYTES, TomlError, read_toml
from sdbench.records import Outcome
from sdbench.words import shortened

Expected = Outcome | Literal["incorrect"]
"""The outcome of a case; ``incorrect`` is an ``ok`` with a wrong image."""
Expectations = Mapping[str, Expected]
_WORDS: tuple[str, ...] = (*get_args(Outcome), "incorrect")
WELL = ("ok", "skipped", None)


def load_expectations(path: Path) -> Expectations:
    """Read ``case_id = "outcome"`` from a TOML file, or the same from a JSON object.

    Raises:
        ConfigError: the file cannot be read, or a value is not an outcome.
    """
    source = str(path)
    try:
        document = _read_json(path) if path.suffix == ".json" else read_toml(path)
    except OSError as error:
        raise ConfigError(source, "", f"cannot be read: {error.strerror}") from None
    except TomlError as error:
        raise ConfigError(source, "", str(error)) from None
    if not isinstance(document, dict):
        raise ConfigError(source, "", "expected case ids with their outcomes")
    for case_id, outcome in document.items():
        if not isinstance(outcome, str) or outcome not in _WORDS:
            raise ConfigError(source, shortened(case_id), f"expected one of {', '.join(_WORDS)}")
    return document


def _read_json(path: Path) -> Any:
    try:
        return msgspec.json.decode(read_file(path, MOST_BYTES))
    except RecursionError:
        raise TomlError(TOO_DEEP) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise TomlError(f"not valid JSON: {error}") from None


def ending(outcome: str | None, correct: str | None) -> str | None:
    """The outcome of a side as an expectation; None if there is no such case."""
    return "incorrect" if outcome == "ok" and correct == "broken" else outcome


def settle(case: CaseComparison, expected: str | None) -> CaseComparison:
    """Decide whether a case became worse (slower, wrong, worse outcome) or was fixed.

    Without an expectation the outcome of the base is expected; a wrong image must be expected
    explicitly.
    """
    before = expected or ending(case.outcome.base, case.correct.base)
    after = ending(case.outcome.new, case.correct.new)
    regression: Literal["slower", "wrong", "ended-worse"] | None = None
    if after not in WELL:
        if after == "incorrect":
            regression = None if expected == "incorrect" else "wrong"
        elif after != before and (expected is not None or before in WELL):
            regression = "ended-worse"
    elif case.verdict == "slower":
        regression = "slower"
    return msgspec.structs.replace(
        case,
        expected=expected,
        regression=regression,
        mended=after == "ok" and before not in WELL,
    )
