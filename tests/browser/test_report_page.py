"""The report in a real browser: of a real run, of constructed ones, of old and of damaged ones."""

import datetime
import io
import itertools
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import opened
from conftest import Sdbench, shared_run
from factories import make_model
from pictured_runs import four_settings, pictured
from playwright.sync_api import Browser, Locator, Page, expect
from quality_factories import smooth_picture

from sdbench.records import FailureCause
from sdbench.report.html import html_report
from sdbench.runs import LoadedRun, load_run

DATA = Path(__file__).parents[1] / "data" / "runs"
PHONE = (390, 844)
# What must be shown as text, wherever it comes from.
HOSTILE = (
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "{{ 7 * 7 }}{% raw %}",
    "\x1b[31mred\x1b[0m\x07",
    "</style></title><svg onload=alert(1)>",
)
PLAN = """
model = "builtin/shapes"
device = "cpu"
steps = 3
images = 2
passes = 2
replicates = 1
prompts = ["a red circle to the left of a blue star on a white background"]
[guard]
min_free_disk_bytes = 0
[gate]
max_wait_s = 0
[matrix]
resolution = ["128x128"]
batching = ["loop", "batch"]
"""


@pytest.fixture(scope="session")
def real_run(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two settings on the CPU, compared with the CPU's images: one like them, one nearly so.

    (``browser`` first: without one nothing is measured in vain.)
    """
    run = shared_run(tmp_path_factory, "browser-run", PLAN, "--yes")
    assert run.exit_code == 0
    return run.loaded().path


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def real(real_run: Path, pages: Path) -> Path:
    """As the command writes it."""
    file = pages / "real.html"
    done = Sdbench(real_run.parent)("report", real_run, "-f", "html", "-o", file)
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture(scope="session")
def faulty(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight settings: black images when sliced, crashes in two, times that differ."""
    black = np.zeros((3, 64, 64), np.float32)
    loaded = pictured(
        tmp_path_factory.mktemp("faulty"),
        lambda slot, index: black if "sliced" in slot.case_id else smooth_picture(),
        config=four_settings(3, dtypes=("float32", "float16")),
    )
    crashed = [entry for entry in loaded.attempts if "sliced-primed" in entry.case_id]
    loaded = of_two_machines(loaded, "a" * 16, "b" * 16)
    return written(pages / "faulty.html", with_crashes(loaded, {e.replicate_id for e in crashed}))


@pytest.fixture(scope="session")
def hostile(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Others' text that would do harm, everywhere where others' text can stand."""
    text = " ".join(HOSTILE)
    loaded = pictured(
        tmp_path_factory.mktemp("hostile"),
        lambda slot, index: smooth_picture(),
        config=four_settings(2, prompts=[text]),
        model=make_model(name=text, path=text, pipeline_class=text, trained=True),
        label=text,
        machine={"chip": text, "cores_physical": 2, "memory_bytes": 8_000_000_000},
        picture=lambda slot: {"content": "wrong", "content_reason": text},
    )
    first = {loaded.attempts[0].replicate_id}
    loaded = of_two_machines(loaded, text, text[::-1])
    return written(pages / "hostile.html", with_crashes(loaded, first, text))


@pytest.fixture(scope="session")
def damaged(pages: Path, real_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of which the disk lost something of every kind."""
    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(real_run, folder)
    records = (folder / "records.jsonl").read_bytes()
    (folder / "records.jsonl").write_bytes(b"rubbish\n" + records[: len(records) * 2 // 3])
    for number, picture in enumerate(sorted((folder / "images").iterdir())):
        if number % 2:
            picture.unlink()
        else:
            picture.write_bytes(picture.read_bytes()[:50])
    for timeline in (folder / "telemetry").iterdir():
        timeline.write_bytes(b"\xff\x00" + timeline.read_bytes()[:200])
    return written(pages / "damaged.html", load_run(folder))


@pytest.fixture(scope="session")
def old(pages: Path) -> Path:
    return written(pages / "old.html", load_run(DATA / "schema-1-first"))


@pytest.fixture(scope="session")
def several(pages: Path, real_run: Path) -> Path:
    """Two runs on one page."""
    return written(pages / "several.html", load_run(real_run), load_run(DATA / "schema-1-first"))


def written(file: Path, *runs: LoadedRun) -> Path:
    file.write_text(html_report(list(runs)), encoding="utf-8")
    return file


def of_two_machines(loaded: LoadedRun, *machines: str) -> LoadedRun:
    """The same, each block by one of two machines, for the section about where and when."""
    began = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    for number, entry in enumerate(loaded.attempts):
        ended = began + datetime.timedelta(seconds=10)
        loaded.attempts[number] = msgspec.structs.replace(
            entry,
            machine_id=machines[entry.block % 2],
            started_utc=began.isoformat(),
            ended_utc=ended.isoformat(),
        )
        began = ended
    return loaded


def with_crashes(loaded: LoadedRun, ids: set[str], text: str = "out of luck") -> LoadedRun:
    """The same, but some processes died with these words."""
    cause = FailureCause(kind="other", sentence=text, remedy=text, assertion=text, operator=text)
    for number, entry in enumerate(loaded.attempts):
        if entry.replicate_id in ids:
            loaded.attempts[number] = msgspec.structs.replace(
                entry,
                outcome="crashed",
                reason=text,
                signal="SIGABRT",
                exception_type=text,
                exception_message=text,
                cause=cause,
                stderr_tail=text,
                stdout_tail=text,
                passes=entry.passes[:1],
            )
    return loaded


EVERY_PAGE = ["real", "faulty", "hostile", "damaged", "old", "several"]


@pytest.fixture
def page_file(request: pytest.FixtureRequest) -> Path:
    """One of the pages, by the name of its fixture."""
    file: Path = request.getfixturevalue(request.param)
    return file


@pytest.mark.parametrize("page_file", EVERY_PAGE, indirect=True)
def test_every_page_is_one_quiet_file_in_order_that_asks_for_nothing(
    browser: Browser, page_file: Path
) -> None:
    """``opened`` fails on a console message and on any request; figures and images are there."""
    assert page_file.stat().st_size < 3_000_000
    with opened(browser, page_file) as watched:
        page = watched.page
        expect(page.locator("main > section").first).to_be_visible()
        broken = page.evaluate(
            "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
        )
        assert broken == 0
        assert page.locator("[style]:not(.wipe)").count() == 0
        # The contents lead to every section.
        ids = page.locator("main > section").evaluate_all("all => all.map(one => one.id)")
        links = page.locator("nav a").evaluate_all("all => all.map(one => one.hash.slice(1))")
        assert ids == links and len(set(ids)) == len(ids) > 3
        every = page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
        assert len(set(every)) == len(every)
        assert (
            page.locator("a[href^='#']").evaluate_all(
                "all => all.filter(one => !document.getElementById(one.hash.slice(1))).length"
            )
            == 0
        )
        levels = page.locator("h1, h2, h3, h4, h5").evaluate_all(
            "all => all.map(h => +h.tagName[1])"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def looks_and_pages() -> Iterator[Any]:
    """Every page, light and dark; `make test` has three, and dark the one with most in it."""
    for dark, name in itertools.product((False, True), EVERY_PAGE):
        short = name == "faulty" or (not dark and name in ("real", "hostile"))
        marks = [] if short else [pytest.mark.long]
        yield pytest.param(dark, name, marks=marks, id=f"{'dark' if dark else 'light'}-{name}")


@pytest.mark.parametrize(("dark", "page_file"), [*looks_and_pages()], indirect=["page_file"])
def test_axe_finds_nothing_serious(browser: Browser, page_file: Path, dark: bool) -> None:
    with opened(browser, page_file, dark=dark) as watched:
        watched.page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        assert serious(watched.page) == []


def test_axe_finds_nothing_serious_on_a_phone(browser: Browser, faulty: Path) -> None:
    with opened(browser, faulty, size=PHONE) as watched:
        assert serious(watched.page) == []


def serious(page: Page) -> list[str]:
    """What axe objects to, with the first element of each."""
    found: dict[str, Any] = Axe().run(page).response
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("page_file", EVERY_PAGE, indirect=True)
def test_a_phone_has_nothing_to_scroll_sideways(browser: Browser, page_file: Path) -> None:
    """Rows of tables are cards, figures are drawn for it; what is wide has a box of its own, which
    the keyboard reaches."""
    with opened(browser, page_file, size=PHONE) as watched:
        page = watched.page
        page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        wide = "all => all.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.tabIndex)"
        assert page.locator(".stacked, .plot").evaluate_all(wide) == []
        assert set(page.locator(".scroll").evaluate_all(wide)) <= {0}


def test_on_a_phone_a_row_is_a_card_with_every_cell_named(browser: Browser, faulty: Path) -> None:
    with opened(browser, faulty, size=PHONE) as watched:
        table = case_table(watched.page)
        heads = [words.strip("↕") for words in table.locator("thead th").all_text_contents()]
        expect(table.locator("thead")).to_be_hidden()
        row = table.locator("tbody tr").first
        labels = row.locator("td").evaluate_all("all => all.map(cell => cell.dataset.label)")
        assert labels == heads[1:] and "Time" in labels
        shown = row.locator("td").first.evaluate("c => getComputedStyle(c, '::before').content")
        assert labels[0] in shown
        for cell in row.locator("th, td:not(:empty)").all():
            box = cell.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= PHONE[0]


@pytest.mark.parametrize(("size", "kind"), [((1280, 900), "wide"), (PHONE, "narrow")])
def test_figures_are_drawn_for_the_width_of_the_screen(
    browser: Browser, faulty: Path, size: tuple[int, int], kind: str
) -> None:
    with opened(browser, faulty, size=size) as watched:
        shown = watched.page.locator(".plot:visible")
        kinds = shown.evaluate_all("all => all.map(one => one.className)")
        assert kinds and set(kinds) == {f"plot {kind}"}
        sizes = shown.locator("svg").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().width / one.viewBox.baseVal.width)"
        )
        assert all(scale > 1.1 for scale in sizes), "letters as large as they were drawn"
        if kind == "wide":
            widths = shown.locator("svg").evaluate_all("all => all.map(o => o.clientWidth)")
            assert max(widths) > 950


@pytest.mark.parametrize("page_file", ["real", "faulty"], indirect=True)
def test_tables_fit_into_1280_pixels(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file) as watched:
        boxes = watched.page.locator(".stacked")
        wide = (
            "all => all.filter(b => b.scrollWidth > b.clientWidth + 1)"
            ".map(b => b.querySelector('caption').textContent)"
        )
        assert boxes.count() > 2 and boxes.evaluate_all(wide) == []
        lanes = watched.page.locator("#schedule tbody tr").count()
        assert lanes == (2 if page_file.stem == "faulty" else 0)


def test_the_answer_is_on_the_first_screen(browser: Browser, faulty: Path) -> None:
    """What is wrong, how long an image takes, what to use: without scrolling."""
    with opened(browser, faulty) as watched:
        page = watched.page
        for words in ("What is wrong", "One image", "Recommended"):
            expect(page.get_by_role("heading", name=words)).to_be_in_viewport()
        expect(page.locator(".figure-number").first).to_be_in_viewport()
        assert page.locator("#verdict").get_by_text("it/s").count() > 0


def case_table(page: Page) -> Locator:
    """The one with a row for every case."""
    return page.locator("#matrix table.sortable")


def cells(table: Locator, column: int) -> list[str]:
    """The values of a column, by which it is sorted, of the rows that are shown."""
    found: list[str] = table.locator("tbody tr:visible").evaluate_all(
        "(rows, column) => rows.map(row => {const c = row.cells[column];"
        "const v = (c.dataset.value ?? c.textContent).trim(); return v === '–' ? '' : v})",
        column,
    )
    return found


def test_tables_sort_by_their_heads(browser: Browser, faulty: Path) -> None:
    """Up, down, as it was; unknown last; equal ones stay in order; by mouse and by keyboard."""
    with opened(browser, faulty) as watched:
        table = case_table(watched.page)
        heads = table.locator("thead th")
        assert heads.count() > 3
        for column in range(heads.count()):
            head, before, rows = heads.nth(column), cells(table, column), cells(table, 0)
            button = head.get_by_role("button")
            button.click()
            expect(head).to_have_attribute("aria-sort", "ascending")
            rising = cells(table, column)
            assert sorted(rising) == sorted(before)
            assert rising == in_order(before)
            if len(set(before)) == 1:
                assert cells(table, 0) == rows
            button.press("Enter")
            expect(head).to_have_attribute("aria-sort", "descending")
            known = [value for value in rising if value]
            assert [value for value in cells(table, column) if value] == sorted(
                known, key=known.index, reverse=True
            ) or len(set(known)) < len(known)
            assert cells(table, column)[len(known) :] == [""] * (len(rising) - len(known))
            button.press("Space")
            assert head.get_attribute("aria-sort") is None
            assert cells(table, 0) == rows
        assert watched.page.locator("[aria-sort]").count() == 0


def in_order(values: list[str]) -> list[str]:
    """As numbers if all are, else as words; unknown last."""
    known = [value for value in values if value]
    try:
        known.sort(key=float)
    except ValueError:
        known.sort(
            key=lambda value: [
                int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", value)
            ]
        )
    return known + [""] * (len(values) - len(known))


def test_tables_are_filtered_by_words_and_by_outcome(browser: Browser, faulty: Path) -> None:
    with opened(browser, faulty) as watched:
        page = watched.page
        bar, table = page.locator("#matrix .filter"), case_table(page)
        rows = table.locator("tbody tr")
        total, status = rows.count(), bar.get_by_role("status")
        field = bar.get_by_role("searchbox")
        field.fill("SLICED")
        shown = table.locator("tbody tr:visible")
        assert 0 < shown.count() < total
        assert all("sliced" in words.lower() for words in shown.all_text_contents())
        expect(status).to_have_text(f"{shown.count()} of {total} rows shown")
        field.fill("no such words")
        expect(status).to_have_text(f"0 of {total} rows shown")
        field.fill("")
        expect(status).to_have_text("")
        assert shown.count() == total
        crashed = bar.get_by_role("button", name="crashed")
        crashed.click()
        expect(crashed).to_have_attribute("aria-pressed", "false")
        assert 0 < shown.count() < total
        assert "crashed" not in set(shown.evaluate_all("rows => rows.map(row => row.dataset.kind)"))
        crashed.press("Enter")
        assert shown.count() == total


def test_pictures_are_side_by_side_until_sliding_is_asked_for(
    browser: Browser, faulty: Path
) -> None:
    with opened(browser, faulty) as watched:
        figure = watched.page.locator(".wipe").first
        button, slider = figure.get_by_role("button"), figure.locator("input")
        places = [figure.locator("img").nth(number).bounding_box() for number in (0, 1)]
        assert places[0] is not None and places[1] is not None
        assert places[0]["x"] + places[0]["width"] <= places[1]["x"] + 1
        expect(slider).to_be_hidden()
        button.press("Enter")
        expect(slider).to_be_visible()
        expect(button).to_have_text("Side by side")
        button.click()
        expect(slider).to_be_hidden()


def test_slider_goes_from_the_device_s_picture_to_the_cpu_s(browser: Browser, faulty: Path) -> None:
    """The device's is black and the CPU's is not, so what is seen can be told."""
    with opened(browser, faulty) as watched:
        slider = watched.page.locator(".wipe input").first
        stack = watched.page.locator(".wipe-stack").first
        watched.page.locator(".wipe .slide").first.click()
        slider.focus()
        assert slider.input_value() == "50"
        slider.press("ArrowRight")
        slider.press("ArrowRight")
        assert slider.input_value() == "52"
        expect(slider).to_have_attribute("aria-valuetext", "52 % mps, 48 % CPU")
        slider.press("End")
        assert brightness(stack).max() < 0.1
        slider.press("Home")
        assert brightness(stack).min() > 0.2
        box = stack.bounding_box()
        assert box is not None
        watched.page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        assert abs(int(slider.input_value()) - 75) <= 1
        left, right = np.split(brightness(stack), [len(brightness(stack)) * 3 // 4])
        assert left[5:-30].max() < 0.1 and right[30:-5].min() > 0.2
        watched.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        watched.page.mouse.down()
        watched.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
        watched.page.mouse.up()
        assert abs(int(slider.input_value()) - 25) <= 1


def brightness(stack: Locator) -> Any:
    """From 0 to 1, of each column of pixels, away from the knob on the middle."""
    from PIL import Image

    with Image.open(io.BytesIO(stack.screenshot())) as image:
        pixels = np.asarray(image.convert("L"), np.float64)
    return pixels[: len(pixels) // 4].mean(axis=0)[6:-6] / 255


def test_dark_and_light(browser: Browser, real: Path) -> None:
    for dark in (False, True):
        with opened(browser, real, dark=dark) as watched:
            page, button = watched.page, watched.page.locator("button.theme")
            expect(button).to_have_text("Light mode" if dark else "Dark mode")
            before = colours(page)
            assert (before["ground"] < 60) == dark
            button.click()
            expect(button).to_have_text("Dark mode" if dark else "Light mode")
            after = colours(page)
            assert (after["ground"] < 60) != dark
            assert before["figure"] != after["figure"], "figures follow"
            page.emulate_media(media="print")
            assert colours(page)["ground"] > 200, "paper is always light"


def colours(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(
        "() => ({ground: +getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0],"
        "figure: getComputedStyle(document.documentElement).getPropertyValue('--fig-ink')})"
    )
    return found


@pytest.mark.parametrize("page_file", ["real", "faulty"], indirect=True)
def test_prints_to_pages_with_everything_open(browser: Browser, page_file: Path) -> None:
    from pypdf import PdfReader

    with opened(browser, page_file) as watched:
        page = watched.page
        sections = page.locator("main > section > h2").all_text_contents()
        closed = page.locator("details:not([open])")
        assert closed.count() > 0
        hidden = closed.last.locator(":scope > :not(summary)").first.text_content() or ""
        pdf = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
        text = squeezed("".join(sheet.extract_text() for sheet in pdf.pages))
        assert 1 < len(pdf.pages) < 40
        assert all(squeezed(title) in text for title in sections)
        assert squeezed(hidden)[:30] in text
        assert "Darkmode" not in text and "Filter" not in text
        assert closed.count() > 0, "on the screen they are closed again"
        width, height = pdf.pages[0].mediabox.width, pdf.pages[0].mediabox.height
        assert (round(width), round(height)) == (595, 842)


def squeezed(text: str) -> str:
    """Without spaces, which a PDF does not keep, and without ligatures."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


@pytest.mark.parametrize("page_file", ["real", "faulty"], indirect=True)
def test_without_scripts_everything_is_there(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, scripted=False) as watched:
        page = watched.page
        assert page.locator("button:visible").count() == 0
        assert page.locator("input:visible").count() == 0
        stack = page.locator(".wipe-stack").first
        left, right = (stack.locator("img").nth(number).bounding_box() for number in (0, 1))
        assert left is not None and right is not None
        assert left["x"] + left["width"] <= right["x"] + 1, "both images are seen"
        expect(page.locator("main > section").last).to_be_visible()


def test_the_keyboard_gets_to_the_report_at_once(browser: Browser, real: Path) -> None:
    with opened(browser, real) as watched:
        page = watched.page
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the report")).to_be_focused()
        expect(page.get_by_role("link", name="Skip to the report")).to_be_in_viewport()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        for role in ("banner", "navigation", "main", "contentinfo"):
            assert page.get_by_role(role).count() == 1


def test_others_text_is_shown_and_does_nothing(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as watched:
        page = watched.page
        page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        page.wait_for_timeout(100)
        assert page.evaluate("window.pwned") is None
        assert page.locator("main script, main img[src='x'], svg[onload]").count() == 0
        for place in ("#gallery", "#environment"):
            text = page.locator(place).inner_text()
            assert "<script>window.pwned = 1</script>" in text, place
            assert "{{ 7 * 7 }}{% raw %}" in text and "49" not in text.split("{{")[0], place
            assert "\\x1b[31mred" in text, place
        content = hostile.read_bytes()
        assert b"\x1b" not in content and b"\x07" not in content
        alt = page.locator(".picture img").first.get_attribute("alt") or ""
        assert '"><img src=x onerror=' in alt


def test_damage_is_said(browser: Browser, damaged: Path) -> None:
    with opened(browser, damaged) as watched:
        text = watched.page.locator("main").inner_text()
        assert "records.jsonl line 1 is unreadable" in text
        assert "This image cannot be shown: its file is missing or cannot be read." in text


def test_pictures_say_what_they_are_to_those_who_do_not_see_them(
    browser: Browser, real: Path
) -> None:
    with opened(browser, real) as watched:
        pictures = watched.page.locator("img")
        assert pictures.count() > 0
        alts = pictures.evaluate_all("all => all.map(one => one.alt)")
        assert all("red circle" in alt for alt in alts)
        assert any("Verdict: same as CPU" in alt for alt in alts)
        figures = watched.page.locator("svg.figure")
        assert figures.count() > 0
        assert figures.evaluate_all(
            "all => all.every(one => one.role === 'img' && one.querySelector('title'))"
        )
