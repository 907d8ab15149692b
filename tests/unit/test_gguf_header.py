"""GGUF headers: read as far as they go, and never further than the file or a budget."""

import struct
from pathlib import Path
from typing import Any

import pytest
import single_files
from factories import Called

from sdbench.errors import ModelError, UsageError
from sdbench.models.checkpoint import UnknownTypeError, recognise_gguf
from sdbench.models.gguf_header import GgufHeader, read_gguf_header
from sdbench.models.resolve import find_model
from sdbench.models.weights import Tensor, WeightsError

HUGE = 1 << 62


def text(value: str, length: int | None = None) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(
    name: str = "a", shape: tuple[int, ...] = (32,), kind: int = 8, offset: int = 0
) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def header(
    *tensors: bytes,
    entries: tuple[bytes, ...] = (),
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: int = 1 << 12,
) -> bytes:
    tensor_count, entry_count = counts or (len(tensors), len(entries))
    made = b"GGUF" + struct.pack("<IQQ", version, tensor_count, entry_count)
    return made + b"".join(entries) + b"".join(tensors) + b"\0" * data


def read(tmp_path: Path, content: bytes) -> GgufHeader:
    (tmp_path / "x.gguf").write_bytes(content)
    return read_gguf_header(tmp_path / "x.gguf")


def test_metadata_and_tensors(tmp_path: Path) -> None:
    entries = (
        entry("general.architecture", 8, text("flux")),
        entry("list", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
        entry("numbers", 9, struct.pack("<IQ3H", 2, 3, 1, 2, 3)),
        entry("float", 12, struct.pack("<d", 1.0)),
        entry("general.alignment", 4, struct.pack("<I", 64)),
    )
    found = read(tmp_path, header(tensor("a", (64, 3)), tensor("b", (5,), 0, 256), entries=entries))
    assert found.architecture == "flux"
    assert found.tensors == {"a": Tensor("Q8_0", (3, 64)), "b": Tensor("F32", (5,))}
    assert found.bytes_of == {"a": 6 * 34, "b": 20}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"GGML" + b"\0" * 40, "no GGUF file"),
        (b"GGUF", "header"),
        (header(version=1), "version 1; expected 2 or 3"),
        (header(version=0x03000000), "version 50331648"),
        (header(counts=(HUGE, 0)), "claims 4,611,686,018,427,387,904 tensors"),
        (header(counts=(0, HUGE)), "0 tensors and 4,611"),
        (header(tensor("a"), counts=(9, 0), data=8), "no whole GGUF file"),
        (header(entries=(entry("k", 8, text("", HUGE)),)), "header ends beyond"),
        (header(entries=(text("k", HUGE),)), "a name of 4,611"),
        (header(entries=(entry("k", 9, struct.pack("<IQ", 0, HUGE)),)), "header ends beyond"),
        (header(entries=(entry("k", 9, struct.pack("<IQ", 8, HUGE)),), data=1 << 16), "header"),
        (header(entries=(entry("k", 9, struct.pack("<IQ", 9, 1)),)), "lists within lists"),
        (header(entries=(entry("k", 99, b""),)), "a value of type 99"),
        (header(entries=(entry("general.alignment", 4, b"\0" * 4),)), "alignment of 0"),
        (header(struct.pack("<Q", 1) + b"\xff" * 40), "cannot be read"),
        (header(tensor(shape=(32,) * 5)), "5 dimensions"),
        (header(tensor(shape=(32, HUGE))), "truncated"),
        (header(tensor(shape=(31,))), "fill its blocks"),
        (header(tensor(kind=4)), "ggml type 4, which diffusers does not read"),
        (header(tensor(), tensor()), "one name"),
        (header(tensor(), tensor("b")), "overlap"),
        (header(tensor(offset=1)), "aligned"),
        (header(tensor(offset=HUGE)), "truncated"),
        (header(tensor(shape=(1 << 20,))), "truncated: .* instead of 1,114,112"),
    ],
)
def test_bombs_and_damage_are_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason) as raised:
        read(tmp_path, content)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200


def test_every_cut_of_a_header_is_an_error(tmp_path: Path) -> None:
    whole = header(tensor(), entries=(entry("general.architecture", 8, text("sd3")),), data=64)
    for at in range(len(whole) - 30):
        with pytest.raises(WeightsError):
            read(tmp_path, whole[:at])


@pytest.mark.parametrize(
    ("architecture", "tensors", "reason"),
    [
        ("llama", {}, "a GGUF file of 'llama'; expected the denoiser"),
        (None, {}, "no architecture"),
        ("flux", {"a": Tensor("F16", (2,))}, "unknown type: unknown"),
        ("sdxl", {}, "of 'sdxl'"),
    ],
)
def test_unknown_architecture(
    architecture: str | None, tensors: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnknownTypeError, match=reason):
        recognise_gguf(GgufHeader(architecture, tensors, {}))


@pytest.fixture
def sd3(tiny_sd3: Path, tmp_path: Path) -> Path:
    tensors = single_files.sd3_denoiser(single_files.weights(tiny_sd3, "transformer"))
    bare = {name.removeprefix("model.diffusion_model."): one for name, one in tensors.items()}
    pytest.importorskip("gguf")
    return single_files.gguf_file(tmp_path / "sd3.gguf", bare, "sd3")


@pytest.fixture(scope="module")
def tiny_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Path(find_model("synthetic/tiny-sd3").prepare().path)


def test_file_of_the_usual_writer_is_a_model_with_parts(
    sd3: Path, tiny_sd3: Path, tmp_path: Path
) -> None:
    parts = single_files.without(tiny_sd3, tmp_path / "parts", "transformer")
    source = find_model(str(sd3), parts=str(parts))
    assert source.pipeline_class == "StableDiffusion3Pipeline"
    assert source.single is not None and source.single.held == ("transformer",)
    network, own = source.components["transformer"], find_model(str(tiny_sd3)).components
    assert network.parameters == own["transformer"].parameters
    assert network.dtype == "Q8_0" and network.bytes < own["transformer"].bytes
    with pytest.raises(UsageError, match="unknown type: the layout of Stable Diffusion 3"):
        find_model(str(sd3))


def test_file_that_calls_itself_something_else(sd3: Path, call: Called) -> None:
    data = sd3.read_bytes()
    sd3.write_bytes(data.replace(text("sd3"), text("llm"), 1))
    code, out, err = call("run", "--model", str(sd3))
    assert (code, out, err.count("\n")) == (2, "", 1)
    sd3.write_bytes(data[:-1000])
    with pytest.raises(ModelError, match="truncated"):
        find_model(str(sd3))
