"""Build a synthetic model into the cache: seeded random weights in a normal pipeline folder.

The bytes are the same on every platform. Each tensor draws the raw 64-bit words of Philox-4x64, a
counter-based generator whose stream numpy guarantees, keyed by model and tensor name; 11 bits of
each 16-bit piece pick one of 2048 equally spaced values whose spacing is a power of two, so that
every value is exact in float16. No library's normal distribution, no rounding, no threads.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from sdbench.errors import ModelError
from sdbench.models.architecture import Network, stored_as
from sdbench.models.synthetic_model import SyntheticModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float16Array = NDArray[np.float16]

Progress = Callable[[int, int], None]
"""Called with bytes written so far and bytes in all."""

MANIFEST = "sdbench-manifest.json"
_CHUNK = 1 << 20  # values drawn at once: 2 MB of float16, so 30 GB are built in little memory
_READ_BYTES = 1 << 22


def ensure(model: SyntheticModel, cache: Path, progress: Progress | None = None) -> Path:
    """The folder of a synthetic model, built first if the cache lacks it.

    Safe when two processes ask at once (the second waits for the first), and never leaves half a
    model: the folder is made under another name and renamed when its digest is right.

    Raises:
        ModelError: the bytes are not the expected ones, or the disk is full.
    """
    from filelock import FileLock

    folder = folder_of(model, cache)
    if _is_intact(folder, model):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if not _is_intact(folder, model):
                _build(model, folder, progress)
    except OSError as error:
        raise ModelError(f"cannot build {model.name} in {folder.parent}: {error}") from error
    return folder


def is_cached(model: SyntheticModel, cache: Path) -> bool:
    """Whether :func:`ensure` would find the model ready."""
    return _is_intact(folder_of(model, cache), model)


def folder_of(model: SyntheticModel, cache: Path) -> Path:
    """Where the model is, or will be."""
    return cache / "models" / model.name.replace("/", "--")


def look(model: SyntheticModel, cache: Path) -> Literal["made", "absent", "unchecked"]:
    """What is in the cache, without reading gigabytes.

    ``unchecked``: a folder that is not as it was written; its next use hashes it, and makes it
    again where bytes are wrong.
    """
    folder = folder_of(model, cache)
    if not folder.is_dir():
        return "absent"
    return "made" if _stamps_if_as_written(folder, model)[1] else "unchecked"


def remove(model: SyntheticModel, cache: Path) -> bool:
    """Delete the model's folder; False if there was none.

    Raises:
        ModelError: it cannot be deleted.
    """
    from filelock import FileLock

    folder = folder_of(model, cache)
    if not folder.is_dir():
        return False
    try:
        with FileLock(str(folder) + ".lock"):
            shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(f"cannot delete {folder}: {error}") from error
    return True


def folder_digest(files: dict[str, str]) -> str:
    """The digest of a folder: SHA-256 over its sorted file names and their SHA-256."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _build(model: SyntheticModel, folder: Path, progress: Progress | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        digests = _write_files(model, scratch, progress)
        digest = folder_digest(digests)
        if digest != model.sha256:
            raise ModelError(
                f"{model.name} came out as {digest}, expected {model.sha256}: numpy's Philox "
                "stream differs here, so results would not be comparable; please report this"
            )
        _write_manifest(scratch, digest, list(digests))
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_intact(folder: Path, model: SyntheticModel) -> bool:
    """Whether the folder holds this model's bytes.

    Hashing gigabytes before every run would take longer than loading them, so files whose size and
    time of change are as when they were last hashed are taken as they are; others are hashed.
    """
    stamps, as_written = _stamps_if_as_written(folder, model)
    if as_written or not stamps:
        return as_written
    try:
        digests = {name: file_digest(folder / name) for name in stamps}
    except OSError:
        return False
    if folder_digest(digests) != model.sha256:
        return False
    with contextlib.suppress(OSError):  # a cache that cannot be written is hashed every time
        _write_manifest(folder, model.sha256, list(stamps))
    return True


def _stamps_if_as_written(folder: Path, model: SyntheticModel) -> tuple[dict[str, list[int]], bool]:
    """The stamps of the model's files, and whether they are as when they were last hashed.

    Empty where the manifest is of another model or names what does not exist.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        stamps = {name: _stamp(folder / name) for name in manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}, False
    if manifest.get("sha256") != model.sha256 or not stamps:
        return {}, False
    return stamps, stamps == manifest["files"]


def _write_manifest(folder: Path, digest: str, names: list[str]) -> None:
    stamps = {name: _stamp(folder / name) for name in names}
    scratch = folder / f".{MANIFEST}-{os.getpid()}"
    scratch.write_text(json.dumps({"sha256": digest, "files": stamps}, indent=2))
    scratch.replace(folder / MANIFEST)


def _stamp(path: Path) -> list[int]:
    """Size in bytes and time of last change in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def digest_unwritten(model: SyntheticModel, progress: Progress | None = None) -> str:
    """The digest that the model's folder would have; nothing is written, not even for 30 GB."""
    return folder_digest(_write_files(model, None, progress))


