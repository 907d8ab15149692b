"""``sdbench board build``: which rows count, which have a place, and what is made anew."""

import io
import itertools
import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from board_factories import hostile_site, row, submission
from factories import Called
from real_bundles import FLOAT32, real_bundle, virtual_bundle

import sdbench.board.build as building
from sdbench.board.build import build
from sdbench.board.claim_view import claims_seen
from sdbench.board.inputs import bundle_bytes, find_inputs, read_bundle, rows_of_run
from sdbench.board.model_view import model_view, version_order
from sdbench.board.names import machine_page, model_page
from sdbench.board.plots import Point, Series, number_axis, scatter
from sdbench.board.ranking import once_each
from sdbench.board.rows import ClaimSeen, Row
from sdbench.board.site_data import PIECE_ROWS, load_site, write_data
from sdbench.board.table import in_order
from sdbench.errors import StoreError, UsageError
from sdbench.files.access import write_inside


def places(rows: list[Row]) -> list[int]:
    return [one.place for one in in_order(rows)]


# --- rows and places ------------------------------------------------------------------------------


def test_a_row_says_what_its_run_measured() -> None:
    read = read_bundle(real_bundle(), "given")
    found, other = read.rows  # two environments
    own, _ = rows_of_run(FLOAT32)
    assert other.submission is found.submission
    assert other.setting != found.setting
    run = found.submission
    assert read.verified.status == "ok"
    assert (run.verified, run.simulated, run.virtual, run.blockers) == (True, False, False, [])
    assert run.bundle_sha256 == read.sha256
    assert (run.machine_id, run.chip) == (f"m-{'1' * 16}", "NVIDIA H200")
    assert run.model == "synthetic/sd15"
    words = "512x512 float32, 8 steps, ddim, guidance 7.5, 2 images, NVIDIA_TF32_OVERRIDE="
    assert {found.setting, other.setting} == {f"{words}0", f"{words}1"}
    summary = json.loads((FLOAT32 / "run.json").read_text())
    assert int(summary["config"]["images"]) == 2
    assert found.seconds_per_image == own.seconds_per_image
    assert found.ci95 is not None and found.seconds_per_image is not None
    assert found.ci95[0] < found.seconds_per_image < found.ci95[1]
    assert found.ranked
    assert not own.ranked
    assert own.why_not_ranked == "unverified"


NOT_RANKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unverified": ({"verified": False}, {}),
    "simulated": ({"simulated": True}, {}),
    "virtual": ({"virtual": True, "blockers": ["virtual"]}, {}),
    "virtual-unknown": ({"virtual": None}, {}),
    "on-battery": ({"blockers": ["on-battery", "other-load"]}, {}),
    "wrong": ({"blockers": ["pictures-wrong"]}, {"image": "wrong"}),
    "pictures-wrong": ({"blockers": ["pictures-wrong"]}, {}),
    "crashed": ({}, {"outcome": "crashed", "seconds_per_image": 0.1}),
    "no-time": ({}, {"seconds_per_image": None}),
    "image-unknown": ({}, {"image": "unknown"}),
}


@pytest.mark.parametrize("code", NOT_RANKED)
def test_rows_without_a_place_say_why_and_come_last(code: str) -> None:
    of_run, of_row = NOT_RANKED[code]
    fastest = row(submission(1, **of_run), **({"seconds_per_image": 0.001} | of_row))
    slow = row(submission(2), seconds_per_image=100.0)
    found = in_order([fastest, slow])
    assert [(one.row == slow, one.place, one.why) for one in found] == [
        (True, 1, None),
        (False, 0, code),
    ]


def test_places_are_among_the_same_work_and_shared_by_equal_times() -> None:
    times = [3.0, 1.0, 1.0, 2.0]
    rows = [row(submission(n), seconds_per_image=time) for n, time in enumerate(times)]
    other = [
        row(submission(10, device="cpu"), seconds_per_image=9.0),
        row(submission(11, model_sha256="b" * 64), seconds_per_image=9.0),
        row(submission(12), setting="another", seconds_per_image=9.0),
    ]
    found = in_order([*other, *rows])
    assert [one.place for one in found] == [1, 1, 3, 4, 1, 1, 1]
    assert [one.row.seconds_per_image for one in found[:4]] == [1.0, 1.0, 2.0, 3.0]


def test_the_order_does_not_depend_on_the_order_of_arrival() -> None:
    rows = [
        row(submission(n % 7, blockers=["slept"] if n % 3 == 0 else []), case_id=str(n))
        for n in range(40)
    ]
    expected = in_order(rows)
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert in_order(rows) == expected


