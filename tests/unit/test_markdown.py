"""Markdown as GitHub reads it: tables, images beside it, other people's text as text."""

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from diagnosed_runs import beside_cpu, case, image_of, loaded_run, matching, only, plan
from factories import make_model
from markdown_it import MarkdownIt
from measured_runs import kept, measured, one_case, steady, two_arms
from pictured_runs import pictured
from quality_factories import smooth_picture
from told_runs import told_run

from sdbench.cli import main
from sdbench.quoting.markdown_text import plain
from sdbench.records import SCHEMA_VERSION, CountedFlops, MatmulRate
from sdbench.report.export.markdown import Markdown, markdown_report
from sdbench.report.export.row import rows_of_runs
from sdbench.report.pictures.gallery import gallery_of
from sdbench.report.view import build_report
from sdbench.report.view.efficiency_words import EXPLAINED
from sdbench.runs import LoadedRun


def report_of(*runs: LoadedRun, folder: str | None = None) -> Markdown:
    return markdown_report(build_report(runs), folder)


def as_html(text: str) -> str:
    """As GitHub's dialect renders it; raw HTML passes, so that a hole shows."""
    rendered: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return rendered


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, as a reader sees them."""
    return [
        [
            [html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in cells]
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)
            if (cells := re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S))
        ]
        for table in re.findall(r"<table>.*?</table>", as_html(text), re.S)
    ]


def table_with(text: str, heading: str) -> list[list[str]]:
    (found,) = (table for table in tables(text) if heading in table[0])
    return found


# --- the report ----------------------------------------------------------------------------------


def test_every_case_is_a_line_and_what_to_use_is_marked() -> None:
    text = report_of(loaded_run()).text
    rows = table_with(text, "outcome")
    assert [row[0] for row in rows[1:]] == ["64x64", "64x64 sliced", "64x64 primed", "64x64 batch"]
    assert {len(row) for row in rows} == {9}
    assert [row[-1] for row in rows[1:]].count("●") >= 1
    assert "Healthy" in text
    assert table_with(text, "gain")[1][3].endswith(" s")
    assert "num_inference_steps=2" in text


def test_what_is_wrong_is_said_with_its_remedy() -> None:
    broken = [image_of(0, "broken", fault="black"), image_of(1)]
    loaded = loaded_run(
        only(case(warmup=True), outcome="crashed", reason="ended by SIGABRT", passes=[]),
        compared=lambda slot, of: (
            beside_cpu(slot, of, broken) if of.attention_slicing else matching(slot, of)
        ),
    )
    text = report_of(loaded).text
    outcomes = {row[0]: (row[1], row[7]) for row in table_with(text, "outcome")[1:]}
    assert outcomes["64x64 primed"][0] == "crashed"
    assert outcomes["64x64 sliced"][1] == "wrong"
    assert "- 64x64 primed: crashed – ended by SIGABRT" in text
    assert "`worker-crash`" in text
    assert "**→**" in text


def test_simulated_and_unfinished_runs_say_so_first() -> None:
    loaded = measured(simulated=True, config=one_case(3), skip=lambda slot: slot.block > 0)
    text = report_of(loaded).text
    assert "> **SIMULATED**" in "\n".join(text.splitlines()[:4])
    assert "2 of 3 processes have not been run" in text


def test_run_without_any_result_still_gives_a_report() -> None:
    text = report_of(measured(skip=lambda slot: True)).text
    assert "skipped" in table_with(text, "outcome")[1][1]


def test_run_that_no_claim_speaks_of_has_no_section_about_claims() -> None:
    """Claims are tested in a variant without ballast, and here there is none."""
    heading = "## What the documentation claims, tested here"
    assert heading in report_of(measured(config=one_case(1))).text
    held = measured(config=one_case(1, pressure={"hold_bytes": [5e7]}))
    assert heading not in report_of(held).text


def test_stages_are_compared_with_the_rate_of_matrix_products_which_is_explained(
    tmp_path: Path,
) -> None:
    profiled = told_run(tmp_path, replicates=1)
    text = report_of(profiled).text
    assert {row[-1] for row in table_with(text, "stage")[1:]} == {"–"}
    assert EXPLAINED not in text

    flops = CountedFlops(text_encoder=10, denoising=600, vae_decode=90, measured_pass=700)
    counted = [msgspec.structs.replace(entry, flops=flops) for entry in profiled.attempts]
    limit = MatmulRate(
        arm="current", dtype="float32", device="mps", simulated=False, flops_per_s=2000.0
    )
    text = report_of(LoadedRun(tmp_path, profiled.run, [], counted, ceilings=[limit])).text
    shares = {row[1]: row[-1] for row in table_with(text, "stage")[1:]}
    assert shares["denoising"] == "50%", "600 operations in 0.6 s, of 2000 a second"
    assert shares["the rest"] == "–"
    assert EXPLAINED in text


def test_comparison_of_runs_comes_first() -> None:
    base = loaded_run(run_id="one")
    new = loaded_run(run_id="two", seconds=lambda slot, of: 2 * steady(seed=2)(slot))
    text = report_of(base, new).text
    rows = table_with(text, "time new/base")
    assert rows[1][5].startswith("slower")
    assert text.index("time new/base") < text.index("## Cases")
    assert [row[0] for row in rows[1:]] == [
        row[0] for row in table_with(report_of(base).text, "outcome")[1:]
    ]


def test_arms_of_a_run_are_compared() -> None:
    loaded = measured(config=two_arms(3))
    assert table_with(report_of(loaded).text, "time new/base")


def test_matrix_of_many_cases_is_folded() -> None:
    matrix = {"resolution": [f"{64 * i}x64" for i in range(1, 60)]}
    text = report_of(measured(config=one_case(1, matrix=matrix))).text
    assert "<details><summary>59 cases</summary>" in text
    assert len(table_with(text, "outcome")) == 60


def test_runs_are_called_by_their_names_where_they_are_compared() -> None:
    text = report_of(loaded_run(run_id="one"), loaded_run(run_id="two")).text
    assert "## one against two" in text


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    kept(tmp_path / "results", measured(config=one_case(3), run_id="20260102-one"))
    return tmp_path / "results"


def test_file_has_its_pictures_beside_it(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a report.md"
    command = ["report", "latest", "--results", str(results)]
    for _ in range(2):  # written again without a question; its name says that it is Markdown
        assert main([*command, "-o", str(target)]) == 0
    linked = re.findall(r"\((a%20report_files/[^)]+)\)", target.read_text())
    assert linked
    for link in linked:
        assert (tmp_path / unquote(link)).is_file()
    assert capsys.readouterr().out == ""
    assert main([*command, "-f", "md"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("# Stable Diffusion on cpu: 20260102-one")
    assert "_files" not in out


def test_folder_of_pictures_that_cannot_be_made_is_one_line(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report_files").write_text("in the way")
    target = tmp_path / "report.md"
    command = ["report", "latest", "-f", "md", "--results", str(results), "-o", str(target)]
    assert main(command) == 2
    assert re.fullmatch(r"sdbench: cannot write \S+report_files: .+\n", capsys.readouterr().err)
    assert not target.exists()


def test_row_is_a_table_of_three_lines(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "latest", "-f", "row", "--results", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert {line.count("|") for line in lines} == {15}


def test_json_says_its_schema(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "latest", "-f", "json", "--results", str(results)]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == SCHEMA_VERSION


# --- images ------------------------------------------------------------------------------------


def test_pictures_are_files_beside_it_and_all_are_linked() -> None:
    report = report_of(loaded_run(), folder="my report_files")
    linked = set(re.findall(r"\((my%20report_files/[^)]+)\)", report.text))
    assert {f"my%20report_files/{name}" for name in report.files} == linked
    assert {Path(name).suffix for name in report.files} == {".png", ".svg"}
    for name, data in report.files.items():
        assert re.fullmatch(r"[a-z0-9-]+\.(png|svg)", name)
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG")
        else:
            ElementTree.fromstring(data)


def test_gallery_stands_in_tables_beside_the_cpus_pictures(tmp_path: Path) -> None:
    loaded = pictured(tmp_path, lambda slot, index: smooth_picture(slot.index % 2))
    story = build_report([loaded])
    gallery = gallery_of(loaded, story.runs[0])
    report = markdown_report(story, "x_files", [gallery])
    rows = table_with(report.text, "the CPU's")
    entries = [entry for group in gallery.groups for entry in group.entries]
    assert [row[4].split()[1] for row in rows[1:]] == ["wrong:", "same"]
    linked = set(re.findall(r"!\[[^\n]*?\]\(x_files/([^)]+)\)", report.text))
    assert {name for name in report.files if "-picture-" in name} <= linked
    made = sum("-made." in name for name in report.files)
    assert made == sum(entry.device is not None for entry in entries) > 0


def test_without_a_place_for_pictures_there_are_none() -> None:
    report = report_of(loaded_run())
    assert report.files == {}
    assert "![" not in report.text


# --- text of others ------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b \\| c",
    "[click](http://evil.example) ![x](y.png)",
    "**bold** _it_ `code` ~~gone~~ $x$",
    "# heading",
    "- list",
    "1. list",
    "> quote",
    "=====",
    "&lt;b&gt; &#42;",
    "``` fence",
    "</details> <!-- -->",
    "\x1b]0;t\x07 \u202e",
    "line\nbreak",
    "@octocat #1",
    "https://evil.example www.evil.example",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_read_as_it_was_written(text: str) -> None:
    shown = text.translate({0x1B: "\\x1b", 7: "\\x07", 0x202E: "\\u202e", 10: "\\n"})
    for document in (plain(text), f"| a |\n| --- |\n| {plain(text)} |"):
        rendered = as_html(document).replace("<!-- -->", "")
        seen = html.unescape(re.sub(r"</?(p|table|thead|tbody|tr|t[hd])>", "", rendered))
        assert seen.split() == (["a"] if "|\n" in document else []) + shown.split()
    for call in ("@octocat", "#1", "://evil", "www."):
        assert call not in plain(text)


@pytest.mark.parametrize("text", ["2.13.0+cpu", "snake_case_name", "512x512, sliced", "0.8 s"])
def test_ordinary_words_are_not_escaped(text: str) -> None:
    assert plain(text) == text


def hostile_run(text: str) -> LoadedRun:
    """The text in every place that others write."""

    def failing(slot: Any, of: Any) -> dict[str, Any]:
        if not of.warmup:
            return {}
        return {"outcome": "failed", "reason": text, "passes": [], "stderr_tail": text}

    return loaded_run(
        failing,
        config=plan(prompts=[text]),
        label=text,
        model=msgspec.structs.replace(make_model(), name=text, trained=True),
        machine={"chip": text, "memory_bytes": 8_000_000_000, "system": text, "release": text},
        environment={"SDBENCH_X": text},
        preload=[text],
    )


@pytest.mark.parametrize("text", [one for one in HOSTILE if "@" not in one])
def test_no_record_becomes_markup(text: str) -> None:
    loaded = hostile_run(text)
    story = build_report([loaded])
    calm = as_html(report_of(hostile_run("calm")).text)
    document = as_html(markdown_report(story).text)
    row = as_html(rows_of_runs([loaded], story.runs))
    for rendered in (document, row):
        assert "<script" not in rendered
        assert "\x1b" not in rendered
        assert 'evil.example"' not in rendered
    # The same elements as with a harmless word, wherever it stands.
    assert re.findall(r"</?\w+", document) == re.findall(r"</?\w+", calm)


# --- a row ---------------------------------------------------------------------------------------


def row_of(*runs: LoadedRun) -> list[list[str]]:
    (rows,) = tables(rows_of_runs(runs, build_report(runs).runs))
    return rows


def test_row_says_machine_settings_time_memory_verdict() -> None:
    device = {"kind": "mps", "facts": {"gpu_cores": 8}}
    loaded = loaded_run(
        lambda slot, of: {"device": device},
        seconds=lambda slot, of: steady(1.0 if of.attention_slicing else 2.0)(slot),
        machine={"chip": "Apple M1", "memory_bytes": 16 << 30, "system": "Darwin", "release": "24"},
        machine_facts={"identity": {"os_version": "15.1"}},
    )
    names, cells = row_of(loaded)
    told = dict(zip(names, cells, strict=True))
    assert told["chip"] == "Apple M1"
    assert told["GPU cores"] == "8"
    assert told["RAM"] == "16 GB"
    assert told["OS"] == "macOS 15.1"
    assert told["torch"] == "2.0.0"
    assert told["settings"] == "mps, 64x64, 2 steps, sliced, float32"
    assert told["s/image"] == "0.499 s"
    assert told["peak memory"] == "1.0 GB"
    assert told["verdict"] == "same as CPU"
    assert told["it/s"] == "4.01", "2 steps in 0.499 s"
    assert told["95% interval"].endswith(" s") and "–" in told["95% interval"]
    processes = len({entry.block for entry in loaded.replicates})
    assert told["processes"] == f"{processes}/{processes}"
    assert told["date"] == loaded.run.created_utc[:10]


def test_row_of_a_gpu_names_its_memory_beside_the_host_s() -> None:
    facts = {"name": "NVIDIA H200", "recommended_max_bytes": 150_109_880_320}
    loaded = loaded_run(
        lambda slot, of: {"device": {"kind": "cuda", "facts": facts}},
        device="cuda",
        machine={"chip": "Xeon", "memory_bytes": 135_148_564_480, "system": "Linux"},
    )
    told = dict(zip(*row_of(loaded), strict=True))
    assert (told["chip"], told["RAM"]) == ("NVIDIA H200, 140 GB", "126 GB")
    lines = {line.what: line.about for line in build_report([loaded]).runs[0].environment}
    assert lines["device: memory"] == "140 GB" and lines["machine: memory"] == "126 GB"
    assert not any("recommended" in what for what in lines)


def test_several_runs_share_a_heading() -> None:
    assert len(row_of(loaded_run(run_id="one"), loaded_run(run_id="two"))) == 3


@pytest.mark.parametrize(
    ("loaded", "time", "verdict"),
    [
        (loaded_run(compared=lambda slot, of: None), "0.499 s", "not checked"),
        (loaded_run(simulated=True), "0.499 s", "SIMULATED, same as CPU"),
        (
            measured(fields=lambda slot: {"outcome": "oom", "passes": []}),
            "–",
            "out of memory, not checked",
        ),
        (measured(skip=lambda slot: True), "–", "nothing measured"),
    ],
)
def test_row_is_honest_where_nothing_can_be_recommended(
    loaded: LoadedRun, time: str, verdict: str
) -> None:
    names, cells = row_of(loaded)
    told = dict(zip(names, cells, strict=True))
    assert (told["s/image"], told["verdict"]) == (time, verdict)
