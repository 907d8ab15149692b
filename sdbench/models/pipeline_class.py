"""What the class that ``model_index.json`` names says of a pipeline, without diffusers.

Any class is taken whose name does not say that it is for something else. The worker, which has the
class itself, looks at its signature as well (``worker/pipelines/load.py``).
"""

import re

from sdbench.models.family import load_families
from sdbench.models.folder_files import Fault, shown

STABLE_DIFFUSION: dict[str, tuple[str, ...]] = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder"),
    "StableDiffusionXLPipeline": ("unet", "vae", "text_encoder", "text_encoder_2"),
}
"""Classes of which more is checked: the components with weights that each needs."""
_MEASURED = "sdbench measures text-to-image pipelines"
_OF_THE_FAMILY = "take the text-to-image model of the same family"
# Words of class names, and what such a pipeline needs or makes instead.
_OTHER_PURPOSES = (
    (r"Inpaint|Fill", "it needs an image and a mask to begin with"),
    (
        r"Img2Img|Image(2|To)Image|I2I|Instruct|Edit(?!ing)|Upscale|SuperRes|Refiner|Adapter",
        "it needs an image to begin with",
    ),
    (r"ControlNet|Control", "it needs a control image"),
    (r"Video|AnimateDiff|I2V|T2V|TI2V|World", "it makes video"),
    (r"Audio|Music|Speech", "it makes audio"),
    (r"Depth|Normals|Marigold|Intrinsics", "it estimates maps of an image"),
    (r"Prior(?!\w*Combined)", "it is one half of a pipeline and makes no image"),
)


def other_purpose(pipeline_class: object) -> Fault | None:
    """Why a class is not measured, from its name; None where it may be a text-to-image pipeline."""
    name = shown(pipeline_class)
    if not isinstance(pipeline_class, str) or not re.fullmatch(r"[A-Za-z]\w{0,99}", pipeline_class):
        return Fault(
            f"a {name}; expected {', '.join(STABLE_DIFFUSION)} or another class of diffusers: "
            "sdbench never runs a model's own code",
            "take a Stable Diffusion, SDXL or other text-to-image model of diffusers",
        )
    if name.startswith("Flax"):
        return Fault(
            f"a {name}: it is for Flax", "download the model's PyTorch weights (safetensors)"
        )
    for family in load_families().values():
        if name == family.image_to_image and name not in family.pipelines:
            return Fault(
                f"a {name}: it needs an image to begin with",
                f"set _class_name in its model_index.json to {family.pipelines[0]} and add --mode "
                "image-to-image",
            )
    for words, reason in _OTHER_PURPOSES:
        if re.search(words, name):
            return Fault(f"a {name}: {reason}, and {_MEASURED}", _OF_THE_FAMILY)
    return None


def role_of(class_name: str) -> str:
    """What a component is by its class: scheduler, tokenizer, processor, or network."""
    if "Scheduler" in class_name:
        return "scheduler"
    if "Tokenizer" in class_name:
        return "tokenizer"
    if class_name.endswith(("Processor", "FeatureExtractor")):
        return "processor"
    return "network"
