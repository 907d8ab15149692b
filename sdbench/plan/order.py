"""Config and seed in, ordered slots out. Pure: the same input gives the same plan everywhere."""

import hashlib
import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from typing import Any

import msgspec

from sdbench.errors import ConfigError, UsageError
from sdbench.plan.config import Config, Matrix, held_bytes
from sdbench.records import (
    AXES,
    Arm,
    Case,
    DeviceKind,
    Dtype,
    Plan,
    PlannedCase,
    Slot,
    StartMethod,
    spelling,
)
from sdbench.stats import MIN_PROCESSES
from sdbench.words import did_you_mean

_MOST_ARMS = 1000
# A case may have these of its own; one that has the run's value is the same as one that names none.
_OF_THE_RUN = ("scheduler", "steps", "guidance_scale")
_OF_ONE_IMAGE = {
    "batch": "a batch of one image is a loop of one",
    "split": "one image cannot be spread over several processes",
}
DEFAULT_DTYPE: dict[DeviceKind, Dtype] = {"mps": "float16", "cuda": "float16", "cpu": "float32"}


def make_plan(
    config: Config,
    device: DeviceKind,
    only: Sequence[str] = (),
    memory_bytes: int = 0,
    dtype: Dtype | None = None,
    gpus: int | None = None,
) -> Plan:
    """Turn a configuration into a plan for a device and a machine with that much memory.

    ``dtype`` is the model's own, for cases that name none; None: the device's usual one. ``gpus``
    is how many GPUs torch finds; None: that is not known.

    Raises:
        ConfigError: no case is left to run, or the memory to hold is not available.
        UsageError: an ``only`` names an axis or value that does not exist.
    """
    _check_number(config, "max_cases", _cells(config), "cases", config.max_cases)
    expanded = _expand(config, device, dtype or DEFAULT_DTYPE[device], gpus)
    cases = _filter_only(expanded, only, config)
    if not cases:
        raise ConfigError(config.name, "exclude", "expected at least one remaining case")
    arms = arms_with_levels(config, memory_bytes)
    runnable, names = runnable_cases(cases), [arm.name for arm in arms]
    blocks = config.fewest_processes
    if config.until_decided is not None:
        blocks = config.until_decided.max_processes
    processes = len(runnable) * len(names) * blocks
    _check_number(config, "max_processes", processes, "processes", config.max_processes)
    slots = order_slots(runnable, names, config.fewest_processes, config.seed)
    start = resolve_start(config, device)
    return Plan(cases=cases, arms=arms, slots=slots, start=start)


def _cells(config: Config) -> int:
    """How many cells a configuration has, without making them."""
    if config.case is not None:
        return len(config.case)
    axes = msgspec.structs.asdict(config.matrix or Matrix())
    return math.prod(len(values) for values in axes.values() if values is not None)


def _check_number(config: Config, key: str, count: int, what: str, most: int) -> None:
    """Refuse before anything is made of a size that nobody meant.

    Raises:
        ConfigError: there are more than the configuration allows.
    """
    if count > most:
        raise ConfigError(
            config.name,
            key,
            f"the plan has {count:,} {what} and {key} is {most:,}; if this is intended, set {key} "
            f"higher (--set {key}={count}), otherwise use fewer values",
        )


def with_blocks(
    plan: Plan, blocks: int, seed: int, rows: Collection[tuple[str, str]] | None = None
) -> Plan:
    """The plan with so many blocks of some rows (case id and variant; None: of all).

    The slots that it has stay as they are.
    """
    case_ids = runnable_cases(plan.cases)
    planned = {slot.replicate_id for slot in plan.slots}
    slots = list(plan.slots)
    for slot in order_slots(case_ids, [arm.name for arm in plan.arms], blocks, seed):
        wanted = rows is None or (slot.case_id, slot.arm) in rows
        if wanted and slot.replicate_id not in planned:
            slots.append(msgspec.structs.replace(slot, index=len(slots)))
    return msgspec.structs.replace(plan, slots=slots)


