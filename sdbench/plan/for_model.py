"""A configuration for one model: what it leaves to the model, and what the model does not take."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from sdbench.errors import ConfigError
from sdbench.models.family import OWN_SCHEDULER, load_families
from sdbench.models.resolve import find_model
from sdbench.models.traits import Traits, traits_of
from sdbench.plan.config import Config, steps_made, work_of
from sdbench.plan.read_config import load_config, nearest_sizes
from sdbench.records import Case, DeviceKind, Dtype, Plan

# Strong enough for another image, with most of the steps made.
_STRENGTH = 0.6
# Of a class that nobody knows anything of.
_STEPS, _GUIDANCE = 20, 7.5
_NO_SOURCE = "no source; the default of sdbench for an unknown class"


class CallDefaults(NamedTuple):
    """Defaults of a pipeline's ``__call__``.

    ``steps`` is None where it has no number, ``guidance_scale`` where it has no such argument.
    """

    steps: int | None
    guidance_scale: float | None


class Resolved(NamedTuple):
    """A configuration with numbers only, and for each key that was ``auto`` where it is from."""

    config: Config
    sources: dict[str, str]


def needs_signature(config: Config, traits: Traits) -> bool:
    """Whether only the environment can say what ``auto`` means, or whether it has the mode."""
    family = traits.family
    if traits.family_name is None and config.mode == "image-to-image":
        return True
    return (config.steps == "auto" and family.steps is None) or (
        config.guidance_scale == "auto" and family.guidance_scale is None
    )


def resolve_for(config: Config, traits: Traits, call: CallDefaults | None = None) -> Resolved:
    """Replace every ``auto`` that is for the model to say.

    Args:
        config: as it was written.
        traits: of the model.
        call: of the pipeline's signature, where :func:`needs_signature` asked for it.
    """
    given, sources = config, {}
    if config.scheduler == "auto":
        scheduler = traits.family.scheduler
        sources["scheduler"] = "the model's folder" if scheduler == OWN_SCHEDULER else traits.source
        given = msgspec.structs.replace(given, scheduler=scheduler)
    if config.steps == "auto":
        steps, sources["steps"] = _steps(traits, call)
        given = msgspec.structs.replace(given, steps=steps)
    if config.guidance_scale == "auto":
        scale, sources["guidance_scale"] = _guidance(traits, call)
        given = msgspec.structs.replace(given, guidance_scale=scale)
    if config.mode == "image-to-image" and config.strength == "auto":
        strength = 1.0 if traits.family.joins_image else _STRENGTH
        given = msgspec.structs.replace(given, strength=strength)
    return Resolved(given, sources)


def _steps(traits: Traits, call: CallDefaults | None) -> tuple[int, str]:
    if traits.family.steps is not None:
        return traits.family.steps, traits.source
    if call is not None and call.steps is not None:
        return call.steps, _signature(traits)
    return _STEPS, _NO_SOURCE


def _guidance(traits: Traits, call: CallDefaults | None) -> tuple[float, str]:
    if traits.family.guidance_scale is not None:
        return traits.family.guidance_scale, traits.source
    if call is None:
        return _GUIDANCE, _NO_SOURCE
    if call.guidance_scale is None:
        return 0.0, f"{_signature(traits)}, which has no guidance_scale"
    return call.guidance_scale, _signature(traits)


def _signature(traits: Traits) -> str:
    return f"the signature of {traits.pipeline_class}"


def shipped_for_its_model(name: str) -> Config:
    """A shipped configuration, resolved for the model that it names."""
    config = load_config(name)
    return resolve_for(config, traits_of(find_model(config.model))).config


def family_dtype(traits: Traits, device: DeviceKind) -> Dtype | None:
    """The data type that the family was published for; None: the device's usual one is as good.

    On the CPU float32 is meant, whatever the family: half precision takes many times as long there.
    """
    return None if device == "cpu" else traits.family.dtype


def check_fit(config: Config, plan: Plan, traits: Traits) -> None:
    """Refuse what this model would turn into another image, or into an error after loading.

    Raises:
        ConfigError: a size, a scheduler or the mode does not fit the model.
    """
    cases = [planned.case for planned in plan.cases if planned.skip_reason is None]
    _check_sizes(config, cases, traits)
    _check_schedulers(config, cases, traits)
    check_mode(config, cases, traits)


def check_mode(config: Config, cases: Iterable[Case], traits: Traits) -> None:
    """Refuse to begin with an image where the model cannot, or where no step would be made.

    Raises:
        ConfigError: the family has no such pipeline, takes no strength, or too few steps are made.
    """
    if config.mode == "text-to-image" or config.strength == "auto":
        return
    family = traits.family
    if traits.family_name is not None and family.image_to_image is None:
        raise no_image_to_image(config, traits)
    if family.joins_image and config.strength != 1:
        raise ConfigError(
            config.name,
            "strength",
            f"{family.title} takes no strength and makes all of its steps; leave it out",
        )
    for case in cases:
        if steps_made(config, case) < 1:
            steps = work_of(config, case).steps
            raise ConfigError(
                config.name,
                "strength",
                f"expected at least one step, got {steps} steps × strength {config.strength:g}",
            )


def no_image_to_image(config: Config, traits: Traits) -> ConfigError:
    """What to raise for a model that cannot begin with an image; names the families that can."""
    able = (one.title for one in load_families().values() if one.image_to_image is not None)
    return ConfigError(
        config.name,
        "mode",
        f"{traits.family.title} has no image-to-image pipeline; these families have one: "
        f"{', '.join(able)}",
    )


def _check_sizes(config: Config, cases: Iterable[Case], traits: Traits) -> None:
    multiple = traits.size_multiple
    for case in cases:
        if multiple and (case.width % multiple or case.height % multiple):
            raise ConfigError(
                config.name,
                "resolution",
                f"expected multiples of {multiple} for {traits.family.title}, got "
                f"{case.resolution!r}{nearest_sizes(case.resolution, multiple)}",
            )


def _check_schedulers(config: Config, cases: Iterable[Case], traits: Traits) -> None:
    fitting = (OWN_SCHEDULER, *(traits.family.schedulers or ()))
    for case in cases:
        scheduler = work_of(config, case).scheduler
        if scheduler not in fitting:
            raise ConfigError(
                config.name,
                "scheduler",
                f"{scheduler} does not draw what {traits.family.title} was trained for; expected "
                f"one of {', '.join(fitting)}",
            )
