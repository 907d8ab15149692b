"""Everything between the command line and the first process: plan, device, estimated cost.

Nothing here changes the machine; building or fetching the model and making the run folder come
after the user has agreed.
"""

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from sdbench import __version__, machine
from sdbench.errors import MachineError, UsageError
from sdbench.files.access import make_folder
from sdbench.knowledge.chips import chip_of_machine
from sdbench.knowledge.memory_limits import HIGH, check_watermarks, removes_memory_limit
from sdbench.machine.facts import Identity, MachineFacts, or_none
from sdbench.machine.recording import VARIABLE as RECORDING
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.resolve import ModelSource, find_model
from sdbench.models.tokenizer import Tokenizer, read_tokenizer
from sdbench.models.traits import Traits, traits_of
from sdbench.plan.config import Config
from sdbench.plan.cost import Estimate, Pace, Rates, estimate_passes, estimate_run, estimate_slot
from sdbench.plan.for_model import check_fit, family_dtype
from sdbench.plan.order import axis_to_decide, make_plan, with_blocks
from sdbench.plan.predicted_memory import target_of, with_memory
from sdbench.privacy.redact_recorded import recorded_environment
from sdbench.process.environment import PRELOAD, preload_modules, worker_environment
from sdbench.process.executor import Executor
from sdbench.process.find_device import FoundDevice, accelerator_possible, find_device
from sdbench.process.resolve_defaults import resolve_defaults
from sdbench.process.room import room_now
from sdbench.records import DeviceKind, ModelInfo, Plan, Run, Session, StackInfo
from sdbench.runner.flagging import flagged
from sdbench.runner.from_image import check_input_image, image_to_image_of
from sdbench.runner.loop import new_run_id
from sdbench.runner.machine_remarks import machine_remarks
from sdbench.runner.memory_fit import MemoryFit, fit_plan, with_command
from sdbench.runner.predictions import expected_of, rates_of, why_not_predicted, with_times
from sdbench.runner.request import CPU_DEFAULT_CONFIG, DEFAULT_CONFIG, Request, configure
from sdbench.runs import not_writable
from sdbench.stacks import resolve_stack
from sdbench.stacks.created import changes

# A longer run is asked about first.
ASK_BEYOND_S = 20 * 60
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start."""

    request: Request
    config: Config
    device: FoundDevice
    stacks: dict[str, StackInfo]
    model: ModelSource
    plan: Plan
    estimate: Estimate
    memory: MemoryFit
    at_most: Estimate
    """The same as ``estimate``, or more where the run goes on until it is decided."""
    facts: MachineFacts
    machine: dict[str, Any]
    """The facts that reports and comparisons name, flat."""
    traits: Traits
    resolved: dict[str, str]
    """Of each setting that was left to the model, what it was taken from."""
    remarks: tuple[str, ...] = ()
    """What the user should know before it starts."""
    likely_s: tuple[float, float] | None = None
    """The interval of ``estimate`` where it is predicted from published figures of a Mac's chip."""

    @property
    def cores(self) -> int:
        """Physical cores of the machine."""
        return cores_of(self.machine)

    @property
    def fewest_passes(self) -> int:
        """Measured passes of a process, as estimated; of the case that makes fewest."""
        plan, model, kind = self.plan, self.model.outline(), self.device.kind
        cases = [plan.planned(case_id).case for case_id in {slot.case_id for slot in plan.slots}]
        rates = expected_of(rates_of(self.machine, model, kind))
        counts = (
            estimate_passes(self.config, case, model, kind, self.cores, plan.start, rates)
            for case in cases
        )
        return min(counts, default=self.config.fewest_passes)

    def questions(self) -> list[str]:
        """What the user must agree to first, in words; empty for an ordinary run."""
        asked = []
        if self.at_most.duration_s > ASK_BEYOND_S:
            about = "about" if self.at_most == self.estimate else "up to"
            asked.append(f"it takes {about} {self.at_most.duration_s / 3600:.1f} hours")
        download = self.model.download
        if download is not None:
            asked.append(
                f"it downloads {len(download.files)} files, {download.size_bytes / 1e9:.1f} GB, "
                f"from the Hub ({download.repository}, {download.conditions}); "
                f"{shutil.disk_usage(Path.home()).free / 1e9:.0f} GB of disk are free"
            )
        worst = None if self.memory.worst is None else self.memory.demands[self.memory.worst]
        if worst is not None and worst.fit in ("swaps", "fails") and worst.free_bytes is not None:
            asked.append(
                f"it needs about {worst.peak_bytes / 1e9:.1f} GB of memory and "
                f"{worst.free_bytes / 1e9:.1f} GB are free"
            )
        held = max(arm.hold_bytes for arm in self.plan.arms)
        if held:
            asked.append(
                f"a process holds up to {held / 1e9:.1f} GB of memory while cases run "
                "(pressure.hold_bytes), which slows down everything else on this machine"
            )
        return asked


