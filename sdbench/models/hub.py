"""Models on the Hub: what a repository would send, at which commit, and under which conditions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.errors import ModelError, UsageError
from sdbench.files.access import read_file
from sdbench.models.folder_files import entries, shown
from sdbench.words import shortened

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9._/-]{1,100}")
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_NETWORKS = (
    *("unet", "transformer", "vae"),
    *("text_encoder", "text_encoder_2", "text_encoder_3"),
)
_DENOISERS = ("unet/", "transformer/")
_CONDITIONS = {
    "auto": "its owner asks for a consent on its page",
    "manual": "its owner approves each request on its page",
}


@dataclass(frozen=True)
class Download:
    """What the Hub would send."""

    repository: str
    files: tuple[str, ...]
    size_bytes: int
    revision: str | None = None
    """The commit that is fetched; None: the newest."""
    licence: str | None = None
    """As the repository names it; None where it names none."""
    gated: str | None = None
    """Under which condition it may be downloaded, in words; None: anybody may."""

    @property
    def conditions(self) -> str:
        """Commit, licence and gating, in words."""
        said = [
            None if self.revision is None else f"commit {self.revision[:12]}",
            "no licence named" if self.licence is None else f"licence {self.licence}",
            self.gated and f"gated: {self.gated}",
        ]
        return ", ".join(word for word in said if word)


def download_from(name: str, info: Any, *, allow_pickle: bool) -> Download:
    """What ``HfApi.model_info`` (with ``files_metadata``) says of a repository.

    Raises:
        ModelError: it has no weights that may be read.
    """
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or ()}
    files = needed_files(list(sizes), allow_pickle=allow_pickle)
    if not any(file.startswith(_DENOISERS) and _is_weights(file) for file in files):
        raise ModelError(
            f"{name}: no safetensors weights in the repository's unet or transformer folder"
        )
    commit = getattr(info, "sha", None)
    return Download(
        repository=name,
        files=tuple(files),
        size_bytes=sum(sizes[file] for file in files),
        revision=commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None,
        licence=_licence(getattr(info, "card_data", None)),
        gated=_gated(getattr(info, "gated", None)),
    )


def _licence(card: Any) -> str | None:
    """``license`` of the model card, or ``license_name`` where that is "other"."""
    if card is None:
        return None
    data = card if isinstance(card, Mapping) else vars(card)
    said = data.get("license")
    if said == "other":
        said = data.get("license_name") or said
    if isinstance(said, list):
        said = ", ".join(map(str, said))
    return shown(said) if isinstance(said, str) and said else None


def _gated(said: Any) -> str | None:
    """The Hub says false, ``auto`` or ``manual``."""
    if not said:
        return None
    return _CONDITIONS.get(str(said), "its owner sets conditions on its page")


def pipeline_class_of(info: Any, files: tuple[str, ...]) -> str:
    """The class that the Hub has read from the index; older answers do not have it."""
    config = getattr(info, "config", None)
    found = config.get("diffusers") if isinstance(config, Mapping) else None
    named = found.get("_class_name") if isinstance(found, Mapping) else None
    if isinstance(named, str) and named.isidentifier():
        return named
    xl = any(file.startswith("text_encoder_2/") for file in files)
    return f"StableDiffusion{'XL' if xl else ''}Pipeline"


def why_not(name: str, revision: str, error: Exception) -> str:
    """Why the Hub gives nothing, from what its client raised: one of many classes by version."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    page = f"https://huggingface.co/{name}"
    if "GatedRepoError" in kinds or status == 403:
        return (
            f"the Hub refuses it: it is gated; accept its conditions on {page}, then log in with: "
            "hf auth login"
        )
    if "RevisionNotFoundError" in kinds:
        return (
            f"the Hub has no revision {shortened(revision or 'main')!r} of it; see {page}/commits"
        )
    if "RepositoryNotFoundError" in kinds or status in (401, 404):
        return (
            "the Hub has no such repository, or it is private; check the name, or log in with: "
            "hf auth login"
        )
    if "OfflineModeIsEnabled" in kinds:
        return "the Hub is not contacted in offline mode; unset HF_HUB_OFFLINE to download it"
    first = " ".join(str(error).split())[:200]
    return f"the Hub could not be queried: {type(error).__name__}: {first}"


