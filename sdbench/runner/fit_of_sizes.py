"""Whether a model fits at the usual image sizes, without a configuration."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from sdbench.errors import ConfigError
from sdbench.models.traits import Traits, traits_of_outline
from sdbench.plan.fit import Room
from sdbench.plan.for_model import check_fit, family_dtype, resolve_for
from sdbench.plan.order import make_plan
from sdbench.plan.predicted_memory import Target, target_of, with_memory
from sdbench.records import ModelInfo, Plan, PredictedMemory
from sdbench.runner.memory_fit import MemoryFit, fit_plan, with_command
from sdbench.runner.request import Request, configure

_CONFIG = "full"  # what it measures is replaced by one case
_USUAL = "512x512"
_SIZES = (_USUAL, "1024x1024")


@dataclass(frozen=True)
class SizeFit:
    """One image of a size, with no option set, in the data type of the model's family."""

    resolution: str
    plan: Plan
    fit: MemoryFit

    @property
    def memory(self) -> PredictedMemory | None:
        """The prediction; None of a model whose size is not known."""
        return self.plan.cases[0].memory


def fit_of_sizes(model: ModelInfo, room: Room) -> list[SizeFit]:
    """The verdict at 512x512, 1024x1024 and the size that the family was made for.

    Sizes that the model does not take are left out. Nothing is downloaded or loaded.
    """
    traits = traits_of_outline(model)
    sizes = {*_SIZES, traits.family.size or _USUAL}
    target = target_of(model, room.device)
    return [*_fits(model, room, target, traits, sorted(sizes, key=_pixels))]


def fit_of_own_size(model: ModelInfo, room: Room) -> SizeFit | None:
    """The verdict at the size that the family was made for; None of a model that takes no such."""
    traits, target = traits_of_outline(model), target_of(model, room.device)
    return next(_fits(model, room, target, traits, [traits.family.size or _USUAL]), None)


def _fits(
    model: ModelInfo, room: Room, target: Target, traits: Traits, sizes: Iterable[str]
) -> Iterator[SizeFit]:
    for resolution in sizes:
        request = Request(
            _CONFIG,
            model=model.name,
            device=room.device,
            overrides=(f'matrix={{resolution=["{resolution}"]}}',),
        )
        config = resolve_for(configure(request, _CONFIG), traits).config
        plan = make_plan(config, room.device, dtype=family_dtype(traits, room.device))
        try:
            check_fit(config, plan, traits)
        except ConfigError:
            continue
        plan = with_memory(plan, config, target)
        fit = with_command(fit_plan(plan, room), request, config, plan, traits, target)
        yield SizeFit(resolution, plan, fit)


def size_document(size: SizeFit) -> dict[str, Any]:
    """The verdict for a script."""
    memory = size.memory
    return {
        "resolution": size.resolution,
        "dtype": size.plan.cases[0].case.dtype,
        "fit": size.fit.fit,
        "peak_bytes": None if memory is None else memory.worst.peak_bytes,
        "process_bytes": None if memory is None else memory.process_bytes,
        "stages": [] if memory is None else msgspec.to_builtins(memory.stages),
        "estimated_from_sizes": [] if memory is None else memory.from_sizes,
        "command": size.fit.command,
    }


def _pixels(resolution: str) -> int:
    width, height = resolution.split("x")
    return int(width) * int(height)