def test_two_machines_are_never_merged() -> None:
    """Not even with equal measurements; one machine's equal measurements count once."""
    one, same = submission(1), submission(2, machine_id="m-1", measured_sha256="x")
    copied = submission(3, machine_id="m-1", measured_sha256="x", blockers=["slept"])
    elsewhere = submission(4, machine_id="m-2", measured_sha256="x")
    runs, same_as = once_each([copied, one, same, elsewhere])
    assert {found.run_id for found in runs} == {"run-1", "run-2", "run-4"}
    assert same_as == {copied.bundle_sha256: same.bundle_sha256}
    assert len({found.machine_id for found in runs}) == 3


# --- the data of a site ---------------------------------------------------------------------------


def test_a_site_gives_its_rows_back(tmp_path: Path) -> None:
    count = PIECE_ROWS + 3
    rows = [
        row(submission(n % 5, label="a\u2028b" if n % 5 else None), case_id=f"case-{n}")
        for n in range(count)
    ]
    rows[7] = row(image="wrong", seconds_per_image=None, ci95=None, peak_memory_bytes=None)
    placed = in_order(rows)
    board = write_data(tmp_path, placed, [], {})
    assert (board.pieces, board.rows) == (2, count)
    assert load_site(tmp_path) == [one.row for one in placed]


DAMAGES = {
    "board.json": [b"", b"{", b"[]", b'{"format": 2}'],
    "submissions.json": [b"", b"[]", b"[1]"],
    "cases-0000.json": [b"{}", b"null"],
}


@pytest.mark.parametrize(("name", "data"), [(n, d) for n, all in DAMAGES.items() for d in all])
def test_damaged_data_are_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    write_data(tmp_path, in_order([row()]), [], {})
    (tmp_path / "data" / name).write_bytes(data)
    with pytest.raises(StoreError) as raised:
        load_site(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("submission", [5]), ("setting", [1]), ("image", [0, 0]), ("n", []), ("seconds_low", [None])],
)
def test_numbers_that_stand_for_nothing_are_refused(
    tmp_path: Path, column: str, value: list[int]
) -> None:
    write_data(tmp_path, in_order([row()]), [], {})
    path = tmp_path / "data" / "cases-0000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {column: value}))
    with pytest.raises(StoreError, match="do not fit together"):
        load_site(tmp_path)


@pytest.mark.parametrize("name", ["board", "submissions", "cases-0000"])
def test_files_of_two_builds_are_not_put_together(tmp_path: Path, name: str) -> None:
    """A build that was stopped may leave some; with other words they would say something else."""
    for number, site in enumerate(("one", "two")):
        (tmp_path / site).mkdir()
        write_data(tmp_path / site, in_order([row(submission(number, chip=site))]), [], {})
    place = Path("data") / f"{name}.json"
    shutil.copy(tmp_path / "two" / place, tmp_path / "one" / place)
    with pytest.raises(StoreError, match="do not fit together"):
        load_site(tmp_path / "one")


def test_no_site_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no board there"):
        load_site(tmp_path)


# --- building -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def two_bundles() -> dict[str, bytes]:
    """Of two machines; the second in a virtual one."""
    return {"one": real_bundle(), "virtual": virtual_bundle()}


