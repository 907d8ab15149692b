"""Several devices of one host at once: shares of the cores, choice of devices, assignment, and the
A/A test between a device alone and beside others."""

import dataclasses
import random
import threading
from typing import Any

import msgspec
import pytest
from device_doubles import devices_of, pinned
from factories import (
    make_config,
    make_replicate,
    make_run,
)
from measured_runs import measured, one_case, steady

from sdbench.analysis.beside import beside_words
from sdbench.analysis.run_summary import summary_of
from sdbench.comparison.compare import compare_axis, compare_runs
from sdbench.devices.assignment import Assignment
from sdbench.devices.beside import judged, not_tested, why_not_tested
from sdbench.devices.cores import Share, cpulist, equal_shares, parse_cpulist
from sdbench.devices.host import Host, check_config, find_again, find_devices
from sdbench.devices.names import Wanted, choose_gpus, core_groups, parse_devices
from sdbench.errors import MachineError, UsageError
from sdbench.machine.facts import Unavailable
from sdbench.machine.gpu.nvml import ListedGpu
from sdbench.records import BesideOthers, Run, Slot
from sdbench.runs import LoadedRun

# --- shares of the cores -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0-3,8\n", (0, 1, 2, 3, 8)),
        ("", ()),
        ("5", (5,)),
        ("0-1,64-65", (0, 1, 64, 65)),
    ],
)
def test_a_list_of_the_kernel_is_read_and_written(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpulist(text) == cpus
    assert parse_cpulist(cpulist(cpus)) == cpus
    assert cpulist(cpus) == text.strip()


@pytest.mark.parametrize("text", ["a", "3-1", "1-", "-1", "0-9999999", "1;2", "0-99999"])
def test_what_is_no_list_of_cpus_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of CPUs"):
        parse_cpulist(text)


def two_sockets() -> tuple[range, list[tuple[int, int]], list[range]]:
    """Two nodes with four cores each, of two threads: 0 and 8 are one core."""
    return range(16), [(cpu, cpu + 8) for cpu in range(8)], [range(4), range(4, 8)]


def test_a_device_gets_cores_of_its_node_with_all_their_threads() -> None:
    allowed, siblings, _ = two_sockets()
    first, second = [*range(4), *range(8, 12)], [*range(4, 8), *range(12, 16)]
    shares = equal_shares(allowed, siblings, [second, first, second, first])
    assert shares == [
        Share((4, 5, 12, 13), 2),
        Share((0, 1, 8, 9), 2),
        Share((6, 7, 14, 15), 2),
        Share((2, 3, 10, 11), 2),
    ]


def test_devices_are_alike_where_their_nodes_are_not() -> None:
    """Three GPUs at one socket and one at the other: each has as many cores as the poorest."""
    allowed, siblings, _ = two_sockets()
    first, second = [*range(4), *range(8, 12)], [*range(4, 8), *range(12, 16)]
    shares = equal_shares(allowed, siblings, [first, first, first, second])
    assert [share.threads for share in shares] == [1, 1, 1, 1]


@pytest.mark.parametrize("near", [[(), ()], [range(4), ()], [range(6), range(2, 8)]])
def test_cores_of_the_host_are_divided_where_a_node_is_not_known(near: list[Any]) -> None:
    assert equal_shares(range(8), [], near) == [
        Share((0, 1, 2, 3), 4),
        Share((4, 5, 6, 7), 4),
    ]


def test_only_cpus_that_may_be_used_are_shared_out() -> None:
    _, siblings, nodes = two_sockets()
    shares = equal_shares({1, 5, 9}, siblings, nodes)
    assert shares == [Share((1, 9), 1), Share((5,), 1)]


def test_threads_of_a_core_are_parted_only_where_there_are_too_few_cores() -> None:
    assert equal_shares(range(2), [(0, 1)], [(), ()]) == [Share((0,), 1), Share((1,), 1)]
    with pytest.raises(UsageError, match="3 devices need a core each, and sdbench may use 2 cores"):
        equal_shares(range(2), [(0, 1)], [(), (), ()])


@pytest.mark.parametrize("seed", range(40))
def test_shares_never_overlap_and_are_equal(seed: int) -> None:
    draw = random.Random(seed)
    cores = draw.randint(1, 24)
    siblings = [(core, core + cores) for core in range(cores)]
    allowed = set(draw.sample(range(2 * cores), draw.randint(1, 2 * cores)))
    split = draw.randint(0, cores)
    nodes = [
        [cpu for pair in siblings[:split] for cpu in pair],
        [cpu for pair in siblings[split:] for cpu in pair],
        [],
    ]
    near = [draw.choice(nodes) for _ in range(draw.randint(1, len(allowed)))]
    shares = equal_shares(allowed, siblings, near)
    given = [cpu for share in shares for cpu in share.cpus]
    assert len(shares) == len(near)
    assert len(given) == len(set(given)) and set(given) <= allowed
    assert len({share.threads for share in shares}) == 1 and shares[0].threads > 0


# --- which devices -------------------------------------------------------------------------------


def gpus(*names: str, divided: tuple[int, ...] = ()) -> list[ListedGpu]:
    return [
        ListedGpu(name, f"GPU-{index}", f"0000:{index:02x}:00.0", 80 << 30, index in divided)
        for index, name in enumerate(names)
    ]


def host(listed: list[ListedGpu] | Unavailable, cores: int = 8, **fields: Any) -> Host:
    known = {"allowed": frozenset(range(cores)), "gpus": lambda: listed, "machine_id": "host"}
    return Host(**{**known, **fields})


def test_names_of_devices_are_read() -> None:
    assert parse_devices("all") == Wanted()
    assert parse_devices("cuda:0, cuda:3") == Wanted("cuda", (0, 3))
    assert parse_devices("cpu:1,cpu:0") == Wanted("cpu", (1, 0))


@pytest.mark.parametrize(
    "text", ["", "gpu:0", "cuda", "cuda:", "cuda:0,cpu:1", "cuda:0,,cuda:1", "mps:0", "cuda:-1"]
)
def test_what_names_no_devices_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected all, or devices of one kind"):
        parse_devices(text)


def test_gpu_that_is_named_twice_or_is_not_here_is_refused() -> None:
    with pytest.raises(UsageError, match="named twice"):
        parse_devices("cuda:0,cuda:0")
    with pytest.raises(UsageError, match="cuda:2 is not here; this host has cuda:0, cuda:1"):
        choose_gpus(Wanted("cuda", (0, 2)), gpus("A", "A"))
    with pytest.raises(UsageError, match="a GPU is not here; this host has none"):
        choose_gpus(Wanted(), [])


def test_gpus_of_two_models_are_refused_with_the_group_to_choose() -> None:
    with pytest.raises(UsageError) as raised:
        find_devices("all", "cuda", host(gpus("H200", "A100", "H200")))
    message = str(raised.value)
    assert "cuda:0,cuda:2 (H200" in message and "cuda:1 (A100" in message
    assert "as in --devices cuda:0,cuda:2" in message and "\n" not in message
    found = find_devices("cuda:0,cuda:2", "cuda", host(gpus("H200", "A100", "H200")))
    assert [device.name for device in found] == ["cuda:0", "cuda:2"]


def test_a_gpu_that_is_divided_is_refused() -> None:
    with pytest.raises(UsageError, match="cuda:1 is divided by MIG"):
        find_devices("all", "cuda", host(gpus("H200", "H200", divided=(1,))))


def test_a_worker_sees_its_gpu_alone_and_has_threads_for_its_cores() -> None:
    near = {"0000:00:00.0": (4, 5, 6, 7), "0000:01:00.0": (0, 1, 2, 3)}
    first, second = find_devices(
        "all", "cuda", host(gpus("H200", "H200"), near=lambda bus_id: near[bus_id])
    )
    assert (first.record.cores, second.record.cores) == ("4-7", "0-3")
    assert first.record.bus_id == "0000:00:00.0"
    assert first.machine_id != second.machine_id and "GPU-0" not in str(first.record)
    given = {"CUDA_VISIBLE_DEVICES": "1,0", "HOME": "/x"}
    assert first.environment(given) == {
        "CUDA_VISIBLE_DEVICES": "GPU-0",
        "OMP_NUM_THREADS": "4",
        "HOME": "/x",
    }
    assert first.environment({"OMP_NUM_THREADS": "1"})["OMP_NUM_THREADS"] == "1"


def test_groups_of_cores_are_nodes_where_there_are_as_many() -> None:
    nodes = [(0, 2, 4, 6), (1, 3, 5, 7)]
    found = find_devices("all", "cpu", host([], nodes=nodes))
    assert [device.record.cores for device in found] == ["0,2,4,6", "1,3,5,7"]
    halves = find_devices("cpu:0,cpu:1", "cpu", host([], nodes=[tuple(range(8))]))
    assert [device.record.cores for device in halves] == ["0-3", "4-7"]
    assert halves[0].gpu_uuid is None
    assert "CUDA_VISIBLE_DEVICES" not in halves[0].environment({})


def test_groups_of_cores_have_numbers_without_gaps() -> None:
    with pytest.raises(UsageError, match="2 groups of cores are named cpu:0,cpu:1"):
        core_groups(Wanted("cpu", (0, 2)), 1)
    with pytest.raises(UsageError, match="one NUMA node; divide them as in --devices cpu:0,cpu:1"):
        core_groups(Wanted(), 1)


@pytest.mark.parametrize(
    ("text", "kind", "listed", "error", "words"),
    [
        ("all", "mps", [], UsageError, "a Mac has one GPU"),
        ("cuda:0", "cpu", [], UsageError, "the device of this run is cpu"),
        ("all", "cuda", Unavailable("pip install nvidia-ml-py"), MachineError, "nvidia-ml-py"),
    ],
)
def test_devices_that_cannot_be_are_refused(
    text: str, kind: Any, listed: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find_devices(text, kind, host(listed))


def test_what_several_devices_cannot_do_is_refused() -> None:
    two = pinned(2)
    check_config(make_config(), two)
    with pytest.raises(UsageError, match="until_decided"):
        check_config(make_config(until_decided={}), two)
    with pytest.raises(UsageError, match="variant a sets CUDA_VISIBLE_DEVICES"):
        check_config(make_config(arm=[{"name": "a", "env": {"CUDA_VISIBLE_DEVICES": "0"}}]), two)
    split = make_config(matrix={"batching": ["loop", "split"]})
    check_config(split, two)  # groups of cores: two processes in each
    with pytest.raises(UsageError, match="without --devices"):
        check_config(split, [dataclasses.replace(one, gpu_uuid="GPU-1") for one in two])
    held = make_config(pressure={"hold_bytes": [0, 1e9]})
    check_config(held, two[:1])
    with pytest.raises(UsageError, match=r"pressure\.hold_bytes"):
        check_config(held, two)


def test_a_run_goes_on_only_on_devices_that_are_as_they_were() -> None:
    here = host([], nodes=[])
    found = find_devices("cpu:0,cpu:1", "cpu", here)
    run = make_run(devices=[device.record for device in found])
    assert find_again(run, here) == found
    with pytest.raises(MachineError, match="cpu:0 had the cores 0-3, and would have 0-1 now"):
        find_again(run, host([], cores=4))
    with pytest.raises(MachineError, match="cpu:0 is another device now"):
        find_again(run, host([], machine_id="another"))
    with pytest.raises(MachineError, match=r"was begun on cpu:0,cpu:1: .*need a core each"):
        find_again(run, host([], cores=1))


# --- who measures what ---------------------------------------------------------------------------


def two_arms(replicates: int = 4) -> Run:
    return make_run(make_config(replicates=replicates, arm=[{"name": "a"}, {"name": "b"}]))


def carry_out(
    assignment: Assignment, machines: list[str], draw: random.Random, most: int = 1 << 30
) -> dict[str, str]:
    """Devices of different speeds, one process each at a time; who measured what."""
    found: dict[str, str] = {}
    under_way: dict[str, Slot] = {}
    while len(found) < most:
        for machine in machines:
            if machine not in under_way and assignment.left():
                slot = assignment.take_now(machine)
                if slot is not None:
                    under_way[machine] = slot
        if not under_way:
            break
        machine = draw.choice(sorted(under_way))
        found[under_way.pop(machine).replicate_id] = machine
        assignment.end(machine, recorded=True)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_each_block_stays_on_one_device_and_nothing_is_measured_twice(seed: int) -> None:
    run = two_arms()
    devices = ["x", "y", "z"]
    assignment = Assignment(run, devices, run.plan.slots, [])
    found = carry_out(assignment, devices, random.Random(seed))
    assert found.keys() == {slot.replicate_id for slot in run.plan.slots}
    assert assignment.complete
    blocks: dict[int, set[str]] = {}
    for slot in run.plan.slots:
        blocks.setdefault(slot.block, set()).add(found[slot.replicate_id])
    assert all(len(machines) == 1 for machines in blocks.values())
    assert len(set(found.values())) == 3, "no device is left out"


@pytest.mark.parametrize("seed", range(20))
def test_a_block_that_was_begun_goes_on_on_its_device(seed: int) -> None:
    run, devices, draw = two_arms(), ["x", "y"], random.Random(seed)
    first = carry_out(
        Assignment(run, devices, run.plan.slots, []), devices, draw, draw.randint(1, 7)
    )
    left = [slot for slot in run.plan.slots if slot.replicate_id not in first]
    before = [
        make_replicate(slot, machine_id=first[slot.replicate_id])
        for slot in run.plan.slots
        if slot.replicate_id in first
    ]
    again = Assignment(run, devices, left, before)
    assert again.done_and_total() == (len(first), len(run.plan.slots))
    found = first | carry_out(again, devices, draw)
    blocks = {(slot.block, found[slot.replicate_id]) for slot in run.plan.slots}
    assert len(blocks) == 4


def test_what_a_lost_device_leaves_goes_to_the_others() -> None:
    run = two_arms(replicates=3)
    assignment = Assignment(run, ["x", "y"], run.plan.slots, [])
    assert assignment.take_now("x") is not None
    assignment.end("x", recorded=True)
    assignment.lose("x")
    assert assignment.take_now("x") is None
    carry_out(assignment, ["y"], random.Random(0))
    assert assignment.complete


def test_a_process_without_a_record_is_given_again() -> None:
    run = two_arms(replicates=3)
    assignment = Assignment(run, ["x"], run.plan.slots, [])
    slot = assignment.take_now("x")
    assignment.end("x", recorded=False)
    assert slot in assignment.left()


def test_a_device_waits_for_what_another_one_may_still_give_back() -> None:
    run = make_run(make_config(replicates=3, matrix={"resolution": ["64x64"]}))
    left = run.plan.slots[:1]
    done = [make_replicate(slot) for slot in run.plan.slots[1:]]
    assignment = Assignment(run, ["x", "y"], left, done)
    assert assignment.take("x") is not None
    taken: list[Slot | None] = []
    waiting = threading.Thread(target=lambda: taken.append(assignment.take("y")))
    waiting.start()
    assignment.end("x", recorded=False)
    assignment.lose("x")
    waiting.join(20)
    assert taken == left


# --- the A/A test --------------------------------------------------------------------------------

ALONE = {0: 1.0, 1: 1.002, 2: 0.998, 3: 1.001, 4: 0.999}


@pytest.mark.parametrize(
    ("factor", "scatter", "verdict"),
    [
        (1.0, 0.001, "undisturbed"),
        (1.01, 0.001, "undisturbed"),
        (1.10, 0.001, "disturbed"),
        (0.90, 0.001, "disturbed"),
        (1.0, 0.08, "not-shown"),
        (1.03, 0.001, "not-shown"),
    ],
)
def test_only_an_interval_within_the_margin_acquits(
    factor: float, scatter: float, verdict: str
) -> None:
    signs = (1, -1, 1, -1, 0)
    beside = {
        pair: seconds * factor * (1 + scatter * sign)
        for (pair, seconds), sign in zip(ALONE.items(), signs, strict=True)
    }
    found = judged(ALONE, beside)
    assert found.verdict == verdict
    assert found.ratio_low and found.ratio and found.ratio_high
    assert (found.reason is None) == (verdict != "not-shown")
    assert (found.alone_s, found.beside_s) == ([*ALONE.values()], [*beside.values()])


def test_times_that_cannot_be_judged_acquit_nothing() -> None:
    for alone, beside in (({}, {}), ({0: 1.0}, {0: 1.0}), (ALONE, dict(ALONE))):
        assert judged(alone, beside).verdict == "not-shown"


def test_a_test_that_costs_more_than_the_run_is_left_out() -> None:
    assert why_not_tested(10.0, 20.0, None) is None
    assert why_not_tested(10.0, 20.0, 30.0) is None
    assert "longer than the run" in str(why_not_tested(10.0, 9.0, None))
    assert "max_minutes" in str(why_not_tested(10.0, 20.0, 15.0))


# --- marks ---------------------------------------------------------------------------------------


SHOWN = msgspec.structs.replace(not_tested(""), verdict="undisturbed", reason=None)
UNDECIDED = BesideOthers(
    verdict="not-shown", threshold=0.03, ratio=1.2, ratio_low=0.9, ratio_high=1.6, reason="x"
)


def of_devices(count: int, beside: BesideOthers | None, times: Any = None) -> LoadedRun:
    fields: dict[str, Any] = {"config": one_case(3), "devices": devices_of(count), "beside": beside}
    return measured(**fields) if times is None else measured(times, **fields)


def test_times_are_marked_where_nothing_was_shown() -> None:
    assert beside_words(of_devices(0, None).run) is None
    assert beside_words(of_devices(1, None).run) is None
    assert beside_words(of_devices(2, SHOWN).run) is None
    assert "not tested" in str(beside_words(of_devices(2, None).run))
    words = beside_words(of_devices(4, UNDECIDED).run)
    assert words is not None and words.startswith(
        "measured while 3 other devices worked: not shown to be undisturbed"
    )
    assert "1.200" in words and "0.900 to 1.600" in words
    assert words in summary_of(of_devices(4, UNDECIDED)).warnings
    disturbed = msgspec.structs.replace(UNDECIDED, verdict="disturbed", reason=None)
    assert "disturbed by that" in str(beside_words(of_devices(2, disturbed).run))
    assert summary_of(of_devices(2, SHOWN)).beside == SHOWN


def test_marked_times_are_not_compared_with_those_of_a_device_alone() -> None:
    alone, slower = of_devices(1, None), steady(1.5)

    def verdict(count: int, beside: BesideOthers | None) -> tuple[str, list[str]]:
        (case,) = compare_runs(alone, of_devices(count, beside, slower)).cases
        return case.verdict, case.refused

    assert verdict(2, UNDECIDED) == ("inconclusive", ["beside-others"])
    assert verdict(2, None) == ("inconclusive", ["beside-others"])
    assert "beside-others" not in verdict(2, SHOWN)[1]
    assert "beside-others" not in verdict(1, None)[1]
    (case,) = compare_runs(alone, of_devices(2, UNDECIDED, slower)).cases
    assert case.peak_memory.verdict == "equivalent", "memory is not the others' matter"


def test_times_under_the_same_load_are_compared_within_a_run() -> None:
    config = make_config(replicates=3, arm=[{"name": "a"}, {"name": "b"}])
    made = measured(config=config, devices=devices_of(2), beside=UNDECIDED)
    for case in compare_axis([made], "arm").cases:
        assert case.verdict == "equivalent"