def affordable(
    slots: Sequence[Slot],
    case_ids: Sequence[str],
    slot_s: Callable[[str], float],
    left_s: float,
) -> list[Slot]:
    """What to run of a plan whose budget is too short for verdicts on all cases; in its order.

    A case gets a verdict from ``MIN_PROCESSES`` on. Cases are taken as the configuration lists
    them, so what is chosen does not depend on what was measured. The others are put off whole: a
    process that is made later cannot be paired with those of its block (see :func:`put_off_again`).

    Args:
        slots: what is left to run, in order.
        case_ids: the cases in the order of the configuration.
        slot_s: the seconds that one process of a case takes.
        left_s: the seconds that are left.
    """
    costs_s = dict.fromkeys(case_ids, 0.0)
    for slot in slots:
        if slot.block < MIN_PROCESSES:
            costs_s[slot.case_id] += slot_s(slot.case_id)
    chosen: set[str] = set()
    for case_id in case_ids:
        if costs_s[case_id] <= left_s:
            chosen.add(case_id)
            left_s -= costs_s[case_id]
    now = [slot for slot in slots if slot.case_id in chosen]
    if len({(slot.case_id, slot.arm) for slot in now}) < 2:
        return list(slots)  # nothing could be compared
    return now


def put_off_again(plan: Plan, tried: Container[str], untried: Container[str], seed: int) -> Plan:
    """The plan with new blocks of everything for what a budget had put off, if anything.

    Where a row has an untried slot (by replicate id) although a later block has begun,
    its slots of the blocks so far are left out, and there are as many new blocks, so that every
    comparison gets its pairs.
    """
    latest = max((slot.block for slot in plan.slots if slot.replicate_id in tried), default=0)
    left = [slot for slot in plan.slots if slot.block <= latest and slot.replicate_id in untried]
    overtaken = {(slot.case_id, slot.arm) for slot in left if slot.block < latest}
    put_off = [slot for slot in left if (slot.case_id, slot.arm) in overtaken]
    if not put_off:
        return plan
    left_out = {slot.replicate_id for slot in put_off}
    slots = [slot for slot in plan.slots if slot.replicate_id not in left_out]
    first = 1 + max(slot.block for slot in plan.slots)
    index = 1 + max(slot.index for slot in plan.slots)
    more = max(Counter((slot.case_id, slot.arm) for slot in put_off).values())
    arms = [arm.name for arm in plan.arms]
    for slot in order_slots(runnable_cases(plan.cases), arms, first + more, seed):
        if slot.block >= first:
            slots.append(msgspec.structs.replace(slot, index=index))
            index += 1
    return msgspec.structs.replace(plan, slots=slots)


def runnable_cases(cases: Iterable[PlannedCase]) -> list[str]:
    """Ids of the cases that are not skipped."""
    return [planned.case_id for planned in cases if planned.skip_reason is None]


def axis_to_decide(config: Config, plan: Plan) -> str:
    """What ``until_decided`` compares: as configured, or the one thing the plan has several of.

    Raises:
        ConfigError: the plan has nothing to compare, not this, or more than one thing.
    """
    assert config.until_decided is not None
    wanted, key = config.until_decided.by, "until_decided.by"
    there = [axis for axis in ("arm", "stack", *AXES) if _can_compare(axis, plan)]
    if not there:
        raise ConfigError(
            config.name,
            key,
            "there is nothing to compare: expected two or more variants (or --stack twice), or "
            "cases that differ in one setting",
        )
    if wanted != "auto" and wanted not in there:
        raise ConfigError(config.name, key, f"expected one of {', '.join(there)}, got {wanted!r}")
    if wanted == "auto" and there[0] != "arm" and len(there) > 1:
        raise ConfigError(config.name, key, f"expected the axis to compare: {', '.join(there)}")
    return there[0] if wanted == "auto" else wanted


def _can_compare(axis: str, plan: Plan) -> bool:
    """Whether two variants, or two cases that run, differ in it alone."""
    if axis == "arm":
        return len(plan.arms) > 1
    if axis == "stack":
        return 1 < len(plan.arms) == len({arm.stack for arm in plan.arms})
    rests = [entry.case.without(axis) for entry in plan.cases if entry.skip_reason is None]
    return len(set(rests)) < len(rests)


