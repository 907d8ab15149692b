"""Files that are no documents, each way of being wrong once: weights, images, traces."""

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fuzz_pictures
import numpy as np
from fuzz_documents import encoded
from fuzz_trees import Odd, Tree
from fuzz_values import DEEP
from PIL import Image, PngImagePlugin
from safetensors.numpy import save

_LONG = 5 << 30
"""Of files with a hole: more than a reader may take into memory, and than a call may have."""


@dataclass(frozen=True)
class Item:
    """One input: ``expected`` is whether it must be accepted; None where both are right."""

    name: str
    files: Tree
    expected: bool | None = None
    says: str = ""
    """A word of the refusal, where the advice depends on it."""


Group = tuple[str, str, list[Item]]
"""Which reader, what it is about, and the inputs."""


def groups(run: Tree, pictured: Tree) -> Iterator[Group]:
    """All groups; ``run`` and ``pictured`` are sound run folders."""
    yield "weights", "headers", [*_weights()]
    yield "json", "models", [*_jsons()]
    yield "picture", "settings", [*_pictures()]
    yield "artifact", "names", [*_artifacts(pictured)]
    yield "timeline", "lines", [*_timelines(run)]


def file_of(name: str, data: bytes | Odd | None, expected: bool | None, says: str = "") -> Item:
    return Item(name, {} if data is None else {name: data}, expected, says)


_NO_FILES = {
    "folder": Odd("folder"),
    "fifo": Odd("fifo"),
    "zero": Odd("link", "/dev/zero"),
    "nowhere": Odd("link", "/nowhere/at/all"),
    "gone": None,
    "empty": b"",
}


# --- weights --------------------------------------------------------------------------------------


def _safetensors(header: Any, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _weights() -> Iterator[Item]:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    sound = {"__metadata__": {"format": "pt"}, "a": entry}
    yield file_of("sound.safetensors", _safetensors(sound), True)
    yield file_of("odd-dtype.safetensors", _safetensors({"a": {**entry, "dtype": "Q4"}}), None)
    impossible: list[Any] = [
        *({"a": {**entry, **more}} for more in _ENTRIES),
        *({"a": {k: v for k, v in entry.items() if k != key}} for key in entry),
        *({"a": None}, {"a": 5}, {"a": [entry]}, [entry], None, 7, b"{", b"\xff", DEEP.encode()),
        {"a": entry, "b": {**entry, "data_offsets": [8, 24]}},
        {"a": entry, "b": {**entry, "data_offsets": [20, 36]}},
        {"a": entry, "b": entry},
        b'{"a": ' * 3000,
        b'{"a": %(e)s, "a": %(e)s}' % {b"e": json.dumps(entry).encode()},
        json.dumps({"a": entry}).encode().replace(b'"F32"', b'"F32", "dtype": "F32"'),
        {"a": {**entry, "shape": [1 << 62] * 200_000}},
    ]
    for at, header in enumerate(impossible):
        yield file_of(f"i{at}.safetensors", _safetensors(header), False)
    whole = _safetensors(sound)
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    texts = {
        "pointer": (pointer, pointer + b"oid x\nsize 123\n"),
        "web page": (b"<!DOCTYPE html>", b" <html>", b"<?xml"),
        "GGUF": (b"GGUF" * 9,),
        "pickle": (b"PK\x03\x04" * 9, *(b"\x80" + bytes([n]) + b"x" * 20 for n in (2, 3, 4, 5))),
        "truncated": (whole[:-1], whole[:9]),
        "damaged": (whole + b"\0",),
        "header": (whole[:4],),
    }
    for says, files in texts.items():
        for at, data in enumerate(files):
            yield file_of(f"t{at}-{says}.safetensors", data, False, says)
    for length in (0, 1, 99_999_999, 100_000_001, 1 << 31, 1 << 32, 1 << 40, (1 << 64) - 1):
        head = length.to_bytes(8, "little") + b'{"a": '
        yield file_of(f"l{length}.safetensors", head, False)
        yield file_of(f"h{length}.safetensors", Odd("sparse", size=_LONG + 9, head=head), False)
    for name, odd in _NO_FILES.items():
        says = {"nowhere": "does not exist", "empty": "empty"}.get(name, "")
        yield file_of(f"{name}.safetensors", odd, False, says)
        yield file_of(f"{name}.bin", odd, False)
    for at, data in enumerate(
        (b"x", b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 99, b"<html>", pointer)
    ):
        yield file_of(f"p{at}.bin", data, False)
    yield file_of("sound.bin", b"\x80\x02}q\x00.", True)
    yield from _ggufs()


def _ggufs() -> Iterator[Item]:
    """A sound header, every cut of it, and each of its numbers made huge."""
    key = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 3) + b"sd3"
    tensor = struct.pack("<Q", 1) + b"a" + struct.pack("<IQIQ", 1, 32, 8, 0)
    whole = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + key + tensor
    padding = b"\0" * (-len(whole) % 32)
    yield file_of("sound.gguf", whole + padding + b"\0" * 34, True)
    for cut in range(4, len(whole), 3):
        yield file_of(f"c{cut}.gguf", whole[:cut], False)
    for at in (4, 8, 16, 24, 52, 56, 67, 76, 80, 88, 92):
        for number in (0xFF, 0x7F):
            huge = whole[:at] + bytes([number]) * 4 + whole[at + 4 :]
            yield file_of(f"n{at}-{number}.gguf", huge + padding + b"\0" * 34, None)


