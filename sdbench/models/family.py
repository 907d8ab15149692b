"""What is special about a family of pipelines, and what holds for one that no file names.

A family is a file of data in ``models/families/``. It holds only what cannot be read from the
model's own folder: defaults with their source, schedulers that fit, the text encoders' limits.
"""

import functools
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Literal

import msgspec

from sdbench.records import Dtype, Scheduler

OWN_SCHEDULER: Final = "own"
"""The scheduler that the model's folder names, as it is configured there."""


class FewStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A distilled model of a family, recognised by values of its configuration files.

    ``when`` maps ``component.key`` (or a key of ``model_index.json``) to the value it has.
    """

    title: str
    when: dict[str, str | bool | int | float]
    steps: int
    guidance_scale: float
    source: str
    scheduler: Scheduler | None = None
    size: str | None = None
    tokens: dict[str, int] | None = None


class Family(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A family of pipelines.

    ``guided_above`` is the guidance scale above which the denoiser is called with twice the
    images; None: it never is. ``tokens`` are the most tokens that each text encoder is given.
    ``image_to_image`` is the class that begins with an image; ``joins_image``: it gives the
    denoiser the tokens of that image as well and makes all steps, so there is no strength.
    ``schedulers`` are the ones that draw the image the model was trained for; None: unknown.
    ``denoiser``: diffusers slices the attention of a UNet only.
    """

    title: str
    pipelines: tuple[str, ...]
    image_to_image: str | None = None
    denoiser: Literal["unet", "transformer"] | None = None
    joins_image: bool = False
    diffusers: str | None = None
    dtype: Dtype | None = None
    scheduler: Scheduler = OWN_SCHEDULER
    steps: int | None = None
    guidance_scale: float | None = None
    size: str | None = None
    size_multiple: int | None = None
    guided_above: float | None = None
    tokens: dict[str, int] = {}
    schedulers: tuple[Scheduler, ...] | None = None
    remark: str | None = None
    few_step: tuple[FewStep, ...] = ()
    source: str = ""

    def for_configs(self, configs: Mapping[str, Mapping[str, Any]]) -> "Family":
        """The family with the defaults of the distilled model that the configurations name.

        Args:
            configs: component to its configuration; ``""`` to ``model_index.json``.
        """
        for few in self.few_step:
            if all(_value_at(configs, place) == value for place, value in few.when.items()):
                given = msgspec.structs.asdict(few)
                changed = {
                    name: value
                    for name, value in given.items()
                    if name != "when" and value is not None
                }
                return msgspec.structs.replace(self, few_step=(), remark=None, **changed)
        return self


def _value_at(configs: Mapping[str, Mapping[str, Any]], place: str) -> Any:
    component, _, key = place.rpartition(".")
    return configs.get(component, {}).get(key)


@functools.cache
def load_families() -> dict[str, Family]:
    """All families by name, as the files of ``models/families`` are called."""
    folder = resources.files("sdbench.models") / "families"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda one: one.name
    )
    return {
        file.name.removesuffix(".toml"): msgspec.toml.decode(file.read_bytes(), type=Family)
        for file in files
    }


def family_of(pipeline_class: str) -> tuple[str | None, Family]:
    """Name and family of a pipeline class; (None, what is unknown) where no file names it."""
    for name, family in load_families().items():
        if pipeline_class in family.pipelines:
            return name, family
    return None, Family(title=pipeline_class, pipelines=(pipeline_class,))


def kind_of_pipeline(pipeline_class: str) -> str:
    """What a title calls a model: ``Stable Diffusion``, ``FLUX.1``; the class where none is known.

    All the families whose class is named so are Stable Diffusion.
    """
    if pipeline_class.startswith("StableDiffusion"):
        return "Stable Diffusion"
    return family_of(pipeline_class)[1].title
