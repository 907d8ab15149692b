"""From a model's name to a pipeline folder: synthetic, built in, local, or from the Hub.

Only safetensors are taken (unless pickle is allowed), only the files the pipeline needs, and never
code. Nothing is downloaded before the caller has asked.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from sdbench.errors import ModelError, UsageError
from sdbench.files.user_folders import cache_folder
from sdbench.models import synthetic
from sdbench.models.architecture import parameter_count
from sdbench.models.builtin import BUILTIN
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.folder import read_folder
from sdbench.models.folder_files import INDEX, read_json, shown
from sdbench.models.hub import (
    Download,
    cached,
    commit_of,
    download_from,
    fetch,
    pipeline_class_of,
    require_revision,
    snapshot_in,
    why_not,
)
from sdbench.models.lora import Denoiser, Lora, read_lora
from sdbench.models.not_a_pipeline import single_file
from sdbench.models.offline import require_disk
from sdbench.models.pipeline_class import other_purpose
from sdbench.models.single_file import SUFFIXES, SingleFile, assemble, read_single_file
from sdbench.models.synthetic import Progress
from sdbench.models.synthetic_model import SyntheticModel
from sdbench.models.weights import WeightsError
from sdbench.records import ComponentInfo, LoraInfo, ModelInfo
from sdbench.words import did_you_mean, shell, shortened

OFFLINE = (*BUILTIN, *SYNTHETIC)
"""Names of the models that need no download and no folder."""
_DENOISERS = ("unet", "transformer")
_DIGESTED = (".json", ".txt", ".model", ".jinja", ".safetensors", ".bin")
_EXPECTED = f"expected a folder, a Hub id (owner/name) or one of {', '.join(OFFLINE)}"


@dataclass(frozen=True)
class ModelSource:
    """A model that is known to exist; :meth:`prepare` makes it ready."""

    name: str
    pipeline_class: str
    bytes_on_disk: int
    folder: Path | None
    """None while it must be built or downloaded first."""
    download: Download | None = None
    allow_pickle: bool = False
    components: dict[str, ComponentInfo] = field(default_factory=dict)
    """Its networks; empty while it is not downloaded."""
    lora: tuple[str, ...] = ()
    """The LoRAs on top, each as ``FILE[:WEIGHT]``."""
    revision: str | None = None
    """The commit of a model of the Hub."""
    single: SingleFile | None = None
    """A model in one file, whose folder is assembled by :meth:`prepare`."""

    @property
    def must_be_built(self) -> bool:
        """Whether a synthetic model is not in the cache yet."""
        return self.folder is None and self.download is None and self.single is None

    @property
    def tokenizer_folder(self) -> Path | None:
        """The folder that holds the model's tokenizers; None while they are not here."""
        return self.folder if self.single is None else self.single.tokenizer_folder()

    def outline(self) -> ModelInfo:
        """What is known before the model is there."""
        return ModelInfo(
            name=self.name,
            path="" if self.folder is None else str(self.folder),
            sha256=None,
            pipeline_class=self.pipeline_class,
            bytes_on_disk=self.bytes_on_disk,
            trained=self.name not in SYNTHETIC,
            components=self.components,
            revision=self.revision,
            file=None if self.single is None else str(self.single.path),
            in_file=[] if self.single is None else list(self.single.held),
        )

    def prepare(self, progress: Progress | None = None) -> ModelInfo:
        """Build, download or only hash the model.

        Raises:
            ModelError: it cannot be had.
            UsageError: there is no room for it on the disk.
        """
        source = self
        if self.single is not None:
            single = self.single
            if self.download is not None:
                single = single.with_tokenizers(fetch(self.name, self.download))
            folder = assemble(single, cache_folder())
            parts = {"folder": digest_folder(folder), "file": _digest(self.single.path)}
            digest = synthetic.folder_digest(parts)
        elif self.download is not None:
            source = _fetch(self, allow_pickle=self.allow_pickle)
            assert source.folder is not None
            folder, digest = source.folder, digest_folder(source.folder)
        elif self.name in SYNTHETIC:
            model = SYNTHETIC[self.name]
            if self.must_be_built:
                require_disk(self.bytes_on_disk, self.name, cache_folder())
            folder, digest = synthetic.ensure(model, cache_folder(), progress), model.sha256
        else:
            assert self.folder is not None
            folder, digest = self.folder, digest_folder(self.folder)
        if self.name in BUILTIN and digest != BUILTIN[self.name].sha256:
            raise ModelError(
                f"{self.name} differs from the released file ({digest[:12]} instead of "
                f"{BUILTIN[self.name].sha256[:12]}): install sdbench again"
            )
        loras = [_described(lora) for lora in source.read_loras()]
        return msgspec.structs.replace(
            source.outline(), path=str(folder), sha256=_with_loras(digest, loras), loras=loras
        )

    def read_loras(self) -> list[Lora]:
        """The LoRAs, checked as far as headers say; of a model to be downloaded less is checked.

        Raises:
            UsageError, ModelError: there is no such file, or it is none for this model.
        """
        denoiser = _denoiser_of(self) if self.lora else None
        return [read_lora(text, denoiser) for text in self.lora]


