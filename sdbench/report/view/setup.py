"""What a run was made on and how: marks, machine, set-up, environment, method."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdbench.analysis.beside import MARK as SEVERAL_DEVICES
from sdbench.analysis.beside import beside_words
from sdbench.analysis.iterations import ITERATIONS_EXPLAINED
from sdbench.analysis.run_summary import RunSummary, device_facts, is_virtual
from sdbench.knowledge.coverage import beyond_tables
from sdbench.knowledge.memory_limits import check_watermarks, removes_memory_limit
from sdbench.plan.config import FEWEST_PASSES, MOST_PASSES
from sdbench.records import Run
from sdbench.report.view.correctness_words import check_words, not_float64_words
from sdbench.report.view.model import Line, Mark, SetupCheck, Tone
from sdbench.report.view.passes import count_words
from sdbench.runs import LoadedRun
from sdbench.stats import DEFAULT_THRESHOLD, MIN_PROCESSES
from sdbench.words import machine_words, memory_words, size

_REMEDY = "sdbench doctor says what is wrong and how to fix it"
# What a machine has as it is sold, in powers of two, wherever it is recorded.
_MACHINE_MEMORY = ("memory_bytes", "total_bytes")
VIRTUAL_GPU = "VIRTUAL GPU"
"""The mark of a run whose times mean nothing for a real machine."""
# Worst first.
TONES: tuple[Tone, ...] = ("bad", "warning", "unknown", "good")


def marks_of(loaded: LoadedRun, summary: RunSummary) -> Iterator[Mark]:
    """What must be seen first: that something is not a real machine at its ordinary work."""
    run = loaded.run
    recorded = run.machine_facts.get("simulated") is True
    if summary.simulated:
        stand_in = "" if recorded else " A stand-in device was used."
        yield Mark("SIMULATED", f"No real device made these results.{stand_in}")
    if recorded:
        yield Mark(
            "RECORDING",
            "The facts about the machine come from a recording and were not measured here.",
        )
    if any(map(is_virtual, loaded.replicates)) or (run.device == "mps" and run.on_virtual_mac):
        sentence = (
            "The GPU belongs to a virtual machine: its times are not representative of a real one."
        )
        yield Mark(VIRTUAL_GPU, sentence)
    elif run.identity("virtual") is True:
        sentence = (
            "The run was made in a virtual machine: other machines on its host may slow it down."
        )
        if run.on_virtual_mac:
            sentence += " It is a virtual Mac: its times mean nothing for a real one."
        yield Mark("VIRTUAL MACHINE", sentence)
    beside = beside_words(run)
    if beside is not None:
        yield Mark(SEVERAL_DEVICES, f"The times were {beside}.")
    if run.preload:
        yield Mark("PRELOAD", f"Workers imported this before torch: {', '.join(run.preload)}.")


def machine_lines(loaded: LoadedRun) -> list[Line]:
    """Machine, device, environments and model: four lines for the first screen."""
    run = loaded.run
    stacks = "; ".join(_stack_words(name, run) for name in run.stacks)
    machine = machine_words(run.machine, run.machine_facts, unknown="an unknown machine")
    weights = "trained" if run.model.trained else "random weights: its images are noise"
    return [
        Line("machine", machine),
        Line("device", _device_words(loaded)),
        Line("software", stacks),
        Line("model", f"{run.model.title} ({weights})"),
    ]


def gpu_words(facts: Mapping[str, Any]) -> str:
    """``NVIDIA H200, 140 GB``: a CUDA device and its memory, which it calls a recommended most."""
    memory = facts.get("recommended_max_bytes")
    words = [str(facts.get("name") or ""), memory_words(memory) if memory else ""]
    return ", ".join(word for word in words if word)


def _device_words(loaded: LoadedRun) -> str:
    facts = device_facts(loaded.replicates)
    name = f", {facts['name']}" if facts.get("name") and loaded.run.device != "cpu" else ""
    if loaded.run.device == "cuda" and gpu_words(facts):
        name = f", {gpu_words(facts)}"
    cores = f", {facts['gpu_cores']} GPU cores" if facts.get("gpu_cores") else ""
    return f"{loaded.run.device}{name}{cores}"


def _stack_words(name: str, run: Run) -> str:
    stack = run.stacks[name]
    packages = [
        f"{package} {stack.packages[package]}"
        for package in ("torch", "diffusers")
        if package in stack.packages
    ]
    words = ", ".join([*packages, f"Python {stack.python}"])
    return f"{name}: {words}" if len(run.stacks) > 1 else words


def setup_of(loaded: LoadedRun, summary: RunSummary) -> list[SetupCheck]:
    """Whether the machine is set up right, from what the run recorded, worst first."""
    checks = [
        *_device_check(loaded),
        *_python_check(loaded.run),
        *_memory_limit_checks(loaded.run),
        *_condition_checks(loaded, summary),
        *_small_picture_checks(loaded),
        *_new_to_sdbench_checks(loaded),
    ]
    return sorted(checks, key=lambda check: TONES.index(check.tone))


def setup_sentence(checks: Sequence[SetupCheck]) -> tuple[Tone, str]:
    """All checks in one tone and one sentence."""
    counts = Counter(check.tone for check in checks)
    wrong = counts["bad"] + counts["warning"]
    if wrong:
        things = "thing is not as it" if wrong == 1 else "things are not as they"
        return "bad" if counts["bad"] else "warning", f"{wrong} {things} should be"
    if not counts["good"]:
        return "unknown", "The run recorded too little to judge this"
    return "good", "The machine is set up correctly, as far as the run recorded it"


def _device_check(loaded: LoadedRun) -> Iterator[SetupCheck]:
    run = loaded.run
    if run.device != "cpu":
        yield SetupCheck("good", "device", f"images are made on {run.device}")
        return
    apple = (run.machine.get("system"), run.machine.get("architecture")) == ("Darwin", "arm64")
    asked = run.config.get("device") == "cpu"
    if apple or run.identity("gpus"):
        found = "images are made on the CPU, though there is a GPU"
        yield SetupCheck(
            "unknown" if asked else "warning",
            "device",
            found + (", as asked for" if asked else ""),
            None if asked else _REMEDY,
        )
    else:
        yield SetupCheck("good", "device", "no GPU here; the CPU makes images")


def _python_check(run: Run) -> Iterator[SetupCheck]:
    translated = run.identity("translated")
    if translated is True:
        yield SetupCheck(
            "bad",
            "Python",
            "it runs under Rosetta, made for Intel",
            "install a Python for arm64; " + _REMEDY,
        )
    elif run.machine.get("system") == "Darwin" and translated is False:
        yield SetupCheck("good", "Python", "made for this chip")


def _memory_limit_checks(run: Run) -> Iterator[SetupCheck]:
    if run.device != "mps":
        return
    for arm in run.plan.arms:
        variables = run.variables(arm)
        problem = check_watermarks(variables)
        if problem is None and removes_memory_limit(variables):
            problem = "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0 removes torch's memory limit"
        if problem is not None:
            yield SetupCheck("warning", "memory limit", problem, "unset the variable")


def _condition_checks(loaded: LoadedRun, summary: RunSummary) -> Iterator[SetupCheck]:
    """What was not as it should be when processes began, in the summary's own words."""
    if not loaded.replicates:
        return
    warnings = [words for words in summary.warnings if words not in loaded.warnings]
    for words in warnings:
        yield SetupCheck("warning", "conditions", words, "fix this and run again")
    gates = [entry.gate for entry in loaded.replicates]
    if not warnings and any(gate.pressure or gate.load_1min is not None for gate in gates):
        yield SetupCheck(
            "good", "conditions", "every process began cool, with memory to spare and no other load"
        )
    elif not warnings:
        yield SetupCheck("unknown", "conditions", "not recorded")