def prepare(request: Request, executor: Executor) -> Prepared:
    """Read the configuration, find device and model, make the plan.

    Raises:
        UsageError, ConfigError: the request is invalid.
        MachineError, ModelError: this machine cannot carry it out.
    """
    if len(request.label or "") > _LONGEST_LABEL:
        raise UsageError(
            f"--label: expected at most {_LONGEST_LABEL} characters, got {len(request.label or '')}"
        )
    config = configure(request, request.config or DEFAULT_CONFIG)
    stacks = {arm.stack: resolve_stack(arm.stack) for arm in config.arm}
    if config.device == "mps" or (config.device == "auto" and accelerator_possible("mps")):
        _check_variables(config, unsafe_memory=request.unsafe_memory)
    model = _find_model(request, config)  # before any process is started
    device = _find_device(config, stacks, executor)
    if device.kind == "cpu" and request.config in (None, DEFAULT_CONFIG):
        config = configure(request, CPU_DEFAULT_CONFIG)
        if request.model is None:
            model = _find_model(request, config)
    facts = machine.probe_machine(machine.open_system(), Path.cwd())
    identity = machine_record(facts.identity)
    cores = cores_of(identity)
    traits, first = traits_of(model), config.arm[0]
    resolved = resolve_defaults(
        config, traits, stacks[first.stack].interpreter, worker_environment(first.env), executor
    )
    config, dtype = resolved.config, family_dtype(traits, device.kind)
    memory_bytes, gpus = memory_bytes_of(identity), device.facts.get("devices")
    plan = make_plan(config, device.kind, request.only, memory_bytes, dtype, gpus)
    check_fit(config, plan, traits)
    if facts.simulated and any(arm.hold_bytes for arm in plan.arms):
        raise UsageError(
            f"pressure.hold_bytes: the guard does not see this machine's memory while {RECORDING} "
            "is set, so no ballast is held; unset it, or remove [pressure]"
        )
    target = target_of(model.outline(), device.kind)
    plan = flagged(plan, config, device, stacks, model, identity["chip"])
    plan = with_memory(plan, config, target)
    plan = with_times(plan, config, model.outline(), identity, device.kind)
    room = room_now(
        *(facts, device.kind, device.memory_bytes, worker_environment(first.env)),
        held_bytes=max(arm.hold_bytes for arm in plan.arms),
        virtual_gpu=bool(device.facts.get("virtualised")),
    )
    memory = with_command(fit_plan(plan, room), request, config, plan, traits, target)
    longest = plan
    if config.until_decided is not None:
        settings = msgspec.structs.replace(config.until_decided, by=axis_to_decide(config, plan))
        config = msgspec.structs.replace(config, until_decided=settings)
        longest = with_blocks(plan, settings.max_processes, config.seed)
    found = rates_of(identity, model.outline(), device.kind)
    estimate, at_most = (
        estimate_run(config, one, model.outline(), device.kind, cores, expected_of(found))
        for one in (plan, longest)
    )
    likely_s = None
    if found is not None and any(one.time is not None for one in plan.cases):
        fast, slow = (
            estimate_run(config, plan, model.outline(), device.kind, cores, rates).duration_s
            for rates in (found.highest, found.lowest)
        )
        likely_s = fast, slow
    not_predicted = why_not_predicted(plan, identity, model.outline(), device.kind)
    return Prepared(
        request=request,
        config=config,
        device=device,
        stacks=stacks,
        model=model,
        plan=plan,
        estimate=estimate,
        at_most=at_most,
        memory=memory,
        facts=facts,
        machine=identity,
        traits=traits,
        resolved=resolved.sources,
        likely_s=likely_s,
        remarks=(
            *dict.fromkeys(machine_remarks(device, identity, stacks)),
            *_family_remarks(traits, resolved.sources),
            *prompt_remarks(config, model.name, model.tokenizer_folder),
            *([] if not_predicted is None else [not_predicted]),
        ),
    )


def _find_model(request: Request, config: Config) -> ModelSource:
    return find_model(
        config.model,
        allow_pickle=request.allow_pickle,
        lora=config.lora,
        parts=config.parts,
        revision=config.revision,
    )


