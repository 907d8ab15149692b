"""``sdbench explain``: one document, exit codes, and one clear line for what cannot be read."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from sdbench.cli import main

MACHINES = Path(__file__).parent.parent / "data" / "machines"
Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Called:
    """Run the command with a standard input; exit code, standard output and standard error."""

    def called(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(["explain", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


def document(answer: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = answer
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


CUDA = b"PyTorch version: 2.0.1\nAssertionError: Torch not compiled with CUDA enabled\n"


def test_json_of_a_text(call: Called) -> None:
    found = document(call("--json", "-", stdin=CUDA))
    of_every_document = {"schema", "sdbench_version"}
    assert set(found) - of_every_document == {
        *("explanations", "versions", "unexplained", "simulated")
    }
    (one,) = found["explanations"]
    assert {"cause", "remedy", "confidence", "source"} <= set(one)
    assert (one["confidence"], one["generic"]) == ("high", False)
    assert "huggingface/diffusers#2645" in one["source"]
    assert one["links"][0].startswith("https://github.com/")
    assert (found["versions"]["from"], found["versions"]["torch"]) == ("text", "2.0.1")


def test_text_for_people(call: Called, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"\xef\xbb\xbf" + CUDA.replace(b"\n", b"\r\n"))
    code, out, _ = call(str(path))
    assert code == 0
    for words in (
        "What happened:",
        "What to do:",
        "How sure: high",
        "Source: https://",
        "torch 2.0.1",
    ):
        assert words in out
    assert "stated in it" in out


def test_nothing_recognised_is_an_empty_list_and_an_honest_sentence(call: Called) -> None:
    found = document(call("--json", stdin=b"ValueError: a new one\n"))
    assert found["explanations"] == []
    assert found["unexplained"] == "ValueError: a new one"
    code, out, _ = call(stdin=b"ValueError: a new one\n")
    assert code == 0
    assert "not known to sdbench: ValueError: a new one" in out
    assert "What would help" in out


def test_a_general_sentence_says_so(call: Called) -> None:
    _, out, _ = call(stdin=b"zsh: abort      python a.py\n")
    assert "How sure: low" in out
    assert "This is general" in out


def test_versions_of_a_recorded_machine(call: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(MACHINES / "m2-max-macos14"))
    found = document(call("--json", stdin=b"zsh: abort\n"))
    assert found["simulated"] is True
    assert found["versions"]["from"] == "machine"
    assert found["versions"]["macos"].startswith("14.")
    _, out, _ = call(stdin=b"zsh: abort\n")
    assert "SIMULATED" in out


def test_terminal_escapes_are_shown_and_not_obeyed(call: Called) -> None:
    text = (
        b"ImportError: cannot import name 'x' from 'y' \x1b]0;owned\x07\nValueError: \x07[bold]\n"
    )
    for arguments in ((), ("--json",)):
        code, out, _ = call(*arguments, stdin=text)
        assert code == 0
        assert "\x1b" not in out and "\x07" not in out


def test_utf_16_is_read(call: Called) -> None:
    found = document(call("--json", stdin=CUDA.decode().encode("utf-16")))
    assert found["explanations"][0]["id"] == "cuda-on-a-mac"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "standard input is empty; expected"),
        (b" \n\t", "standard input is empty; expected"),
        (b"\x7fELF\x00\x00\x00", "neither text nor a PNG, JPEG or WebP image"),
        (b"\x89PNG\r\n\x1a\nbroken", "the PNG image cannot be decoded"),
    ],
)
def test_what_cannot_be_read_is_one_line(call: Called, data: bytes, words: str) -> None:
    code, out, err = call("--json", stdin=data)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err


def test_files_that_are_not_there_or_too_large(
    call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (tmp_path / "none.txt", tmp_path):
        code, out, err = call(str(name))
        assert (code, out) == (2, "")
        assert "expected a log, a traceback or an image" in err
    monkeypatch.setattr("sdbench.cli.explain._LARGEST_BYTES", 1024 * 1024)
    large = tmp_path / "large.log"
    large.write_bytes(b"x" * (1024 * 1024 + 1))
    code, _, err = call(str(large))
    assert code == 2
    assert "more than 1 MiB" in err and "tail -n" in err


def black(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, Seed: 5, Version: v1.9.0")
    Image.new("RGB", (64, 64)).save(path, "PNG", pnginfo=info)


def test_json_of_a_picture(call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(MACHINES / "m2-max-macos14"))
    path = tmp_path / "misnamed.txt"
    black(path)
    found = document(call("--json", str(path)))
    picture = found["picture"]
    assert (picture["format"], picture["width"], picture["height"]) == ("PNG", 64, 64)
    assert picture["program"] == "A1111 web UI or Forge"
    assert picture["parameters"]["Seed"] == "5"
    assert [one["kind"] for one in picture["kinds"]] == ["black"]
    assert found["explanations"][0]["id"] == "picture-black"
    assert found["versions"]["from"] == "machine"


def test_picture_for_people(call: Called, tmp_path: Path) -> None:
    path = tmp_path / "black.png"
    black(path)
    code, out, _ = call(str(path))
    assert code == 0
    assert "Settings embedded by A1111 web UI or Forge:" in out
    assert "What happened:" in out or "1. What happened:" in out
    fine = tmp_path / "fine.png"
    Image.linear_gradient("L").convert("RGB").save(fine, "PNG")
    _, out, _ = call(str(fine))
    assert "No settings are embedded" in out


def test_help_says_the_exit_codes(call: Called) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert "Exits with 0 also when nothing is recognised" in " ".join(out.split())