def arms_with_levels(config: Config, memory_bytes: int) -> list[Arm]:
    """Every variant at every level of ``[pressure]``; a variant that holds nothing keeps its name.

    Raises:
        ConfigError: a level is as large as the memory, or a level is there twice.
    """
    levels = [held_bytes(level, memory_bytes) for level in config.pressure.hold_bytes] or [0]
    if len(config.arm) * len(levels) > _MOST_ARMS:
        raise ConfigError(
            config.name, "arm", f"expected at most {_MOST_ARMS:,} variants and levels"
        )
    arms: dict[str, Arm] = {}
    for arm, (index, level) in itertools.product(config.arm, enumerate(levels)):
        key = f"pressure.hold_bytes[{index}]"
        if level and level >= memory_bytes:
            raise ConfigError(
                config.name,
                key,
                f"expected less than the memory of the machine, {memory_bytes:.3g}",
            )
        name = f"{arm.name}+hold-{level / 1e9:.3g}GB" if level else arm.name
        if name in arms:
            raise ConfigError(config.name, key, "expected each level once")
        arms[name] = msgspec.structs.replace(arm, name=name, hold_bytes=level)
    return [*arms.values()]


def resolve_start(config: Config, device: DeviceKind, platform: str = sys.platform) -> StartMethod:
    """``auto`` forks for the CPU on Linux only, and only where no speed verdict is given anyway.

    A process that has imported diffusers has asked the driver whether CUDA is there, and after
    that its forks cannot use CUDA ("Cannot re-initialize CUDA in forked subprocess", seen on
    torch 2.11).

    Raises:
        ConfigError: fork is asked for where it cannot be.
    """
    possible = platform.startswith("linux") and device == "cpu"
    if config.start == "auto":
        return "fork" if possible and config.fewest_processes < MIN_PROCESSES else "spawn"
    if config.start == "fork" and not possible:
        raise ConfigError(
            config.name, "start", "expected 'spawn': 'fork' works for the CPU on Linux only"
        )
    return config.start