def find_model(
    name: str,
    *,
    allow_pickle: bool = False,
    lora: Sequence[str] = (),
    parts: str = "",
    revision: str = "",
) -> ModelSource:
    """Look a model up without changing anything.

    Args:
        lora: LoRAs on top of it, each as ``FILE[:WEIGHT]``.
        parts: a folder with what a model in one file does not hold.
        revision: a branch, tag or commit of a model of the Hub; empty: the newest.

    Raises:
        UsageError: there is no such model or LoRA.
        ModelError: one is there but cannot be used.
    """
    if revision:
        require_revision(revision)
    found = _find(name, allow_pickle, parts, revision)
    if revision and found.revision is None:
        raise UsageError(
            f"--revision {revision}: only a model of the Hub has one, and {shortened(name)} is not "
            "one"
        )
    if parts and found.single is None:
        raise UsageError(
            f"--parts {shortened(parts)}: only a model in one file takes it, and {shortened(name)} "
            "is not one"
        )
    source = replace(found, lora=tuple(lora))
    source.read_loras()
    return source


def _find(name: str, allow_pickle: bool, parts: str, revision: str) -> ModelSource:
    if name in SYNTHETIC:
        model = SYNTHETIC[name]
        ready = synthetic.is_cached(model, cache_folder())
        folder = cache_folder() / "models" / name.replace("/", "--") if ready else None
        return ModelSource(
            name,
            model.pipeline_class,
            model.bytes_on_disk,
            folder,
            components=_components_of(model),
        )
    if name in BUILTIN:
        shipped = BUILTIN[name]
        return ModelSource(
            name,
            shipped.pipeline_class,
            shipped.bytes_on_disk,
            shipped.folder,
            components=read_folder(shipped.folder, allow_pickle=False).components,
        )
    if name.startswith(("synthetic/", "builtin/")):
        hint = did_you_mean(name, OFFLINE, likeness=0.9)  # all begin alike
        raise UsageError(f"no model {name!r}; {hint}there are {', '.join(OFFLINE)}")
    path = place_of(name)
    if path.is_dir():
        folder = path.absolute()
        return _local(snapshot_in(folder, revision) or folder, name, allow_pickle)
    if path.is_file():
        if path.suffix.lower() in SUFFIXES:
            return _in_one_file(path.absolute(), name, parts)
        fault = single_file(path)
        raise UsageError(f"{name}: {fault.what}; {fault.remedy}")
    require_hub_id(name)
    return _on_hub(name, allow_pickle, revision)


def _in_one_file(path: Path, name: str, parts: str) -> ModelSource:
    """A model in one file; of its tokenizers, those that nothing here holds are a download."""
    single = read_single_file(path, name, parts)
    download = None
    if single.tokenizers:
        download = Download(
            single.repository, single.tokenizer_files, single.tokenizer_bytes, single.revision
        )
        here = cached(download)
        if here is not None:
            single, download = single.with_tokenizers(here), None
    return ModelSource(
        name,
        single.pipeline_class,
        single.bytes_on_disk,
        None,
        download,
        components=single.components,
        single=single,
    )


def _digest(path: Path) -> str:
    try:
        return synthetic.file_digest(path)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}") from None


def _described(lora: Lora) -> LoraInfo:
    return LoraInfo(
        name=lora.path.name,
        path=str(lora.path),
        sha256=synthetic.file_digest(lora.path),
        weight=lora.weight,
    )


def _with_loras(digest: str, loras: Sequence[LoraInfo]) -> str:
    """The digest of all that decides the images; the model's own where no LoRA is added."""
    if not loras:
        return digest
    parts = {
        f"lora {number} with weight {lora.weight!r}": lora.sha256
        for number, lora in enumerate(loras, start=1)
    }
    return synthetic.folder_digest({"model": digest, **parts})