@pytest.fixture
def submissions(tmp_path: Path, two_bundles: dict[str, bytes]) -> Path:
    folder = tmp_path / "submissions"
    for name, data in two_bundles.items():
        place = folder / name / f"{name}.sdbench.zip"
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
    return folder


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is verified."""
    names: list[str] = []

    def counted(data: bytes, path: str) -> Any:
        names.append(Path(path).name.partition(".")[0])
        return read_bundle(data, path)

    monkeypatch.setattr(building, "read_bundle", counted)
    return names


def files_of(site: Path) -> dict[str, bytes]:
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in sorted(site.rglob("*"))
        if path.is_file() and path.suffix != ".parquet"
    }


def test_a_site_is_built_from_what_is_found(submissions: Path, tmp_path: Path) -> None:
    built = build([submissions], tmp_path / "site")
    assert (built.bundles, built.rows, built.ranked, built.machines) == (2, 4, 2, 2)
    assert (built.new, built.reused, built.refused, built.duplicates) == (2, 0, [], [])
    assert built.verification.bundles == 2
    rows = load_site(tmp_path / "site")
    assert [found.why_not_ranked for found in rows] == [None, None, "virtual", "virtual"]
    for found in rows:
        page = tmp_path / "site" / machine_page(found.submission.machine_id)
        assert str(found.submission.bundle_sha256) in page.read_text()


def test_only_what_is_new_is_verified_and_made(
    submissions: Path, tmp_path: Path, verified: list[str]
) -> None:
    site = tmp_path / "site"
    build([submissions / "one"], site)
    first = files_of(site)
    assert verified == ["one"]
    again = build([submissions / "one"], site)
    assert (again.new, again.reused, again.pages_written) == (0, 1, 0)
    assert again.verification.bundles_per_second is None
    assert files_of(site) == first
    more = build([submissions], site)
    assert (more.new, more.reused) == (1, 1)
    assert verified == ["one", "virtual"]
    build([submissions], tmp_path / "fresh")
    assert files_of(site) == files_of(tmp_path / "fresh")


def test_what_is_gone_is_no_longer_there(submissions: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    build([submissions], site)
    build([submissions / "virtual"], tmp_path / "other")
    shutil.rmtree(submissions / "one")
    assert build([submissions], site).bundles == 1
    assert files_of(site) == files_of(tmp_path / "other")


def test_the_same_bundle_counts_once(
    submissions: Path, tmp_path: Path, verified: list[str]
) -> None:
    shutil.copy(submissions / "one" / "one.sdbench.zip", submissions / "copy.sdbench.zip")
    built = build([submissions, submissions / "one"], tmp_path / "site")
    assert (built.bundles, built.rows) == (2, 4)
    assert len(verified) == 2
    (same,) = built.duplicates
    assert {Path(same.path).name, Path(same.same_as).name} == {
        "one.sdbench.zip",
        "copy.sdbench.zip",
    }


def test_the_same_measurement_in_another_bundle_counts_once(
    tmp_path: Path, verified: list[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    labelled = real_bundle(change=lambda run: run.update(label="fan off"))
    (folder / "labelled.sdbench.zip").write_bytes(labelled)
    (folder / "plain.sdbench.zip").write_bytes(real_bundle())
    site = tmp_path / "site"
    built = build([folder], site)
    assert (built.bundles, built.rows, len(built.duplicates)) == (1, 2, 1)
    again = build([folder], site)
    assert (again.bundles, again.new, again.duplicates) == (1, 0, built.duplicates)
    kept = load_site(site)[0].submission.label
    (folder / ("labelled" if kept else "plain")).with_suffix(".sdbench.zip").unlink()
    alone = build([folder], site)
    assert (alone.bundles, alone.new, alone.duplicates) == (1, 1, [])
    assert [found.submission.label for found in load_site(site)] == [
        None if kept else "fan off"
    ] * 2


def test_a_refused_bundle_counts_for_nothing_and_is_told(
    submissions: Path, tmp_path: Path, verified: list[str], call: Called
) -> None:
    (submissions / "zero.sdbench.zip").write_bytes(b"PK\x03\x04")
    site = tmp_path / "site"
    code, printed, _ = call("board", "build", submissions, "-o", site, "--json")
    assert code == 1
    document = json.loads(printed)
    assert [(Path(one["path"]).name, one["code"]) for one in document["refused"]] == [
        ("zero.sdbench.zip", "unsafe-archive")
    ]
    assert (document["bundles"], document["rows"]) == (2, 4)
    assert "refused" in (site / "index.html").read_text()
    assert build([submissions], site).new == 0


def test_a_file_that_did_not_change_is_not_read(
    submissions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it changed just before it was read: its time may then not tell of the next change."""
    monkeypatch.setenv("SDBENCH_CACHE", str(tmp_path / "none" / "cache"))
    read: list[str] = []

    def noted(source: Any) -> bytes:
        read.append(source.path.name)
        return bundle_bytes(source)

    monkeypatch.setattr(building, "bundle_bytes", noted)
    bundle = submissions / "one" / "one.sdbench.zip"
    # (However long a build takes: all of a day, and nothing.)
    monkeypatch.setattr("sdbench.board.file_index._SETTLED_NS", 86_400_000_000_000)
    build([bundle], tmp_path / "site")
    build([bundle], tmp_path / "site")
    assert len(read) == 2
    monkeypatch.setattr("sdbench.board.file_index._SETTLED_NS", -10_000_000_000)
    build([bundle], tmp_path / "site")
    assert len(read) == 3
    again = build([bundle], tmp_path / "site")
    assert (len(read), again.bundles) == (3, 1)
    bundle.touch()
    build([bundle], tmp_path / "site")
    assert len(read) == 4


