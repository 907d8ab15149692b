"""Checks the resources that are available for a run: memory, disk, power, temperature and idle
cores."""

from typing import NamedTuple

import msgspec

from sdbench.doctor.checks.commands import memory_size
from sdbench.doctor.checks.issues import issues_met
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.known_issues import KnownIssue
from sdbench.machine.facts import Thermal, Unavailable, known, or_none
from sdbench.machine.gpu.nvml import GPU_SLOWED
from sdbench.machine.load import much_load_per_core
from sdbench.models.resolve import find_model
from sdbench.plan.order import make_plan
from sdbench.plan.predicted_memory import predict_memory, target_of
from sdbench.plan.read_config import load_config
from sdbench.process.room import (
    VIRTUAL_MAC_FREE_BYTES,
    VIRTUAL_MAC_LIMIT_BYTES,
    on_virtual_mac,
)
from sdbench.records import DeviceKind, ModelInfo, PredictedMemory
from sdbench.words import gigabytes, shell

# Public vm_stat outputs of Macs in use show 35% to 60% of memory free or reclaimable without
# swapping, 43% in the median. Beyond that share a run and what else is open push each other out.
_USUAL_SHARE = 0.4
# Less is what a machine keeps in swap after hours of ordinary use.
_MUCH_SWAP_BYTES = 1_000_000_000
_BUSY_GPU_SHARE = 0.1
# The least that a run can be asked to leave free; with less, macOS has nowhere to swap to.
_LEAST_RESERVE_BYTES = 2_000_000_000
# "If your computer has less than 64 GB of system RAM", the documentation says.
_DOCUMENTED_SLICING_BYTES = 64 << 30


_COLOURS = {"warn": "yellow", "critical": "red"}
# Of what macOS calls its levels.
_THERMAL_WORDS: dict[Thermal, str] = {
    "moderate": "moderate: warm, and the clocks may be lowered",
    "heavy": "heavy: hot, and the clocks are lowered",
    "trapping": "trapping: very hot, and strongly slowed down",
    "sleeping": "sleeping: too hot, about to go to sleep",
}


class Needs(NamedTuple):
    """Memory needs in bytes: of the most frugal way to make an image, and of the largest case of
    the default plan."""

    least: int
    most: int


# Of a model that is not here, and of which nothing says how large it is.
_NO_SIZE = Unavailable("the model is not on this disk, so its size is not known")


def memory_needs(facts: DoctorFacts, model: ModelInfo | None = None) -> Needs | None:
    """The machine memory that a model needs (default: the requested one); None if its size is
    unknown."""
    predicted = _predicted(facts, model or facts.model.outline)
    if not predicted:
        return None
    return Needs(predicted[0].process_bytes, max(one.process_bytes for one in predicted))


def _device_needs(facts: DoctorFacts) -> Needs | None:
    """As :func:`memory_needs`, for the device's own memory."""
    predicted = _predicted(facts, facts.model.outline)
    if not predicted:
        return None
    return Needs(predicted[0].worst.peak_bytes, max(one.worst.peak_bytes for one in predicted))


def _predicted(facts: DoctorFacts, model: ModelInfo) -> list[PredictedMemory]:
    """Needs of the most frugal way to make an image, and of each case of the default
    configuration."""
    config, device = load_config("default"), facts.expected_device()
    target = target_of(model, device)
    if not target.known:
        return []
    cases = [
        planned.case for planned in make_plan(config, device).cases if planned.skip_reason is None
    ]
    frugal = msgspec.structs.replace(cases[0], attention_slicing=True, batching="loop")
    return [predict_memory(config, case, target) for case in (frugal, *cases)]