def _denoiser_of(source: ModelSource) -> Denoiser | None:
    """The network that LoRAs change; None where it is not known."""
    component = next((name for name in _DENOISERS if name in source.components), None)
    if component is None:
        return None
    config: dict[str, Any] = {}
    if source.name in SYNTHETIC:
        config = SYNTHETIC[source.name].configs.get(f"{component}/config.json", {})
    elif source.single is not None:
        config = source.single.component_configs().get(component, {})
    elif source.folder is not None:
        with contextlib.suppress(WeightsError):  # then nothing is known of it
            config = read_json(source.folder / component / "config.json")
    return Denoiser(component, source.components[component].class_name, config)


def require_hub_id(name: str) -> None:
    """Refuse what is no folder and could be nothing on the Hub either.

    Raises:
        UsageError: it has not the form of a Hub id.
    """
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UsageError(f"no model {shortened(name)!r}: {_EXPECTED}")


def place_of(name: str) -> Path:
    """Where a model of this name would lie, were it a path.

    Raises:
        UsageError: no path can be so, or it is a link to what does not exist.
    """
    if not name.strip():  # an empty one would be the current folder
        raise UsageError(f"no model {name!r}: {_EXPECTED}")
    path = Path(os.path.expanduser(name))
    try:
        path.is_dir()
        dangling = path.is_symlink() and not path.exists()
    except (OSError, ValueError):  # too long for any file system, or with a NUL
        raise UsageError(f"no model {shortened(name)!r}: {_EXPECTED}") from None
    if dangling:
        raise UsageError(
            f"{shortened(name)}: a link to {shown(os.readlink(path))}, which does not exist; "
            "expected a folder or a file of a model: is the disk that it is on connected?"
        )
    return path


def digest_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of all files that a pipeline reads."""
    digests = {
        path.relative_to(folder).as_posix(): synthetic.file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in _DIGESTED
        if path.name != synthetic.MANIFEST and not _is_hidden(path.relative_to(folder))
    }
    return synthetic.folder_digest(digests)


def _is_hidden(path: Path) -> bool:
    """Whether it, or a folder that it is in, is hidden: ``._x`` of macOS, ``.git``."""
    return any(part.startswith(".") for part in path.parts)


def _local(folder: Path, name: str, allow_pickle: bool) -> ModelSource:
    """Check a folder: a pipeline of ours, everything there, whole and safe to load."""
    contents = read_folder(folder, allow_pickle=allow_pickle)
    faults = [fault for fault in contents.faults if fault.blocks]
    if faults:
        others = (
            f" ({len(faults) - 1} more: sdbench doctor --model {shell(name)})" if faults[1:] else ""
        )
        raise ModelError(f"{name}: {faults[0].what}{others}; {faults[0].remedy}")
    return ModelSource(
        name,
        contents.pipeline_class,
        contents.bytes_on_disk,
        folder,
        components=contents.components,
        revision=commit_of(folder),
    )


def _on_hub(name: str, allow_pickle: bool, revision: str) -> ModelSource:
    """A Hub model: from the local Hub cache if it is whole there, else as a download to ask for."""
    from huggingface_hub import HfApi, snapshot_download

    there = "neither a folder nor in the local Hub cache"
    try:
        folder = Path(snapshot_download(name, revision=revision or None, local_files_only=True))
        return _local(folder, name, allow_pickle)
    except ModelError as error:
        there = f"in the local Hub cache and cannot be used ({error})"
    except (OSError, ValueError):
        pass  # not there, or not whole
    try:
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True)
    except Exception as error:  # the client raises whatever its HTTP library does
        raise ModelError(f"{name} is {there}, and {why_not(name, revision, error)}") from error
    download = download_from(name, info, allow_pickle=allow_pickle)
    pipeline_class = pipeline_class_of(info, download.files)
    other = other_purpose(pipeline_class)
    if other is not None:
        raise ModelError(f"{name}: {other.what}; {other.remedy}")
    return ModelSource(
        name,
        pipeline_class,
        download.size_bytes,
        None,
        download,
        allow_pickle,
        revision=download.revision,
    )


def _components_of(model: SyntheticModel) -> dict[str, ComponentInfo]:
    """The networks of a synthetic model, which may not be made yet."""
    index = model.configs[INDEX]
    counts = {name: parameter_count(network) for name, network in model.networks.items()}
    return {
        name: ComponentInfo(
            class_name=index[name][1], bytes=2 * count, parameters=count, dtype="float16"
        )
        for name, count in counts.items()
    }


def _fetch(source: ModelSource, *, allow_pickle: bool) -> ModelSource:
    """Download a model, then read what has come: a file of an earlier download may be damaged."""
    assert source.download is not None
    return _local(fetch(source.name, source.download), source.name, allow_pickle)
