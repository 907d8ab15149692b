"""The networks of a model as far as memory depends on them: shapes, sizes, configuration.

Read from the headers of the weights and the configuration files, so no tensor is read; of a model
that is not here yet, from what is recorded of its components.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.models.architecture import stored_bytes
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.folder import read_folder
from sdbench.models.folder_files import read_json
from sdbench.models.weights import WeightsError, read_header
from sdbench.records import ComponentInfo, ModelInfo

Shapes = Iterable[tuple[str, tuple[int, ...]]]

# transformers keeps this layer of a T5 in float32 where all else is float16 (``_keep_in_fp32``).
_KEPT_FLOAT32 = ".wo.weight"
_KEEPS_FLOAT32 = ("T5EncoderModel", "UMT5EncoderModel")


@dataclass(frozen=True)
class Network:
    """A network of a pipeline.

    Parameters are counted: those of its largest layer, of the largest block of a list of blocks,
    those outside all blocks, and those that stay float32 in a float16 pipeline; 0 where the shapes
    are not known. ``stored_bytes`` is the size of its files. ``config`` is empty where its
    configuration is not here.
    """

    name: str
    class_name: str
    parameters: int
    stored_bytes: int
    largest_layer: int = 0
    largest_block: int = 0
    outside_blocks: int = 0
    float32_parameters: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encodes_text(self) -> bool:
        """Whether it runs before the denoiser: a text encoder, a prior, an image encoder."""
        return not self.denoises and self.name not in ("vae", "vqvae")

    @property
    def denoises(self) -> bool:
        """Whether it is called in each step."""
        return self.name.startswith(("unet", "transformer", "decoder"))


def networks_of(model: ModelInfo) -> tuple[Network, ...]:
    """The networks that are loaded, in the order in which they usually are."""
    found: Sequence[Network]
    if model.name in SYNTHETIC:
        found = _synthetic(model.name)
    elif model.path and Path(model.path).is_dir():
        found = _in_folder(Path(model.path), model)
    else:
        found = [_from_record(name, component) for name, component in model.components.items()]
    if not found:
        # Weights are mostly stored in half precision.
        found = [Network("model", "", model.bytes_on_disk // 2, model.bytes_on_disk)]
    return tuple(sorted(found, key=lambda one: one.name))


@functools.cache
def _synthetic(name: str) -> tuple[Network, ...]:
    model = SYNTHETIC[name]
    return tuple(
        _from_shapes(
            component,
            _class_of(model.configs["model_index.json"], component),
            network.parameters(),
            stored_bytes(network),
            model.configs.get(f"{component}/config.json", {}),
        )
        for component, network in model.networks.items()
    )


def _class_of(index: Mapping[str, Any], component: str) -> str:
    return str(index[component][1])


def _in_folder(folder: Path, model: ModelInfo) -> list[Network]:
    contents = read_folder(folder, allow_pickle=True)
    found = []
    in_file = {name: model.components[name] for name in model.in_file if name in model.components}
    for name, component in ({**contents.components, **in_file} or model.components).items():
        files = [path for path in contents.weights if path.parent.name == name]
        try:
            config = read_json(folder / name / "config.json")
            shapes = [
                (tensor, entry.shape)
                for path in files
                if path.suffix == ".safetensors"
                for tensor, entry in read_header(path).items()
            ]
        except (OSError, WeightsError):
            config, shapes = {}, []
        if shapes:
            found.append(_from_shapes(name, component.class_name, shapes, component.bytes, config))
        else:
            found.append(_from_record(name, component, config))
    return found


def _from_record(
    name: str, component: ComponentInfo, config: Mapping[str, Any] | None = None
) -> Network:
    """Without shapes; a pickle file does not say in which type its numbers are: half precision."""
    count = component.parameters
    parameters = component.bytes // 2 if count is None else count
    return Network(name, component.class_name, parameters, component.bytes, config=config or {})


def _from_shapes(
    name: str, class_name: str, shapes: Shapes, size_bytes: int, config: Mapping[str, Any]
) -> Network:
    layers: dict[str, int] = {}
    blocks: dict[str, int] = {}
    kept = 0
    for tensor, shape in shapes:
        count = math.prod(shape)
        layer = tensor.rpartition(".")[0]
        layers[layer] = layers.get(layer, 0) + count
        block = _block_of(tensor)
        blocks[block] = blocks.get(block, 0) + count
        if class_name in _KEEPS_FLOAT32 and tensor.endswith(_KEPT_FLOAT32):
            kept += count
    parameters = sum(layers.values())
    outside = blocks.pop("", 0)
    return Network(
        name=name,
        class_name=class_name,
        parameters=parameters,
        stored_bytes=size_bytes,
        largest_layer=max(layers.values(), default=0),
        largest_block=max(blocks.values(), default=0),
        outside_blocks=outside,
        float32_parameters=kept,
        config=config,
    )


def _block_of(tensor: str) -> str:
    """``down_blocks.1`` of a tensor's name; nothing where it is in no list of blocks."""
    words = tensor.split(".")
    number = next((place for place, word in enumerate(words) if word.isdigit()), None)
    return "" if number is None else ".".join(words[: number + 1])