def _family_remarks(traits: Traits, sources: Mapping[str, str]) -> tuple[str, ...]:
    """What cannot be read from the model's folder, where that was relied on."""
    remark = traits.family.remark
    return () if remark is None or not sources else (remark,)


def prompt_remarks(
    config: Config, model: str, folder: Path | None, *, quoting: bool = True
) -> tuple[str, ...]:
    """What of the prompts the model will not read; nothing where its tokenizer is not here yet."""
    if model in SYNTHETIC:
        first, *others = SYNTHETIC[model].tokenizer_kinds
        tokenizer = Tokenizer({}, beside=" and ".join(others)) if first == "CLIP" else None
    else:
        tokenizer = None if folder is None else read_tokenizer(folder)
    if tokenizer is None:
        return ()
    used = enumerate(config.prompts[: config.images], start=1)
    remarks = (tokenizer.measure(text).remark(number, quoting=quoting) for number, text in used)
    return tuple(remark for remark in remarks if remark is not None)


def machine_record(identity: Identity) -> dict[str, Any]:
    """The flat part of ``run.json``; what is not known is None."""
    mac = identity.system == "Darwin"
    return {
        "system": identity.system,
        "release": or_none(identity.os_version if mac else identity.os_build),
        "build": or_none(identity.os_build),
        "architecture": or_none(identity.architecture),
        "chip": chip_of_machine(or_none(identity.chip), identity.virtual),
        "model": or_none(identity.model),
        "cores_physical": or_none(identity.cores_physical),
        "cores_logical": or_none(identity.cores_logical),
        "gpu_cores": or_none(identity.gpu_cores),
        "translated": or_none(identity.translated),
        "virtual": or_none(identity.virtual),
        "memory_bytes": or_none(identity.memory_bytes),
    }


def cores_of(record: Mapping[str, Any]) -> int:
    """Physical cores for estimates: of the machine at hand where its record does not tell."""
    return int(record["cores_physical"] or os.cpu_count() or 1)


def memory_bytes_of(record: Mapping[str, Any]) -> int:
    """Memory for limits and estimates, as :func:`cores_of`."""
    import psutil

    return int(record["memory_bytes"] or psutil.virtual_memory().total)


def _check_variables(config: Config, *, unsafe_memory: bool) -> None:
    """Look at the allocator's limits before a worker does; it would find out after loading.

    Raises:
        UsageError: limits that contradict each other, or none at all without ``--unsafe-memory``.
    """
    for arm in config.arm:
        environment = worker_environment(arm.env)
        problem = check_watermarks(environment)
        if removes_memory_limit(environment) and not unsafe_memory:
            problem = (
                f"{HIGH}={environment[HIGH]} lifts the memory limit, which can freeze the whole "
                "machine; add --unsafe-memory if this is intended"
            )
        if problem is not None:
            raise UsageError(f"variant {arm.name}: {problem}")


def make_run(prepared: Prepared, model: ModelInfo) -> Run:
    """A new run; ``redact_recorded.hidden_run`` is what may be written down of it."""
    now = datetime.now(timezone.utc)
    return Run(
        run_id=new_run_id(prepared.config.name, now, os.urandom(2)),
        label=prepared.request.label,
        created_utc=now.isoformat(timespec="milliseconds"),
        sdbench=__version__,
        device=prepared.device.kind,
        simulated=prepared.device.simulated or prepared.facts.simulated,
        config=msgspec.to_builtins(prepared.config)
        | {"allow_pickle": prepared.request.allow_pickle},
        plan=prepared.plan,
        model=model,
        stacks=prepared.stacks,
        machine=prepared.machine,
        machine_facts=msgspec.to_builtins(prepared.facts),
        machine_id=machine.machine_id(),
        environment=recorded_environment(os.environ),
        preload=preload_modules(os.environ),
        sittings=[new_sitting()],
        # Of a model that was downloaded only now, nothing was known before.
        prompt_remarks=list(
            prompt_remarks(prepared.config, model.name, Path(model.path), quoting=False)
        ),
        resolved=prepared.resolved,
        image_to_image=image_to_image_of(prepared.config, prepared.plan, model),
    )


def new_sitting() -> Session:
    """The three clocks, now."""
    return Session(
        started_utc=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        monotonic_s=time.monotonic(),
        boot_id=machine.boot_id(),
    )


def check_same_machine(run: Run) -> None:
    """Refuse to mix two machines in one run.

    Raises:
        MachineError: the run was begun on another one.
    """
    if machine.machine_id() != run.machine_id:
        raise MachineError(
            f"{run.run_id} was begun on another machine ({run.machine.get('chip')}); start a new "
            "run here and compare both runs"
        )


