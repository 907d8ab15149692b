"""``batching = "split"``: its plan, its records, and what is said of it; no process is started."""

import ast
import dataclasses
import queue
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from diagnosed_runs import (
    beside_cpu,
    case,
    claim,
    codes,
    diagnosis,
    equality,
    findings,
    image_of,
    loaded_run,
    matching,
    plan,
)
from factories import make_config, make_model, make_report, make_slot, make_task, worker_events

from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.analysis.efficiency import case_efficiency
from sdbench.correctness.equality import check_equality
from sdbench.diagnosis.snippets import diffusers_snippet
from sdbench.errors import StoreError
from sdbench.plan import predicted_memory
from sdbench.plan.cost import estimate_slot
from sdbench.plan.order import make_plan
from sdbench.records import (
    Case,
    Compared,
    CountedFlops,
    DeviceKind,
    Gate,
    MatmulRate,
    Replicate,
    Slot,
)
from sdbench.report.view.use_words import use_lines
from sdbench.repro.case_script import case_script
from sdbench.runner.replicate import replicate_record
from sdbench.runs import LoadedRun
from sdbench.worker import process_group

SPLIT, LOOP = case(batching="split"), case()
THREE = plan(
    case=[{"resolution": "64x64", "batching": how} for how in ("loop", "batch", "split")],
)


# --- plan -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "gpus", "reason"),
    [
        ("mps", None, "a Mac has one"),
        ("cuda", 1, "torch finds one"),
        ("cuda", 2, None),
        ("cuda", None, None),  # asked of the device later
        ("cpu", None, None),
    ],
)
def test_where_there_is_one_gpu_the_case_is_skipped(
    device: DeviceKind, gpus: int | None, reason: str | None
) -> None:
    made = make_plan(THREE, device, gpus=gpus)
    skipped = {planned.case.batching: planned.skip_reason for planned in made.cases}
    assert skipped["loop"] is skipped["batch"] is None
    assert (skipped["split"] or "").endswith(reason or "") and bool(skipped["split"]) == bool(
        reason
    )
    measured = {slot.case_id for slot in made.slots}
    assert len(measured) == (2 if reason else 3)


def test_one_image_is_not_split() -> None:
    (only,) = make_plan(make_config(case=[{"batching": "split"}], images=1), "cuda", gpus=4).cases
    assert (only.case.batching, only.skip_reason) == ("loop", None)
    assert "one image cannot be spread" in only.merged[0]


def test_processes_on_a_cpu_take_the_memory_of_two() -> None:
    config = make_config(images=4, steps=2, guidance_scale=7.5, scheduler="ddim")

    def peak(batching: Any, device: DeviceKind) -> int:
        target = predicted_memory.target_of(make_model("synthetic/sd15"), device)
        here = Case(resolution="512x512", batching=batching)
        return predicted_memory.predict_memory(config, here, target).worst.peak_bytes

    assert peak("split", "cpu") == 2 * peak("loop", "cpu")
    assert peak("split", "cuda") == peak("loop", "cuda"), "of each GPU"
    assert predicted_memory.CPU_PROCESSES == process_group.CPU_PROCESSES


def test_its_other_processes_import_after_the_first() -> None:
    config = make_config(images=4, steps=2, guidance_scale=7.5, scheduler="ddim")
    one, two = (
        estimate_slot(config, Case(batching=how), make_model(), "cpu", 2, "spawn")
        for how in ("loop", "split")
    )
    assert 5 < two - one < 20


# --- processes ------------------------------------------------------------------------------


def test_user_may_turn_multicast_on_and_name_an_interface() -> None:
    found = process_group.meeting_place({}, 4, 1234)
    assert found["NCCL_NVLS_ENABLE"] == "0"
    assert (found["MASTER_ADDR"], found["MASTER_PORT"], found["WORLD_SIZE"]) == (
        *("127.0.0.1", "1234"),
        "4",
    )
    own = {"NCCL_NVLS_ENABLE": "1", "GLOO_SOCKET_IFNAME": "eth0", "MASTER_PORT": "1"}
    found = process_group.meeting_place(own, 2, 1234)
    assert not {"NCCL_NVLS_ENABLE", "GLOO_SOCKET_IFNAME"} & set(found)
    assert found["MASTER_PORT"] == "1234"


def share(numbers: list[int], peak: int | None, **fields: Any) -> dict[str, Any]:
    pictures = [{"pixels_sha256": f"{number}"} for number in numbers]
    return {
        "kind": "measured",
        "numbers": numbers,
        "images": pictures,
        "peak_bytes": peak,
        "allocated_bytes": peak,
        "driver_bytes": peak,
        **fields,
    }


