"""The console of every verb shows other people's text and does not obey it."""

import io
import os
import re
import sys
from pathlib import Path

import pytest
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import sdbench
from sdbench.cli.output import COLOURS, console
from sdbench.cli.streams import escape_unknown_characters

HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\u202ed\x9be\r"


def test_nothing_that_is_printed_moves_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    out.print(table)
    out.print(HOSTILE, markup=False, soft_wrap=True)
    out.print(f"[bold]{HOSTILE}[/]\nsecond line", style="red")
    told = capsys.readouterr().out
    assert told.replace("\n", "").isprintable()
    assert told.count(r"\x1b]0;title") == 5
    assert "second line\n" in told


def test_colours_and_bars_of_our_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    out = console()
    monkeypatch.setattr(out, "_file", stream)
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_color_system", Console(color_system="standard")._color_system)
    out.print("[red]warm[/]")
    with Progress(console=out, auto_refresh=False) as bar:
        bar.add_task("work", total=1)
        bar.refresh()
    assert "\x1b[31mwarm\x1b[0m" in stream.getvalue()
    assert "\x1b[?25l" in stream.getvalue()  # the bar hides the cursor


def _contrast(one: float, other: float) -> float:
    """WCAG's contrast of two relative luminances."""
    lighter, darker = max(one, other), min(one, other)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: ColorTriplet) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colour.normalized
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("weight", ["", "bold "])
@pytest.mark.parametrize("ground", [0, 30, 255])
def test_colours_can_be_read_on_light_and_dark_grounds(name: str, weight: str, ground: int) -> None:
    style = console().get_style(f"{weight}{name}")
    assert style.color is not None and style.bold == (True if weight else None)
    background = _luminance(ColorTriplet(ground, ground, ground))
    assert _contrast(_luminance(style.color.get_truecolor()), background) > 3.3


def test_words_between_colons_are_no_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("a :warning: b")
    assert capsys.readouterr().out == "a :warning: b\n"


def test_no_verb_prints_past_this_console() -> None:
    """So that nothing has to be made harmless in more than one place."""
    package = Path(sdbench.__file__).parent
    parts = [
        path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "worker"
    ]
    sources = {path.relative_to(package).as_posix(): path.read_text() for path in parts}
    consoles = {name for name, text in sources.items() if re.search(r"(?<!\w)_?Console\(", text)}
    assert consoles == {"cli/output.py"}
    echoing = {name for name, text in sources.items() if "click.echo(" in text}
    # Help and errors, one of them through ``printable``; documents that are harmless themselves.
    assert echoing <= {"cli/__init__.py", "cli/report.py"}


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_standard_output_does_not_have_are_escaped(
    encoding: str, errors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding, errors))
    escape_unknown_characters()
    console().print("0.1–0.2 s → ☃")
    sys.stdout.flush()
    words = "0.1–0.2 s → ☃" if encoding == "utf-8" else r"0.1-0.2 s -> \u2603"
    assert written.getvalue() == f"{words}\n".encode()


def test_a_stream_whose_file_became_a_pipe_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        os.dup2(write, stream.fileno())
        monkeypatch.setattr("sys.stderr", stream)
        escape_unknown_characters()
        sys.stderr.write("said\n")
        sys.stderr.flush()
    assert os.read(read, 100) == b"said\n"
    os.close(read)
    os.close(write)
