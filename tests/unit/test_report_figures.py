"""Figures as pages and files hold them: whole, safe, the same twice."""

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from factories import make_pass
from measured_runs import changed, measured, one_case, steady, two_arms
from told_runs import HOSTILE, told_run

from sdbench.report.figures import Figure, canvas, css_variables, run_figures, story_figures
from sdbench.report.figures import figure as figure_module
from sdbench.report.figures.canvas import MOST_ROWS
from sdbench.report.story import tell
from sdbench.report.units import seconds
from sdbench.schema import Slot
from sdbench.store import LoadedRun

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Figure]:
    """One of every kind."""
    folder = tmp_path_factory.mktemp("run")
    story = tell([told_run(folder)])
    arms = [measured(config=two_arms(3)), *_three_runs()]
    return run_figures(story.runs[0]) + story_figures(tell(arms))


@pytest.fixture(scope="module")
def svgs(figures: list[Figure]) -> dict[str, str]:
    """Them all as a page holds them."""
    return {figure.id: figure.inline_svg() for figure in figures}


def _three_runs() -> list[LoadedRun]:
    return [changed(measured(steady(seed=n)), run_id=f"run-{n}") for n in (1, 2, 3)]


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_kind_of_figure_is_drawn(figures: list[Figure]) -> None:
    kinds = {figure.kind for figure in figures}
    assert kinds == {
        *("matrix", "latency", "timeline", "divergence", "stages", "tradeoff"),
        *("comparison", "history"),
    }


def test_inline_figures_are_whole_named_and_small(svgs: dict[str, str]) -> None:
    for name, svg in svgs.items():
        root = ElementTree.fromstring(svg)
        labelled = root.attrib["aria-labelledby"].split()
        named = [root.find(f".//{SVG}*[@id='{one}']") for one in labelled]
        assert [node is not None and bool(node.text) for node in named] == [True, True]
        assert len(svg) < 80_000, name


def test_inline_figures_need_nothing_that_a_page_must_refuse(svgs: dict[str, str]) -> None:
    for svg in svgs.values():
        assert "style=" not in svg and "<style" not in svg and "<script" not in svg
        assert set(re.findall(r"https?://[^\"]+", svg)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }


def test_colours_are_variables_that_the_page_sets(svgs: dict[str, str]) -> None:
    known = set(re.findall(r"--([\w-]+):", css_variables()))
    for svg in svgs.values():
        assert 'ef"' not in re.findall(r"#fe[0-9a-f]{4}", svg), "a stand-in is left"
        assert set(re.findall(r"var\(--([\w-]+),", svg)) <= known
        assert not re.search(r"#fe[0-9a-f]{2}ef", svg), "a stand-in is left"


def test_ids_are_unique_in_a_page_and_found(svgs: dict[str, str]) -> None:
    page = "".join(svgs.values())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_the_same_figure_is_the_same_bytes(figures: list[Figure], svgs: dict[str, str]) -> None:
    for figure in figures:
        assert figure.inline_svg() == svgs[figure.id]
    assert figures[0].png() == figures[0].png()


def test_files_are_light_and_dark_and_png_is_a_picture(figures: list[Figure]) -> None:
    for figure in figures[:2]:
        text = figure.svg_file()
        ElementTree.fromstring(text.encode())
        assert "prefers-color-scheme: dark" in text
        png = figure.png()
        assert png.startswith(b"\x89PNG") and b"tEXt" not in png


def test_numbers_in_words_are_not_shortened() -> None:
    loaded = measured(steady(1.2345, noise=0.0), config=one_case(3))
    (run,) = tell([loaded]).runs
    matrix = next(figure for figure in run_figures(run) if figure.kind == "matrix")
    shown = seconds(run.cells[0].seconds_per_picture)
    assert shown == "1.23 s"
    assert any(shown in text for text in texts(matrix.inline_svg()))


