"""Run folders from strangers: read or refused in one line, never believed, nothing outside."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import (
    SMALL_CASE,
    Called,
    make_picture,
    make_replicate,
    make_run,
    make_slot,
    make_started,
)

from sdbench.errors import StoreError
from sdbench.records import (
    Compared,
    Divergence,
    InterimAnalysis,
    InterimCase,
    MatmulRate,
    Preflight,
    Record,
    Withdrawn,
)
from sdbench.runs import LoadedRun, RunFolder, load_run
from sdbench.runs.folder import LOCK_FILE
from sdbench.runs.reading import RECORDS_FILE, RUN_FILE

DEEP = "[" * 100_000


@pytest.fixture
def run(results: Path) -> Path:
    """A run with one process."""
    folder = RunFolder.create(results, make_run())
    folder.append(make_started())
    folder.append(make_replicate())
    folder.close()
    return folder.path


def changed(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((run / RUN_FILE).read_text())
    change(document)
    (run / RUN_FILE).write_text(json.dumps(document))


def add(run: Path, *records: Record) -> None:
    with (run / RECORDS_FILE).open("ab") as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")


def refused(run: Path) -> str:
    with pytest.raises(StoreError) as caught:
        load_run(run)
    return str(caught.value)


# --- run.json -------------------------------------------------------------------------------------

WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "schema": lambda run: run.update(schema=0),
    "run_id": lambda run: run.update(run_id="../../x"),
    "config: steps": lambda run: run["config"].update(steps="2; __import__('os')"),
    "config: scheduler": lambda run: run["config"].update(scheduler="evil"),
    "config: images": lambda run: run["config"].update(images=1e308),
    "config: guidance_scale": lambda run: run["config"].update(guidance_scale="7"),
    "config: seed": lambda run: run["config"].update(seed=-1),
    "config.prompts": lambda run: run["config"].update(prompts=None),
    "config: prompts": lambda run: run["config"].update(prompts=[1]),
    "config.images": lambda run: run["config"].pop("images"),
    "config: until_decided": lambda run: run["config"].update(until_decided=[]),
    "config.allow_pickle": lambda run: run["config"].update(allow_pickle="yes"),
    "plan.arms[0].stack": lambda run: run.update(stacks={}),
    "plan.arms[0].name": lambda run: run["plan"]["arms"][0].update(name="a\nb"),
    "plan.slots[0]": lambda run: run["plan"]["slots"][0].update(case_id="other"),
    "plan: expected": lambda run: run["plan"].update(cases=[]),
    "plan.cases: expected": lambda run: run["plan"]["cases"].extend(run["plan"]["cases"]),
    "$.plan.cases[0].case.resolution": lambda run: run["plan"]["cases"][0]["case"].update(
        resolution="x"
    ),
    "$.plan.slots[0].block": lambda run: run["plan"]["slots"][0].update(block=10**12),
    "machine.memory_bytes": lambda run: run["machine"].update(memory_bytes="much"),
    "machine.chip": lambda run: run["machine"].update(chip={}),
    "machine_facts.identity": lambda run: run.update(machine_facts={"identity": []}),
}


@pytest.mark.parametrize("place", WRONG)
def test_what_no_sdbench_writes_is_named_with_its_place(run: Path, place: str) -> None:
    changed(run, WRONG[place])
    told = refused(run)
    assert place in told and RUN_FILE in told and "\n" not in told


def test_settings_of_a_newer_sdbench_are_said_and_not_refused(run: Path) -> None:
    changed(run, lambda document: document["config"].update(invented=1))
    (warning,) = load_run(run).warnings
    assert "settings that this sdbench does not know (invented)" in warning


def test_depth_size_and_kind_of_run_json(run: Path) -> None:
    file = run / RUN_FILE
    text = file.read_text()
    file.write_text(text.rstrip()[:-1] + f', "zz": {DEEP}')
    assert "nested hundreds of levels deep" in refused(run)
    file.write_text(text.replace('"steps":', f'"huge": {"9" * 5000}, "steps":', 1))
    assert "out of range" in refused(run)
    file.unlink()
    os.mkfifo(file)
    assert "not a regular file but a FIFO" in refused(run)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert "a link, which is not followed" in refused(run)
    file.unlink()
    with file.open("wb") as sparse:
        sparse.truncate(1 << 33)
    assert "at most 268,435,456 are read" in refused(run)


# --- records --------------------------------------------------------------------------------------


def test_records_of_another_plan_are_counted_and_left_out_aloud(run: Path, call: Called) -> None:
    other = make_slot("96x96-ffffff")
    late = make_slot(block=7)
    foreign: list[Record] = [
        make_started(other),
        make_replicate(other),
        make_replicate(late),
        make_replicate(make_slot(), device={"kind": "cuda", "facts": {"cuda": "13.0"}}),
        Withdrawn(replicate_id="x", attempt=1, ended_utc=""),
        Preflight(
            device="cuda",
            dtype="float16",
            simulated=False,
            outcome="ok",
            verdict="match",
            prompt="",
            duration_s=1.0,
        ),
        MatmulRate(arm="other", dtype="float32", device="cpu", simulated=False),
        InterimAnalysis(
            blocks=3,
            by="arm",
            threshold=0.03,
            cases=[
                InterimCase(
                    case_id="x",
                    arm=None,
                    base="a",
                    new="b",
                    ratio=1.0,
                    verdict="equivalent",
                    reason=None,
                    open=False,
                )
            ],
            next_look=None,
        ),
    ]
    before = load_run(run)
    add(run, *foreign)
    loaded = load_run(run)
    assert loaded.attempts == before.attempts and loaded.started == before.started
    assert (loaded.withdrawn, loaded.checks, loaded.ceilings, loaded.looks) == ([], [], [], [])
    assert loaded.left_out == len(foreign)
    (warning,) = loaded.warnings
    assert warning.startswith("8 records (lines 3, 4, 5, 6, 7 and 3 more of records.jsonl)")
    code, out, _ = call("show", run, "--json")
    document = json.loads(out)
    assert (code, document["records_left_out"], document["warnings"]) == (0, 8, [warning])
    assert "cuda" not in call("show", run)[1].replace(warning, "")


def test_records_that_name_another_run_of_the_same_plan_are_left_out_aloud(run: Path) -> None:
    lines = (run / RECORDS_FILE).read_text().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == [make_run().run_id] * 2
    loaded = load_run(run)
    assert (loaded.attempts, loaded.left_out) == ([make_replicate()], 0)

    changed(run, lambda document: document.update(run_id="another"))
    add(run, make_started(), make_replicate(attempt=2))  # as an older sdbench wrote them
    loaded = load_run(run)
    assert loaded.attempts == [make_replicate(attempt=2)]
    assert loaded.left_out == 2
    (warning,) = loaded.warnings
    assert warning.startswith(
        "2 records (lines 1, 2 of records.jsonl) are not of this run (another"
    )


def test_a_run_is_read_once_to_go_on_with_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> LoadedRun:
        read.append(path)
        return load_run(path)

    monkeypatch.setattr("sdbench.runs.folder.load_run", counted)
    folder = RunFolder.open(run)
    folder.append(make_replicate(attempt=2))
    folder.close()
    assert read == [run]
    assert folder.before.attempts == [make_replicate()]


def test_values_nobody_can_have_measured_cost_their_record_only(run: Path) -> None:
    sound = msgspec.to_builtins(make_replicate(make_slot(block=1, index=1)))
    telemetry = {"samples": 1, "period_s": 0.1, "cost_share": 0.0}
    wrong = [
        sound | {"telemetry": telemetry | {"pressure_peak": "extreme"}},
        sound | {"wall_s": -1.0},
        sound | {"peak_memory_bytes": 10**30},
        sound | {"block": 10**9},
        sound | {"passes": [{**sound["passes"][0], "duration_s": 0.0}]},
        sound | {"device": {"facts": []}},
        sound | {"device": {"facts": {"recommended_max_bytes": "all"}}},
        sound | {"device": {"facts": {"name": {"deep": 1}}}},
    ]
    with (run / RECORDS_FILE).open("a") as file:
        for one in wrong:
            file.write(json.dumps(one) + "\n")
        file.write('{"type":"replicate","zz":' + DEEP + "\n")
    loaded = load_run(run)
    assert len(loaded.attempts) == 1
    *named, rest = loaded.warnings
    assert [words[:30] for words in named] == [
        f"records.jsonl line {number} is unreadable"[:30] for number in range(3, 8)
    ]
    assert rest == "records.jsonl: 4 more lines are unreadable"


def test_curves_of_unequal_length_cost_their_record_only(run: Path, call: Called) -> None:
    slot = make_slot()
    record = Compared(
        replicate_id=slot.replicate_id,
        attempt=1,
        case_id=slot.case_id,
        arm=slot.arm,
        dtype="float32",
        simulated=False,
        verdict="drift",
        divergence=[Divergence(image=0, step=[0, 1], rel_l2=[0.5], allowed_rel_l2=[])],
    )
    add(run, record)
    loaded = load_run(run)
    assert loaded.comparisons == []
    (warning,) = loaded.warnings
    assert "line 3 is unreadable: divergence[0]: expected lists of the same length" in warning
    assert call("report", run, "-f", "md", "-o", "-")[0] == 0


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_records_that_are_no_file_are_refused_at_once(run: Path, make: Any, call: Called) -> None:
    (run / RECORDS_FILE).unlink()
    make(run / RECORDS_FILE)
    assert "not a regular file" in refused(run)
    for verb in ("show", "report", "diagnose", "resume"):
        code, _, err = call(verb, run)
        assert code == 3 and err.count("\n") == 1, err


def test_records_with_a_hole_of_terabytes_are_read_to_a_limit_that_is_said(run: Path) -> None:
    before = load_run(run).attempts
    with (run / RECORDS_FILE).open("r+b") as file:
        file.truncate(1 << 42)
    loaded = load_run(run)
    assert loaded.attempts == before
    left_out, unreadable = loaded.warnings
    assert "only its first 3 lines are read, more are left out" in left_out
    assert "longer than the 67,108,864 bytes" in unreadable


# --- a newer sdbench ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["run.json", "records"])
def test_a_newer_schema_is_read_and_never_written(run: Path, where: str, call: Called) -> None:
    if where == "run.json":
        changed(run, lambda document: document.update(schema=99, sdbench="9.1", invented={"a": 1}))
    else:
        add(run, make_replicate(make_slot(block=1, index=1), schema=99))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    (warning,) = load_run(run).warnings
    assert "schema 99" in warning and "a newer sdbench wrote it" in warning
    assert call("show", run)[0] == 0
    code, _, err = call("resume", run)
    newer = "sdbench 9.1 or newer" if where == "run.json" else "a newer sdbench"
    assert code == 3 and f"install {newer}; next: pip install" in err and err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_fields_of_a_newer_sdbench_stay_when_run_json_is_written_again(run: Path) -> None:
    def newer(document: dict[str, Any]) -> None:
        document["invented"] = {"a": [1]}
        document["plan"]["cases"][1]["invented"] = 2
        document["sittings"][0]["invented"] = 3

    changed(run, newer)
    folder = RunFolder.open(run)
    loaded = load_run(run).run
    sittings = [*loaded.sittings, *loaded.sittings]
    folder.write_run(msgspec.structs.replace(loaded, sittings=sittings))
    folder.close()
    document = json.loads((run / RUN_FILE).read_text())
    assert document["invented"] == {"a": [1]}
    assert document["plan"]["cases"][1]["invented"] == 2
    assert [one.get("invented") for one in document["sittings"]] == [3, None]


# --- nothing is written outside -------------------------------------------------------------------


@pytest.mark.parametrize("name", [RECORDS_FILE, LOCK_FILE])
def test_nothing_is_written_through_a_hard_link(run: Path, tmp_path: Path, name: str) -> None:
    notes = tmp_path / "notes"
    notes.write_text('{"mine": 1}\nmy notes\n')
    (run / name).unlink(missing_ok=True)
    (run / name).hardlink_to(notes)
    with pytest.raises(StoreError, match="hard link"):
        RunFolder.open(run)
    assert notes.read_text() == '{"mine": 1}\nmy notes\n'
    (run / name).unlink()
    RunFolder.open(run).close()  # nothing of the refusal stays


@pytest.mark.parametrize("name", [RECORDS_FILE, "images", "latents", "traces", "telemetry"])
def test_nothing_is_written_through_a_link(run: Path, tmp_path: Path, name: str) -> None:
    notes = tmp_path / "notes"
    if name == RECORDS_FILE:
        notes.write_text("my notes\n")
        (run / name).unlink()
    else:
        notes.mkdir()
    (run / name).symlink_to(notes)
    with pytest.raises(StoreError, match="link"):
        RunFolder.open(run)
    assert notes.read_text() == "my notes\n" if notes.is_file() else not [*notes.iterdir()]


def test_the_page_replaces_a_link_of_its_name(run: Path, tmp_path: Path) -> None:
    from sdbench.cli.report import write_page

    notes = tmp_path / "notes"
    notes.write_text("my notes\n")
    (run / "report.html").symlink_to(notes)
    assert write_page(run) == run / "report.html"
    assert notes.read_text() == "my notes\n"
    assert not (run / "report.html").is_symlink()


def test_a_folder_that_was_deleted_or_moved_ends_the_run_at_the_next_record(
    results: Path,
) -> None:
    folder = RunFolder.create(results, make_run())
    folder.append(make_started())
    folder.path.rename(results / "elsewhere")
    with pytest.raises(StoreError, match="deleted or moved during"):
        folder.append(make_replicate())
    (results / "elsewhere").rename(folder.path)
    folder.append(make_replicate())
    (folder.path / RECORDS_FILE).unlink()
    with pytest.raises(StoreError, match="deleted or moved during") as caught:
        folder.append(make_replicate())
    assert caught.value.exit_code == 3
    folder.close()


# --- list and history -----------------------------------------------------------------------------


def test_one_damaged_run_hides_no_other(results: Path, run: Path, call: Called) -> None:
    for number, text in enumerate(["", "{", f'{{"zz": {DEEP}', "\0" * 99, '{"run_id": 5}']):
        damaged = results / f"damaged-{number}"
        damaged.mkdir()
        (damaged / RUN_FILE).write_text(text)
    (results / "linked").mkdir()
    (results / "linked" / RUN_FILE).symlink_to(run / RUN_FILE)
    code, out, _ = call("list", "-o", results, "--json")
    rows = json.loads(out)["runs"]
    assert code == 0 and len(rows) == 7
    assert [row["run_id"] for row in rows if "error" not in row] == [run.name]
    code, out, err = call("history", "-o", results, "--json")
    document = json.loads(out)
    assert code == 0 and [entry["run_id"] for entry in document["runs"]] == [run.name]
    assert len(document["left_out"]) == 6 and err.count("left out:") == 6


def test_the_index_is_never_trusted_over_the_run(
    results: Path, run: Path, call: Called, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdbench.comparison import history_index as pasts

    def told() -> Any:
        return json.loads(call("list", "-o", results, "--json")[1])["runs"][0]["processes"]

    read: list[Path] = []

    def noted(path: Path) -> LoadedRun:
        read.append(path)
        return load_run(path)

    monkeypatch.setattr(pasts, "load_run", noted)
    monkeypatch.setattr(pasts, "_SETTLED_S", 86_400.0)  # however long this takes
    assert told() == 1 and [*own_cache.glob("runs/*")] == []  # too fresh to be kept
    monkeypatch.setattr(pasts, "_SETTLED_S", 0.0)
    time.sleep(0.01)
    assert (told(), told(), len(read)) == (1, 1, 2)
    (entry,) = own_cache.glob("runs/*")
    add(run, make_replicate(make_slot(block=1, index=1)))
    assert (told(), len(read)) == (2, 3)
    for damage in (b"", b"{}", b"\xff", DEEP.encode(), entry.read_bytes()[:-9]):
        entry.write_bytes(damage)
        assert told() == 2
    assert len(read) == 8


def test_what_a_file_holds_must_be_what_its_name_says(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from sdbench.correctness.artifact_files import Artifacts, pixels_digest

    (tmp_path / "images").mkdir()
    pixels = np.zeros((64, 64, 3), np.uint8)
    digest = pixels_digest(pixels)
    path = tmp_path / "images" / f"{digest}.png"
    Image.fromarray(pixels).save(path)
    found = Artifacts(tmp_path).pixels(digest)
    assert found is not None and (found == pixels).all()
    assert Artifacts(tmp_path, most_pixels=64 * 63).pixels(digest) is None
    Image.fromarray(pixels + 1).save(path)
    artifacts = Artifacts(tmp_path)
    assert artifacts.pixels(digest) is None
    assert "does not match its name" in (artifacts.why_not(digest) or "")
    path.unlink()
    (tmp_path / "elsewhere.png").write_bytes(b"")
    path.symlink_to(tmp_path / "elsewhere.png")
    assert Artifacts(tmp_path).pixels(digest) is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_latents_are_known_by_the_dtype_they_were_made_in(tmp_path: Path, dtype: str) -> None:
    import hashlib

    import numpy as np

    from sdbench.correctness.artifact_files import Artifacts

    (tmp_path / "latents").mkdir()
    single = np.linspace(-3, 3, 4 * 8 * 8, dtype=np.float32).reshape(4, 8, 8)
    if dtype == "float16":
        bits: Any = single.astype(np.float16)
        single = bits.astype(np.float32)
    elif dtype == "bfloat16":
        bits = (single.view(np.uint32) >> 16).astype(np.uint16)
        single = (bits.astype(np.uint32) << 16).view(np.float32)
    else:
        bits = single
    digest = hashlib.sha256(f"torch.{dtype}(4, 8, 8)".encode() + bits.tobytes()).hexdigest()
    np.save(tmp_path / "latents" / f"{digest}.npy", single)
    assert Artifacts(tmp_path).latents(digest) is not None
    np.save(tmp_path / "latents" / f"{digest}.npy", single + 1)
    assert Artifacts(tmp_path).latents(digest) is None


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n",
        b"{'descr': '<f4', 'fortran_order': 1",  # numpy lets its tokenizer's error through
        b"-" * 9000 + b"1",
    ],
)
def test_a_header_of_latents_that_lies_makes_no_array(tmp_path: Path, header: bytes) -> None:
    import hashlib
    import struct

    from sdbench.correctness.artifact_files import Artifacts

    (tmp_path / "latents").mkdir()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "latents" / f"{digest}.npy").write_bytes(data)
    assert Artifacts(tmp_path).latents(digest) is None


def test_metadata_of_any_depth_reads_as_nothing(tmp_path: Path) -> None:
    import hashlib

    from sdbench.correctness.artifact_files import Artifacts

    (tmp_path / "traces").mkdir()
    header = json.dumps({"__metadata__": {"kept": DEEP}}).encode()
    data = len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "traces" / f"{digest}.safetensors").write_bytes(data)
    assert Artifacts(tmp_path).trace(digest) is None


def test_equal_parts_are_held_once(run: Path) -> None:
    add(run, make_replicate(make_slot(block=1, index=1), device={"kind": "cpu"}))
    add(run, make_replicate(make_slot(block=1, index=1), attempt=2, device={"kind": "cpu"}))
    *_, one, other = load_run(run).attempts
    assert one.device is other.device
    assert one.passes[0].images[0] is other.passes[1].images[0]
    assert one.passes[0].images[0] == make_picture()
    assert one.case_id == SMALL_CASE


def test_every_record_of_a_device_that_is_none_is_left_out(run: Path) -> None:
    """A table is checked once, where it is sound; what is not is refused each time it comes."""
    sound = make_replicate(make_slot(), device={"kind": "cpu", "facts": {"name": "a"}})
    faulty = msgspec.structs.replace(sound, device={"kind": "cpu", "facts": {"name": {"deep": 1}}})
    before = len(load_run(run).attempts)
    add(run, faulty, sound, faulty, sound)
    loaded = load_run(run)
    assert len(loaded.attempts) == before + 2
    assert sum("device.facts.name" in words for words in loaded.warnings) == 2


def nested(levels: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(levels):
        table = {"in": [table]}
    return table


def test_device_that_is_nested_deeper_than_can_be_followed_is_left_out(run: Path) -> None:
    """What the reader still takes, 1000 levels of C, is too deep for what walks through it."""
    before = len(load_run(run).attempts)
    add(run, make_replicate(make_slot(), device={"kind": "cpu", "more": nested(300)}))
    add(run, make_replicate(make_slot(), device={"kind": "cpu", "more": nested(20)}))
    loaded = load_run(run)
    assert len(loaded.attempts) == before + 1
    assert any("device: nested hundreds of levels deep" in words for words in loaded.warnings)


@pytest.mark.parametrize("name", ["machine", "machine_facts", "config"])
def test_run_that_is_nested_deeper_than_can_be_followed_is_refused(run: Path, name: str) -> None:
    document = json.loads((run / "run.json").read_text())
    document[name]["more"] = nested(300)
    (run / "run.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="nested hundreds of levels deep"):
        load_run(run)
