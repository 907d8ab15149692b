"""What lies in a model's folder: names and JSON files, and the word for a fault found there."""

import itertools
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.files.access import MIB, read_file
from sdbench.models.weights import WeightsError

INDEX = "model_index.json"
_MOST_JSON_BYTES = 64 * MIB
_MOST_ENTRIES = 5000
DOWNLOAD = "download the model again"
OTHER_LIBRARIES = {
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".h5": "TensorFlow",
    ".gguf": "GGUF programs",
    ".mlmodelc": "Core ML",
    ".mlpackage": "Core ML",
    ".xml": "OpenVINO",
}


class Fault(NamedTuple):
    """What is wrong with a model, and the way out."""

    what: str
    remedy: str
    blocks: bool = True
    """Whether the pipeline cannot be loaded; else it may be."""


def shown(text: object) -> str:
    """A name that somebody else gave, fit to be printed: one line, no control characters."""
    whole = str(text)
    cleaned = "".join(letter if letter.isprintable() else "?" for letter in whole[:160])
    return cleaned + ("…" if len(whole) > 160 else "")


def entries(folder: Path) -> list[str]:
    """Names in a folder without hidden ones (``._x`` of macOS, ``.DS_Store``), sorted."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in itertools.islice(found, _MOST_ENTRIES)]
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("."))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        WeightsError: there is none, and why.
    """
    try:
        text = read_file(path, _MOST_JSON_BYTES).decode("utf-8")
        if text.startswith("version https://git-lfs"):
            raise WeightsError("a Git LFS pointer", "git lfs install && git lfs pull")
        document = json.loads(text)
    except OSError as error:
        raise WeightsError(error.strerror or "unreadable", DOWNLOAD) from None
    except (ValueError, RecursionError):
        raise WeightsError("not JSON", DOWNLOAD) from None
    if not isinstance(document, dict):
        raise WeightsError("not a JSON object", DOWNLOAD)
    return document