def gathered(own: dict[str, Any], *others: dict[str, Any], device: str) -> dict[str, Any]:
    """What process 0 makes of all shares of a pass."""
    leader = process_group.Leader.__new__(process_group.Leader)
    leader.images = own.pop("numbers")
    leader._shares_device = device == "cpu"
    leader._count = len({*leader.images, *(n for other in others for n in other["numbers"])})
    leader._members = []
    for other in others:
        records: queue.Queue[dict[str, Any]] = queue.Queue()
        records.put(other)
        leader._members.append(SimpleNamespace(records=records))  # type: ignore[arg-type]
    return leader.together(own)


@pytest.mark.parametrize(("device", "peak"), [("cuda", 30), ("cpu", 60)])
def test_shares_become_one_pass(device: str, peak: int) -> None:
    record = gathered(share([0, 1], 10), share([2, 3], 30), share([4], 20), device=device)
    assert [one["pixels_sha256"] for one in record["images"]] == ["0", "1", "2", "3", "4"]
    assert (record["peak_bytes"], record["process_peak_bytes"]) == (peak, [10, 30, 20])
    assert record["allocated_bytes"] == (30 if device == "cuda" else 10)
    assert "numbers" not in record


def test_memory_that_one_process_does_not_know_is_not_a_sum() -> None:
    record = gathered(share([0], 10), share([1], None), device="cpu")
    assert (record["peak_bytes"], record["process_peak_bytes"]) == (None, [10, None])


def test_image_that_an_old_accelerate_gives_out_twice_is_there_once() -> None:
    record = gathered(share([0, 1], 1), share([2, 3], 1), share([3], 1), device="cuda")
    assert [one["pixels_sha256"] for one in record["images"]] == ["0", "1", "2", "3"]


def test_image_that_nobody_made_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"made images \[0, 2\] of 2"):
        gathered(share([0], 1), share([2], 1), device="cuda")


def test_prime_pass_has_the_image_of_the_first_process() -> None:
    record = gathered(share([0], 1, kind="prime"), share([2], 1, kind="prime"), device="cuda")
    assert [one["pixels_sha256"] for one in record["images"]] == ["0"]


@pytest.mark.parametrize("line", ["", "no json", "[1]", '{"event": "pa', '{"event": 3}'])
def test_what_is_no_event_is_none(line: str) -> None:
    assert process_group._parsed(line).get("event") not in ("pass", "error", "done")


# --- records --------------------------------------------------------------------------------


def record_of(events: list[dict[str, Any]], **ending: Any) -> Replicate:
    report = make_report(events, **ending)
    return replicate_record(make_slot(), 1, make_task(), report, Gate(), cold_cache=False)


def test_number_of_processes_is_recorded() -> None:
    events = worker_events(make_task())
    group = {"event": "group", "processes": 4, "threads": 8}
    assert record_of(events).processes is None
    assert record_of([events[0], group, *events[1:]]).processes == 4


def test_reason_names_the_process_that_died_first() -> None:
    events = worker_events(make_task())
    begun = next(at for at, one in enumerate(events) if one.get("name") == "pass 1")
    group = {"event": "group", "processes": 4}
    lost = {"event": "member", "rank": 2, "exit_code": -9}
    record = record_of([*events[: begun + 1], group, lost], exit_code=-9)
    assert (record.outcome, record.signal) == ("crashed", "SIGKILL")
    assert record.reason == "ended by SIGKILL in pass 1 (process 3 of 4)"
    record = record_of([*events[: begun + 1], group, lost], exit_code=-9, killed_by_system=True)
    assert record.outcome == "oom"
    raised = {"event": "error", "type": "X", "message": "CUDA out of memory", "kind": "oom"}
    record = record_of([*events[: begun + 1], group, lost, raised], exit_code=1)
    assert (record.outcome, record.reason) == (
        "oom",
        "X in pass 1 (process 3 of 4): CUDA out of memory",
    )


def test_devices_that_work_together_are_compared_with_as_many() -> None:
    flops = CountedFlops(text_encoder=1, denoising=2, vae_decode=3, measured_pass=8_000)
    rate = MatmulRate(
        arm="current", dtype="float16", device="cuda", simulated=False, flops_per_s=1_000.0
    )

    def share_of(kind: str, processes: int | None) -> float | None:
        entry = make_replicate_of(kind, processes, flops)
        found = case_efficiency(Case(dtype="float16"), "current", [entry], [entry], [rate], 4.0)
        return found.ceiling_share

    assert share_of("cuda", None) == 2.0
    assert share_of("cuda", 4) == 0.5
    assert share_of("cpu", 2) == 2.0, "two processes, one device"


