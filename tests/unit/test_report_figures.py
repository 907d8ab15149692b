"""Figures as pages and files hold them: whole, safe, the same twice."""

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from factories import make_pass
from measured_runs import by_arm, changed, measured, one_case, steady, two_arms
from told_runs import HOSTILE, told_run

from sdbench.comparison import history_of
from sdbench.records import Slot
from sdbench.report.figures import Figure, canvas, css_variables, run_figures, story_figures
from sdbench.report.figures import figure as figure_module
from sdbench.report.figures.canvas import MOST_ROWS, Theme
from sdbench.report.figures.comparisons import history_figure, ratio_ticks
from sdbench.report.figures.profile import stages_figure
from sdbench.report.figures.tradeoff import tradeoff_figure
from sdbench.report.view import build_report
from sdbench.runs import LoadedRun
from sdbench.words import seconds

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Figure]:
    """One of every kind."""
    folder = tmp_path_factory.mktemp("run")
    story = build_report([told_run(folder)])
    arms = [measured(config=two_arms(3)), *_three_runs()]
    return run_figures(story.runs[0]) + story_figures(build_report(arms))


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
        *("comparison", "history", "overview"),
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
    (run,) = build_report([loaded]).runs
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
        with figure_module.style():
            drawing = figure.draw(Theme(dict.fromkeys(figure_module._STAND_INS, "black")))
            canvas.lay_out(drawing)
            drawing.draw_without_rendering()
        return [[*axes.get_position().extents] for axes in drawing.axes]

    ours = [panels(figure) for figure in figures]
    for name in ("canvas", "tradeoff"):
        monkeypatch.setattr(f"sdbench.report.figures.{name}.lay_out", lambda drawing: None)
    theirs = [panels(figure) for figure in figures]
    assert ours == [[pytest.approx(one, abs=0.02) for one in panel] for panel in theirs]


def test_text_of_others_is_text(tmp_path: Path) -> None:
    (run,) = build_report([told_run(tmp_path)]).runs
    cells = [
        msgspec.structs.replace(cell, name=HOSTILE, settings=f"$x^2$ {HOSTILE}")
        for cell in run.cells
    ]
    for figure in run_figures(msgspec.structs.replace(run, cells=cells)):
        for svg in (figure.inline_svg(), figure.inline_svg(narrow=True)):
            ElementTree.fromstring(svg)
            assert "<script" not in svg and "\x1b" not in svg and "\u202e" not in svg
    hostile = run_figures(msgspec.structs.replace(run, cells=cells))
    matrix = next(figure for figure in hostile if figure.kind == "matrix")
    assert any("$x^2$" in text for text in texts(matrix.inline_svg())), "not mathematics"


def test_of_many_rows_the_quickest_and_slowest_are_shown() -> None:
    sizes = [f"{64 * n}x64" for n in range(1, MOST_ROWS + 20)]
    config = one_case(1, matrix={"resolution": sizes})
    (run,) = build_report([measured(config=config)]).runs
    latency = next(figure for figure in run_figures(run) if figure.kind == "latency")
    assert f"of {len(sizes)} cells" in latency.caption
    assert len([text for text in texts(latency.inline_svg()) if "x64" in text]) == MOST_ROWS


def test_of_many_processes_some_are_drawn_the_fastest_and_slowest_among_them() -> None:
    def drawn(processes: int) -> tuple[Figure, int]:
        loaded = measured(
            config=one_case(processes), fields=lambda slot: {"times": (9.0, 2.0 + slot.block / 100)}
        )
        (run,) = build_report([loaded]).runs
        figure = next(figure for figure in run_figures(run) if figure.kind == "latency")
        return figure, figure.inline_svg().count("<use ")

    few, many, more = drawn(40), drawn(60), drawn(90)
    assert "are drawn" not in few[0].caption and "only 50 are drawn" in many[0].caption
    assert many[1] == more[1] > few[1]


