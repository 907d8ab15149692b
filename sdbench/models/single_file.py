"""A model in one file, with what the file does not hold: configurations, tokenizers, other parts.

All of it comes together in a folder of a few kilobytes in the cache: the configurations as files,
the other parts as links. The worker loads the file with that folder as its configuration.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from sdbench.errors import ModelError, UsageError
from sdbench.files.access import make_folder, write_inside
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.checkpoint import Recognised, UnknownTypeError, recognise, recognise_gguf
from sdbench.models.folder import read_parts
from sdbench.models.folder_files import INDEX, entries, read_json, shown
from sdbench.models.gguf_header import GgufHeader, read_gguf_header
from sdbench.models.pipeline_class import other_purpose, role_of
from sdbench.models.weights import Tensor, WeightsError, read_header, stored_as
from sdbench.records import ComponentInfo
from sdbench.words import shell

GGUF = ".gguf"
SUFFIXES = (".safetensors", ".sft", GGUF)
"""Of files that may be a model; others are not read."""
_CONFIG_FILES = {"network": "config.json", "scheduler": "scheduler_config.json"}
_LINKED = (".json", ".txt", ".model", ".jinja")
# Of a CLIP tokenizer; the same in all models of the pinned repositories, 1.6 MB.
_TOKENIZER_FILES = ("merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")
_TOKENIZER_BYTES = 1_600_000
# The published CLIP encoders say this; the synthetic ones have a vocabulary of their own.
_CLIP_TOKENS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}


@dataclass(frozen=True)
class SingleFile:
    """A checkpoint that is known, and where everything else of the pipeline comes from."""

    path: Path
    title: str
    held: tuple[str, ...]
    """The networks in the file."""
    configs: dict[str, dict[str, Any]]
    """Files of the assembled folder, by their names in it."""
    links: dict[str, Path]
    """Names in the assembled folder to files elsewhere."""
    components: dict[str, ComponentInfo]
    bytes_on_disk: int
    repository: str
    revision: str | None
    tokenizers: tuple[str, ...] = ()
    """Those that are to be fetched from the repository at its revision."""

    @property
    def pipeline_class(self) -> str:
        """The class that loads it."""
        return str(self.configs[INDEX]["_class_name"])

    @property
    def tokenizer_files(self) -> tuple[str, ...]:
        """The files of the repository that hold the tokenizers, as the Hub names them."""
        return tuple(f"{name}/{file}" for name in self.tokenizers for file in _TOKENIZER_FILES)

    @property
    def tokenizer_bytes(self) -> int:
        """About how much these are."""
        return _TOKENIZER_BYTES * len(self.tokenizers)

    def with_tokenizers(self, snapshot: Path) -> "SingleFile":
        """The same with the tokenizers of a snapshot of the repository."""
        links = {name: snapshot / name for name in self.tokenizer_files}
        return replace(self, links=self.links | links, tokenizers=())

    def component_configs(self) -> dict[str, dict[str, Any]]:
        """The configuration of each component by its name; the index by the empty name."""
        return {name.rpartition("/")[0]: config for name, config in self.configs.items()}

    def tokenizer_folder(self) -> Path | None:
        """The folder that holds a folder ``tokenizer``; None while it is not here."""
        found = next((path for name, path in self.links.items() if "tokenizer/" in name), None)
        return None if found is None else found.parent.parent


def read_single_file(path: Path, name: str, parts: str) -> SingleFile:
    """Recognise a file and find what it lacks in the folder ``parts`` (empty: there is none).

    Raises:
        UsageError: there is no such folder, the file is of an unknown type, or a part is missing.
        ModelError: the file or a part is damaged.
    """
    folder = _parts_folder(parts)
    try:
        if path.suffix.lower() == GGUF:
            header = read_gguf_header(path)
            found = recognise_gguf(header)
            quantised = _quantised(header)
        else:
            found, quantised = recognise(read_header(path)), None
    except WeightsError as error:
        raise ModelError(f"{name}: {error}; {error.remedy}") from None
    except UnknownTypeError as error:
        raise UsageError(f"{name}: {error}") from None
    return _Assembly(path, name, found, folder, quantised).made()


def _quantised(header: GgufHeader) -> ComponentInfo:
    """The denoiser of a GGUF file; its type is the one of most of its bytes, as ggml calls it."""
    sizes: dict[str, int] = {}
    for name, tensor in header.tensors.items():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + header.bytes_of[name]
    return ComponentInfo(
        class_name="",
        bytes=sum(sizes.values()),
        parameters=sum(math.prod(tensor.shape) for tensor in header.tensors.values()),
        dtype=max(sizes, key=lambda kind: sizes[kind]),
    )


def _parts_folder(parts: str) -> Path | None:
    if not parts:
        return None
    path = Path(os.path.expanduser(parts))
    try:
        if path.is_dir():
            return path.absolute()
    except (OSError, ValueError):
        pass
    raise UsageError(
        f"--parts {shown(parts)}: no such folder; expected one that is laid out as diffusers saves "
        "a model (tokenizer, text_encoder, vae, …)"
    )


class _Assembly:
    """Finds each component of a pipeline: in the file, in the folder of parts, or as published."""

    def __init__(
        self,
        path: Path,
        name: str,
        found: Recognised,
        parts: Path | None,
        quantised: ComponentInfo | None,
    ) -> None:
        self._path, self._name, self._found, self._parts = path, name, found, parts
        self._quantised = quantised
        self._layout = found.layout
        self._published = SYNTHETIC[self._layout.published].configs
        self._configs: dict[str, dict[str, Any]] = {}
        self._links: dict[str, Path] = {}

    def made(self) -> SingleFile:
        """The whole; each part that is missing is named."""
        index = self._index()
        self._configs[INDEX] = index
        named = {
            name: str(entry[1])
            for name, entry in index.items()
            if isinstance(entry, list) and len(entry) == 2 and entry[0] is not None
        }
        roles = {name: role_of(kind) for name, kind in named.items()}
        held = {name: one for name, one in self._found.held.items() if roles.get(name) == "network"}
        elsewhere = [
            name
            for name, role in roles.items()
            if name not in held and role in ("network", "tokenizer")
        ]
        self._require_denoiser_config(held)
        unknown = [
            f"{name}/{file}"
            for name, role in roles.items()
            if (name in held or role == "scheduler") and not self._has_config(name, role)
            for file in [_CONFIG_FILES[role]]
        ]
        absent = [name for name in elsewhere if not self._in_parts(name)]
        fetched = [name for name in absent if roles[name] == "tokenizer" and self._layout.revision]
        missing = [*(name for name in absent if name not in fetched), *unknown]
        if missing:
            raise UsageError(self._what_is_missing(missing, list(held)))
        here = {name: index[name] for name in elsewhere if name not in fetched}
        components = self._linked(here)
        return SingleFile(
            path=self._path,
            title=self._layout.title,
            held=tuple(held),
            configs=self._configs,
            links=self._links,
            components={
                **{name: self._information(named[name], one) for name, one in held.items()},
                **components,
            },
            bytes_on_disk=self._path.stat().st_size
            + sum(component.bytes for component in components.values()),
            repository=self._layout.repository,
            revision=self._layout.revision,
            tokenizers=tuple(fetched),
        )

    def _index(self) -> dict[str, Any]:
        """The parts' own index where it has the same denoiser; else the published one."""
        published = self._published[INDEX]
        if self._parts is None or not (self._parts / INDEX).is_file():
            return dict(published)
        try:
            own = read_json(self._parts / INDEX)
        except WeightsError as error:
            raise ModelError(f"--parts: {INDEX} cannot be read: {error}") from None
        component = self._layout.component
        if own.get(component) != published[component]:
            raise UsageError(
                f"--parts: {INDEX} names another {component} than the "
                f"{published[component][1]} of {self._layout.title}; take the parts from a model "
                "of the same family"
            )
        other = other_purpose(own.get("_class_name"))
        if other is not None:
            raise ModelError(f"--parts: {other.what}; {other.remedy}")
        return own

    def _require_denoiser_config(self, held: Mapping[str, Any]) -> None:
        """The denoiser's configuration: the parts' where it agrees with the shapes, or known."""
        component = self._layout.component
        own = self._config_of_parts(component, "config.json")
        config = own if own is not None else self._found.config
        if config is None:
            raise UsageError(
                f"{self._name}: unknown type: the layout of {self._layout.title}, and other "
                f"shapes than the published model's; give the folder of this very model with "
                f"--parts, for its {component}/config.json"
            )
        differing = [
            key
            for key, value in self._found.read.items()
            if key in config and config[key] != value and (config[key] or value)
        ]
        if differing:
            key = differing[0]
            raise UsageError(
                f"--parts: {component}/config.json says {key} {config[key]}, and {self._name} has "
                f"{self._found.read[key]}: they are of different models"
            )
        self._configs[f"{component}/config.json"] = config

    def _has_config(self, name: str, role: str) -> bool:
        """Note the configuration of a component that has no weights elsewhere; whether it has."""
        file = f"{name}/{_CONFIG_FILES[role]}"
        if file in self._configs:
            return True
        config = self._config_of_parts(name, _CONFIG_FILES[role])
        if config is None and (role == "scheduler" or self._found.config is not None):
            config = self._published.get(file)
            if config is not None and role == "scheduler":
                config = config | self._found.scheduler
            if config is not None and config.get("model_type") == "clip_text_model":
                config = {key: value for key, value in config.items() if key != "torch_dtype"}
                config |= _CLIP_TOKENS
        if config is None:
            return False
        self._configs[file] = config
        return True

    def _config_of_parts(self, name: str, file: str) -> dict[str, Any] | None:
        if self._parts is None or not (self._parts / name / file).is_file():
            return None
        try:
            return read_json(self._parts / name / file)
        except WeightsError as error:
            raise ModelError(f"--parts: {name}/{file} cannot be read: {error}") from None

    def _in_parts(self, name: str) -> bool:
        return self._parts is not None and (self._parts / name).is_dir()

    def _linked(self, index: dict[str, Any]) -> dict[str, ComponentInfo]:
        """Link the components that lie in the folder of parts, each checked."""
        if self._parts is None:
            return {}
        contents = read_parts(self._parts, index)
        for fault in contents.faults:
            if fault.blocks:
                raise ModelError(f"--parts: {fault.what}; {fault.remedy}")
        for path in contents.weights:
            self._links[f"{path.parent.name}/{path.name}"] = path
        for name in index:
            for file in entries(self._parts / name):
                if file.endswith(_LINKED):
                    self._links[f"{name}/{file}"] = self._parts / name / file
        return contents.components

    def _information(self, class_name: str, tensors: Mapping[str, Tensor]) -> ComponentInfo:
        if self._quantised is not None:
            return msgspec.structs.replace(self._quantised, class_name=class_name)
        size, parameters, dtype = stored_as(dict(tensors))
        return ComponentInfo(class_name=class_name, bytes=size, parameters=parameters, dtype=dtype)

    def _what_is_missing(self, missing: list[str], held: list[str]) -> str:
        patterns = " ".join(f"'{name.partition('/')[0]}/*'" for name in missing)
        where = "--parts has no" if self._parts is not None else "missing are"
        return (
            f"{self._name} holds the {', '.join(held)} of {self._layout.title}; {where} "
            f"{', '.join(missing)}: give a folder with them as --parts FOLDER, for example "
            f"from the Hub: hf download {self._layout.repository} --include model_index.json "
            f"{patterns} --local-dir FOLDER"
        )


def assemble(single: SingleFile, cache: Path) -> Path:
    """Make the folder of configurations and links; it is named after its content.

    Raises:
        ModelError: it cannot be written.
    """
    links = single.links
    texts = {name: json.dumps(config, indent=2) for name, config in single.configs.items()}
    content = [texts, {name: str(path) for name, path in links.items()}]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    folder = cache / "single-files" / digest[:32]
    try:
        for name in {name.partition("/")[0] for name in (*texts, *links) if "/" in name}:
            make_folder(folder / name)
        for name, text in texts.items():
            write_inside(folder, *name.split("/"), data=text.encode())
        for name, path in links.items():
            with contextlib.suppress(FileExistsError):
                os.symlink(path, folder / name)
    except OSError as error:
        raise ModelError(f"{shell(folder)} cannot be written: {error.strerror}") from error
    return folder