def memory(facts: DoctorFacts) -> Check | None:
    """Whether the memory of the machine, or of the container, is enough for the model."""
    name, needs = facts.model.outline.name, memory_needs(facts)
    device = facts.expected_device()
    black = _black_when_sliced(facts)
    why = "when memory runs out the system swaps, and an image takes many times as long"
    have, limit = facts.machine.identity.memory_bytes, facts.limits.memory_bytes
    if facts.is_mac and known(have) and have < _DOCUMENTED_SLICING_BYTES:
        why += ". Below 64 GB the documentation recommends attention slicing" + (
            ": sdbench run measures whether it helps on this machine"
            if black is None
            else f", which can give black images on mps before {black.fixed_in}"
        )
    needed = f"enough for {name}"
    if needs is not None:
        sizes_words = (
            f"about {gigabytes(needs.least)} with attention slicing, up to "
            f"{gigabytes(needs.most)} without"
        )
        if black is not None:  # what its own row says to leave off
            sizes_words = f"up to {gigabytes(needs.most)} without attention slicing"
        needed = f"{name} needs {sizes_words} (512x512, {default_dtype(device)} on {device})"
    question = Question("memory", needed, why)
    sizes = [size for size in (or_none(have), limit) if size is not None]
    if isinstance(have, Unavailable) and not sizes:
        return question.unknown(have)
    if needs is None:
        return question.unknown(_NO_SIZE)
    total = min(sizes)
    found = memory_size(total) + (" allowed by the container" if total == limit else "")
    available, wired = facts.machine.memory.available_bytes, facts.machine.memory.gpu_limit_bytes
    if known(available):
        found += f", {gigabytes(available)} of it available now"
    if device == "mps" and on_virtual_mac(facts.machine):
        short = _virtual_mac_is_short(facts, question, found)
        if short is not None:
            return short
    if needs.least > total:
        return question.fails(
            f"{found}: too little for {name}",
            f"use a smaller model (sdbench run --model {_smaller_model(facts, total)}) or a "
            "machine with more memory",
        )
    if facts.is_mac and known(wired) and wired:
        found += f", the GPU may use {memory_size(wired)} of it (iogpu.wired_limit_mb is set)"
        if wired < needs.most:
            return question.warns(
                f"{found}: too little for {name}", "sudo sysctl iogpu.wired_limit_mb=0"
            )
    if needs.most > total * _USUAL_SHARE:
        return question.warns(
            f"{found}: tight for {name}",
            "close other programs, and make one image at a time with attention slicing: "
            "sdbench run --only attention_slicing=true --only batching=loop"
            if black is None
            else "close other programs, and make one image at a time: "
            "sdbench run --only batching=loop",
        )
    if known(available) and needs.most > available:
        return question.warns(f"{found}: too little for {name} now", "close other programs")
    return question.passes(found)


def _virtual_mac_is_short(facts: DoctorFacts, question: Question, found: str) -> Check | None:
    """The verdict where the GPU of a virtual Mac has too little memory for the model."""
    needs, name = _device_needs(facts), facts.model.outline.name
    if needs is None or needs.most <= VIRTUAL_MAC_FREE_BYTES:
        return None
    most, array = gigabytes(VIRTUAL_MAC_LIMIT_BYTES), gigabytes(VIRTUAL_MAC_FREE_BYTES)
    found += f", about {most} of it for the GPU of this virtual Mac: too little for {name}"
    why = (
        f"{question.why}. The GPU of a virtual Mac can use about {most}, and less than {array} for "
        "one array, whatever torch says is allowed"
    )
    smaller = "use a smaller model: sdbench run --model synthetic/tiny"
    if needs.least > VIRTUAL_MAC_LIMIT_BYTES:
        return question.fails(found, smaller, why=why)
    fitting = f"to see which sizes of this one fit: sdbench doctor --model {shell(name)}"
    return question.warns(f"{found} with usual settings", f"{smaller}; {fitting}", why=why)


def _black_when_sliced(facts: DoctorFacts) -> KnownIssue | None:
    """A known issue of black images with attention slicing, if it is met here.

    Its check advises against slicing, so the memory check must not recommend it.
    """
    for issue in issues_met(facts):
        sliced = all(when.settings.attention_slicing == (True,) for when in issue.when)
        if sliced and "black-output" in issue.symptoms:
            return issue
    return None


def _smaller_model(facts: DoctorFacts, size_bytes: int) -> str:
    """The usual size if that fits, else the smallest."""
    usual = find_model("synthetic/sd15").outline()
    needs = memory_needs(facts, usual)
    fits = needs is not None and needs.least <= size_bytes
    return usual.name if fits else "synthetic/tiny"


def default_dtype(device: DeviceKind) -> str:
    """The data type that a run uses by default."""
    return "float32" if device == "cpu" else "float16"


