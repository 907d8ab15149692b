"""Checks a pipeline folder before anything loads it: is all there that diffusers will ask for?

File names say little: a file may be a Git LFS pointer, half a download, of another variant or for
another library. So the headers of the weights are read, and every JSON file; no tensor is, so a
folder of gigabytes takes milliseconds.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.models.folder_files import DOWNLOAD, INDEX, Fault, entries, read_json, shown
from sdbench.models.folder_fit import Read, misfits
from sdbench.models.folder_weights import (
    HALF,
    chosen_files,
    loaded_variant,
    no_weights,
    own_variant,
)
from sdbench.models.not_a_pipeline import no_pipeline
from sdbench.models.pipeline_class import STABLE_DIFFUSION, other_purpose, role_of
from sdbench.models.tensor_names import LANDMARKS, describe_tensors, is_landmark
from sdbench.models.weights import (
    Tensor,
    WeightsError,
    look_at_pickle,
    read_header,
    stored_as,
)
from sdbench.records import ComponentInfo

_CODE_OF_OTHERS = "take a model without code of its own: sdbench never runs a model's code"
# Given to the pipeline as None where it may be, so never loaded (worker/pipelines/load.py).
_NOT_LOADED = ("safety_checker", "feature_extractor")
# Files of which a tokenizer needs one; of the first kind, both.
_CLIP_VOCABULARY = ("vocab.json", "merges.txt")
_CHAT_TEMPLATE, _TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"
_MOST_TEMPLATE_BYTES = 200_000  # published ones have up to 20,000
_VOCABULARIES = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.txt")


@dataclass(frozen=True)
class Contents:
    """What a folder holds."""

    pipeline_class: str
    weights: tuple[Path, ...]
    """The files that would be loaded; their headers were read."""
    faults: tuple[Fault, ...]
    components: dict[str, ComponentInfo] = field(default_factory=dict)
    """The networks that would be loaded, by their names in the index."""

    @property
    def bytes_on_disk(self) -> int:
        """Size of the weights that would be loaded."""
        return sum(path.stat().st_size for path in self.weights)


def read_folder(folder: Path, *, allow_pickle: bool) -> Contents:
    """Read everything that a pipeline would be loaded from, the tensors aside."""
    if not (folder / INDEX).is_file():
        return Contents("", (), (no_pipeline(folder),))
    try:
        index = read_json(folder / INDEX)
        pipeline_class = index["_class_name"]
    except (WeightsError, KeyError) as error:
        reason = "it has no _class_name" if isinstance(error, KeyError) else str(error)
        return Contents("", (), (Fault(f"{INDEX} cannot be read: {reason}", DOWNLOAD),))
    other = other_purpose(pipeline_class)
    if other is not None:
        return Contents("", (), (other,))
    reader = _Reader(folder, index, pipeline_class, allow_pickle)
    faults = tuple(reader.faults())
    return Contents(pipeline_class, tuple(reader.weights), faults, reader.components)


def read_parts(folder: Path, index: dict[str, Any]) -> Contents:
    """Read the components that an index names, whichever they are, as :func:`read_folder` does."""
    reader = _Reader(folder, index, "", allow_pickle=False)
    faults = tuple(reader.faults_of_parts())
    return Contents("", tuple(reader.weights), faults, reader.components)


class _Reader:
    """One folder with a class that can be measured: its faults, and the weights it loads."""

    def __init__(
        self, folder: Path, index: dict[str, Any], pipeline_class: str, allow_pickle: bool
    ) -> None:
        self._folder = folder
        self._index = index
        self._class = pipeline_class
        self._allow_pickle = allow_pickle
        self._of_stable_diffusion = pipeline_class in STABLE_DIFFUSION
        # One variant for all components of Stable Diffusion, one for each component elsewhere.
        self._variant = loaded_variant(folder) if self._of_stable_diffusion else None
        kinds = {name: kind for name in index if (kind := self._class_of(name)) is not None}
        self._read = Read(kinds, {}, {})
        self._elsewhere: list[str] = []
        self.weights: list[Path] = []
        self.components: dict[str, ComponentInfo] = {}

    def faults(self) -> Iterator[Fault]:
        """Every fault, the gravest kinds first."""
        networks, tokenizers, schedulers = self._parts()
        absent = [name for name in (*networks, *tokenizers, *schedulers) if not self._named(name)]
        if absent:
            yield Fault(
                f"{INDEX} does not name {', '.join(absent)}, which a {self._class} needs",
                "download the whole model again, or add the missing components",
            )
        roles = set(map(role_of, self._read.kinds.values()))
        if not networks or not roles & {"tokenizer", "processor"}:
            lacking = "tokenizer, so it cannot read prompts" if networks else "network with weights"
            yield Fault(
                f"a {self._class}, and {INDEX} names no {lacking}",
                "take a text-to-image model, or download this one again",
            )
        for component in networks:
            if component not in absent:
                yield from self._network(component)
        yield from self._mixed_variants()
        for component in tokenizers:
            if component not in absent:
                yield from self._tokenizer(component)
        for component in schedulers:
            if component not in absent:
                yield from self._config(component, "scheduler_config.json")
        yield from self._others({*networks, *tokenizers, *schedulers})
        if self._of_stable_diffusion:
            yield from misfits(networks, self._read)
            yield from self._names_without_dots()

    def faults_of_parts(self) -> Iterator[Fault]:
        """The faults of what the index names, which need not be a whole pipeline."""
        networks, tokenizers, _ = self._parts()
        for component in networks:
            yield from self._network(component)
        for component in tokenizers:
            yield from self._tokenizer(component)

    def _parts(self) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
        """Networks, tokenizers and schedulers: what Stable Diffusion needs, else what is named."""
        if self._of_stable_diffusion:
            needed = STABLE_DIFFUSION[self._class]
            texts = [name.replace("text_encoder", "tokenizer") for name in needed[2:]]
            return needed, texts, ["scheduler"]
        roles = {
            name: role_of(kind)
            for name, kind in self._read.kinds.items()
            if name not in _NOT_LOADED
        }
        networks, tokenizers, schedulers = (
            [name for name, role in roles.items() if role == wanted]
            for wanted in ("network", "tokenizer", "scheduler")
        )
        return networks, tokenizers, schedulers

    def _named(self, component: str) -> bool:
        return self._class_of(component) is not None

    def _class_of(self, component: str) -> str | None:
        """The class that the index gives a component; None where it gives none."""
        entry = self._index.get(component)
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str):
            return entry[1]
        return None

    # --- networks ---------------------------------------------------------------------------

    def _network(self, component: str) -> Iterator[Fault]:
        folder, library = self._folder / component, self._index[component][0]
        if library not in ("diffusers", "transformers"):
            yield Fault(
                f"{component} is of a class in {shown(library)!r}, which is code supplied with the "
                "model",
                _CODE_OF_OTHERS,
            )
            return
        if not folder.is_dir():
            yield Fault(f"the folder {component} is missing", DOWNLOAD)
            return
        yield from self._config(component, "config.json")
        files, fault = self._files(component, library)
        if fault is not None:
            yield fault
            return
        tensors: dict[str, Tensor] = {}
        for path in files:
            name = f"{component}/{shown(path.name)}"
            try:
                if path.suffix == ".safetensors":
                    tensors |= read_header(path)
                else:
                    look_at_pickle(path)
            except WeightsError as error:
                yield Fault(f"{name}: {error}", error.remedy)
                continue
            self.weights.append(path)
        if not all(path in self.weights for path in files):
            return
        self.components[component] = self._information(component, files, tensors)
        if tensors:
            self._read.tensors[component] = tensors
            yield from self._landmark(component, tensors)

    def _information(
        self, component: str, files: Sequence[Path], tensors: dict[str, Tensor]
    ) -> ComponentInfo:
        """What is recorded of a network; of pickle files their size is all that is known."""
        kind = shown(self._class_of(component))
        if not tensors:
            size = sum(path.stat().st_size for path in files)
            return ComponentInfo(class_name=kind, bytes=size, parameters=None, dtype=None)
        size, parameters, dtype = stored_as(tensors)
        return ComponentInfo(class_name=kind, bytes=size, parameters=parameters, dtype=dtype)

    def _files(self, component: str, library: str) -> tuple[list[Path], Fault | None]:
        """The files that are loaded for a network, or why there are none."""
        folder = self._folder / component
        names = entries(folder)
        variant = self._variant_of(names)
        stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
        kinds = [(stem, ".safetensors")]
        if self._allow_pickle:
            kinds.append((stem if library == "diffusers" else "pytorch_model", ".bin"))
        for kind in kinds:
            single, index = chosen_files(names, *kind, variant)
            if index is not None and (library == "diffusers" or single is None):
                return self._shards(component, index)
            if single is not None:
                return [folder / single], None
        if (
            self._of_stable_diffusion
            and variant is None
            and any(chosen_files(names, *kinds[0], HALF))
        ):
            self._elsewhere.append(component)
            return [], None
        placeholder = f".{stem}.safetensors.icloud"
        if os.path.lexists(folder / placeholder):
            return [], Fault(
                f"{component}: {stem}.safetensors is in iCloud and not on this disk",
                "download it in the Finder (Download Now), or keep models in a folder that is not "
                "synchronised",
            )
        return [], no_weights(component, names, f"{stem}.safetensors", variant)

    def _variant_of(self, names: Sequence[str]) -> str | None:
        """As diffusers decides it for each component: a variant only where one file has it."""
        if not self._of_stable_diffusion:
            return own_variant(names)
        parts = [name.split(".") for name in names]
        has = any(len(part) > 1 and part[1].startswith(str(self._variant)) for part in parts)
        return self._variant if has else None

    def _mixed_variants(self) -> Iterator[Fault]:
        """Components in half precision only, where the UNet is there in full: neither has all."""
        if not self._elsewhere:
            return
        names = " and ".join(self._elsewhere)
        yield Fault(
            f"{names} {'are' if len(self._elsewhere) > 1 else 'is'} there as {HALF} files only and "
            "the UNet as a plain file: no one variant has all components",
            f"download the plain files of {names} too, or the {HALF} file of the UNet; or rename "
            f"the files: without .{HALF} in the name they count as plain",
        )

    def _shards(self, component: str, index: str) -> tuple[list[Path], Fault | None]:
        """The files that an index names."""
        place = f"{component}/{shown(index)}"
        try:
            named = read_json(self._folder / component / index)["weight_map"].values()
            names = sorted({str(name) for name in named})
        except (WeightsError, KeyError, AttributeError) as error:
            return [], Fault(f"{place} cannot be read: {error}", DOWNLOAD)
        outside = [name for name in names if name != os.path.basename(name)]
        if outside or not names:
            return [], Fault(
                f"{place} names {shown(outside[0]) if outside else 'no file'}, not files next to "
                "it",
                DOWNLOAD,
            )
        paths = [self._folder / component / name for name in names]
        missing = [path.name for path in paths if not os.path.lexists(path)]
        if missing:
            return [], Fault(
                f"{component}: {len(missing)} of {len(names)} parts of its weights are missing: "
                f"{shown(', '.join(missing))}",
                "download these files, or the model again",
            )
        return paths, None

    def _landmark(self, component: str, tensors: dict[str, Tensor]) -> Iterator[Fault]:
        kind = self._class_of(component) or ""
        landmark = LANDMARKS.get(kind)
        if landmark is None or any(is_landmark(name, landmark) for name in tensors):
            return
        what = describe_tensors(tensors)
        yield Fault(
            f"{component}: its weights are not those of {kind} (no {landmark}); they are {what}",
            f"put the right file into {component}, or download the model again",
        )

    # --- the rest -----------------------------------------------------------------------------

    def _config(self, component: str, name: str) -> Iterator[Fault]:
        path = self._folder / component / name
        if not os.path.lexists(path):
            yield Fault(f"{component}/{name} is missing", DOWNLOAD)
            return
        try:
            self._read.configs[component] = read_json(path)
        except WeightsError as error:
            yield Fault(f"{component}/{name} cannot be read: {error}", DOWNLOAD)

    def _tokenizer(self, component: str) -> Iterator[Fault]:
        names = entries(self._folder / component)
        yield from self._chat_template(component, names)
        kind = self._class_of(component) or ""
        of_clip = self._of_stable_diffusion or kind.startswith("CLIPTokenizer")
        again = f"download the folder {component} again: it is small"
        wanted = [name for name in _CLIP_VOCABULARY if name not in names]
        if wanted and not _has_vocabulary(names, kind, of_clip):
            missing = " and ".join(wanted) if of_clip else "its vocabulary is"
            there = f"{missing} missing" if names else "no such folder, or an empty one"
            yield Fault(f"{component}: {there}, so no prompt can be read", again)
            return
        for name in ("vocab.json", "tokenizer.json", "tokenizer_config.json"):
            if name in names:
                try:
                    content = read_json(self._folder / component / name)
                except WeightsError as error:
                    yield Fault(f"{component}/{name} cannot be read: {error}", again)
                    continue
                if name == "vocab.json":
                    self._read.configs[component] = content
        if wanted and of_clip:
            yield Fault(
                f"{component} has tokenizer.json alone, which transformers before 5 does not read "
                "for a CLIPTokenizer",
                again,
                blocks=False,
            )

    def _chat_template(self, component: str, names: Sequence[str]) -> Iterator[Fault]:
        """A template is run for each prompt, in transformers' sandbox: that it ends is not sure."""
        size = 0
        if _CHAT_TEMPLATE in names:
            with contextlib.suppress(OSError):
                size = (self._folder / component / _CHAT_TEMPLATE).stat().st_size
        if _TOKENIZER_CONFIG in names:
            with contextlib.suppress(WeightsError):  # which is said of the file
                config = read_json(self._folder / component / _TOKENIZER_CONFIG)
                size = max(size, len(json.dumps(config.get("chat_template"))))
        if size > _MOST_TEMPLATE_BYTES:
            yield Fault(
                f"{component} has a chat template of {size:,} bytes; expected "
                f"{_MOST_TEMPLATE_BYTES:,} at most",
                "take the tokenizer of the model that was published",
            )

    def _others(self, known: set[str]) -> Iterator[Fault]:
        """Components that a run would load although it does not need them."""
        left = _NOT_LOADED if self._class != "StableDiffusionXLPipeline" else ()
        for name in self._index:
            loaded = name not in (*known, *left)
            if loaded and self._named(name) and not (self._folder / name).is_dir():
                yield Fault(
                    f"the folder {shown(name)} is missing, and {INDEX} names it",
                    f"{DOWNLOAD}, or write [null, null] for it in {INDEX}",
                )

    def _names_without_dots(self) -> Iterator[Fault]:
        """``p.split(".")[1]`` in diffusers: with a variant it fails at a name without a dot."""
        if self._variant is None:
            return
        for component in self._index:
            for name in entries(self._folder / component):
                if "." not in name:
                    yield Fault(
                        f"{shown(component)}/{shown(name)} has no dot in its name, at which "
                        f"diffusers may fail where the UNet is an {HALF} file",
                        "move it out of the folder",
                        blocks=False,
                    )


def _has_vocabulary(names: Sequence[str], kind: str, of_clip: bool) -> bool:
    """Whether a tokenizer's folder holds one in a form that its class reads."""
    if of_clip:
        return "tokenizer.json" in names
    # ByT5's tokens are the bytes.
    return kind.startswith("ByT5") or any(name in names for name in _VOCABULARIES)