def require_revision(revision: str) -> None:
    """Refuse what can be no branch, tag or commit.

    Raises:
        UsageError: it cannot.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision or revision.startswith(("/", "-")):
        raise UsageError(
            f"--revision {shortened(revision)!r}: expected a branch, a tag or a commit of the model"
        )


def snapshot_in(folder: Path, revision: str) -> Path | None:
    """The snapshot of a repository's folder in the Hub's cache; None: it is no such folder.

    Args:
        folder: ``models--OWNER--NAME``, as the Hub's client names it.
        revision: a branch, a tag or a commit; empty: ``main``, or the only one.

    Raises:
        ModelError: it has no such snapshot.
    """
    if not folder.name.startswith("models--") or not (folder / "snapshots").is_dir():
        return None
    there = [name for name in entries(folder / "snapshots") if _COMMIT.fullmatch(name)]
    if revision in there:
        return folder / "snapshots" / revision
    commit = _reference(folder, revision or "main")
    if commit is None and not revision and len(there) == 1:
        commit = there[0]
    if commit in there:
        return folder / "snapshots" / commit
    raise ModelError(
        f"{shown(folder.name)}: the cache has no snapshot of {shown(revision or 'main')}; it has "
        f"{', '.join(there[:5]) or 'none'}"
    )


def _reference(folder: Path, name: str) -> str | None:
    """The commit that a branch or tag stood for when it was fetched."""
    try:
        text = read_file(folder / "refs" / name, 4096).decode("utf-8").strip()
    except (OSError, ValueError):
        return None
    return text if _COMMIT.fullmatch(text) else None


def commit_of(folder: Path) -> str | None:
    """The commit of a snapshot in the Hub's cache; None where the folder is none."""
    in_cache = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(
        "models--"
    )
    return folder.name if in_cache and _COMMIT.fullmatch(folder.name) else None


def needed_files(names: list[str], *, allow_pickle: bool = False) -> list[str]:
    """Of a repository's files, those the pipeline reads: half precision where that is offered.

    A published repository holds the same weights up to six times over; this takes one copy.
    """
    chosen = [name for name in names if name == "model_index.json"]
    for folder in ("scheduler", *_TOKENIZERS):
        chosen += [name for name in names if name.startswith(f"{folder}/")]
    for folder in _NETWORKS:
        inside = [name for name in names if name.startswith(f"{folder}/")]
        chosen += [name for name in inside if name.endswith("config.json")]
        weights = _one_copy(inside, allow_pickle)
        chosen += weights
        chosen += _indexes(inside, weights)
    return sorted(chosen)


def _indexes(names: list[str], weights: list[str]) -> list[str]:
    """The index of weights that are cut into several files."""
    stems = {name.rpartition("-of-")[0].rpartition("-")[0] for name in weights if "-of-" in name}
    return [
        name
        for name in names
        if name.endswith(".index.json") and any(name.startswith(stem) for stem in stems)
    ]


def _one_copy(names: list[str], allow_pickle: bool) -> list[str]:
    for suffix in (".safetensors", ".bin") if allow_pickle else (".safetensors",):
        weights = [name for name in names if name.endswith(suffix)]
        plain = [name for name in weights if Path(name).name.count(".") == 1]
        half = [name for name in weights if ".fp16" in Path(name).name]
        if half or plain:
            return half or plain
    return []


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def fetch(name: str, download: Download) -> Path:
    """The folder of a download in the Hub's cache, fetched where it is not there yet."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                download.repository,
                revision=download.revision,
                allow_patterns=list(download.files),
            )
        )
    except Exception as error:  # the client raises whatever its HTTP library does
        raise ModelError(
            f"{name} could not be downloaded: {why_not(name, download.revision or '', error)}"
        ) from error


def cached(download: Download) -> Path | None:
    """The snapshot in the Hub's cache that has all files of a download; None: there is none."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                download.repository, revision=download.revision, local_files_only=True
            )
        )
    except (OSError, ValueError):
        return None
    return folder if all((folder / file).is_file() for file in download.files) else None