def make_replicate_of(kind: str, processes: int | None, flops: CountedFlops) -> Replicate:
    record = record_of(worker_events(make_task()))
    return msgspec.structs.replace(record, device={"kind": kind}, processes=processes, flops=flops)


# --- what is said ---------------------------------------------------------------------------


def run_of_three(seconds: float = 0.3, **fields: Any) -> LoadedRun:
    """A loop, a batch (0.6 of its time) and a split, on a host with several GPUs."""

    def taking(slot: Slot, here: Case) -> float:
        factor = {"loop": 1.0, "batch": 0.6, "split": seconds}[here.batching]
        return factor * (1 + 0.002 * ((slot.index * 7919) % 11 - 5) / 5)

    return loaded_run(config=THREE, seconds=taking, device="cuda", **fields)


def test_many_images_are_split_and_one_is_not() -> None:
    loaded = run_of_three()
    found = diagnosis(loaded).recommendation
    (goal,) = found.goals
    assert goal.latency is None and "only case" in (goal.reason or ""), "one image cannot be split"
    assert goal.throughput is not None and goal.throughput.case.batching == "split"
    gains = {gain.other: gain.sentence for gain in goal.throughput.gains}
    assert gains["loop"].startswith("a split over several processes takes 0.30 times")
    assert gains["batch"].startswith("a split over several processes takes 0.50 times")
    (line, *_) = use_lines(found, loaded.run)
    assert "2 spread over several processes: " in line


def wrong_second(slot: Slot, here: Case) -> Compared:
    if here.batching != "split":
        return matching(slot, here)
    return beside_cpu(slot, here, [image_of(0), image_of(1, "broken", fault="noise")])


def test_wrong_image_of_one_process_is_a_finding() -> None:
    loaded = run_of_three(compared=wrong_second)
    assert codes(loaded) == ["split-mismatch"]
    (found,) = [one for one in findings(loaded) if one.code == "split-mismatch"]
    assert (found.severity, found.case_ids) == ("error", [SPLIT.case_id])
    assert "spread over several processes image 2" in found.sentence
    assert "sdbench repro" not in found.remedy, "a script makes images in one process"
    (goal,) = diagnosis(loaded).recommendation.goals
    assert goal.throughput is None or goal.throughput.case.batching != "split"


def test_image_unlike_the_loops_is_a_finding_without_the_cpus() -> None:
    loaded = run_of_three(compared=lambda slot, here: None)
    assert codes(loaded, equality("batching", SPLIT)) == ["split-mismatch"]
    assert codes(loaded, equality("batching", SPLIT, "same")) == []


def test_claim_about_batches_is_not_about_splits() -> None:
    loaded = run_of_three(compared=wrong_second)
    same = equality("batching", case(batching="batch"), "identical")
    found = claim(loaded, "f", same, equality("batching", SPLIT))
    assert SPLIT.case_id not in str(found.evidence)


def test_split_is_compared_with_the_loop_image_by_image() -> None:
    loaded = run_of_three()
    found = check_equality(loaded.run, loaded.replicates, [], {})  # type: ignore[arg-type]
    kinds = {tuple(one.case_ids): one.verdict for one in found if one.kind == "batching"}
    assert kinds[SPLIT.case_id, LOOP.case_id] == "identical"


@pytest.mark.parametrize(
    ("device", "launched", "state"),
    [
        ("cuda", "accelerate launch --multi_gpu", "PartialState()"),
        ("cpu", "accelerate launch --cpu --num_processes 2", "PartialState(cpu=True)"),
    ],
)
def test_code_for_a_split_is_accelerates(device: str, launched: str, state: str) -> None:
    loaded = on_device(run_of_three(), device)
    row = row_of(loaded, "split")
    code = diffusers_snippet(loaded.run, row, {"torch": "2.6.0"})
    ast.parse(code)
    assert launched in code and f"state = {state}" in code
    assert "with state.split_between_processes(prompts) as share:" in code
    assert "pipe.to(state.device)" in code
    plain = diffusers_snippet(loaded.run, row_of(loaded, "loop"), {"torch": "2.6.0"})
    assert "accelerate" not in plain and "state" not in plain


def on_device(loaded: LoadedRun, device: str) -> LoadedRun:
    return dataclasses.replace(loaded, run=msgspec.structs.replace(loaded.run, device=device))


def row_of(loaded: LoadedRun, batching: str) -> CaseResult:
    return next(row for row in rows_of(loaded) if row.summary.case.batching == batching)


def test_no_script_for_a_bug_report_pretends_to_split() -> None:
    loaded = run_of_three()
    with pytest.raises(StoreError, match="batching = split"):
        case_script(loaded.run, SPLIT, loaded.run.plan.arms[0])