def _write_files(
    model: SyntheticModel, folder: Path | None, progress: Progress | None
) -> dict[str, str]:
    """Write every file into the folder, or nowhere; return the files' SHA-256 by name."""
    digests: dict[str, str] = {}
    texts = {name: _json(config) for name, config in model.configs.items()}
    for tokenizer, files in model.tokenizers.items():
        texts |= {f"{tokenizer}/{name}": data for name, data in files().items()}
    for name, data in texts.items():
        digests[name] = hashlib.sha256(data).hexdigest()
        if folder is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    written, total = 0, model.bytes_on_disk
    for component, network in model.networks.items():
        stem = "model" if component.startswith("text_encoder") else "diffusion_pytorch_model"
        name = f"{component}/{stem}.safetensors"

        def report(count: int, before: int = written) -> None:
            if progress is not None:
                progress(before + count, total)

        with open(os.devnull if folder is None else folder / name, "wb") as file:
            count, digests[name] = _write_safetensors(
                file, f"{model.name}/{component}", network, report
            )
            file.flush()
            if folder is not None:
                os.fsync(file.fileno())
        written += count
    return digests


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _write_safetensors(
    file: BinaryIO, seed: str, network: Network, report: Callable[[int], None]
) -> tuple[int, str]:
    """Stream a network to a safetensors file; return bytes of data and the file's SHA-256.

    The format is eight bytes of header length, a JSON header padded with blanks to a multiple of
    eight, then the data. Written here because the library's writer wants every tensor in memory.
    """
    assert sys.byteorder == "little", "the byte layout is defined for little-endian machines"
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    parameters = sorted(network.parameters())
    for name, shape in parameters:
        dtype, width = stored_as(name)
        size = width * math.prod(shape)
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    done = 0
    for piece in (len(text).to_bytes(8, "little"), text):
        file.write(piece)
        digest.update(piece)
    tensors = (_makers(f"{seed}/{name}", shape) for name, shape in parameters)
    for data in _made_ahead(itertools.chain.from_iterable(tensors)):
        file.write(data)
        digest.update(data)
        done += len(data)
        report(done)
    return offset, digest.hexdigest()


def _makers(seed: str, shape: tuple[int, ...]) -> Iterator[Callable[[], bytes]]:
    """What makes the pieces of a tensor's data, each by itself."""
    if stored_as(seed)[0] == "I64":  # how often a network was trained: never
        yield lambda: bytes(8 * math.prod(shape))
        return
    key = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "little")
    table = _value_table(seed.rsplit("/", 1)[-1], shape)
    size = math.prod(shape)
    for begin in range(0, size, _CHUNK):
        yield functools.partial(_piece, key, table, begin, min(_CHUNK, size - begin))


def _piece(key: int, table: "Float16Array", begin: int, count: int) -> bytes:
    """``count`` values from ``begin`` on, a multiple of 16: as many as a Philox counter gives."""
    import numpy as np

    generator = np.random.Philox(key=key, counter=begin // 16)
    words = generator.random_raw(-(-count // 4)).view(np.uint16)[:count]
    data: bytes = table[words >> np.uint16(5)].tobytes()
    return data


def _made_ahead(makers: Iterable[Callable[[], bytes]]) -> Iterator[bytes]:
    """What the makers make, in their order; threads are some pieces ahead of who hashes and writes.

    numpy and hashlib let other threads run while they work.
    """
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[bytes]] = deque()
        for maker in makers:
            coming.append(pool.submit(maker))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def tensor_data(seed: str, shape: tuple[int, ...]) -> bytes:
    """The bytes of one tensor, little-endian float16 unless it is a counter.

    Weights are uniform with standard deviation near 1/sqrt(fan-in), so activations stay near 1
    and finite in float16; biases are small; gains of normalisation layers, which are the weights of
    one dimension, lie around 1.
    """
    return b"".join(maker() for maker in _makers(seed, shape))


def _value_table(name: str, shape: tuple[int, ...]) -> "Float16Array":
    """The 2048 values a tensor draws from, each exact in float16."""
    import numpy as np

    odd = np.arange(-2047, 2048, 2, dtype=np.float64)  # symmetric, no zero, 11 bits
    if len(shape) == 1 and name.endswith((".weight", ".running_var")):
        # 256 steps of 2**-9 around 1: float16 has a spacing of 2**-10 there.
        return (1 + (np.arange(2048) // 8 - 128) * 2.0**-9).astype(np.float16)
    if len(shape) == 1:
        return (odd * 2.0**-15).astype(np.float16)
    # A uniform on [-a, a] has deviation a/sqrt(3); the nearest power of two keeps values exact.
    exponent = round(math.log2(_deviation(name, shape) * math.sqrt(3) / 2047))
    return (odd * 2.0**exponent).astype(np.float16)


def _deviation(name: str, shape: tuple[int, ...]) -> float:
    """The standard deviation that keeps what a tensor is multiplied with at its size."""
    if not name.endswith(".weight"):  # positions, padding, shifts: added to vectors
        return 1 / math.sqrt(shape[-1])
    deviation = 1 / math.sqrt(math.prod(shape[1:]))
    # T5 does not divide queries by the square root of their width, 64; its weights are that small.
    return deviation / 8 if name.endswith(".SelfAttention.q.weight") else deviation
