"""What a person or a script sees is what was recorded, however the code behind it is arranged.

After a change that is meant: ``make goldens``, then read ``git diff``.
"""

import base64
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from golden_outputs import (
    ROOT,
    fixed_surroundings,
    lay_out,
    outputs_of,
    run_named,
    tracked_runs,
)
from goldens import FOLDER, as_text, difference, kept, recorded

GROUPS = sorted(path.stem for path in FOLDER.glob("*.txt"))
RUNS = [group for group in GROUPS if run_named(group) is not None]
_MOST_LINES = 60  # of the differences of one output


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with copies of the runs."""
    folder = tmp_path_factory.mktemp("goldens").resolve()
    lay_out(folder, [run for run in map(run_named, RUNS) if run is not None])
    return folder


@pytest.fixture
def surroundings(laid_out: Path) -> Iterator[None]:
    """The same on every machine."""
    with fixed_surroundings(laid_out):
        yield


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """SVG figures have their size and no content, of which goldens keep nothing.

    Laying out and drawing the content is half of the work of a page. The slow outputs are drawn.
    """
    from matplotlib.figure import Figure as Drawing

    drawn = Drawing.savefig

    def empty(drawing: Drawing, file: Any, **options: Any) -> None:
        if options.get("format") != "svg":
            drawn(drawing, file, **options)
            return
        width, height = (
            f"{72 * inches:f}".rstrip("0").rstrip(".") for inches in drawing.get_size_inches()
        )
        file.write(f'<svg viewBox="0 0 {width} {height}"></svg>')

    with (
        mock.patch("sdbench.report.figures.figure.lay_out", lambda drawing: None),
        mock.patch.object(Drawing, "savefig", empty),
    ):
        yield


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("group", GROUPS)
def test_every_output_is_what_was_recorded(group: str, slow: bool) -> None:
    outputs, before = outputs_of(group, RUNS), recorded(group)
    assert [output.name for output in outputs] == [*before]
    wanted = [output for output in outputs if output.slow == slow]
    needed = [output.like for output in wanted if output.like is not None]
    now = kept(output for output in outputs if output in (*wanted, *needed))
    with contextlib.nullcontext() if slow else undrawn():
        differing = [
            f"{name}\n{_shown(before[name], text)}" for name, text in now if text != before[name]
        ]
    if differing:
        count = f"outputs that differ from what was recorded: {len(differing)}"
        pytest.fail(
            "\n".join([f"{count}. If that is meant: make goldens", *differing]), pytrace=False
        )


def _shown(before: str, now: str) -> str:
    lines = difference(before, now).splitlines(keepends=True)
    more = len(lines) - _MOST_LINES
    return "".join(lines[:_MOST_LINES]) + (f"… and {more} more lines\n" if more > 0 else "")


def test_every_run_of_the_repository_has_goldens() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository tells which runs belong to it")
    assert [run.name for run in tracked_runs()] == RUNS


def picture(grey: int) -> bytes:
    """A PNG of one pixel."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("L", (1, 1), grey).save(data, format="PNG")
    return data.getvalue()


def page(
    *, title: str = "Time", line: str = "M 0 1", grey: int = 9, seconds: str = "1.2345678"
) -> str:
    """A figure, an image and a number."""
    uri = f"data:image/png;base64,{base64.b64encode(picture(grey)).decode()}"
    svg = f'<svg role="img"><title>{title}</title><desc>a: 1 s</desc><path d="{line}"/></svg>'
    return as_text({"standard output": f'{svg}<img src="{uri}">{seconds}\n'.encode()})


def test_goldens_see_words_pixels_and_seven_digits() -> None:
    assert page(title="Times") != page()
    assert page(grey=10) != page()
    assert page(seconds="1.2345688") != page()
    assert page(seconds="1.23457") != page(seconds="1.23456")


def test_goldens_leave_drawings_and_last_digits_out() -> None:
    assert page(line="M 0 2") == page()
    assert page(seconds="1.23456784") == page(seconds="1.23456776")


def test_goldens_see_exit_codes_streams_and_files() -> None:
    plain = {"exit code": b"0\n", "standard output": b"x\n"}
    texts = [
        as_text(parts)
        for parts in (
            plain,
            plain | {"exit code": b"1\n"},
            plain | {"standard output": b"x"},
            plain | {"standard error": b"y\n"},
            plain | {"a.png": picture(1)},
            plain | {"a.png": picture(2)},
        )
    ]
    assert len({*texts}) == len(texts)