def _small_picture_checks(loaded: LoadedRun) -> Iterator[SetupCheck]:
    for check in loaded.checks[-1:]:
        known = check.verdict != "unknown" or check.content is not None
        tone: Tone = "bad" if check.wrong else "good" if known else "unknown"
        if not check.wrong and check.verdict == "drift":
            tone = "warning"
        yield SetupCheck(
            tone,
            "small image",
            check_words(check),
            "sdbench localise shows which operator is wrong" if check.wrong else None,
        )


def _new_to_sdbench_checks(loaded: LoadedRun) -> Iterator[SetupCheck]:
    """What is assumed of a Mac, a macOS or a torch that no table of this sdbench knows."""
    run = loaded.run
    if run.device != "mps":
        return
    macos = device_facts(loaded.replicates).get("macos")
    if macos is None and run.machine.get("system") == "Darwin":
        macos = run.machine.get("release")
    chip = run.machine.get("chip")
    words = [
        sentence
        for stack in run.stacks.values()
        for sentence in beyond_tables(chip=chip, macos=macos, torch=stack.packages.get("torch"))
    ]
    for sentence in dict.fromkeys(words):
        yield SetupCheck("unknown", "new to sdbench", sentence)


def environment_lines(loaded: LoadedRun) -> list[Line]:
    """Everything recorded of machine, device, software and variables."""
    run = loaded.run
    lines = [
        Line("run", f"{run.run_id}, begun {run.created_utc}"),
        *([Line("label", run.label)] if run.label else []),
        Line("sdbench", f"{run.sdbench}, schema {run.schema}"),
        *_table_lines("machine", run.machine),
        *_device_lines(loaded),
        *_fact_lines(run.machine_facts),
    ]
    for name, stack in run.stacks.items():
        packages = ", ".join(f"{key} {value}" for key, value in stack.packages.items())
        lines.append(Line(f"environment {name}", f"Python {stack.python}, {packages}"))
    lines += [Line(name, value) for name, value in run.environment.items()]
    for arm in run.plan.arms:
        variables = " ".join(f"{name}={value}" for name, value in arm.env.items())
        if variables:
            lines.append(Line(f"variables of variant {arm.name}", variables))
    return lines