def test_a_run_of_one_pass_has_first_passes_in_its_figure_and_no_others() -> None:
    def first_pass(slot: Slot) -> dict[str, Any]:
        return {"passes": [make_pass(2.0)]}

    (run,) = build_report([measured(fields=first_pass)]).runs
    (figure,) = (one for one in run_figures(run) if one.kind == "latency")
    words = texts(figure.inline_svg())
    assert "its first pass" in words and "a process, steady passes" not in words


def test_a_run_without_a_time_has_no_figure_of_time() -> None:
    loaded = measured(config=one_case(2), fields=lambda slot: {"outcome": "crashed", "times": ()})
    assert run_figures(build_report([loaded]).runs[0]) == []


def test_drawing_leaves_no_state_behind(figures: list[Figure]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures[0].inline_svg()
    assert dict(mpl.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


# --- one figure at a time ------------------------------------------------------------------------


def compared(loaded: LoadedRun) -> Figure:
    """The figure of the two variants of a run."""
    (figure,) = (one for one in story_figures(build_report([loaded])) if one.kind == "comparison")
    return figure


def test_of_many_compared_cases_the_slower_ones_are_shown() -> None:
    sizes = [f"{64 * n}x64" for n in range(1, MOST_ROWS + 6)]
    slower = sizes[-1]

    def time_of(slot: Slot) -> float:
        factor = 1.5 if slot.arm == "new" and slot.case_id.startswith(f"{slower}-") else 1.0
        return factor * steady()(slot)

    figure = compared(measured(time_of, config=two_arms(4, matrix={"resolution": sizes})))
    assert f"{MOST_ROWS} of {len(sizes)} cases are shown, wrong and slower ones first" in (
        figure.caption
    )
    shown = texts(figure.inline_svg())
    names = [text.split()[0] for text in shown if text.split()[0] in sizes]
    assert len(names) == MOST_ROWS
    assert names == sorted(names, key=sizes.index), "in the order of the run"
    assert names[-1] == slower and any(text.startswith("slower") for text in shown)


def test_ratio_without_an_interval_is_a_mark_alone_on_a_scale_with_few_ticks() -> None:
    figure = compared(measured(by_arm(old=1.0, new=20_000.0), config=two_arms(1)))
    svg = figure.inline_svg()
    ticks = [text for text in texts(svg) if re.fullmatch(r"×[\d.e+]+", text)]
    assert ticks == ["×1", "×10", "×100", "×1e+03", "×1e+04"]
    with_interval = compared(measured(by_arm(old=1.0, new=20_000.0), config=two_arms(4)))
    assert with_interval.inline_svg().count("<path") > svg.count("<path")


def test_one_run_has_no_figure_over_time() -> None:
    assert history_figure(history_of(_three_runs()[:1], measured().run.machine_id)) is None


def test_run_of_one_process_is_a_point_without_an_interval() -> None:
    def drawn(processes: int) -> str:
        runs = [
            changed(measured(steady(seed=n), config=one_case(processes)), run_id=f"run-{n}")
            for n in (1, 2, 3)
        ]
        figure = history_figure(history_of(runs, runs[0].run.machine_id))
        assert figure is not None and "3 runs" in figure.description
        return figure.inline_svg()

    assert drawn(8).count("<path") == drawn(1).count("<path") + 3


def test_rate_of_a_profiled_case_is_shown_with_its_share_where_that_is_known(
    tmp_path: Path,
) -> None:
    def words(share: float | None) -> list[str]:
        (run,) = build_report([told_run(tmp_path)]).runs
        rows = [
            msgspec.structs.replace(row, flops_per_s=6.91e12, share_of_ceiling=share)
            for row in run.stages
        ]
        figure = stages_figure(msgspec.structs.replace(run, stages=rows), "run")
        assert figure is not None
        return [text for text in texts(figure.inline_svg()) if "TFLOP/s" in text]

    assert all(text.endswith("· 6.91 TFLOP/s") for text in words(None))
    assert all("· 6.91 TFLOP/s, 35% of matrix products'" in text for text in words(0.35))
    assert len(words(None)) == len(words(0.35)) == 4


def test_settings_without_room_for_their_name_stay_unnamed(tmp_path: Path) -> None:
    (run,) = build_report([told_run(tmp_path)]).runs
    recommendation = run.diagnosis.recommendation
    first = recommendation.tradeoffs[0]
    # Eight settings in one place, and one far away that sets the scale.
    close = [
        msgspec.structs.replace(
            first,
            case=msgspec.structs.replace(first.case, attention_slicing=True, warmup=bool(n % 2)),
            seconds_per_picture=1 + n / 1e4,
            peak_memory_bytes=int(4e9 - n * 1e4),
            efficient=True,
        )
        for n in range(8)
    ]
    far = msgspec.structs.replace(
        first, seconds_per_picture=7.0, peak_memory_bytes=10**9, efficient=False
    )
    advice = msgspec.structs.replace(recommendation, tradeoffs=[*close, far])
    diagnosis = msgspec.structs.replace(run.diagnosis, recommendation=advice)
    figure = tradeoff_figure(msgspec.structs.replace(run, diagnosis=diagnosis), "run")
    assert figure is not None
    names = [text for text in texts(figure.inline_svg()) if "sliced" in text]
    assert 0 < len(names) < len(close)


def test_panel_that_has_no_room_is_left_where_it_was() -> None:
    theme = Theme(dict.fromkeys(figure_module._STAND_INS, "black"))
    drawing, (axes,) = canvas.new_drawing(theme, 0.2)
    axes.set_xlabel("higher than the drawing")
    before = [*axes.get_position().extents]
    canvas.lay_out(drawing)
    assert [*axes.get_position().extents] == before


@pytest.mark.parametrize(("times_s", "scale"), [([0.1, 50.0], "log"), ([1.0, 2.0], "linear")])
def test_times_that_differ_by_much_are_drawn_logarithmically(
    times_s: list[float], scale: str
) -> None:
    theme = Theme(dict.fromkeys(figure_module._STAND_INS, "black"))
    _, (axes,) = canvas.new_drawing(theme, 0.2)
    canvas.time_axis(axes, times_s, "seconds", theme)
    assert axes.get_xscale() == scale
    assert ("(logarithmic)" in axes.get_xlabel()) == (scale == "log")
    low, high = axes.get_xlim()
    assert low < min(times_s) and high > max(times_s)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.52, 1.08, 5, [0.6, 0.7, 0.8, 0.9, 1]),
        (0.52, 1.08, 3, [0.6, 0.8, 1]),
        (0.97, 1.035, 5, [0.97, 0.98, 0.99, 1, 1.01, 1.02, 1.03]),
        (0.94, 2.9, 5, [1, 1.5, 2, 2.5]),
        (0.09, 1.1, 5, [0.1, 0.2, 0.5, 1]),
        (0.9, 12.0, 5, [1, 2, 5, 10]),
        (0.0009, 1200.0, 3, [0.001, 0.01, 0.1, 1, 10, 100, 1000]),
    ],
)
def test_ticks_of_ratios_are_round_numbers(
    low: float, high: float, most: int, ticks: list[float]
) -> None:
    assert ratio_ticks(low, high, most) == [pytest.approx(tick) for tick in ticks]


def test_a_narrow_figure_has_its_own_ids_and_names_above_its_rows(figures: list[Figure]) -> None:
    for figure in figures:
        wide, narrow = figure.inline_svg(), figure.inline_svg(narrow=True)
        ids = [re.findall(r' id="([^"]+)"', svg) for svg in (wide, narrow)]
        assert ids[0] and not {*ids[0]} & {*ids[1]}
        assert f'id="{figure.id}-narrow-title"' in narrow
        widths = [float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1]) for svg in (wide, narrow)]  # type: ignore[index]
        assert figure.kind == "matrix" or widths[1] < 275 < 700 < widths[0]
