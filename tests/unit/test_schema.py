"""The published JSON schemas: made from the types, and true of every run in git."""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from factories import Called
from forged_bundles import good_members

from sdbench.bundles.schema import SCHEMAS, schema_of, schema_text

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference" / "schema"
RUNS = sorted(path.parent for path in (ROOT / "results").glob("*/run.json"))


@functools.cache
def validator(name: str) -> Any:
    """One for all documents of a kind."""
    return jsonschema.Draft202012Validator(schema_of(name))


def faults(name: str, document: Any) -> list[str]:
    return [error.message[:300] for error in validator(name).iter_errors(document)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schema_is_the_one_of_the_code(name: str) -> None:
    """``make goldens`` writes them again."""
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == schema_text(name)
    jsonschema.Draft202012Validator.check_schema(schema_of(name))
    assert "\\\\Z" not in schema_text(name)  # a pattern of Python's, which others do not know


def test_every_schema_is_published_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SCHEMAS)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_runs_in_git_and_their_bundles_are_valid(path: Path) -> None:
    assert faults("run", json.loads((path / "run.json").read_text())) == []
    members = good_members(path)
    names = ("manifest.json", "run.json", "summary.json")
    document = {name: json.loads(members[name]) for name in names}
    lines = members["records.jsonl"].splitlines()
    document["records.jsonl"] = [json.loads(line) for line in lines[:40]]
    assert faults("bundle", document) == []
    for line in lines[:40]:
        assert faults("records", json.loads(line)) == []


def test_what_is_wrong_is_found() -> None:
    assert faults("run", {"schema": 1}) != []
    assert faults("records", {"type": "ceiling", "schema": 1}) != []


def test_schema_is_printed_and_nothing_else(call: Called) -> None:
    assert call("schema", "records") == (0, schema_text("records"), "")


def test_schemas_are_listed(call: Called) -> None:
    code, out, _ = call("schema")
    assert code == 0 and all(f"sdbench schema {name}\n" in out for name in SCHEMAS)
    code, out, _ = call("schema", "--json")
    assert [entry["name"] for entry in json.loads(out)["schemas"]] == [*SCHEMAS]


def test_unknown_schema_is_one_line(call: Called) -> None:
    code, out, err = call("schema", "record")
    assert (code, out) == (2, "")
    assert "did you mean 'records'? there are run, records, bundle" in err