def check_resumable(run: Run) -> None:
    """Refuse to mix two machines or two environments in one run (its paths shown again).

    The interpreters that the run names are started: it must be this installation's own, or
    :func:`sdbench.runner.strangers_run.adopted`.

    Raises:
        MachineError: the machine, an interpreter's versions, the preload or a variable changed.
    """
    check_same_machine(run)
    check_input_image(run)
    if preload_modules(os.environ) != run.preload:
        before = ",".join(run.preload) or "(unset)"
        raise MachineError(f"{run.run_id} was begun with {PRELOAD}={before}")
    environment = recorded_environment(os.environ)
    changed_variables = changes(_deciding(run.environment), _deciding(environment))
    if changed_variables:
        raise MachineError(
            f"the environment has changed since {run.run_id} began: {', '.join(changed_variables)}"
        )
    for name, recorded in run.stacks.items():
        changed = stack_changes(recorded, recorded.interpreter)
        if changed:
            raise MachineError(
                f"environment {name} has changed since {run.run_id} began: {', '.join(changed)}; "
                "start a new run"
            )


def stack_changes(recorded: StackInfo, stack: str) -> list[str]:
    """What has another version in an environment now than was recorded; empty: nothing.

    Raises:
        UsageError, MachineError: the environment no longer exists, or cannot be started.
    """
    now = resolve_stack(stack)
    return changes(
        {"Python": recorded.python, **recorded.packages}, {"Python": now.python, **now.packages}
    )


def _deciding(environment: dict[str, str]) -> dict[str, str]:
    """The variables that change times or images, not only where things are kept."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("SDBENCH_", "HF_HUB_"))
    }


def same_model(run: Run, *, may_download: bool) -> Run:
    """The run with its model ready again, wherever it lies now.

    Raises:
        MachineError: the model is not the one the run began with, or not here.
    """
    source = find_model(
        run.model.name,
        allow_pickle=run.config.get("allow_pickle") is True,
        lora=run.config.get("lora", ()),
        parts=run.config.get("parts", ""),
        revision=_revision_of(run),
    )
    if source.download is not None and not may_download:
        raise MachineError(
            f"{run.model.name} is not on this machine, and {run.run_id} was not made by this "
            "installation of sdbench: a new run asks before it downloads a model"
        )
    model = source.prepare()
    if model.sha256 != run.model.sha256:
        raise MachineError(
            f"{run.model.name} has changed since {run.run_id} began; start a new run"
        )
    return msgspec.structs.replace(run, model=model)


def _revision_of(run: Run) -> str:
    """The commit of a run's model of the Hub, whatever its branch stands for now."""
    asked = str(run.config.get("revision", ""))
    on_hub = not Path(run.model.name).exists()
    return run.model.revision if on_hub and run.model.revision is not None else asked


def make_pace(
    config: Config, plan: Plan, model: ModelInfo, device: DeviceKind, machine: Mapping[str, Any]
) -> Pace:
    """The estimates of a plan's cases on a machine of that record.

    What is predicted from published figures is shown; time limits do not rely on it.
    """
    found, cores = rates_of(machine, model, device), cores_of(machine)

    def estimates(rates: Rates | None) -> dict[str, float]:
        common = (model, device, cores, plan.start, rates)
        return {one.case_id: estimate_slot(config, one.case, *common) for one in plan.cases}

    if found is None:
        return Pace(estimates(None))
    return Pace(estimates(found.expected), estimates(None))


def _find_device(config: Config, stacks: dict[str, StackInfo], executor: Executor) -> FoundDevice:
    """The device of the first variant; every variant of a run is measured on the same one."""
    first = config.arm[0]
    return find_device(
        config.device,
        stacks[first.stack].interpreter,
        worker_environment(first.env),
        executor,
    )


def require_room(root: Path, config: Config) -> None:
    """Fail before anything is built or recorded if the results cannot be written.

    Raises:
        UsageError: the folder cannot be made or written.
        StoreError: the disk is at fault.
        MachineError: less disk is free than the guard asks for, so it would stop every worker.
    """
    try:
        make_folder(root)
    except OSError as error:
        raise not_writable(f"-o {root}: cannot be made", error) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise UsageError(f"-o {root}: cannot be written")
    free, needed = shutil.disk_usage(root).free, config.guard.min_free_disk_bytes
    if free < needed:
        raise MachineError(
            f"{free / 1e9:.1f} GB of disk are free in {root}, {needed / 1e9:.1f} GB are required; "
            "make room, or lower guard.min_free_disk_bytes"
        )
