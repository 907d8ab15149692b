"""TOML to Config. Whatever is wrong is said in one line: which file, key, what was expected."""

import typing
from typing import Any, Literal, NamedTuple

import msgspec

from sdbench.records import (
    Arm,
    Attention,
    Batching,
    Case,
    Dtype,
    Mode,
    Offload,
    Quantization,
    Scheduler,
    TextEncoder,
    VaeDevice,
    VaeDtype,
)

Auto = Literal["auto"]
# After how many blocks a run that goes on until it is decided is looked at (``stats.LOOKS``).
Looks = Literal[3, 5, 8, 13, 21]

# Of ``passes = "auto"``, as ``worker/pass_count.py`` has them: a worker imports nothing of sdbench.
FEWEST_PASSES, FEWEST_PASSES_IN_HASTE, MOST_PASSES = 3, 2, 64


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The axes; the plan is their product.

    Without ``dtype`` the model's or the device's default is meant, without ``scheduler``, ``steps``
    and ``guidance_scale`` those of the run.
    """

    resolution: tuple[str, ...] = ("512x512",)
    attention_slicing: tuple[bool, ...] = (False,)
    warmup: tuple[bool, ...] = (False,)
    batching: tuple[Batching, ...] = ("loop",)
    dtype: tuple[Dtype, ...] | None = None
    vae_slicing: tuple[bool, ...] = (False,)
    vae_tiling: tuple[bool, ...] = (False,)
    attention: tuple[Attention, ...] = ("default",)
    offload: tuple[Offload, ...] = ("none",)
    scheduler: tuple[Scheduler, ...] | None = None
    steps: tuple[int, ...] | None = None
    guidance_scale: tuple[float, ...] | None = None
    vae_dtype: tuple[VaeDtype, ...] = ("same",)
    vae_device: tuple[VaeDevice, ...] = ("same",)
    attention_upcast: tuple[bool, ...] = (False,)
    compile: tuple[bool, ...] = (False,)
    quantization: tuple[Quantization, ...] = ("none",)
    text_encoder: tuple[TextEncoder, ...] = ("resident",)


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some settings of a case: a ``[[case]]`` (changes from the defaults) or an ``[[exclude]]``."""

    resolution: str | None = None
    attention_slicing: bool | None = None
    warmup: bool | None = None
    batching: Batching | None = None
    dtype: Dtype | None = None
    vae_slicing: bool | None = None
    vae_tiling: bool | None = None
    attention: Attention | None = None
    offload: Offload | None = None
    scheduler: Scheduler | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    vae_dtype: VaeDtype | None = None
    vae_device: VaeDevice | None = None
    attention_upcast: bool | None = None
    compile: bool | None = None
    quantization: Quantization | None = None
    text_encoder: TextEncoder | None = None

    def settings(self) -> dict[str, Any]:
        """The settings that are given."""
        return {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process waits for before it starts; ``max_wait_s`` is for the whole sitting."""

    wait_for: tuple[Literal["thermal", "pressure", "load", "battery"], ...] = ()
    max_wait_s: float = 60


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a worker is stopped to protect the machine."""

    max_swap_growth_bytes: float | Auto = "auto"
    max_swapped_out_bytes: float = 20e9
    min_available_bytes: float | Auto = "auto"
    min_free_disk_bytes: float = 10e9


class Pressure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory that a separate process holds while a case runs: each level is a variant of its own.

    A level is a number of bytes, or a share of the machine's memory such as ``50%``.
    """

    hold_bytes: tuple[float | str, ...] = ()


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much time the CPU reference may take."""

    budget_s: float = 600


class UntilDecided(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measure on until every comparison is decided (PROTOCOL 12), instead of ``replicates``.

    ``by`` is what is compared: ``arm``, ``stack`` or an axis; ``auto``: what the plan has several
    of. ``max_processes`` a case and variant is one of the counts after which a run is looked at.
    """

    by: str = "auto"
    threshold: float = 0.03
    max_processes: Looks = 21


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration, every key defaulted. docs/reference/configuration.md has the meanings.

    What a model decides is ``auto`` until :mod:`sdbench.plan.for_model` has resolved it.
    """

    name: str = "custom"
    description: str = ""
    model: str = "synthetic/sd15"
    lora: tuple[str, ...] = ()
    mode: Mode = "text-to-image"
    strength: float | Auto = "auto"
    parts: str = ""
    revision: str = ""
    device: Literal["auto", "mps", "cuda", "cpu"] = "auto"
    steps: int | Auto = "auto"
    guidance_scale: float | Auto = "auto"
    scheduler: Scheduler | Auto = "auto"
    seed: int = 0
    images: int = 4
    passes: int | Auto = "auto"
    sustain_minutes: float = 0
    replicates: int = 3
    until_decided: UntilDecided | None = None
    timeout_s: float | Auto = "auto"
    max_minutes: float = 0
    max_cases: int = 20_000
    max_processes: int = 100_000
    start: Literal["auto", "spawn", "fork"] = "auto"
    prompts: tuple[str, ...] = ("a photo of an astronaut riding a horse on mars",)
    matrix: Matrix | None = None
    case: tuple[Selection, ...] | None = None
    exclude: tuple[Selection, ...] = ()
    arm: tuple[Arm, ...] = (Arm(),)
    gate: Gate = Gate()
    guard: Guard = Guard()
    pressure: Pressure = Pressure()
    reference: Reference = Reference()

    @property
    def fewest_processes(self) -> int:
        """Processes per case and variant that are measured in any case."""
        if self.until_decided is None:
            return self.replicates
        first: int = typing.get_args(Looks)[0]
        return first

    @property
    def fewest_passes(self) -> int:
        """Measured passes that a process makes in any case."""
        return FEWEST_PASSES_IN_HASTE if self.passes == "auto" else self.passes


class Work(NamedTuple):
    """What one call of the pipeline computes, its size and its data type aside."""

    scheduler: Scheduler
    steps: int
    guidance_scale: float


def work_of(config: Config, case: Case) -> Work:
    """The work of a case in a configuration that is resolved for its model.

    Raises:
        ValueError: it is not resolved.
    """
    scheduler = config.scheduler if case.scheduler is None else case.scheduler
    steps = config.steps if case.steps is None else case.steps
    guidance_scale = config.guidance_scale if case.guidance_scale is None else case.guidance_scale
    if scheduler == "auto" or steps == "auto" or guidance_scale == "auto":
        raise ValueError(f"{config.name}: expected a configuration that is resolved for its model")
    return Work(scheduler, steps, guidance_scale)


def steps_made(config: Config, case: Case) -> int:
    """Denoising steps of a call: with an input image the share of them that its strength says.

    Raises:
        ValueError: the configuration is not resolved for its model.
    """
    steps = work_of(config, case).steps
    return steps if config.strength == "auto" else int(steps * config.strength)


def held_bytes(level: float | str, memory_bytes: int) -> int:
    """Bytes of a checked level of ``pressure.hold_bytes`` on a machine with that much memory."""
    if isinstance(level, str):
        return memory_bytes * int(level.rstrip("%")) // 100
    return int(level)