def _device_lines(loaded: LoadedRun) -> Iterator[Line]:
    """Metal recommends a maximum; on CUDA the same fact is the memory of the GPU."""
    facts = dict(device_facts(loaded.replicates))
    memory = facts.pop("recommended_max_bytes", None) if loaded.run.device == "cuda" else None
    yield from _table_lines("device", facts)
    if memory is not None:
        yield Line("device: memory", memory_words(memory))


def _table_lines(prefix: str, facts: Mapping[str, Any]) -> Iterator[Line]:
    for name, value in facts.items():
        if value is None or value == "":
            continue
        yield Line(f"{prefix}: {_label(name)}", _value_words(name, value))


def _fact_lines(facts: Mapping[str, Any]) -> Iterator[Line]:
    """At the run's begin: power, heat, load, memory; reasons where something is not known."""
    known = {**(facts.get("memory") or {}), **(facts.get("power") or {})}
    names = ("thermal", "load_1min", "free_disk_bytes")
    known |= {name: facts[name] for name in names if name in facts}
    return _table_lines("at the begin", known)


def _label(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_1min").replace("_", " ")


def _value_words(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"not known: {value.get('unavailable', value)}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _MACHINE_MEMORY and isinstance(value, (int, float)):
        return memory_words(value)
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return size(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def method_lines(loaded: LoadedRun, summary: RunSummary) -> list[Line]:
    """How it was measured: enough to judge the numbers, and to repeat them."""
    run, config = loaded.run, loaded.run.config
    replicates = loaded.replicates
    slots = len(run.plan.slots)
    lines = {
        "unit": (
            f"a separate process for each repetition: {len(replicates)} of {slots} were run, "
            f"{config.get('replicates')} per case and variant, started by {run.plan.start}"
        ),
        "a pass": f"{summary.images} images from prompt to pixels on the host, "
        f"{config.get('steps')} steps, {config.get('scheduler')}, guidance "
        f"{config.get('guidance_scale')}, seed {config.get('seed')}",
        "seconds per image": (
            "the median over processes of each one's median of passes 2 on, divided by the images "
            f"of a pass; {_passes_words(loaded)}. The first pass is reported separately and never "
            "averaged in"
        ),
        "it/s": ITERATIONS_EXPLAINED,
        "interval": "95% t interval on the logarithms of the processes' medians, from "
        f"{MIN_PROCESSES} processes on; with fewer there is no speed verdict",
        "order": (
            "blocks that hold every case and variant once, shuffled by the seed, variants side by "
            "side in turning order, so that drift cancels"
        ),
        "comparison": f"ratios of times; a difference counts from {DEFAULT_THRESHOLD:.0%} on, and "
        "a wrong image gets no speed verdict",
        "right or wrong": _reference_words(loaded),
        "memory": _telemetry_words(loaded, summary),
        "stages": (
            "from a separate profiling pass with the device synchronised at each boundary; never "
            "from a timed pass"
        ),
        "model": _model_words(run),
        **({"mode": _mode_words(run)} if run.image_to_image is not None else {}),
        "prompts": " · ".join(map(str, config.get("prompts", []))),
    }
    return [Line(what, about) for what, about in lines.items()]


def _passes_words(loaded: LoadedRun) -> str:
    """``3 passes per process``, or how many processes made that decided it themselves."""
    asked = loaded.run.config.get("passes")
    if asked != "auto":
        return f"{asked} passes per process"
    rule = (
        f"a process goes on from {FEWEST_PASSES} to {MOST_PASSES} passes, until its steady ones "
        "have lasted as long as its start-up or their median is known to 0.5%"
    )
    made = [count for entry in loaded.replicates if (count := len(entry.of_kind("measured")))]
    return f"{count_words(made)} per process ({rule})" if made else rule


def _reference_words(loaded: LoadedRun) -> str:
    sources = dict.fromkeys(entry.reference for entry in loaded.compared if entry.reference)
    if not sources:
        return "the images were not compared with the CPU's"
    words = (
        "images are compared with the CPU's in float32 from the same noise; how much they may "
        f"differ is the measured effect of rounding. The CPU's are from: {'; '.join(sources)}"
    )
    stayed = not_float64_words(loaded.compared)
    return f"{words}. The noise floor is {stayed}" if stayed else words


def _telemetry_words(loaded: LoadedRun, summary: RunSummary) -> str:
    sampled = [entry.telemetry for entry in loaded.replicates if entry.telemetry is not None]
    sources = dict.fromkeys(
        row.peak_memory_source for row in summary.cases if row.peak_memory_source
    )
    words = f"peaks by {', '.join(sources) or 'nothing'}"
    if sampled:
        words += f"; sampled every {min(one.period_s for one in sampled):.2g} s at a cost of at "
        words += f"most {max(one.cost_share for one in sampled):.2%} of a core"
    return words


def _mode_words(run: Run) -> str:
    return (
        f"{run.mode_words}: pipelines begin with a built-in image of the case's size and make that "
        "share of the steps"
    )


def _model_words(run: Run) -> str:
    words = f"{run.model.title}, {run.model.pipeline_class}, {size(run.model.bytes_on_disk)}"
    if run.model.sha256:
        words += f", SHA-256 {run.model.sha256[:12]}…"
    if not run.model.trained:
        words += (
            ". Random weights by design: time and memory are the real architecture's, images "
            "are noise, and numbers too large for float16 would not show"
        )
    return words