def order_slots(case_ids: Sequence[str], arms: Sequence[str], blocks: int, seed: int) -> list[Slot]:
    """Every case in every variant, once a block; drift then cancels in paired comparisons (PROTOCOL
    3).

    Cases are shuffled anew in each block, by a hash so that the order does not depend on a random
    generator's version. The variants of a case are adjacent; their order is reversed every block
    and rotated every second one (two variants: AB, BA, BA, AB).
    """
    slots: list[Slot] = []
    for block in range(blocks):
        shuffled = sorted(case_ids, key=_shuffle_key(seed, block))
        turn = (block // 2) % len(arms)
        ordered = [*arms[turn:], *arms[:turn]]
        if block % 2:
            ordered.reverse()
        for case_id, arm in itertools.product(shuffled, ordered):
            slots.append(Slot(index=len(slots), block=block, case_id=case_id, arm=arm))
    return slots


def _shuffle_key(seed: int, block: int) -> Callable[[str], bytes]:
    return lambda case_id: hashlib.sha256(f"{seed}/{block}/{case_id}".encode()).digest()


def _expand(
    config: Config, device: DeviceKind, dtype: Dtype, gpus: int | None
) -> list[PlannedCase]:
    """All cases in the order of the configuration: merged where alike, skipped where impossible."""
    excludes = [selection.settings() for selection in config.exclude]
    planned: dict[str, PlannedCase] = {}
    written: set[Case] = set()
    for case in _listed(config, dtype):
        if config.case is not None and case in written:
            raise ConfigError(config.name, "case", f"{case.case_id} is listed twice")
        written.add(case)
        if any(_matches(case, settings, config) for settings in excludes):
            continue
        canonical, why = _canonical(case, config)
        first = planned.get(canonical.case_id)
        if first is None:
            planned[canonical.case_id] = PlannedCase(
                case=canonical,
                skip_reason=why_impossible(canonical, device, gpus),
                merged=[f"{case.case_id}: {why}"] if why else [],
            )
        else:
            merged = [*first.merged, f"{case.case_id}: {why or 'the same settings'}"]
            planned[canonical.case_id] = msgspec.structs.replace(first, merged=merged)
    return list(planned.values())


def _listed(config: Config, dtype: Dtype) -> Iterable[Case]:
    if config.case is not None:
        for selection in config.case:
            yield Case(**{"dtype": dtype, **selection.settings()})
        return
    matrix = config.matrix or Matrix()
    axes: dict[str, Sequence[Any]] = msgspec.structs.asdict(matrix)
    axes["dtype"] = matrix.dtype or [dtype]
    axes = {axis: [None] if values is None else values for axis, values in axes.items()}
    for values in itertools.product(*(axes[axis] for axis in AXES)):
        yield Case(**dict(zip(AXES, values, strict=True)))


def _matches(case: Case, settings: dict[str, Any], config: Config) -> bool:
    return all(_setting(case, axis, config) == value for axis, value in settings.items())


def _setting(case: Case, axis: str, config: Config) -> Any:
    """A case's value on an axis; the run's own where the case names none."""
    value = getattr(case, axis)
    return getattr(config, axis) if value is None else value


def _canonical(case: Case, config: Config) -> tuple[Case, str | None]:
    """The case that stands for all that mean the same, and why they do."""
    reasons = []
    for axis in _OF_THE_RUN:
        if getattr(case, axis) == getattr(config, axis):
            case = msgspec.structs.replace(case, **{axis: None})
            reasons.append(f"{axis} is the run's")
    if case.vae_dtype == case.dtype:
        case = msgspec.structs.replace(case, vae_dtype="same")
        reasons.append(f"the VAE is in {case.dtype} in any case")
    if case.text_encoder == "offloaded" and case.offload != "none":
        case = msgspec.structs.replace(case, text_encoder="resident")
        reasons.append("offload moves the text encoders in any case")
    if case.batching != "loop" and config.images == 1:
        reasons.append(_OF_ONE_IMAGE[case.batching])
        case = msgspec.structs.replace(case, batching="loop")
    if case.attention_slicing and case.attention in ("math", "sdpa"):
        case = msgspec.structs.replace(case, attention="default")
        reasons.append("slicing replaces the attention processor")
    return case, "; ".join(reasons) or None


def why_impossible(case: Case, device: DeviceKind, gpus: int | None = None) -> str | None:
    """Why a case cannot run on a device of that kind, with so many GPUs; None: it can."""
    if case.batching == "split" and device == "mps":
        return "split spreads the images of a pass over several GPUs, and a Mac has one"
    if case.batching == "split" and device == "cuda" and gpus == 1:
        return "split spreads the images of a pass over several GPUs, and torch finds one"
    if case.offload != "none" and device == "cpu":
        return "offload moves weights between the CPU and a device; here the device is the CPU"
    if case.offload != "none" and case.vae_device != "same":
        return "offload decides the device of the VAE, so it cannot also be placed on the CPU"
    if case.quantization.startswith("bitsandbytes") and device != "cuda":
        return f"bitsandbytes quantises for NVIDIA GPUs; here the device is {device}"
    return None


def _filter_only(
    cases: list[PlannedCase], only: Sequence[str], config: Config
) -> list[PlannedCase]:
    """Keep the cases that match every ``axis=value[,value]``."""
    for selection in only:
        axis, separator, text = selection.partition("=")
        if not separator or axis not in AXES:
            raise UsageError(
                f"--only {selection}: expected AXIS=VALUE; {did_you_mean(axis, AXES)}AXIS is one "
                f"of {', '.join(AXES)}"
            )
        there = {entry.case: spelling(_setting(entry.case, axis, config)) for entry in cases}
        present = set(there.values())
        wanted = {value.strip().lower() for value in text.split(",")}
        unknown = wanted - present
        if unknown:
            hint = did_you_mean(sorted(unknown)[0], present, likeness=0.8)
            raise UsageError(
                f"--only {selection}: no case has {axis}={sorted(unknown)[0] or '(nothing)'}; "
                f"{hint}there are {', '.join(sorted(present))}"
            )
        cases = [planned for planned in cases if there[planned.case] in wanted]
    return cases
