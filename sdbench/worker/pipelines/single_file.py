"""Load a pipeline whose denoiser, or more of it, is in one file in the original layout."""

import importlib.util
import os
from typing import Any

from .stack import CaseImpossibleError

_DENOISERS = ("unet", "transformer")


def load_single_file(
    kind: Any, index: "dict[str, Any]", job: "dict[str, Any]", options: "dict[str, Any]"
) -> Any:
    """The pipeline of a file and the folder with everything that the file does not hold.

    Args:
        kind: the pipeline's class.
        index: the folder's ``model_index.json``.
        job: ``single_file``, ``in_single_file`` (the networks in it) and ``model_path``.
        options: what ``from_pretrained`` is given in all cases.

    Raises:
        CaseImpossibleError: this diffusers does not read such a file, or it does not fit.
    """
    if job["case"]["quantization"] != "none":
        raise CaseImpossibleError("a model in one file is loaded with its own weights only")
    try:
        return _loaded(kind, index, job, options)
    except _misfits() as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        file = os.path.basename(job["single_file"])
        raise CaseImpossibleError(f"diffusers does not load {file}: {first}") from error


def _misfits() -> "tuple[type[Exception], ...]":
    """What diffusers raises for a file that does not fit; not what a lack of memory raises."""
    plain = (AttributeError, KeyError, OSError, TypeError, ValueError)
    try:
        from diffusers.loaders.single_file_utils import SingleFileComponentError
    except ImportError:  # of older releases, which raise ValueError
        return plain
    return (*plain, SingleFileComponentError)


def _loaded(
    kind: Any, index: "dict[str, Any]", job: "dict[str, Any]", options: "dict[str, Any]"
) -> Any:
    import diffusers
    import transformers

    file, folder, held = job["single_file"], job["model_path"], job["in_single_file"]
    libraries = {"diffusers": diffusers, "transformers": transformers}
    dtype: "dict[str, Any]" = {
        name: options[name] for name in ("dtype", "torch_dtype") if name in options
    }
    if len(held) == 1:
        (name,) = held
        gguf = _gguf_options(file, dtype)
        denoiser = _class_of(libraries, index[name]).from_single_file(
            file, config=folder, subfolder=name, local_files_only=True, **dtype, **gguf
        )
        if gguf and (job.get("reference") or job.get("localise")):
            # The same weights as plain tensors, which the CPU computes with in every precision.
            denoiser.dequantize()
            denoiser.to(*dtype.values())
        return kind.from_pretrained(folder, **options, **{name: denoiser})
    if not hasattr(kind, "from_single_file"):
        raise CaseImpossibleError(f"{kind.__name__} is not loaded from one file")
    others = {
        name: _class_of(libraries, entry).from_pretrained(
            os.path.join(folder, name), use_safetensors=True, local_files_only=True, **dtype
        )
        for name, entry in index.items()
        if name not in held and _has_weights(os.path.join(folder, name))
    }
    left = {name: value for name, value in options.items() if value is None or value is False}
    return kind.from_single_file(
        file, config=folder, local_files_only=True, **dtype, **{**left, **others}
    )


def _gguf_options(file: str, dtype: "dict[str, Any]") -> "dict[str, Any]":
    """What reads a GGUF file; nothing for others.

    Raises:
        CaseImpossibleError: this environment does not read one.
    """
    if not file.lower().endswith(".gguf"):
        return {}
    if importlib.util.find_spec("gguf") is None:
        raise CaseImpossibleError("a GGUF file needs the package gguf, which is not installed")
    try:
        from diffusers import GGUFQuantizationConfig
    except ImportError:
        raise CaseImpossibleError(
            "this diffusers does not read GGUF files (that came with 0.32)"
        ) from None
    (compute_dtype,) = dtype.values()
    return {"quantization_config": GGUFQuantizationConfig(compute_dtype=compute_dtype)}


def _class_of(libraries: "dict[str, Any]", entry: "list[str]") -> Any:
    return getattr(libraries[entry[0]], entry[1])


def _has_weights(folder: str) -> bool:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return any(name.endswith(".safetensors") for name in names)