def memory_pressure(facts: DoctorFacts) -> Check | None:
    """The current memory pressure."""
    question = Question(
        "memory-pressure",
        "normal",
        "under memory pressure the system compresses and swaps while images are made, so their "
        "times are not reliable",
    )
    pressure, free = facts.machine.memory.pressure, facts.machine.memory.free_percent
    if isinstance(pressure, Unavailable):
        return question.unknown(pressure)
    found = pressure + (f", {free}% of memory left" if known(free) else "")
    if pressure == "normal":
        return question.passes(found)
    how = "ps -eo rss,comm --sort=-rss | head"
    if facts.is_mac:
        how = "open -a 'Activity Monitor'  (its Memory tab)"
        found += f" ({_COLOURS[pressure]} in Activity Monitor)"
    remedy = f"close programs that use much memory; to list them: {how}"
    return question.answered("fail" if pressure == "critical" else "warn", found, remedy)


def swap(facts: DoctorFacts) -> Check | None:
    """Swap in use now, and the amount written since the machine started."""
    question = Question(
        "swap",
        f"less than {gigabytes(_MUCH_SWAP_BYTES)} in use",
        "swap is many times slower than memory; the documentation names it as a main cause of "
        "slow image generation",
    )
    used, written = facts.machine.memory.swap_used_bytes, facts.machine.memory.swapped_out_bytes
    if isinstance(used, Unavailable):
        return question.unknown(used)
    found = f"{gigabytes(used)} in use" if used else "none in use"
    if known(written) and written >= _MUCH_SWAP_BYTES:
        found += f", {gigabytes(written)} written since the machine started"
    if used < _MUCH_SWAP_BYTES:
        return question.passes(found)
    available = facts.machine.memory.available_bytes
    needs = memory_needs(facts)
    room = needs is not None and known(available) and available >= needs.most
    if room and facts.machine.memory.pressure == "normal":
        # What is not used lies there for days; it is no sign that memory is short now.
        return question.passes(f"{found}, while memory pressure is normal and there is room")
    return question.warns(found, "close programs or restart the machine before a run")


def disk(facts: DoctorFacts) -> Check | None:
    """Disk space for the model, the results and the guard's reserve."""
    reserve = load_config("default").guard.min_free_disk_bytes
    to_make = facts.model.to_make_bytes
    expected = f"{gigabytes(reserve)} free in addition to what a run writes"
    if to_make:
        expected += f" ({facts.model.outline.name}: {gigabytes(to_make)})"
    swaps = ", and macOS needs free disk space for swap" if facts.is_mac else ""
    question = Question("disk", expected, f"sdbench run stops when the disk fills up{swaps}")
    models, results = facts.machine.free_disk_bytes, facts.results_free_bytes
    sizes = [size for size in (models, results) if known(size)]
    if isinstance(models, Unavailable) and not sizes:
        return question.unknown(models)
    least = min(sizes)
    found = f"{gigabytes(least)} free"
    if max(sizes) - least > reserve / 100:
        found = f"{gigabytes(sizes[0])} free for models, {gigabytes(sizes[1])} for results"
    if least < reserve:
        remedy = "free some disk"
        if least >= _LEAST_RESERVE_BYTES + to_make:
            remedy += ", or: sdbench run --set guard.min_free_disk_bytes=2e9"
        return question.fails(found, remedy)
    if least < reserve + to_make:
        return question.warns(found, "free some disk space before a run")
    return question.passes(found)


def power(facts: DoctorFacts) -> Check | None:
    """Whether the machine is on mains power and not in low power mode."""
    question = Question(
        "power",
        "mains power and no low power mode",
        "on battery and in low power mode the system slows down, so times are not comparable",
    )
    state = facts.machine.power
    if not known(state.source) and not known(state.low_power_mode):
        # Elsewhere servers and desktops have no battery to report; a Mac always has a power source.
        return question.unknown(state.source) if facts.is_mac else None
    words, remedies = [], []
    if known(state.source):
        words.append({"ac": "mains", "battery": "battery", "ups": "a UPS"}[state.source])
        if state.source == "battery":
            remedies.append("connect the power adapter")
            if known(state.battery_percent):
                words.append(f"{state.battery_percent}% left")
    if known(state.low_power_mode):
        words.append(f"low power mode {'on' if state.low_power_mode else 'off'}")
        if state.low_power_mode:
            switch = "sudo pmset -a lowpowermode 0" if facts.is_mac else "switch power saving off"
            remedies.append(switch)
    found = ", ".join(words)
    return question.warns(found, "; ".join(remedies)) if remedies else question.passes(found)