def test_a_changed_file_is_verified_again(
    submissions: Path, tmp_path: Path, verified: list[str], two_bundles: dict[str, bytes]
) -> None:
    site = tmp_path / "site"
    build([submissions / "one"], site)
    (submissions / "one" / "one.sdbench.zip").write_bytes(two_bundles["one"][:-1] + b"\x01")
    built = build([submissions / "one"], site)
    assert (built.new, built.rows) == (1, 0)
    assert built.refused


def test_nothing_of_another_version_is_believed(
    submissions: Path, tmp_path: Path, verified: list[str]
) -> None:
    site = tmp_path / "site"
    build([submissions / "one"], site)
    path = site / "data" / "board.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"sdbench_version": "0.0.1"}))
    assert build([submissions / "one"], site).new == 1


def test_a_run_folder_is_bundled_in_memory(
    tmp_path: Path, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdbench.bundles.write.html_report", lambda *_, **__: "<p>")
    built = build([FLOAT32], tmp_path / "site")
    assert (built.bundles, built.rows, built.ranked, built.refused) == (1, 2, 0, [])
    assert not [*FLOAT32.glob("*.zip")]
    assert build([FLOAT32], tmp_path / "site").new == 0


def test_links_are_not_followed_and_runs_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "run.json").write_text("{}")
    (tmp_path / "real" / "inner.sdbench.zip").write_text("")
    (tmp_path / "a.sdbench.zip").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "link.sdbench.zip").symlink_to(tmp_path / "a.sdbench.zip")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    found = find_inputs([tmp_path])
    assert [(one.path.name, one.kind) for one in found] == [
        ("a.sdbench.zip", "bundle"),
        ("real", "run"),
    ]


@pytest.mark.parametrize("there", ["nothing", "empty folder"])
def test_unfit_paths_are_one_line(tmp_path: Path, there: str, call: Called) -> None:
    path = tmp_path / "x"
    if there == "empty folder":
        path.mkdir()
    code, _, error = call("board", "build", path, "-o", tmp_path / "site")
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "site").exists()


