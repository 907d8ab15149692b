"""Whether the components of a folder belong to one model."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sdbench.models.folder_files import Fault, shown
from sdbench.models.tensor_names import LANDMARKS, is_landmark
from sdbench.models.weights import Tensor

PURPOSES = {
    9: "inpainting",
    8: "editing images (InstructPix2Pix)",
    5: "depth maps",
    7: "upscaling",
}
"""What a UNet is made for, by the channels that it takes, if not for text-to-image."""


class Read(NamedTuple):
    """What was read of each component: its class in the index, its configuration, its tensors."""

    kinds: dict[str, str]
    configs: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]]


def misfits(networks: Sequence[str], read: Read) -> Iterator[Fault]:
    """Whether the components belong together, by their configurations and shapes."""
    unet, vae = read.configs.get("unet", {}), read.configs.get("vae", {})
    inputs, latents = unet.get("in_channels"), vae.get("latent_channels", 4)
    if isinstance(inputs, int) and inputs != latents:
        purpose = PURPOSES.get(inputs)
        made_for = f": it is made for {purpose}" if purpose else ""
        yield Fault(
            f"the UNet takes {inputs} channels and the VAE gives {latents}{made_for}",
            "take the text-to-image model of the same family",
        )
    texts = [name for name in networks if name.startswith("text_encoder")]
    widths = [read.configs.get(name, {}).get("hidden_size") for name in texts]
    asked = unet.get("cross_attention_dim")
    known = [width for width in widths if isinstance(width, int)]
    reported = isinstance(asked, int) and not unet.get("encoder_hid_dim_type")
    if reported and len(known) == len(texts) and sum(known) != asked:
        yield Fault(
            f"the UNet expects text of width {asked} and {' and '.join(texts)} "
            f"{'give' if len(texts) > 1 else 'gives'} "
            f"{' + '.join(map(str, known))}: they are of different models",
            "take all components from one model",
        )
    for component, key, axis in (
        ("unet", "in_channels", 1),
        ("vae", "latent_channels", 1),
        *((name, "hidden_size", 1) for name in texts),
    ):
        yield from _shape(read, component, key, axis)


def _shape(read: Read, component: str, key: str, axis: int) -> Iterator[Fault]:
    landmark = LANDMARKS.get(read.kinds.get(component, ""), "?")
    said = read.configs.get(component, {}).get(key)
    for name, tensor in read.tensors.get(component, {}).items():
        if is_landmark(name, landmark) and isinstance(said, int) and len(tensor.shape) > axis:
            if tensor.shape[axis] != said:
                yield Fault(
                    f"{component}/config.json says {key} {said}, and {shown(name)} has "
                    f"{tensor.shape[axis]}: weights and configuration are of different models",
                    f"download the folder {component} again",
                )
            vocabulary = read.configs.get(component.replace("text_encoder", "tokenizer"), {})
            if key == "hidden_size" and len(vocabulary) > tensor.shape[0]:
                yield Fault(
                    f"the tokenizer of {component} has {len(vocabulary)} tokens and its "
                    f"weights {tensor.shape[0]}: they are of different models",
                    "download tokenizer and text encoder again, from one model",
                )
            return
