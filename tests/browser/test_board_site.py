"""A board in a real browser, from a folder: search, filters, sorting, links, phone, axe."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from board_factories import hostile_site, many_rows, site_of
from chromium import Watched, opened
from playwright.sync_api import Browser, Locator, Page, expect

PHONE = (390, 844)
PAGES = ("index", "models", "claims", "faults", "model", "machine")


@pytest.fixture(scope="session")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows in 5 pieces."""
    folder = tmp_path_factory.mktemp("board")
    assert site_of(many_rows(), folder, piece_rows=70).rows == 300
    return folder / "site"


@pytest.fixture(scope="session")
def few(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of these rows for each case: axe takes its time for every cell."""
    folder = tmp_path_factory.mktemp("few")
    site_of(many_rows()[::31], folder)
    return folder / "site"


@pytest.fixture(scope="session")
def hostile(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    hostile_site(folder)
    return folder / "site"


def file_of(site: Path, name: str) -> Path:
    """A page by its kind; of machines and models the first."""
    if name in ("model", "machine"):
        return min((site / f"{name}s").iterdir())
    return site / f"{name}.html"


def table_of(watched: Watched, address: str = "") -> Page:
    """The table's page when all data are read, at an address of a view."""
    page = watched.page
    if address:
        page.goto(f"{page.url.partition('#')[0]}#{address}")
    expect(page.locator(".status")).not_to_contain_text("read")
    return page


def column(page: Page, key: str) -> list[str]:
    """The texts of a column of the rows that are shown."""
    keys = page.locator("thead th").evaluate_all("all => all.map(one => one.dataset.key)")
    cells = page.locator(f"tbody tr > :nth-child({keys.index(key) + 1})")
    return [text.strip() for text in cells.all_inner_texts()]


def head(page: Page, key: str) -> Locator:
    return page.locator(f'th[data-key="{key}"]')


def test_all_data_are_read_piece_by_piece(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        expect(page.locator(".status")).to_have_text("300 of 300 rows")
        assert page.locator("tbody tr").count() == 50
        assert column(page, "place")[:3] == ["1", "2", "3"]
        seconds = [float(text.split(" ")[0]) for text in column(page, "seconds")[:3]]
        assert seconds == sorted(seconds)


def test_search_and_filters_narrow_the_rows_and_the_address_keeps_the_view(
    browser: Browser, site: Path
) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        page.get_by_label("Search").fill("m4 MAX sdxl sliced")
        expect(page.locator(".status")).not_to_have_text("300 of 300 rows")
        assert set(column(page, "chip")) == {"Apple M4 Max"}
        assert all("sliced" in text for text in column(page, "setting"))
        page.get_by_label("Resolution").select_option("768x768")
        page.get_by_label("ranked only").check()
        expect(page).to_have_url(re.compile(r"#q=.*resolution=768x768"))
        assert all(text.startswith("768x768") for text in column(page, "setting"))
        assert all(text.isdecimal() for text in column(page, "place"))
        shown, address = page.locator("tbody").inner_text(), page.url
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched, address.partition("#")[2])
        assert page.locator("tbody").inner_text() == shown
        assert page.get_by_label("Search").input_value() == "m4 MAX sdxl sliced"
        assert page.get_by_label("ranked only").is_checked()
        page.get_by_role("button", name="Reset").click()
        expect(page.locator(".status")).to_have_text("300 of 300 rows")
        assert "#" not in page.url


def test_sorting_by_the_keyboard_says_so(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        head(page, "seconds").get_by_role("button").focus()
        page.keyboard.press("Enter")
        expect(head(page, "seconds")).to_have_attribute("aria-sort", "ascending")
        fastest = [float(text.split(" ")[0]) for text in column(page, "seconds")]
        assert fastest == sorted(fastest)
        page.keyboard.press("Enter")
        expect(head(page, "seconds")).to_have_attribute("aria-sort", "descending")
        slowest = [float(text.split(" ")[0]) for text in column(page, "seconds")]
        assert slowest == sorted(slowest, reverse=True) and slowest[0] > fastest[-1]
        page.keyboard.press("Enter")
        expect(head(page, "seconds")).not_to_have_attribute("aria-sort", re.compile("."))
        head(page, "torch").get_by_role("button").press("Space")
        assert page.locator("[aria-sort]").count() == 1
        assert column(page, "torch")[0] == "2.5.1"
        page.get_by_label("Sort", exact=True).select_option("-torch")
        assert column(page, "torch")[0] == "2.13.0"
        expect(head(page, "torch")).to_have_attribute("aria-sort", "descending")


def test_pages_are_turned_by_the_keyboard(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        first = page.locator("tbody").inner_text()
        page.get_by_role("button", name="Next").press("Enter")
        expect(page.locator(".where")).to_have_text("Page 2 of 6")
        assert page.locator("tbody").inner_text() != first
        assert page.url.endswith("#page=2")
        page.goto(f"{page.url.partition('#')[0]}#page=6")
        expect(page.get_by_role("button", name="Next")).to_be_disabled()
        page.get_by_role("button", name="Previous").press("Enter")
        expect(page.locator(".where")).to_have_text("Page 5 of 6")


def test_wrong_images_are_shown_as_wrong_and_have_no_place(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched, "image=wrong")
        assert set(column(page, "image")) == {"wrong"}
        assert set(column(page, "place")) == {"wrong images"}


def test_what_no_row_has_is_said(browser: Browser, site: Path) -> None:
    """An address of another board, too."""
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched, "chip=Apple+M9&sort=nonsense&page=-4")
        expect(page.locator(".status")).to_have_text("0 of 300 rows")
        assert page.get_by_label("Chip").input_value() == "Apple M9"


def test_without_scripts_the_first_rows_are_there(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site, scripted=False) as watched:
        assert watched.page.locator("tbody tr").count() == 50
        without = watched.page.locator("tbody tr").first.inner_text().split()
    with opened(browser, site / "index.html", within=site) as watched:
        assert table_of(watched).locator("tbody tr").first.inner_text().split() == without


def test_a_part_that_is_missing_is_named(browser: Browser, site: Path, tmp_path: Path) -> None:
    rows = many_rows()
    site_of(rows, tmp_path, piece_rows=70)
    (tmp_path / "site" / "data" / "cases-0002.js").unlink()
    with (
        pytest.raises(AssertionError),
        opened(browser, tmp_path / "site" / "index.html", within=tmp_path) as watched,
    ):
        expect(watched.page.locator(".status")).to_have_text(
            "A part of the data could not be read: cases-0002.js"
        )
        watched.page.get_by_label("Chip").select_option("Apple M1")
        assert set(column(watched.page, "chip")) == {"Apple M1"}


def test_links_lead_to_pages_and_back_to_their_rows(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        machine = column(page, "machine")[0]
        page.locator("tbody tr").first.get_by_role("link", name=machine).click()
        expect(page.locator("dl.facts")).to_contain_text(machine)
        page.get_by_role("link", name="All rows in the table").click()
        table_of(watched)
        assert set(column(page, "machine")) == {machine}
        page.locator("tbody tr").first.get_by_role("link", name="synthetic/").click()
        expect(page.locator("h1")).to_contain_text("Which machine for synthetic/")
        assert page.locator("svg.board-plot").count() == 4
        page.get_by_role("link", name="These rows in the table").first.click()
        table_of(watched)
        assert len(set(column(page, "setting"))) == 1
        for row in page.locator("a").evaluate_all("all => all.map(one => one.href)"):
            path = Path(row.removeprefix("file://").partition("#")[0])
            assert path.exists(), row


def looks_and_pages() -> Iterator[Any]:
    """Every page in every look; `make test` has four, `make test-long` the others."""
    for look, name in itertools.product(("light", "dark", "phone"), PAGES):
        short = (look, name) in (
            *(("light", "machine"), ("light", "faults")),
            *(("dark", "index"), ("phone", "model")),
        )
        yield pytest.param(look, name, marks=[] if short else pytest.mark.long)


@pytest.mark.parametrize(("look", "name"), [*looks_and_pages()])
def test_axe_finds_nothing(browser: Browser, few: Path, name: str, look: str) -> None:
    size = PHONE if look == "phone" else (1280, 900)
    with opened(browser, file_of(few, name), size=size, dark=look == "dark", within=few) as watched:
        watched.page.wait_for_load_state("networkidle")
        watched.page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        # Without preloading, with which axe would ask for the style once more, against the policy.
        found: dict[str, Any] = Axe().run(watched.page, options={"preload": False}).response
        assert found["passes"], "axe looked at nothing"
        assert [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
            for one in found["violations"]
        ] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_has_nothing_to_scroll_sideways(browser: Browser, site: Path, name: str) -> None:
    with opened(browser, file_of(site, name), size=PHONE, within=site) as watched:
        page = watched.page
        page.wait_for_load_state("networkidle")
        page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
        wide = "all => all.filter(b => b.scrollWidth > b.clientWidth + 1).length"
        assert page.locator(".stacked, .plot").evaluate_all(wide) == 0


def test_on_a_phone_rows_are_on_the_first_screen_and_every_cell_is_named(
    browser: Browser, site: Path
) -> None:
    with opened(browser, site / "index.html", size=PHONE, within=site) as watched:
        page = table_of(watched)
        first = page.locator("tbody tr").first.bounding_box()
        assert first is not None and first["y"] < PHONE[1]
        labels = (
            page.locator("tbody tr")
            .first.locator("td, th")
            .evaluate_all("all => all.map(one => one.dataset.label)")
        )
        assert labels[:4] == ["Place", "Chip", "Memory", "Seconds an image"]
        assert all(labels)


def test_on_paper_there_is_the_table_and_nothing_to_click(browser: Browser, site: Path) -> None:
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        page.emulate_media(media="print")
        for selector in (".filters", ".pages", ".rooms", ".theme"):
            expect(page.locator(selector)).to_be_hidden()
        assert page.locator("tbody tr").first.is_visible()


@pytest.mark.parametrize("name", PAGES)
def test_others_text_does_nothing(browser: Browser, hostile: Path, name: str) -> None:
    with opened(browser, file_of(hostile, name), within=hostile) as watched:
        page = watched.page
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.pwned") is None
        assert page.locator("main script").count() == 0
        if name == "index":
            table_of(watched)
            assert "<script>window.pwned" in column(page, "chip")[0]
            assert "\x1b" not in page.locator("main").inner_text()
            page.get_by_label("Chip").select_option(index=1)
            expect(page.locator(".status")).to_have_text("2 of 2 rows")
            assert page.evaluate("window.pwned") is None


def test_nothing_else_may_run(browser: Browser, site: Path) -> None:
    """The policy holds from a folder, too: no inline script, no request, no style attribute."""
    with opened(browser, site / "index.html", within=site) as watched:
        page = table_of(watched)
        page.evaluate(
            "() => { const one = document.createElement('script'); one.textContent = "
            "'window.pwned = 1'; document.body.append(one); }"
        )
        assert page.evaluate("window.pwned") is None
        assert any("Content Security Policy" in words for words in watched.complaints)
        watched.complaints.clear()