_SHAPES: tuple[Any, ...] = ([5], [-4], [-2, -2], [1 << 40], [1] * 65, "x", ["x"], None, 4, {})
_ENTRIES: tuple[dict[str, Any], ...] = (
    *({"shape": shape} for shape in _SHAPES),
    *({"data_offsets": span} for span in ([0, 15], [16, 0], [1, 17], [-16, 0], [0], [], None, "x")),
    *({"data_offsets": span} for span in ([0, 16, 16], [0, 1 << 70], [0.5, 16], "ab", 3)),
    *({"dtype": kind} for kind in ("F64", "BOOL", "F16")),
    *({"shape": [4.0]}, {"shape": [True, 4]}, {"data_offsets": [0, 16.0]}),
)


def _jsons() -> Iterator[Item]:
    yield file_of("sound.json", b'{"_class_name": "X"}', True)
    bad = (b"", b"[]", b"null", b"3", b"\xff", b"{", DEEP.encode(), b"1" * 5000, b'{"a": NaN')
    for at, data in enumerate(bad):
        yield file_of(f"b{at}.json", data, False)
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    yield file_of("pointer.json", pointer, False, "LFS")
    for name, odd in {**_NO_FILES, "large": Odd("sparse", size=_LONG)}.items():
        yield file_of(f"{name}.json", odd, False)
        yield file_of(f"{name}-entries", odd, None)


# --- images -------------------------------------------------------------------------------------

_GRAPH: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 8, "cfg": 7.5, "model": ["4"]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
}


