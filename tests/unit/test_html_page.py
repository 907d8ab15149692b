"""The page as a whole: says what it must, escapes what others wrote, loads nothing."""

import ast
import itertools
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from diagnosed_runs import case as case_of
from diagnosed_runs import loaded_run, only
from factories import make_model
from measured_runs import changed, kept, measured, one_case, two_arms
from told_runs import HOSTILE, moved, told_run

import sdbench
from sdbench.cli import main, report
from sdbench.report.html import html_report
from sdbench.report.html.page import SECTIONS
from sdbench.runs import LoadedRun

Called = Callable[..., tuple[int, str, str]]

# Without a counterpart.
_VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, name: str) -> list[str]:
        return [found for _, attributes in self.elements if (found := attributes.get(name))]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Called:
    """Run a command line; returns exit code, standard output and standard error."""

    def invoke(*args: Any) -> tuple[int, str, str]:
        code = main([str(arg) for arg in args])
        return (code, *capsys.readouterr())

    return invoke


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_report([told_run(tmp_path_factory.mktemp("run"))])


def test_every_element_is_closed_and_every_id_is_unique(told: str) -> None:
    page = Page(told)
    assert page.open == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(ids)
    inside = [link[1:] for link in page.values("href") if link.startswith("#")]
    assert inside and set(inside) <= set(ids)


def test_the_first_screen_answers_the_four_questions(told: str) -> None:
    first, _, _ = told.partition('<section id="findings"')
    text = Page(first).text
    for words in ("One image", "1 s", "2 it/s", "set up correctly", "nothing wrong", "Recommended"):
        assert words in text
    assert text.index("Test, 2 cores") < text.index("One image")


def test_all_sections_are_there_in_reading_order(told: str) -> None:
    found = re.findall(r'<section id="([\w-]+)"', told)
    expected = [name for name, _ in SECTIONS if name not in ("comparison", "schedule")]
    assert found == expected