def thermal(facts: DoctorFacts) -> Check | None:
    """Whether the system limits its clocks because it is hot."""
    question = Question(
        "thermal",
        "nominal",
        "a hot machine runs slower: the same run gives different times an hour later",
    )
    level = facts.machine.thermal
    if isinstance(level, Unavailable):
        return question.unknown(level)
    if level == "nominal":
        return question.passes(level)
    busy = "top -o cpu" if facts.is_mac else "top"
    return question.warns(
        _THERMAL_WORDS[level], f"let it cool down; to see which programs keep it busy: {busy}"
    )


def load(facts: DoctorFacts) -> Check | None:
    """The load of other programs."""
    on_cpu = facts.expected_device() == "cpu"
    most = much_load_per_core(on_cpu=on_cpu)
    question = Question(
        "load",
        "less than half of the cores busy" if on_cpu else "one core free",
        "other programs take time and memory from a run, in varying amounts",
    )
    average, cores = facts.machine.load_1min, facts.machine.identity.cores_logical
    if isinstance(average, Unavailable):
        return question.unknown(average)
    if isinstance(cores, Unavailable):
        return question.unknown(cores)
    found = f"load average {average:.1f} on {cores} cores"
    if average <= cores * most:
        return question.passes(found)
    top = "top -o cpu" if facts.is_mac else "top"
    return question.warns(found, f"see which programs are running, and end them or wait: {top}")


def scheduling(facts: DoctorFacts) -> Check | None:
    """The scheduling priority of this process; omitted if it is ordinary, as it nearly
    always is."""
    reported = facts.machine.scheduling
    background = known(reported.background) and reported.background
    niceness = reported.nice if known(reported.nice) else 0
    if not background and niceness <= 0:
        return None
    question = Question(
        "scheduling",
        "ordinary priority",
        "processes started from here inherit it: on a Mac background work runs on the slow cores "
        "only, elsewhere it waits for other processes",
    )
    found = "in the background" if background else f"with niceness {niceness}"
    return question.warns(
        f"this terminal runs {found}", "open a new terminal, without nice or taskpolicy"
    )


def gpu(facts: DoctorFacts) -> Check | None:
    """An NVIDIA GPU: enough memory for the model, idle, and not throttled."""
    if not facts.nvidia:
        return None
    needs, now = _device_needs(facts), facts.machine.gpu
    most = "enough" if needs is None else gigabytes(needs.most)
    question = Question(
        "gpu",
        f"{most} of its memory free for {facts.model.outline.name}, and no other program using it",
        "the GPU's own memory is the limit, and other programs that use it slow a run down",
    )
    names, total, used = (
        facts.machine.identity.gpus,
        now.memory_total_bytes,
        now.memory_used_bytes,
    )
    if isinstance(names, Unavailable):
        return question.unknown(names)
    if isinstance(total, Unavailable):
        return question.unknown(total)
    if isinstance(used, Unavailable):
        return question.unknown(used)
    found = f"{names[0]}, {gigabytes(total)}, {gigabytes(used)} in use"
    if known(now.temperature_c):
        found += f", {now.temperature_c:.0f} °C"
    if needs is None:
        return question.unknown(_NO_SIZE)
    if total < needs.least:
        return question.fails(found, "use a smaller model: sdbench run --model synthetic/tiny")
    remedies = []
    if total - used < needs.most or used > total * _BUSY_GPU_SHARE:
        remedies.append("see which programs use it, and wait or end them: nvidia-smi")
    if known(now.throttled) and now.throttled:
        found += f", throttled: {', '.join(now.throttled)}"
        if not GPU_SLOWED.isdisjoint(now.throttled):
            remedies.append("see the reason: nvidia-smi -q -d PERFORMANCE")
    return question.warns(found, "; ".join(remedies)) if remedies else question.passes(found)