def _pictures() -> Iterator[Item]:
    graph = json.dumps(_GRAPH)
    texts = {
        "parameters": fuzz_pictures.PARAMETERS,
        "Parameters": fuzz_pictures.PARAMETERS,
        "prompt": graph,
        "invokeai_metadata": fuzz_pictures.INVOKE,
        "sd-metadata": '{"model": {"model_name": "b"}, "other": {"key": "c"}, "x": {"name": 3}}',
        "XML:com.adobe.xmp": fuzz_pictures.XMP,
        "Comment": '{"steps": 5}',
        "comment": fuzz_pictures.PARAMETERS,
    }
    for key, text in texts.items():
        for international in (False, True):
            data = _with_text(key, text, international=international)
            yield file_of(f"with-{key[:3]}{len(key)}-{international}.png", data, True)
    odd: list[Any] = [
        *([], None, 3, "x", {}, {"3": 7}, {"3": []}, {"3": {}}, {"3": {"inputs": 3}}),
        *({"3": {"inputs": {name: None, "text": [], "steps": {}}}} for name in ("seed", "x")),
        {"3": {"class_type": None, "inputs": {"seed": True}}},
        {"3": {"class_type": {"a": 1}, "inputs": {"text": "a" * 5000}}},
        {str(n): {"class_type": f"c{n}", "inputs": {"seed": n}} for n in range(100)},
    ]
    for at, document in enumerate(odd):
        for key in ("prompt", "invokeai_metadata"):
            yield file_of(f"odd-{at}-{key}.png", _with_text(key, json.dumps(document)), None)
    words = (DEEP[:3000], "{", "1" * 5000, "NaN", "Steps: 20, ", 'Steps: 20, A: "' + "x" * 3000)
    for at, text in enumerate(words):
        for key in texts:
            yield file_of(f"word-{at}-{key[:3]}{len(key)}.png", _with_text(key, text), None)
    yield from _comments()
    for mode in ("RGBA", "LA", "P", "1", "I;16", "L", "CMYK"):
        yield file_of(f"mode-{mode[:2]}-{len(mode)}.png", _of_mode(mode), True)
    for size in ((9000, 9000), (16_384, 16_384), (50_000, 50_000), (1 << 31, 1), (0, 0)):
        yield file_of(f"size-{size[0]}.png", fuzz_pictures.claiming(*size), False)
    bomb = fuzz_pictures.text_bomb()
    yield file_of("bomb.png", bomb, None)
    whole = _with_text("prompt", graph)
    for at, data in enumerate((b"", b"x", whole[:40], whole[:-20], whole[:9] + b"\0" * 99)):
        yield file_of(f"torn-{at}.png", data, None if at == 3 else False)
    for at, data in enumerate(_with_chunks()):
        yield file_of(f"chunk-{at}.png", data, None)
    for at, data in enumerate((b"\xff\xd8\xff" + b"\0" * 99, b"RIFF0000WEBP" + b"\0" * 99)):
        yield file_of(f"other-{at}.png", data, False)


def _with_text(key: str, text: str, *, international: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    (info.add_itxt if international else info.add_text)(key, text)
    return _saved(Image.new("RGB", (8, 8), (9, 90, 200)), "PNG", pnginfo=info)


def _comments() -> Iterator[Item]:
    """EXIF's comment in each encoding, in each format."""
    text = fuzz_pictures.PARAMETERS
    comments: tuple[Any, ...] = (
        b"UNICODE\0" + text.encode("utf-16-be"),
        b"UNICODE\0" + text.encode("utf-16-le"),
        b"ASCII\0\0\0" + text.encode(),
        b"\0" * 8 + text.encode(),
        text.encode(),
        text,
    )
    for at, comment in enumerate(comments):
        for kind in ("JPEG", "WEBP", "PNG"):
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9286] = comment
            data = _saved(Image.new("RGB", (8, 8), (9, 90, 200)), kind, exif=exif.tobytes())
            yield file_of(f"with-comment-{at}.{kind.lower()}", data, True)
    for at, other in enumerate((b"UNICODE\0\xd8", b"UNICODE\0", b"ASCII\0\0\0\xff", b"", 5)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = other
        data = _saved(Image.new("RGB", (8, 8)), "JPEG", exif=exif)
        yield file_of(f"odd-comment-{at}.jpeg", data, None)


_CHUNKS = (
    *("PLTE", "IDAT", "IEND", "tRNS", "gAMA", "cHRM", "sRGB", "pHYs", "tEXt", "zTXt", "iTXt"),
    *("eXIf", "iCCP", "acTL", "fcTL", "fdAT", "bKGD", "IHDR", "ZZZZ", "zzzz", "a\xff"),
)


def _with_chunks() -> Iterator[bytes]:
    """A whole image with one odd chunk more, before its data or after."""
    data = zlib.compress(b"\0" * 25 * 8)
    for name in _CHUNKS:
        for content in (b"", b"\0", b"a\0\0", b"\0" * 40, b"\xff" * 40):
            chunk = fuzz_pictures.chunk(name.encode("latin-1"), content)
            yield fuzz_pictures.png_of(8, 8, data, more=chunk)
            yield fuzz_pictures.png_of(8, 8, data, after=chunk)


def _of_mode(mode: str) -> bytes:
    if mode == "I;16":
        return _saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "PNG")
    image = Image.new("RGBA", (8, 8), (9, 90, 200, 20)).convert("RGB" if mode == "CMYK" else mode)
    if mode == "CMYK":
        return _saved(image.convert("CMYK"), "JPEG")
    return _saved(image, "PNG", **({"transparency": 0} if mode == "P" else {}))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# --- images, latents and traces of a run --------------------------------------------------------