def test_headings_do_not_skip_a_level(told: str) -> None:
    levels = [int(tag[1]) for tag, _ in Page(told).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_page_loads_nothing_and_allows_nothing(told: str) -> None:
    page = Page(told)
    assert page.count("script") == 1 and page.count("style") == 1 and page.count("link") == 0
    assert all(value.startswith("data:image/") for value in page.values("src"))
    assert page.values("style") == []
    assert [name for _, found in page.elements for name in found if name.startswith("on")] == []
    for tag, attributes in page.elements:
        link = attributes.get("href") or attributes.get("xlink:href") or "#"
        assert link.startswith("#") or (tag == "a" and link.startswith("https://"))


def test_tables_have_captions_and_scopes(told: str) -> None:
    page = Page(told)
    assert page.count("caption") == page.count("table") > 5
    heads = [attributes for tag, attributes in page.elements if tag == "th"]
    assert all(attributes.get("scope") in ("col", "row") for attributes in heads)


def test_every_case_stands_in_the_table(told: str) -> None:
    text = Page(told).text
    for name in ("64x64 sliced", "64x64 primed", "64x64 batch"):
        assert name in text
    assert "3/3" in text and "95% interval" in text


def test_what_others_wrote_is_shown_as_text(tmp_path: Path) -> None:
    loaded = loaded_run(
        only(
            case_of(),
            outcome="crashed",
            reason=HOSTILE,
            exception_message=HOSTILE,
            stderr_tail=HOSTILE,
            versions={"torch": HOSTILE},
            device={"facts": {"name": HOSTILE}},
        ),
        model=make_model(HOSTILE, path=HOSTILE),
        label=HOSTILE,
        machine={"chip": HOSTILE},
        environment={"PYTORCH_X": HOSTILE},
        preload=[HOSTILE],
    )
    config = {**loaded.run.config, "prompts": [HOSTILE]}
    loaded = moved(changed(loaded, config=config), tmp_path)
    loaded.warnings.append(HOSTILE)
    html = html_report([loaded])
    page = Page(html)
    assert page.count("script") == 1
    assert not set("\x1b\u202e") & set(html)
    assert page.text.count("<script>alert(1)</script>\\x1b[31m\\u202e&\"'") >= 6


def test_markup_in_an_arm_is_text_in_tables_and_figures() -> None:
    """No configuration lets it through; a record from elsewhere might."""
    loaded = measured(config=two_arms(3))

    def renamed(record: Any) -> Any:
        text = msgspec.json.encode(record).replace(b'"new"', b'"<b>new</b>"')
        return msgspec.json.decode(text, type=type(record))

    attempts = [renamed(entry) for entry in loaded.attempts]
    html = html_report([LoadedRun(loaded.path, renamed(loaded.run), [], attempts)])
    assert "<b>" not in html
    assert "[<b>new</b>]" in Page(html).text


@pytest.mark.usefixtures("undrawn")
def test_what_is_simulated_is_marked_first(tmp_path: Path) -> None:
    loaded = changed(measured(config=two_arms(3)), simulated=True, preload=["stand_in"])
    text = Page(html_report([loaded])).text
    assert text.index("SIMULATED") < text.index("One image")
    assert text.count("SIMULATED") >= 2, "the comparison says so too"


@pytest.mark.usefixtures("undrawn")
def test_of_several_runs_the_comparison_comes_first() -> None:
    runs = [changed(measured(), run_id=f"run-{number}") for number in (1, 2)]
    html = html_report(runs)
    assert re.findall(r'<section id="([\w-]+)"', html)[:2] == ["comparison", "verdict"]
    page = Page(html)
    assert page.open == [] and len(page.values("id")) == len(set(page.values("id")))
    assert "run-1 → run-2" in page.text


@pytest.mark.usefixtures("undrawn")
def test_runs_that_cannot_be_compared_are_shown_beside_the_reason() -> None:
    runs = [measured(), changed(measured(), run_id="other", simulated=True)]
    text = Page(html_report(runs)).text
    assert "simulated runs are never compared with real ones" in text
    assert text.count("One image") == 2


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_run_says_what_is_missing(tmp_path: Path) -> None:
    path = kept(tmp_path, measured(config=one_case(4), skip=lambda slot: slot.block == 3))
    records = path / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(lines[0] + b'{"type": "replicate", "half\n' + lines[2][:40])
    from sdbench.runs import load_run

    html = html_report([load_run(path)])
    text = Page(html).text
    assert "What is missing" in text
    assert str(tmp_path) not in html, "a page does not say where it was made"
    assert "records.jsonl line 2 is unreadable" in text
    assert "3 of 4 processes have not been run" in text


def test_a_run_of_which_nothing_is_left_is_a_page(tmp_path: Path) -> None:
    loaded = measured(config=one_case(2), skip=lambda slot: True)
    text = Page(html_report([LoadedRun(tmp_path, loaded.run, [], [])])).text
    assert "Nothing was measured" in text
    assert "No pass was timed" in text


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_every_outcome_is_a_page() -> None:
    outcomes = ["ok", "failed", "oom", "crashed", "timeout", "guard", "skipped", "ok"]
    loaded = measured(
        config=one_case(1, matrix={"resolution": [f"{64 * n}x64" for n in range(1, 9)]}),
        fields=lambda slot: {"outcome": outcomes[slot.index], "reason": "so it was"},
    )
    text = Page(html_report([loaded])).text
    for words in ("out of memory", "exceeded its time limit", "stopped to protect your machine"):
        assert words in text


def test_counted_operations_are_shown_where_they_are_recorded(tmp_path: Path) -> None:
    from sdbench.report.view import build_report

    loaded = told_run(tmp_path)
    story = build_report([loaded])
    (run,) = story.runs
    rows = [
        msgspec.structs.replace(row, flops_per_s=2.5e12, share_of_ceiling=0.5) for row in run.stages
    ]
    run = msgspec.structs.replace(run, stages=rows, efficiency="Efficiency: 50%.")
    text = Page(html_report([loaded], msgspec.structs.replace(story, runs=[run]))).text
    assert "Efficiency: 50%." in text and "2.5 TFLOP/s, 50% of matrix products'" in text


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_a_page_unless_another_format_is_asked_for(
    call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = kept(tmp_path, measured(config=one_case(3)))
    code, out, err = call("report", path)
    assert (code, out) == (0, "")
    assert "report.html" in err
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    code, out, _ = call("report", path, "-o", "-")
    assert out.startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path, measured(config=one_case(3)))
    assert report.write_page(path) == path / "report.html"
    capsys.readouterr()

    def broken(*_: Any) -> str:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(report, "html_report", broken)
    assert report.write_page(path) is None
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1 and "no fonts" in told.err


def test_theme_button_says_what_a_click_does() -> None:
    """ "Dark mode", pressed, said nothing to who sees it."""
    templates = Path(sdbench.__file__).parent / "report/html/templates"
    button = next(
        line
        for line in (templates / "base.html").read_text().splitlines()
        if 'class="theme"' in line
    )
    assert "aria-pressed" not in button
    assert '"Light mode" : "Dark mode"' in (templates / "report.js").read_text()


@pytest.mark.usefixtures("undrawn")
def test_snippet_to_copy_keeps_its_lines() -> None:
    (code, *_) = re.findall(r"<pre><code>(.*?)</code></pre>", html_report([loaded_run()]), re.S)
    text = unescape(code)
    assert text.count("\n") > 3 and "<" not in code
    ast.parse(text)
