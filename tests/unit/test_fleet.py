"""A fleet without Dask's processes: what a worker does, what its folder keeps, who may connect."""

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from factories import Called, make_config, make_picture, make_replicate, make_run, play

from sdbench import __version__, machine
from sdbench.analysis.estimates import estimate_pair
from sdbench.analysis.pairs import pairs_of_axis
from sdbench.bundles.contents import without_identity
from sdbench.bundles.installation import Installation
from sdbench.errors import MachineError, StoreError, UsageError
from sdbench.fleet import markers, task
from sdbench.fleet.certificates import make_certificates
from sdbench.fleet.connection import connection_to, security_of
from sdbench.fleet.fleet_file import Mode, read_fleet, read_state
from sdbench.fleet.fleet_folder import FleetFolder
from sdbench.fleet.ledger import Given, Seen
from sdbench.fleet.machine_kind import kind_of
from sdbench.fleet.messages import (
    Answer,
    CheckOrder,
    CompareOrder,
    DescribeOrder,
    Description,
    FileEntry,
    MeasureOrder,
    Plan,
    Result,
    WrongAnswerError,
    decode,
    encode,
    packed,
    unpacked,
)
from sdbench.plan.config import Config
from sdbench.plan.units import unit_of
from sdbench.privacy.redact_shared import Kept
from sdbench.process.executor import FakeExecutor
from sdbench.records import MatmulRate, Replicate, Run
from sdbench.runs import list_runs, load_run

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers of this process measure nothing, and share nothing with others of this machine."""
    monkeypatch.setattr(task, "open_executor", lambda: FakeExecutor(play))
    monkeypatch.setattr(task, "_LOCK", f"{tmp_path}/turn.lock")
    task._here.cache_clear()


def make_plan(config: Config | None = None, **fields: Any) -> Plan:
    return Plan(sdbench=__version__, config=config or make_config(), **fields)


def describe(plan: Plan) -> Description:
    return decode(task.describe(encode(DescribeOrder(plan=plan)))[0], Description)


def begin(root: Path, mode: Mode = "split", plan: Plan | None = None) -> tuple[FleetFolder, str]:
    """A fleet with this machine in it."""
    folder = FleetFolder.create(root, plan or make_plan(), mode)
    about = describe(folder.fleet.plan)
    group = folder.group_for(about)
    folder.record(Seen(machine=about.machine, group=group, process=about.process))
    return folder, group


def give(folder: FleetFolder, name: str | None = None) -> tuple[Given, Answer]:
    """Give this machine its next slot, and what it answers."""
    about = describe(folder.fleet.plan)
    offer = folder.state.offer(about.machine)
    assert offer is not None
    given = Given(
        give=folder.state.next_give,
        group=offer[0],
        slot=offer[1],
        machine=about.machine,
        process=about.process,
    )
    order = MeasureOrder(
        plan=folder.fleet.plan,
        kind=about.kind,
        slot=given.slot,
        attempt=folder.attempt(given.group, given.slot),
        token=f"{folder.fleet.fleet_id}.{given.give}",
    )
    folder.record(given)
    return given, task.measure(encode(order))


def keep(folder: FleetFolder, given: Given, answer: Answer) -> Replicate | None:
    return folder.keep_result(given, decode(answer[0], Result), answer[1])


# --- what a worker does ---------------------------------------------------------------------------


def test_slots_of_a_worker_are_those_of_an_ordinary_run(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    while folder.state.offer(machine.machine_id()) is not None:
        assert keep(folder, *give(folder)) is not None
    folder.close()
    (path,) = list_runs(folder.path)
    loaded = load_run(path)
    planned = [slot.replicate_id for slot in loaded.run.plan.slots]
    assert sorted(entry.replicate_id for entry in loaded.attempts) == sorted(planned)
    assert {entry.outcome for entry in loaded.attempts} == {"ok"}
    assert {entry.machine_id for entry in loaded.attempts} == {machine.machine_id()}
    assert [entry.attempt for entry in loaded.started] == [1] * len(planned)
    assert loaded.warnings == []
    assert folder.state.complete
    assert folder.path_of(group) == path


def test_run_that_machines_share_is_no_machines_own(tmp_path: Path) -> None:
    split, _ = begin(tmp_path / "split")
    every, _ = begin(tmp_path / "every", "every")
    runs = [load_run(list_runs(folder.path)[0]).run for folder in (split, every)]
    assert runs[0].machine_id != machine.machine_id() == runs[1].machine_id
    for folder in (split, every):
        folder.close()


def test_device_is_checked_and_its_highest_rate_measured_once_a_run(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    about = describe(folder.fleet.plan)
    text, blob = task.check(
        encode(CheckOrder(plan=folder.fleet.plan, kind=about.kind, token="check"))
    )
    folder.keep_extra(group, decode(text, Result), blob)
    folder.close()
    loaded = load_run(folder.path_of(group))
    assert [type(entry) for entry in loaded.ceilings] == [MatmulRate]
    again = FleetFolder.open(folder.path)
    again.attempt(group, "any")
    assert again.checked == {group}
    again.close()


def test_images_are_compared_by_any_machine_of_the_kind(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    given, answer = give(folder)
    keep(folder, given, answer)
    about = describe(folder.fleet.plan)
    (case,) = folder.cases_to_compare(group)
    replicates = folder.uncompared(group, case)
    files, blob = packed(folder.files_of(group, replicates))
    order = CompareOrder(
        plan=folder.fleet.plan, kind=about.kind, records=[*replicates], files=files
    )
    text, made = task.compare(encode(order), blob)
    for _ in range(2):  # the second answer is not kept again
        folder.keep_extra(group, decode(text, Result), made)
    assert folder.cases_to_compare(group) == []
    folder.close()
    (compared,) = load_run(folder.path_of(group)).comparisons
    assert (compared.replicate_id, compared.verdict) == (given.slot, "unknown")


def test_machine_that_cannot_take_part_says_why() -> None:
    about = describe(make_plan(make_config(model="/nowhere")))
    assert about.refused is not None
    assert about.run is None
    other = describe(Plan(sdbench="0.0.1", config=make_config()))
    assert other.refused is not None
    assert "install the same version" in other.refused


def test_machine_that_has_changed_measures_nothing() -> None:
    order = MeasureOrder(plan=make_plan(), kind="another", slot="x", attempt=1, token="f.1")
    with pytest.raises(MachineError, match="has changed since the fleet began"):
        task.measure(encode(order))


def test_machine_asks_nobody_and_does_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(replicates=5000, matrix={"resolution": ["1024x1024"]}, steps=50)
    about = describe(make_plan(config))
    assert about.refused is not None
    assert "it takes about" in about.refused
    assert describe(make_plan(config, yes=True)).refused is None


def test_slot_under_which_a_process_was_killed_is_told_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with markers.marked("fleet.7"):
        assert markers.killed_under() == (), "it lives"
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: 1.0)
        assert markers.killed_under() == ("fleet.7",)
    assert markers.killed_under() == ()


# --- kinds and units ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"machine": {"chip": "Other", "cores_physical": 2, "memory_bytes": 8_000_000_000}},
        {"machine": {"chip": "Test", "cores_physical": 2, "memory_bytes": 16_000_000_000}},
        {"environment": {"OMP_NUM_THREADS": "1"}},
        {"simulated": True},
        {"sdbench": "9.9"},
    ],
)
def test_machines_that_may_differ_in_time_are_of_two_kinds(change: dict[str, Any]) -> None:
    run = make_run()
    assert kind_of(run) == kind_of(make_run(machine_id="another", run_id="another"))
    assert kind_of(msgspec.structs.replace(run, **change)) != kind_of(run)


def test_places_do_not_make_a_kind() -> None:
    run = make_run()
    stack = msgspec.structs.replace(run.stacks["current"], interpreter="/elsewhere/python")
    elsewhere = msgspec.structs.replace(
        run, stacks={"current": stack}, environment={"SDBENCH_CACHE": "/elsewhere"}
    )
    assert kind_of(elsewhere) == kind_of(run)


def test_what_is_compared_in_pairs_is_one_unit() -> None:
    arms = [{"name": "a"}, {"name": "b"}]
    for replicates, units in ((2, 4), (3, 3)):
        run = make_run(make_config(replicates=replicates, arm=arms))
        found = {unit_of(run.plan, slot) for slot in run.plan.slots}
        assert len(found) == units, "a case of a block in all variants, or a whole block"


def test_pair_of_two_machines_is_no_pair(tmp_path: Path) -> None:
    """Blocks side by side on two machines are; one that was torn apart is left out."""
    run = make_run(make_config(replicates=4, arm=[{"name": "a"}, {"name": "b"}]))
    from sdbench.runs import LoadedRun

    def loaded(torn: int | None) -> LoadedRun:
        attempts = []
        for slot in run.plan.slots:
            own = "odd" if slot.block % 2 else "even"
            if slot.block == torn and slot.arm == "b":
                own = "third"
            begun = f"2026-01-01T00:00:{slot.block // 2 * 10 + slot.index % 10:02d}.000+00:00"
            attempts.append(
                make_replicate(slot, machine_id=own, started_utc=begun, ended_utc=begun)
            )
        return LoadedRun(tmp_path, run, [], attempts)

    for torn, blocks in ((None, {0, 1, 2, 3}), (2, {0, 1, 3})):
        for pair in pairs_of_axis(loaded(torn), "arm"):
            base, new = estimate_pair(pair).figures["steady"]
            assert set(base) == set(new) == blocks


# --- what a folder keeps --------------------------------------------------------------------------


def test_result_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    given, answer = give(folder)
    assert keep(folder, given, answer) is not None
    assert keep(folder, given, answer) is None
    folder.close()
    assert len(load_run(folder.path_of(group)).attempts) == 1


def test_record_that_the_ledger_does_not_know_is_taken_up(tmp_path: Path) -> None:
    """The client was killed between the record and the ledger."""
    folder, group = begin(tmp_path)
    given, (text, blob) = give(folder)
    result = decode(text, Result)
    folder._keep(group, result.records, result.files, blob)
    folder.close()
    again = FleetFolder.open(folder.path)
    assert again.state.is_done(group, given.slot)
    assert keep(again, given, (text, blob)) is None
    again.close()
    assert len(load_run(folder.path_of(group)).attempts) == 1


def test_run_that_was_made_just_before_a_crash_is_removed(tmp_path: Path) -> None:
    folder, _ = begin(tmp_path)
    folder.close()
    (folder.path / "ledger.jsonl").write_bytes(b"")
    FleetFolder.open(folder.path).close()
    assert list_runs(folder.path) == []


def test_slot_that_crashed_twice_is_a_row(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    given, _ = give(folder)
    folder.write_off(group, given.slot, given)
    folder.close()
    (row,) = load_run(folder.path_of(group)).attempts
    assert (row.replicate_id, row.outcome) == (given.slot, "crashed")


def test_fleet_of_somebody_else_is_not_resumed_and_shown_as_text(
    tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = begin(tmp_path)
    folder.close()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SDBENCH_STATE", str(tmp_path / "another"))
        with pytest.raises(UsageError, match="not made by this installation"):
            FleetFolder.open(folder.path)
    events = (folder.path / "ledger.jsonl").read_text()
    hostile = json.dumps("\x1b[31m[red]Mac[/red]")[1:-1]
    title = describe(folder.fleet.plan).title
    (folder.path / "ledger.jsonl").write_text(events.replace(title, hostile))
    code, out, _ = call("fleet", "status", folder.path)
    assert code == 0
    assert "[red]Mac" in out
    assert "\x1b" not in out
    (folder.path / "ledger.jsonl").write_text(
        '{"event":"given","give":1,"group":"x","slot":"s","machine":"m","process":"p"}\n'
    )
    code, _, err = call("fleet", "status", folder.path)
    assert (code, len(err.splitlines())) == (3, 1)
    assert "an event is about 'x', which no event before it names" in err


def test_fleet_of_ones_own_leads_nowhere_else(tmp_path: Path) -> None:
    """``fleet.json`` is as it was made; a run folder or the ledger is not."""
    folder, group = begin(tmp_path)
    keep(folder, *give(folder))
    folder.close()
    run, ledger = folder.path_of(group), folder.path / "ledger.jsonl"
    events = ledger.read_text()
    ledger.write_text(events.replace(run.name, "../elsewhere"))
    with pytest.raises(StoreError, match="is not the id of a run"):
        FleetFolder.open(folder.path)
    ledger.write_text(events)
    run.rename(tmp_path / "elsewhere")
    run.symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    with pytest.raises(StoreError, match="a link, and not the fleet's own folder"):
        FleetFolder.open(folder.path)
    assert sorted((tmp_path / "elsewhere").iterdir()) == before
    run.unlink()
    (tmp_path / "elsewhere").rename(run)
    document = json.loads((run / "run.json").read_text())
    document["plan"]["slots"].pop()
    (run / "run.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="its plan is not the one of the fleet's ledger"):
        FleetFolder.open(folder.path)


@pytest.mark.parametrize(
    "line",
    [
        '{"event":"seen","machine":"m","group":"x","process":"p"}',
        '{"event":"died","give":0}',
        '{"event":"died","give":9007199254740993}',
    ],
)
def test_event_that_nobody_wrote_is_refused(tmp_path: Path, line: str) -> None:
    folder, _ = begin(tmp_path)
    folder.close()
    with (folder.path / "ledger.jsonl").open("a") as file:
        file.write(f'{line}\n{{"event":"session"}}\n')
    with pytest.raises(StoreError, match=r"ledger\.jsonl"):
        read_state(folder.path)


def test_fleet_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    folder, _ = begin(tmp_path)
    with pytest.raises(UsageError, match="another sdbench is working on this fleet"):
        FleetFolder.open(folder.path)
    folder.close()


def test_answer_about_something_else_is_not_kept(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    given, (text, blob) = give(folder)
    other = msgspec.structs.replace(given, slot=folder.run_of(group).plan.slots[-1].replicate_id)
    with pytest.raises(WrongAnswerError, match="not of"):
        keep(folder, other, (text, blob))
    folder.close()
    assert load_run(folder.path_of(group)).attempts == []


@pytest.mark.parametrize(
    "entry",
    [
        ("images", "../run.json", 3),
        ("images", ".hidden", 3),
        ("..", "run.json", 3),
        ("", "run.json", 3),
        ("images", "a.png", 4),
        ("images", "a.png", -1),
        ("images", "a.png", 2),
    ],
)
def test_files_of_an_answer_stay_in_their_folders(entry: tuple[str, str, int]) -> None:
    folder, name, size = entry
    with pytest.raises(WrongAnswerError):
        list(unpacked([FileEntry(folder=folder, name=name, bytes=size)], b"abc"))


def test_files_come_as_they_were() -> None:
    files = [("images", "a.png", b"abc"), ("telemetry", "64x64-1.current.0.1.jsonl", b"")]
    entries, blob = packed(files)
    assert list(unpacked(entries, blob)) == files


def test_picture_files_are_sent_along(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    picture = make_picture()
    path = folder.path_of(group)
    (path / "images").mkdir()
    (path / "images" / f"{picture.pixels_sha256}.png").write_bytes(b"png")
    assert list(folder.files_of(group, [make_replicate()])) == [
        ("images", f"{picture.pixels_sha256}.png", b"png")
    ]
    folder.close()


# --- who may connect ------------------------------------------------------------------------------


def test_keys_are_readable_by_their_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    paths = make_certificates(tmp_path / "certs")
    assert len(paths) == 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    before = [path.read_bytes() for path in paths]
    with pytest.raises(UsageError, match=r"ca\.pem.* not overwritten"):
        make_certificates(tmp_path / "certs")
    assert [path.read_bytes() for path in paths] == before


def test_plain_connection_is_for_this_machine_and_has_to_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without TLS anybody"):
        connection_to("tcp://127.0.0.1:8786", None, "client", insecure=False)
    with pytest.raises(UsageError, match="without TLS anybody"):
        connection_to("tcp://10.0.0.1:8786", None, "client", insecure=True)
    assert connection_to("tcp://127.0.0.1:1", None, "client", insecure=True).certificates is None
    with pytest.raises(UsageError, match="add --certificates"):
        connection_to("tls://mac:8786", None, "client", insecure=False)
    with pytest.raises(UsageError, match=r"ca\.pem is not there"):
        connection_to("tls://mac:8786", tmp_path, "client", insecure=False)
    for address in ("mac:8786", "tls://mac", "http://mac:1", "tls://mac:port", "tls://[::1"):
        with pytest.raises(UsageError, match="expected the address of a Dask scheduler"):
            connection_to(address, tmp_path, "client", insecure=False)


def test_tls_connection_needs_encryption_and_certificates_at_both_ends(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    security = security_of(connection_to("tls://mac:8786", tmp_path, "worker", insecure=False))
    assert security.require_encryption is True
    arguments = security.get_listen_args("worker")
    assert arguments["ssl_context"].verify_mode.name == "CERT_REQUIRED"


# --- the command line -----------------------------------------------------------------------------


def test_without_the_extra_there_is_one_line_with_the_command(
    call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "distributed" else find_spec(name)
    )
    code, out, err = call("fleet", "run", "quick", "--scheduler", "tls://mac:8786")
    assert (code, out) == (2, "")
    assert "distributed not installed: pip install 'sdbench[fleet]'" in err


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            'until_decided = { by = "arm" }',
            "until_decided: a fleet carries out a fixed plan; set replicates instead",
        ),
        (
            '[[arm]]\nname = "a"\nenv = { HF_TOKEN = "x" }',
            "looks like a secret: a fleet passes none on; remove it there and set it in the",
        ),
    ],
)
def test_what_a_fleet_cannot_do_is_refused(
    call: Called, tmp_path: Path, config: str, words: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'name = "c"\n{config}\n')
    code, _, err = call("fleet", "run", file, "--scheduler", "tcp://127.0.0.1:1", "--insecure")
    assert (code, len(err.splitlines())) == (2, 1)
    assert words in err


def test_status_and_stop_need_no_scheduler(call: Called, results: Path) -> None:
    assert call("fleet", "status", "-o", results)[0] == 2
    folder, _ = begin(results)
    keep(folder, *give(folder))
    folder.flush()
    code, out, _ = call("fleet", "status", "-o", results, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["at_work"] is True
    assert (document["runs"][0]["done"], document["machines"][0]["done"]) == (1, 1)
    assert call("fleet", "stop", "-o", results)[0] == 0
    assert folder.stop_wanted
    folder.close()
    code, _, err = call("fleet", "stop", "-o", results)
    assert code == 2
    assert "no process is working on this fleet" in err
    assert call("fleet", "status", folder.path)[0] == 0


def test_fleets_and_their_runs_are_found_in_the_results(call: Called, results: Path) -> None:
    folder, group = begin(results)
    keep(folder, *give(folder))
    folder.close()
    run = folder.path_of(group)
    code, out, _ = call("list", "-o", results)
    assert code == 0
    assert f"Fleet {folder.path.name}, mode split: 1 run, 1 machine, 1 of 4 processes" in out
    assert f"sdbench list --results {folder.path}" in out
    code, out, _ = call("list", "-o", results, "--json")
    document = json.loads(out)
    assert document["runs"] == []
    (fleet,) = document["fleets"]
    assert (fleet["runs"], fleet["done"], fleet["at_work"]) == ([run.name], 1, False)
    assert run.name in call("list", "-o", folder.path)[1]
    for name in (run.name, "latest", folder.path, folder.path.name):
        assert json.loads(call("show", name, "-o", results, "--json")[1])["run_id"] == run.name


def test_fleet_with_several_runs_names_them(call: Called, results: Path) -> None:
    folder, group = begin(results)
    first = folder.path_of(group)
    folder._make_group("other", "Other", folder.run_of(group))
    folder.close()
    code, _, err = call("report", folder.path, "-o", "-", "-f", "json")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "is the folder of a fleet with 2 runs" in err
    assert first.name in err
    assert f"sdbench list --results {folder.path}" in err


def test_run_of_a_fleet_is_resumed_by_the_fleet_alone(call: Called, results: Path) -> None:
    folder, group = begin(results, "every")
    folder.close()
    code, _, err = call("resume", folder.path_of(group))
    assert code == 2
    assert f"sdbench fleet resume {folder.path} --scheduler ADDRESS" in err
    assert load_run(folder.path_of(group)).attempts == []


def test_damaged_fleet_hides_nothing_else(call: Called, results: Path) -> None:
    folder, _ = begin(results)
    folder.close()
    (broken := results / "20990101-000000-fleet-x-0000").mkdir()
    (broken / "fleet.json").write_text("{")
    code, out, _ = call("list", "-o", results)
    assert code == 0
    assert f"Fleet {folder.path.name}, mode split" in out
    assert "Fleet 20990101-000000-fleet-x-0000: unreadable: " in out
    assert [path.name for path in broken.iterdir()] == ["fleet.json"], "nothing is written into it"
    assert call("fleet", "status", folder.path.name, "-o", results)[0] == 0


def test_certificates_are_listed(call: Called, tmp_path: Path) -> None:
    code, out, _ = call("fleet", "certificates", tmp_path / "c")
    assert code == 0
    assert len(out.splitlines()) == 8


def test_fleet_file_has_no_home_and_is_read_with_it(tmp_path: Path) -> None:
    model = str(Path.home() / "models" / "mine")
    arms = [{"name": "a", "stack": str(Path.home() / "venv"), "env": {"X": str(Path.home())}}]
    folder = FleetFolder.create(tmp_path, make_plan(make_config(model=model, arm=arms)), "split")
    folder.close()
    if str(Path.home()) != "/":
        assert str(Path.home()) not in (folder.path / "fleet.json").read_text()
    assert read_fleet(folder.path) == folder.fleet


def test_bundle_has_no_machines_id(tmp_path: Path) -> None:
    folder, group = begin(tmp_path)
    keep(folder, *give(folder))
    folder.close()
    loaded = load_run(folder.path_of(group))
    here = Installation(machine_id="m-" + "0" * 16, salt="0" * 64)
    (own,) = loaded.attempts
    here = msgspec.structs.replace(here, made_on=here.hidden_machine(str(own.machine_id)))
    shared = without_identity(loaded, Kept(), here)
    assert [entry.machine_id for entry in shared.attempts] == [here.machine_id]
    loaded.attempts[0] = msgspec.structs.replace(own, machine_id="f" * 16)
    (other,) = without_identity(loaded, Kept(), here).attempts
    assert other.machine_id == here.hidden_machine("f" * 16)
    assert other.machine_id != here.machine_id


def test_described_run_has_no_private_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    about = describe(make_plan())
    assert isinstance(about.run, Run)
    assert str(Path.home()) not in encode(about) or str(Path.home()) == "/"
