"""What a model asks of a run, read from its configuration files and the file of its family."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.family import Family, family_of
from sdbench.models.folder_files import INDEX, entries, read_json
from sdbench.models.resolve import ModelSource
from sdbench.models.weights import WeightsError
from sdbench.records import ModelInfo

Configs = Mapping[str, Mapping[str, Any]]
"""A component's configuration by its name; ``model_index.json`` by the empty name."""
_FILES = ("config.json", "scheduler_config.json")
# What a VAE calls its levels; it scales by two between them.
_LEVELS = ("block_out_channels", "encoder_block_out_channels", "dim_mult")
# A VAE that scales this much leaves nothing for a transformer's patches.
_LARGE_SCALE = 32


@dataclass(frozen=True)
class Traits:
    """A model's family, its defaults, and the pixels that its sides are a multiple of.

    ``family_name`` is None where no file names the pipeline's class, and ``size_multiple`` where
    the configurations do not say.
    """

    pipeline_class: str
    family_name: str | None
    family: Family
    size_multiple: int | None

    @property
    def source(self) -> str:
        """Where the family's defaults are from."""
        return f"{self.family.title} ({self.family.source})"


def traits_of(source: ModelSource) -> Traits:
    """What is known of a model before it is loaded; of one not downloaded yet, its class alone."""
    return traits_from(source.pipeline_class, configs_of(source))


def traits_from(pipeline_class: str, configs: Configs) -> Traits:
    """What a pipeline's class and its components' configurations say."""
    name, family = family_of(pipeline_class)
    multiple = family.size_multiple or _size_multiple(configs)
    return Traits(pipeline_class, name, family.for_configs(configs), multiple)


def traits_of_outline(model: ModelInfo) -> Traits:
    """The same of a model of which only that is known; the network is not asked."""
    folder = Path(model.path) if model.path and Path(model.path).is_dir() else None
    return traits_from(model.pipeline_class, _configs(model.name, folder))


def configs_of(source: ModelSource) -> Configs:
    """The configurations of a model's components; what cannot be read is left out."""
    if source.single is not None:
        return source.single.component_configs()
    return _configs(source.name, source.folder)


def _configs(name: str, folder: Path | None) -> Configs:
    if name in SYNTHETIC:
        made = SYNTHETIC[name].configs
        return {path.rpartition("/")[0]: config for path, config in made.items()}
    return {} if folder is None else _read(folder)


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    paths = {"": folder / INDEX}
    for component in entries(folder):
        for name in _FILES:
            if (folder / component / name).is_file():
                paths[component] = folder / component / name
    found: dict[str, dict[str, Any]] = {}
    for component, path in paths.items():
        try:
            found[component] = read_json(path)
        except WeightsError:
            continue  # whether it is needed is for ``folder`` to say
    return found


def _size_multiple(configs: Configs) -> int | None:
    """A VAE's scale, and twice that where a transformer takes the latents in patches of two."""
    vae = configs.get("vae", {})
    levels = next((value for key in _LEVELS if isinstance(value := vae.get(key), list)), None)
    if levels is None or not 1 <= len(levels) <= 8:
        return None
    scale = 1 << (len(levels) - 1)
    patched = "transformer" in configs and scale < _LARGE_SCALE
    return 2 * scale if patched else scale
