"""The strict list of what is known to be wrong on a hosted Mac."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from expected_failures import failures, main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LISTS = sorted((Path(__file__).parents[2] / ".github/expected-failures").glob("*.toml"))
LIST = """
[[failure]]
id = "probe/conv-65536-refused"
reason = "refused there"
source = "https://github.com/pytorch/pytorch/issues/152278"
"""


def doctor(*, probe: str = "absent", check: str = "pass") -> dict[str, Any]:
    return {
        "checks": [{"id": "deep-mps-float16", "status": check}],
        "deep": {"probes": {"results": [{"name": "conv-65536-refused", "verdict": probe}]}},
    }


@pytest.fixture
def judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def judge(document: dict[str, Any] | str, *, text: str = LIST) -> tuple[int, str]:
        (tmp_path / "list.toml").write_text(text)
        found = tmp_path / "found"
        found.mkdir(exist_ok=True)
        words = document if isinstance(document, str) else json.dumps(document)
        (found / "doctor.json").write_text(words)
        code = main([str(tmp_path / "list.toml"), str(found), "--need", "doctor"])
        return code, capsys.readouterr().out

    return judge


def test_a_failure_that_is_expected_is_well(judged: Any) -> None:
    code, text = judged(doctor(probe="shown"))
    assert code == 0 and "- expected: `probe/conv-65536-refused` (refused there)" in text


def test_a_failure_that_no_longer_happens_has_to_be_taken_off(judged: Any) -> None:
    code, text = judged(doctor())
    assert code == 1 and "take it off the list" in text


def test_a_failure_that_is_not_listed_is_red(judged: Any) -> None:
    code, text = judged(doctor(probe="died", check="fail"))
    assert code == 1 and "**not expected**: `doctor/deep-mps-float16`" in text


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"checks": [{}]}', '{"checks": []}'])
def test_a_document_that_cannot_be_read_is_missing(judged: Any, text: str) -> None:
    code, words = judged(text, text="")
    assert code == 1 and "**missing**: doctor" in words


@pytest.mark.parametrize(("status", "code"), [("fail", 0), ("unknown", 1), ("pass", 1)])
def test_a_line_of_the_selftest_can_be_listed(tmp_path: Path, status: str, code: int) -> None:
    listed = LIST.replace("probe/conv-65536-refused", "selftest/memory-device-driver")
    (tmp_path / "list.toml").write_text(listed)
    found = tmp_path / "found"
    found.mkdir()
    line = {"id": "memory-device-driver", "status": status}
    (found / "selftest.json").write_text(json.dumps({"lines": [line], "not_vouched_for": []}))
    assert main([str(tmp_path / "list.toml"), str(found), "--need", "selftest"]) == code


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_the_lists_name_documents_that_the_workflow_writes(path: Path) -> None:
    listed = tomllib.loads(path.read_text(encoding="utf-8")).get("failure", [])
    kinds = {entry["id"].split("/")[0] for entry in listed}
    assert kinds <= {"doctor", "probe", "selftest", "run-ci", "run-quick", "localise", "unit-tests"}
    assert all(entry["reason"] and entry["source"].startswith("https://") for entry in listed)


def test_where_nothing_is_gated_all_is_recorded(judged: Any) -> None:
    code, text = judged(doctor(check="fail"), text="record = true\n")
    assert code == 0 and "**not expected**" in text


def test_every_kind_of_document(tmp_path: Path) -> None:
    documents = {
        "selftest.json": '{"lines": [{"id": "clock-a", "status": "fail"}, '
        '{"id": "clock-b", "status": "unknown"}], "not_vouched_for": ["times (clock-b)"]}',
        "run-quick.json": '{"findings": [{"code": "nan-output", "severity": "error"}, '
        '{"code": "slicing-hurts", "severity": "info"}]}',
        "localise.json": '{"ops": [{"op": "aten::mm", "beyond": 0}, '
        '{"op": "aten::linear", "beyond": 2}]}',
        "unit-tests.xml": '<testsuites><testsuite><testcase classname="a.b" name="c"/>'
        '<testcase classname="a.b" name="d"><failure/></testcase>'
        '<testcase classname="a.b" name="e"><error/></testcase></testsuite></testsuites>',
    }
    named = set()
    for name, text in documents.items():
        (tmp_path / name).write_text(text)
        named |= set(failures(tmp_path / name))
    assert named == {
        *(
            "selftest/clock-a",
            "selftest/not-vouched-for",
            "run-quick/nan-output",
            "localise/aten::linear",
        ),
        *("unit-tests/a.b.d", "unit-tests/a.b.e"),
    }