def test_a_build_that_is_stopped_is_made_again(
    submissions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build([submissions], tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    build([submissions / "one"], tmp_path / "one")
    for written, kind in itertools.product((1, 2, 6, 11, 14), ("new", "renewed")):
        site = tmp_path / f"{kind}-{written}"
        if kind == "renewed":
            shutil.copytree(tmp_path / "one", site)
        left = [written]

        def stopping(place: Path, *names: str, left: list[int] = left, **given: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            write_inside(place, *names, **given)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("sdbench.board.build.write_inside", stopping)
            patch.setattr("sdbench.board.site_data.write_inside", stopping)
            build([submissions], site)
        build([submissions], site)
        assert files_of(site) == whole, site.name


@pytest.mark.parametrize("data", [b"", b"[]", b'{"format": 1, "sdbench_version": 3}', b"\xff"])
def test_a_damaged_site_is_made_again_if_it_is_one(
    submissions: Path, tmp_path: Path, data: bytes
) -> None:
    site = tmp_path / "site"
    build([submissions / "one"], site)
    whole = files_of(site)
    (site / "data" / "board.json").write_bytes(data)
    if b"sdbench_version" in data:
        build([submissions / "one"], site)
        assert files_of(site) == whole
    else:
        with pytest.raises(UsageError, match="no board"):
            build([submissions / "one"], site)


def test_a_folder_of_others_is_not_written_into(
    submissions: Path, tmp_path: Path, call: Called
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("mine")
    code, _, error = call("board", "build", submissions, "-o", site)
    assert code == 2
    assert "no board" in error
    assert files_of(site) == {"index.html": b"mine"}


def test_parquet_has_every_row_with_all_that_is_known(submissions: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    built = build([submissions], tmp_path / "site")
    assert built.parquet is not None
    table = pandas.read_parquet(io.BytesIO(Path(built.parquet).read_bytes()))
    rows = load_site(tmp_path / "site")
    assert list(table["seconds_per_image"]) == [found.seconds_per_image for found in rows]
    assert list(table["why_not_ranked"].fillna("")) == ["", "", "virtual", "virtual"]
    assert list(table["place"].fillna(0)) == [1, 1, 0, 0]
    assert list(table["machine_id"]) == [found.submission.machine_id for found in rows]
    assert table["blockers"][2].startswith("virtual,")


def test_without_pyarrow_there_is_no_parquet_and_it_is_told(
    submissions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "parquet_of", lambda placed: None)
    built = build([submissions], tmp_path / "site")
    assert built.parquet is None
    assert "board.parquet" not in (tmp_path / "site" / "index.html").read_text()


# --- pages ----------------------------------------------------------------------------------------


def test_others_text_is_text(tmp_path: Path) -> None:
    built = hostile_site(tmp_path)
    assert built.rows == 2
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) == 6
    for page in pages:
        html = page.read_text()
        assert "<script>window" not in html
        assert "\x1b" not in html
        assert not re.search(r"\s(style|on[a-z]+)=", html)
        assert re.fullmatch(r"[a-z0-9.-]+", page.name)
        assert html.count("<script") == (5 if page.name == "index.html" else 1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "m-" + "0" * 17, "", "A" * 500, "\ud800"])
def test_page_names_are_harmless(name: str) -> None:
    for page in (machine_page(name), model_page(name, None)):
        assert re.fullmatch(r"(machines|models)/[a-z0-9][a-z0-9-]{0,80}\.html", page)
    assert model_page(name, None) != model_page(name, "a")


def test_a_model_page_names_the_fastest_of_each_kind_and_merges_no_machines() -> None:
    rows = [
        row(submission(1), seconds_per_image=10.0),
        row(submission(2), seconds_per_image=12.0, torch="2.9.1"),
        row(submission(2, run_id="later"), seconds_per_image=11.0),
        row(submission(3, chip="Apple M1", gpu_cores=8), seconds_per_image=40.0),
        row(submission(4, blockers=["slept"]), seconds_per_image=1.0),
        row(submission(5), seconds_per_image=2.0, image="wrong"),
    ]
    view = model_view(in_order(rows))
    assert (view.machines, view.rows, view.ranked, view.wrong) == (5, 6, 4, 1)
    (setting,) = view.settings
    assert [
        (kind.best.submission.chip, kind.machines, kind.slowest_s) for kind in setting.classes
    ] == [
        ("Apple M4", 2, 12.0),
        ("Apple M1", 1, 40.0),
    ]
    assert view.torches == ["2.9.1", "2.13.0"]
    line, crowd = view.over_torch
    assert [point.y for point in line.points] == [12.0, 11.0]
    assert (line.line, crowd.line, len(crowd.points)) == (True, False, 2)


def test_versions_sort_as_numbers() -> None:
    names = ["2.13.0", "2.9.1", "–", "1.13.1", "2.13.0+cpu"]
    assert sorted(names, key=version_order) == ["1.13.1", "2.9.1", "2.13.0", "2.13.0+cpu", "–"]


def test_claims_count_machines_of_real_runs() -> None:
    said = [ClaimSeen("a", "current", "confirmed")]
    runs = [
        submission(1, claims=said),
        submission(2, claims=said, machine_id="m-0000000000000001"),
        submission(3, claims=[ClaimSeen("a", "current", "refuted")]),
        submission(4, claims=said, blockers=["virtual"]),
        submission(5, claims=said, verified=False),
        submission(6, claims=[ClaimSeen("a", "current", "not-applicable")]),
    ]
    (seen,) = claims_seen(runs)
    assert seen.counts == {"confirmed": 1, "refuted": 1}
    assert [kind.machines_in_all for kind in seen.kinds] == [2]


def test_plots_hold_every_point_and_escape_names() -> None:
    points = [Point(0.1, 1.0, "<b>"), Point(40.0, 3.0, "&")]
    drawn = scatter([Series("<i>", points)], title="t", x_words="x", y_words="y", id="p")
    assert drawn is not None
    assert drawn.count('class="dot') == 2 * 2 + 1  # wide, narrow, and the legend
    assert "<b>" not in drawn and "<i>" not in drawn
    assert "(logarithmic)" in drawn
    assert scatter([Series("one", points[:1])], title="", x_words="", y_words="", id="") is None


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 0.0], [1e-9, 1e9], [5.0, 6.0], [0.0, 3.0]])
def test_axes_hold_all_values(values: list[float]) -> None:
    axis = number_axis(values, str)
    assert all(0 <= axis.share(value) <= 1 for value in values)
    assert all(-1e-9 <= axis.share(value) <= 1 + 1e-9 for value, _ in axis.ticks)
    assert len(axis.ticks) >= 2


def test_scripts_are_what_javascript_reads(submissions: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here; the browser's tests read them, too")
    build([submissions], tmp_path / "site")
    for script in (tmp_path / "site").rglob("*.js"):
        subprocess.run([node, "--check", script], check=True)