def test_a_figure_is_drawn_once(figures: list[Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    """To find a layout, ``savefig`` would draw everything once more."""
    from matplotlib.figure import Figure as Drawing

    drawn: list[Drawing] = []
    draw = Drawing.draw

    def noted(self: Drawing, renderer: Any) -> None:
        drawn.append(self)
        draw(self, renderer)

    monkeypatch.setattr(Drawing, "draw", noted)
    for figure in figures:
        figure.inline_svg()
    assert len(drawn) == len(figures)


def test_panels_are_where_constrained_layout_puts_them(
    figures: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    def panels(figure: Figure) -> list[list[float]]:
        with figure_module._style():
            drawing = figure.draw(dict.fromkeys(figure_module._STAND_INS, "black"))
            canvas.lay_out(drawing)
            drawing.draw_without_rendering()
        return [[*axes.get_position().extents] for axes in drawing.axes]

    ours = [panels(figure) for figure in figures]
    for name in ("canvas", "tradeoff"):
        monkeypatch.setattr(f"sdbench.report.figures.{name}.lay_out", lambda drawing: None)
    theirs = [panels(figure) for figure in figures]
    assert ours == [[pytest.approx(one, abs=0.02) for one in panel] for panel in theirs]


def test_text_of_others_is_text(tmp_path: Path) -> None:
    (run,) = tell([told_run(tmp_path)]).runs
    cells = [
        msgspec.structs.replace(cell, name=HOSTILE, settings=f"$x^2$ {HOSTILE}")
        for cell in run.cells
    ]
    for figure in run_figures(msgspec.structs.replace(run, cells=cells)):
        svg = figure.inline_svg()
        ElementTree.fromstring(svg)
        assert "<script" not in svg and "\x1b" not in svg and "\u202e" not in svg
    matrix = run_figures(msgspec.structs.replace(run, cells=cells))[0]
    assert any("$x^2$" in text for text in texts(matrix.inline_svg())), "not mathematics"


def test_of_many_rows_the_quickest_and_slowest_are_shown() -> None:
    sizes = [f"{64 * n}x64" for n in range(1, MOST_ROWS + 20)]
    config = one_case(1, matrix={"resolution": sizes})
    (run,) = tell([measured(config=config)]).runs
    latency = next(figure for figure in run_figures(run) if figure.kind == "latency")
    assert f"of {len(sizes)} cells" in latency.caption
    assert len([text for text in texts(latency.inline_svg()) if "x64" in text]) == MOST_ROWS


def test_of_many_processes_some_are_drawn_the_fastest_and_slowest_among_them() -> None:
    def drawn(processes: int) -> tuple[Figure, int]:
        loaded = measured(
            config=one_case(processes), fields=lambda slot: {"times": (9.0, 2.0 + slot.block / 100)}
        )
        (run,) = tell([loaded]).runs
        figure = next(figure for figure in run_figures(run) if figure.kind == "latency")
        return figure, figure.inline_svg().count("<use ")

    few, many, more = drawn(40), drawn(60), drawn(90)
    assert "are drawn" not in few[0].caption and "only 50 are drawn" in many[0].caption
    assert many[1] == more[1] > few[1]


def test_a_run_of_one_pass_has_first_passes_in_its_figure_and_no_others() -> None:
    def first_pass(slot: Slot) -> dict[str, Any]:
        return {"passes": [make_pass(2.0)]}

    (run,) = tell([measured(fields=first_pass)]).runs
    (figure,) = (one for one in run_figures(run) if one.kind == "latency")
    words = texts(figure.inline_svg())
    assert "its first pass" in words and "a process, steady passes" not in words


def test_a_run_without_a_time_has_no_figure_of_time() -> None:
    loaded = measured(config=one_case(2), fields=lambda slot: {"outcome": "crashed", "times": ()})
    assert run_figures(tell([loaded]).runs[0]) == []


def test_drawing_leaves_no_state_behind(figures: list[Figure]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures[0].inline_svg()
    assert dict(mpl.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
