"""The tools that prove the tests: mutants that are what they say, coverage that must not fall."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def tool(name: str) -> ModuleType:
    """A script of ``tools/`` as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


mutants = tool("mutants")
coverage_table = tool("coverage_table")
same_output = tool("same_output")


def test_the_same_seed_draws_the_same_mutants_and_another_seed_others() -> None:
    drawn = mutants.draw(80, seed=1)
    assert drawn == mutants.draw(80, seed=1) != mutants.draw(80, seed=2)
    assert len({(mutant.path, mutant.begin, mutant.replacement) for mutant in drawn}) == 80
    assert {mutant.group for mutant in drawn} == set(mutants.GROUPS)
    assert {mutant.kind for mutant in drawn} == set(mutants.KINDS)


def test_every_mutant_is_another_program_that_can_be_read() -> None:
    for mutant in mutants.draw(80, seed=3):
        source = (TOOLS.parent / mutant.path).read_bytes()
        assert source[mutant.begin : mutant.end].decode() == mutant.original
        changed = source[: mutant.begin] + mutant.replacement.encode() + source[mutant.end :]
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), mutant


SOURCE = '''
LIMIT = 0.5
"""Not 3."""

def judged(value: int = 7) -> bool:
    if value > LIMIT:
        return value - 1 >= 0
    return f"{value + 1}" == "2"
'''


def test_places_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "decides.py").write_text(SOURCE)
    found = [
        (m.kind, m.line, m.original, m.replacement)
        for m in mutants.sites("g", tmp_path / "decides.py")
    ]
    assert found == [
        ("threshold", 2, "0.5", "(2 * 0.5)"),
        ("branch", 6, "value > LIMIT", "False"),
        ("comparison", 6, ">", "<="),
        ("comparison", 7, ">=", "<"),
        ("off-by-one", 7, "1", "(1 + 1)"),
        ("off-by-one", 7, "0", "(0 + 1)"),
        ("comparison", 8, "==", "!="),
    ]  # neither annotations, defaults and texts nor the inside of f-strings


def test_coverage_that_became_lower_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {"covered_lines": 9, "num_statements": 10, "covered_branches": 3, "num_branches": 4}
    document = {"files": {"/any/where/sdbench/stats/ratio.py": {"summary": summary}}}
    (tmp_path / "coverage.json").write_text(json.dumps(document))
    before = coverage_table.reduce(tmp_path / "coverage.json")
    assert before == {"sdbench/stats/ratio.py": [9, 10, 3, 4]}
    assert coverage_table.compare(before, before) == []
    (line,) = coverage_table.compare(before, {"sdbench/stats/ratio.py": [9, 10, 2, 4]})
    assert line == "sdbench/stats/ratio.py: 85.71% → 78.57%"
    assert "stats" in capsys.readouterr().out


def test_comparing_fails_where_a_module_is_lower(tmp_path: Path) -> None:
    (tmp_path / "before").write_text('{"sdbench/words.py": [2, 2, 0, 0]}')
    (tmp_path / "after").write_text('{"sdbench/words.py": [1, 2, 0, 0]}')
    for pair, code in ((("before", "before"), 0), (("before", "after"), 1)):
        done = subprocess.run(
            [sys.executable, TOOLS / "coverage_table.py", "compare", *(tmp_path / p for p in pair)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert ("lower: sdbench/words.py" in done.stdout) == (code == 1)


def test_a_command_that_fails_in_both_checkouts_is_named() -> None:
    outputs = {
        "sdbench show a/exit code": b"0\n",
        "sdbench diagnose a/exit code": b"1\n",
        "sdbench compare a b/exit code": b"2\n",
        "sdbench show b/exit code": b"2\n",
        "sdbench report a/exit code": b"70\n",
        "sdbench report a/standard error": b"sdbench: no module named pandas\n",
    }
    assert not [*same_output.differences(outputs, outputs)]
    assert [*same_output.failed_alike(outputs, outputs)] == [
        "sdbench report a: failed in both with exit code 70: sdbench: no module named pandas",
        "sdbench show b: failed in both with exit code 2: ",
    ]
    assert not [*same_output.failed_alike({}, outputs)]  # differences names these
