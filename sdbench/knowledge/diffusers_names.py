"""Names of diffusers for scripts and snippets: what a run says is looked up here. Pure."""

from collections.abc import Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

from sdbench.errors import StoreError
from sdbench.records import AXES, Case, ModelInfo

_SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmsolver": "DPMSolverMultistepScheduler",
}
# Another class could be one that takes its code from the Hub.
_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
PROCESSORS = {"math": "AttnProcessor", "sdpa": "AttnProcessor2_0"}


def scheduler_class(config: Mapping[str, Any]) -> str:
    """The scheduler of a run's configuration.

    Raises:
        StoreError: it is none that sdbench knows.
    """
    return _SCHEDULERS[_known("config.scheduler", config.get("scheduler"), _SCHEDULERS)]


def pipeline_class(model: ModelInfo) -> str:
    """The pipeline of a run's model.

    Raises:
        StoreError: it is none that sdbench knows.
    """
    return _known("model.pipeline_class", model.pipeline_class, _PIPELINES)


def switches(case: Case) -> list[str]:
    """The lines that switch slicing and tiling on, in ``pipe``."""
    return [axis.code for name, axis in AXES.items() if axis.code and getattr(case, name)]


def dtype_option(packages: Mapping[str, str]) -> str:
    """What ``from_pretrained`` calls it: ``dtype`` from diffusers 0.42 on, as in the worker."""
    try:
        newer = Version(packages.get("diffusers", "")) >= Version("0.42.dev0")
    except InvalidVersion:
        newer = False
    return "dtype" if newer else "torch_dtype"


def _known(key: str, value: Any, choices: Mapping[str, Any] | tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise StoreError(f"run.json: {key}: expected {' or '.join(choices)}, got {value!r:.60}")
    return value
