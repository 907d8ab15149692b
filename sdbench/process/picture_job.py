"""What a worker is told about the images it makes."""

from typing import Any

import msgspec

from sdbench.models.family import family_of
from sdbench.plan.config import Config, work_of
from sdbench.records import Case, DeviceKind, ModelInfo


def picture_job(
    config: Config, model: ModelInfo, device: DeviceKind, case: Case, *, allow_pickle: bool
) -> dict[str, Any]:
    """Everything that decides the images of a case; each kind of job adds what it does."""
    work, family = work_of(config, case), family_of(model.pipeline_class)[1]
    beginning = {
        "mode": config.mode,
        "strength": config.strength,
        "image_to_image": family.image_to_image,
    }
    return {
        "device": device,
        "model_path": model.path,
        "pipeline_since": family.diffusers,
        "single_file": model.file,
        "in_single_file": model.in_file,
        "loras": [msgspec.to_builtins(lora) for lora in model.loras],
        "allow_pickle": allow_pickle,
        "scheduler": work.scheduler,
        "steps": work.steps,
        "guidance_scale": work.guidance_scale,
        "seed": config.seed,
        "images": config.images,
        "prompts": list(config.prompts),
        "case": msgspec.to_builtins(case) | {"width": case.width, "height": case.height},
        **(beginning if config.mode == "image-to-image" else {}),
    }