def _artifacts(pictured: Tree) -> Iterator[Item]:
    kinds = {"images": ".png", "latents": ".npy", "traces": ".safetensors"}
    first = {
        kind: next(
            (n, d) for n, d in pictured.items() if n.startswith(kind) and isinstance(d, bytes)
        )
        for kind in kinds
    }
    for kind, (name, data) in first.items():
        yield _below("s", name, data, expected=True)
        others = [d for n, d in pictured.items() if n.startswith(kind) and d != data]
        wrong = [_another(kind), *others, b"", b"x", data[: len(data) // 2]]
        for at, other in enumerate(wrong):
            yield _below(f"w{at}", name, other, expected=False)
        away = Odd("link", f"outside/pictured/{name}")
        for at, odd in enumerate((away, *_NO_FILES.values(), Odd("sparse", size=_LONG))):
            yield _below(f"o{at}", name, odd, expected=False)
        for at, no_name in enumerate(("x", "0" * 63, "0" * 65, "G" * 64, "..")):
            yield _below(f"n{at}", f"{kind}/{no_name}{kinds[kind]}", data, expected=False)
    yield from _true_traces()
    yield from _true_arrays()
    black = hashlib.sha256(repr((8, 8, 3)).encode() + bytes(8 * 8 * 3)).hexdigest()
    for at, data in enumerate(_with_chunks()):
        yield _below(f"c{at}", f"images/{black}.png", data, expected=None)
    large, digest = _too_large()
    yield _below("large", f"images/{digest}.png", large, expected=False)


def _below(run: str, name: str, data: bytes | Odd | None, *, expected: bool | None) -> Item:
    return Item(f"{run}/{name}", {} if data is None else {f"{run}/{name}": data}, expected)


def _another(kind: str) -> bytes:
    """Sound, and not what the name says."""
    if kind == "images":
        return fuzz_pictures.stranger()
    if kind == "traces":
        return _trace()
    return _npy(np.ones((4, 8, 8), np.float32))


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


_ARRAYS: dict[str, Any] = {
    "latents": np.zeros((1, 2, 4, 8, 8), np.float32),
    "pictures": np.zeros((1, 3, 8, 8), np.float32),
}


def _trace(metadata: Any = None, **arrays: Any) -> bytes:
    held = {name: array for name, array in (_ARRAYS | arrays).items() if array is not None}
    return bytes(save(held, {"kept": "[0, 1]"} if metadata is None else metadata))


def _true_traces() -> Iterator[Item]:
    """Traces under their right names: that makes nothing harmless."""
    odd = [
        *(_trace({"kept": text}) for text in ("[0]", "[]", '["a", "b"]', "null", "3", "{", DEEP)),
        *(_trace({"kept": "[0, 1]", "x": text}) for text in ("{", DEEP, "")),
        *(_trace({}), _trace(latents=None), _trace(pictures=None)),
        *(_trace(latents=np.zeros((2,), np.float32)), _trace(pictures=np.zeros((3,), np.float32))),
        *map(_safetensors, ({}, [], None, {"__metadata__": 3}, {"a": 3})),
        *(_safetensors({"__metadata__": {"kept": 3}}, b""), _safetensors({}, b"", 1 << 40)),
        _safetensors({"latents": {"dtype": "F8_E4M3", "shape": [16], "data_offsets": [0, 16]}}),
        _safetensors(DEEP.encode()),
    ]
    for expected, traces in ((True, [_trace()]), (False, odd)):
        for at, data in enumerate(traces):
            name = f"traces/{hashlib.sha256(data).hexdigest()}.safetensors"
            yield _below(f"t{at}", name, data, expected=expected)


def _true_arrays() -> Iterator[Item]:
    for at, data in enumerate(fuzz_pictures.odd_npys()):
        yield _below(f"a{at}", f"latents/{'0' * 64}.npy", data, expected=False)
    for at, array in enumerate(
        np.full((4, 8, 8), value, np.float32) for value in (0, np.nan, np.inf, 3e38)
    ):
        digest = hashlib.sha256(f"torch.float32{array.shape}".encode() + array.tobytes())
        name = f"latents/{digest.hexdigest()}.npy"
        yield _below(f"v{at}", name, _npy(array), expected=True)
    doubled = np.zeros((4, 8, 8), np.float64)
    yield _below("d", f"latents/{'0' * 64}.npy", _npy(doubled), expected=False)


def _too_large() -> tuple[bytes, str]:
    """A whole black image of a column more than can be, and the digest that is its name."""
    width, height = 8193, 8192
    packed = zlib.compressobj(1)
    line = b"\0" * ((width + 7) // 8 + 1)
    data = b"".join((packed.compress(line * height), packed.flush()))
    made = hashlib.sha256(repr((height, width, 3)).encode())
    for _ in range(height):
        made.update(bytes(3 * width))
    return fuzz_pictures.png_of(width, height, data, bits=1, colour=0), made.hexdigest()


# --- timelines ------------------------------------------------------------------------------------


def _timelines(run: Tree) -> Iterator[Item]:
    def lines(*documents: Any) -> bytes:
        return b"".join(encoded(one) + b"\n" for one in documents)

    many = lines(
        {"t": 0, "phase": "load"},
        *(
            {
                "t": at / 20,
                "footprint_bytes": (at * 7919) % 1000 if at % 5 else None,
                "available_bytes": -at if at != 999 else -9999,
                "swap_used_bytes": None,
            }
            for at in range(2999)
        ),
        {"t": 1, "phase": "pass 1"},
        {"t": 150, "pressure": "warn", "footprint_bytes": 5000},
    )
    few = lines({"t": 5, "footprint_bytes": 3}, {"t": 1, "phase": "load"}, {"t": 2})
    for at, data in enumerate(
        (many, few, few + b'{"t": 1, "phase": "\xff"}\n' + b"\xff\n{\n" + few)
    ):
        yield _below(f"s{at}", "telemetry/a.1.jsonl", data, expected=True)
    times: tuple[Any, ...] = (None, "x", [], True, float("nan"), float("inf"))
    odd: tuple[Any, ...] = (
        *({"t": value} for value in times),
        *({"t": 1, "phase": value} for value in ("x", "pass", "pass 123456", "load\n", 3, "")),
        *({"t": 1, name: "x"} for name in ("footprint_bytes", "available_bytes", "pressure")),
        *({}, [], None, 3, "x"),
    )
    for at, one in enumerate(odd):
        yield _below(f"i{at}", "telemetry/a.1.jsonl", lines(one), expected=False)
    texts: tuple[bytes, ...] = (
        b"",
        b"\xff\n",
        b'{"t": 1, "phase": "\xff"}\n',
        DEEP.encode(),
        b"\0" * 99,
    )
    texts += (b'{"t": 1, "zz": ' + DEEP.encode(), b'{"t": 1, "pressure": "\xff"}')
    for at, data in enumerate(texts):
        yield _below(f"t{at}", "telemetry/a.1.jsonl", data, expected=False)
    for at, no_file in enumerate((*_NO_FILES.values(), Odd("sparse", size=_LONG))):
        yield _below(f"o{at}", "telemetry/a.1.jsonl", no_file, expected=False)
