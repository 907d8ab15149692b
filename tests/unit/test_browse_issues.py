"""``sdbench issues``: the catalogue by word, by release and by id."""

import json
from typing import Any

import pytest
from factories import Called

from sdbench.errors import UsageError
from sdbench.knowledge.browse_issues import browse, link_words, settings_words, since_words
from sdbench.knowledge.known_issues import load_known_issues, parse_known_issues

CATALOGUE = parse_known_issues(
    """
[[issue]]
id = "old"
title = "Old fault"
what = "w"
workaround = "a"
links = ["https://github.com/pytorch/pytorch/issues/1"]
confidence = "lead"
symptoms = ["nan-output"]
fixed_in = "torch 2.0"
[[issue.when]]
torch = ">=1.12,<2.0"
settings = { attention_slicing = [true] }
min_batch = 2

[[issue]]
id = "mac"
title = "On one macOS"
what = "w"
workaround = "a"
links = ["https://example.org/1"]
confidence = "lead"
[[issue.when]]
macos = ">=15,<16"
[[issue.when]]
torch = "==2.8.*"
macos = ">=14"
device = ["mps", "cpu"]

[[issue]]
id = "untold"
title = "Without releases"
what = "w"
workaround = "a"
links = ["https://example.org/2"]
confidence = "lead"
fixed_in = "torch 2.4"
affects = {}
"""
)


def ids(**asked: Any) -> list[str]:
    return [entry.id for entry in browse(CATALOGUE, **asked)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["old", "mac", "untold"]),
        ({"word": "OLD fault"}, ["old"]),
        ({"word": "nan-out"}, ["old"]),
        ({"word": "attention_slicing"}, ["old"]),
        ({"word": "example.org/2"}, ["untold"]),
        ({"word": "nothing like it"}, []),
        ({"torch": "1.13.1"}, ["old", "mac", "untold"]),
        ({"torch": "2.0"}, ["mac", "untold"]),
        ({"torch": "2.4"}, ["mac"]),  # fixed in 2.4, though nobody knows since when
        ({"torch": "2.8.0+cpu"}, ["mac"]),
        ({"macos": "13.5"}, ["old", "untold"]),
        ({"macos": "14.2", "torch": "2.1"}, ["untold"]),
        ({"macos": "15.3", "torch": "2.1"}, ["mac", "untold"]),
        ({"issue_id": "mac"}, ["mac"]),
    ],
)
def test_what_is_asked_for_is_listed(asked: dict[str, Any], expected: list[str]) -> None:
    assert ids(**asked) == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"issue_id": "odl"}, "did you mean 'old'. see sdbench issues"),
        ({"torch": "new"}, "--torch: expected a version such as 2.8"),
        ({"macos": "x"}, "--macos: expected a version"),
    ],
)
def test_what_is_no_id_and_no_version_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ids(**asked)


def test_each_column_in_words() -> None:
    old, mac, untold = CATALOGUE
    assert settings_words(old) == "attention_slicing=true, at least 2 images in a batch"
    assert settings_words(mac) == "on mps, cpu"
    assert settings_words(untold) == ""
    assert [since_words(entry) for entry in CATALOGUE] == ["torch 1.12", "macOS 14", None]
    assert link_words(old.links[0]) == "pytorch#1"
    assert link_words(mac.links[0]) == mac.links[0]


def test_one_is_shown_in_full(call: Called) -> None:
    code, out, _ = call("issues", "--id", "baddbmm-nan")
    (entry,) = (entry for entry in load_known_issues() if entry.id == "baddbmm-nan")
    assert code == 0
    for text in (entry.title, entry.what, entry.workaround, "torch 2.14", *entry.links):
        assert text in out


def test_advice_is_for_the_macos_that_is_asked_about(call: Called) -> None:
    _, out, _ = call("issues", "--id", "baddbmm-nan", "--macos", "13.5")
    assert "torch 2.14, which repairs it, needs macOS 14" in out


@pytest.mark.parametrize("columns", ["80", "140"])
def test_every_issue_is_listed_at_every_width(
    columns: str, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdbench.cli.output._PIPED_WIDTH", int(columns))
    code, out, _ = call("issues")
    assert code == 0
    joined = out.replace("\n", "")
    assert all(entry.id in joined for entry in load_known_issues())
    assert ("┃" in out) == (columns == "140")


def test_document_has_every_field(call: Called) -> None:
    code, out, _ = call("issues", "slicing", "--torch", "2.8", "--json")
    document = json.loads(out)
    assert code == 0 and document["torch"] == "2.8"
    (first, *_) = document["issues"]
    assert {"id", "symptoms", "settings", "since", "fixed_in", "links", "workaround"} <= {*first}
    assert first["when"][0]["settings"] == {"attention_slicing": [True]}


def test_no_match_is_no_error(call: Called) -> None:
    assert call("issues", "nothing-like-it")[:2] == (
        0,
        "No known issue matches. All of them: sdbench issues\n",
    )
