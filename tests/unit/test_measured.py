"""What a board says before anything is run: ``run --with`` and ``doctor --with``."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import Called
from test_publishable import quiet
from test_similar import row

from sdbench.analysis.run_summary import device_facts
from sdbench.board.measured import measured_model, measured_plan
from sdbench.board.rows import MachineClass, Row, machine_class_of, rows_of
from sdbench.board.site_data import write_data
from sdbench.board.table import in_order
from sdbench.bundles.publishable import publishable
from sdbench.bundles.summary import examine
from sdbench.runs import LoadedRun

M4 = Path(__file__).parents[1] / "data/machines/m4-macos15"
OWN = MachineClass("Apple M4", 10, "16 GB")


def ranked_rows(loaded: LoadedRun, machine_id: str) -> list[Row]:
    examined = examine(loaded)
    rows = rows_of(
        examined,
        measured_sha256="",
        verified=True,
        virtual=False,
        publishable=publishable(examined),
    )
    submission = msgspec.structs.replace(rows[0].submission, machine_id=machine_id)
    return [msgspec.structs.replace(one, submission=submission) for one in rows]


def test_a_setting_is_the_same_before_a_run_and_in_its_rows() -> None:
    loaded = quiet()
    run = loaded.run
    rows = [*ranked_rows(loaded, "a"), *ranked_rows(loaded, "b")]
    assert all(one.ranked for one in rows)
    own = machine_class_of(run.machine, run.device, device_facts(loaded.replicates))
    assert own == rows[0].submission.machine_class
    (case,) = measured_plan(rows, own, run)
    assert case.setting == rows[0].setting
    assert case.measured is not None and case.measured.machines == 2
    assert case.measured.seconds_per_image == rows[0].seconds_per_image
    assert (case.measured.low_s, case.measured.high_s) == rows[0].ci95


def test_what_is_not_the_same_is_not_told() -> None:
    loaded = quiet()
    rows = ranked_rows(loaded, "a")
    own = rows[0].submission.machine_class
    for changed in (
        {"config": {**loaded.run.config, "steps": 7}},
        {"model": msgspec.structs.replace(loaded.run.model, name="another")},
        {"model": msgspec.structs.replace(loaded.run.model, sha256="f" * 64)},
        {"device": "mps"},
    ):
        run = msgspec.structs.replace(loaded.run, **changed)
        assert measured_plan(rows, own, run)[0].measured is None, changed
    other = MachineClass(own.chip, own.gpu_cores, "999 GB")
    assert measured_plan(rows, other, loaded.run)[0].measured is None


def test_a_model_of_unknown_content_is_told_only_where_there_is_one() -> None:
    rows = [row("a", 9.0), row("b", 10.0)]
    known = measured_model(rows, OWN, "mps", "synthetic/sd15", None)
    assert [work.machines for work in known] == [2]
    mixed = [*rows, row("c", 1.0, {"model_sha256": "e" * 64})]
    assert measured_model(mixed, OWN, "mps", "synthetic/sd15", None) == []
    assert measured_model(mixed, OWN, "mps", "synthetic/sd15", "d" * 64) == known


def test_of_each_resolution_what_most_machines_measured() -> None:
    rows = [
        row("a", 9.0),
        row("b", 10.0),
        row("a", 1.0, setting="512x512 float16, 2 steps"),
        row("a", 30.0, setting="1024x1024 float16, 20 steps", resolution="1024x1024"),
    ]
    found = measured_model(rows, OWN, "mps", "synthetic/sd15", "d" * 64)
    assert [(work.resolution, work.machines) for work in found] == [
        ("512x512", 2),
        ("1024x1024", 1),
    ]


# --- the command line -----------------------------------------------------------------------------


def site_of(rows: list[Row], folder: Path) -> Path:
    folder.mkdir()
    write_data(folder, in_order(rows), [], {})
    return folder


def test_doctor_says_what_similar_machines_measured(
    tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(M4))
    identity = _own_class(call, tmp_path)
    rows = [row(name, seconds, identity) for name, seconds in (("a", 9.0), ("b", 10.0))]
    site = site_of([*rows, row("c", 1.0, identity, image="wrong")], tmp_path / "site")
    model = ("--model", "synthetic/sd15", "--with", site)
    _, out, _ = call("doctor", *model)
    assert "measured on your chip: Apple M4" in out
    assert "9.5 s an image (8.82 s to 10.2 s, 2 machines, at most 4.0 GB of memory)" in out
    _, out, _ = call("doctor", *model, "--json")
    (size,) = json.loads(out)["measured"]["sizes"]
    assert (size["machines"], size["torch"]) == (2, ["2.13.0"])


def _own_class(call: Called, folder: Path) -> dict[str, Any]:
    """What the rows of a machine like the recorded one have."""
    _, out, _ = call("doctor", "--json")
    machine = json.loads(out)["machine"]
    from_synthetic = {"model_sha256": None}
    return {name: machine[name] for name in ("chip", "gpu_cores", "memory_bytes")} | from_synthetic


def test_doctor_says_that_nothing_is_known(
    tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(M4))
    site = site_of([row("a", 9.0, {"chip": "Apple M1"})], tmp_path / "site")
    _, out, _ = call("doctor", "--model", "synthetic/sd15", "--with", site)
    assert "measured on your chip: nothing: no verified run of a similar machine (Apple M4" in out


def test_doctor_in_a_virtual_machine_shows_no_real_one(
    tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(M4.parent / "virtual-mac"))
    identity = _own_class(call, tmp_path)
    site = site_of([row("a", 9.0, identity)], tmp_path / "site")
    _, out, _ = call("doctor", "--model", "synthetic/sd15", "--with", site)
    assert "nothing: this is a virtual machine" in out


def test_doctor_needs_a_model_with_a_site(tmp_path: Path, call: Called) -> None:
    code, _, err = call("doctor", "--with", tmp_path)
    assert code == 2 and err.rstrip().endswith(f"doctor --with {tmp_path} --model=synthetic/sd15")


def test_a_plan_says_what_similar_machines_measured(
    tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdbench.cli.measured._why_not", lambda own, virtual: None)
    nothing = site_of([row("a", 9.0)], tmp_path / "nothing")
    code, out, _ = call("run", "ci", "--device", "cpu", "--dry-run", "--json", "--with", nothing)
    plan = json.loads(out)
    assert code == 0 and "no verified run of a similar machine" in plan["measured"]["reason"]
    machine = plan["machine"]
    own = {
        "chip": machine["chip"],
        "gpu_cores": None,
        "memory_bytes": machine["memory_bytes"],
        "device": "cpu",
        "model": plan["config"]["model"],
        "model_sha256": None,
    }
    case = plan["measured"]["cases"][0]
    site = site_of([row("a", 9.0, own, setting=case["setting"])], tmp_path / "site")
    words = ("run", "ci", "--device", "cpu", "--dry-run", "--with", site)
    _, out, _ = call(*words, "--json")
    measured = json.loads(out)["measured"]
    assert measured["reason"] is None
    assert measured["cases"][0]["measured"]["machines"] == 1
    _, out, _ = call(*words)
    assert "measured on your chip" in out and "9 s an image (8.82 s to 9.18 s, 1 machine" in out
