"""Images, latents and traces that others may have made: unusual, enormous, torn, with texts."""

import hashlib
import io
import json
import pickle
import struct
import warnings
import zlib
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
from fuzz_values import CANARY, DEEP, TEXTS
from PIL import Image, PngImagePlugin
from safetensors.numpy import save

STRANGER_LEVELS = (250, 4, 251)
"""The colour of an image that no run has made, so that it is recognised wherever it is shown."""
PARAMETERS = (
    "a castle\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, "
    'Size: 512x768, Model: "base, v1", Version: v1.9.0'
)
_GRAPH = json.dumps(
    {
        "3": {"class_type": "KSampler", "inputs": {"seed": 5, "steps": 8, "model": ["4", 0]}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
        "7": {"class_type": "Odd", "inputs": 3},
        "8": 7,
    }
)
INVOKE = json.dumps({"seed": 3, "model": {"name": "base"}, "deep": {"key": 1}, "list": [1]})
XMP = (
    "<x:xmpmeta><exif:UserComment><rdf:Alt><rdf:li xml:lang='x'>"
    "{&quot;sampler&quot;: &quot;Euler&quot;}</rdf:li></rdf:Alt></exif:UserComment></x:xmpmeta>"
)
_KEYS = (
    *("parameters", "Parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata"),
    *("Comment", "comment", "XML:com.adobe.xmp", "dream", "Title"),
)
_USER_COMMENT, _EXIF = 0x9286, 0x8769


def stranger(size: tuple[int, int] = (64, 64)) -> bytes:
    """An image of one colour, as PNG."""
    return _saved(Image.new("RGB", size, STRANGER_LEVELS), "PNG")


def is_stranger(data: bytes) -> bool:
    """Whether it is that image, at whatever size and however it was compressed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(data))
        with opened as image:
            if image.width * image.height > 1 << 22:
                return False
            levels = np.asarray(image.convert("RGB"), np.float32).reshape(-1, 3)
    except Exception:  # Pillow has many for what is no image
        return False
    return bool((np.abs(levels - np.array(STRANGER_LEVELS)).max(axis=1) < 24).mean() > 0.5)


def picture(random: Random) -> bytes:
    """A whole image of some format, mode and size, mostly with something embedded."""
    mode = random.choice(("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"))
    size = random.choice(((64, 64), (1, 1), (8, 200), (33, 17), (256, 256)))
    kind = random.choice(("PNG", "PNG", "JPEG", "WEBP"))
    made = _content(random, mode, size)
    if kind == "JPEG" and mode not in ("RGB", "L", "CMYK"):
        made = made.convert("RGB")
    if kind == "WEBP" and mode not in ("RGB", "RGBA"):
        made = made.convert("RGBA")
    if kind == "PNG" and mode == "CMYK":
        made = made.convert("RGB")
    return _saved(made, kind, **_embedded(random, kind))


def _content(random: Random, mode: str, size: tuple[int, int]) -> Image.Image:
    generator = np.random.default_rng(random.randrange(1 << 30))
    height, width = size[1], size[0]
    style = random.randrange(5)
    if style == 0:
        levels = np.full((height, width, 3), random.randrange(256), np.uint8)
    elif style == 1:
        levels = generator.integers(0, 256, (height, width, 3), np.uint8)
    elif style == 2:
        levels = np.zeros((height, width, 3), np.uint8)
        levels[: height // 2] = 255
    elif style == 3:  # tiles, as a decoder leaves them that lost its way
        levels = (np.indices((height, width)).sum(0) // 8 % 2 * 255).astype(np.uint8)
        levels = np.repeat(levels[..., None], 3, axis=2)
    else:
        slope = np.linspace(0, 255, width * height, dtype=np.uint8).reshape(height, width)
        levels = np.stack([slope, slope[::-1], slope], axis=2)
    image = Image.fromarray(levels)
    if mode == "I;16":
        return Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    return image.convert(mode)


def _embedded(random: Random, kind: str) -> dict[str, Any]:
    if random.random() < 0.3:
        return {}
    known = (PARAMETERS, _GRAPH, INVOKE, XMP, DEEP[:3000])
    text = random.choice(known if random.random() < 0.7 else TEXTS)
    if random.random() < 0.4:
        text = _spliced(random, text)
    if kind == "PNG" and random.random() < 0.8:
        info = PngImagePlugin.PngInfo()
        natural = {PARAMETERS: "parameters", _GRAPH: "prompt", INVOKE: "invokeai_metadata"}
        natural[XMP] = "XML:com.adobe.xmp"
        for _ in range(random.randrange(1, 3)):
            key = random.choice(_KEYS)
            if random.random() < 0.6:
                key = next((name for one, name in natural.items() if one[:9] == text[:9]), key)
            plain = text.encode("latin-1", "replace").decode("latin-1")
            if random.random() < 0.5:
                info.add_itxt(key, text.replace("\0", ""), zip=random.random() < 0.5)
            else:
                info.add_text(key, plain.replace("\0", ""), zip=random.random() < 0.5)
        return {"pnginfo": info}
    exif = Image.Exif()
    encoding, codec = random.choice(
        (
            (b"UNICODE\0", "utf-16-be"),
            (b"UNICODE\0", "utf-16-le"),
            (b"ASCII\0\0\0", "utf-8"),
            (b"\0" * 8, "utf-8"),
            (b"", "utf-8"),
        )
    )
    comment: Any = encoding + text.encode(codec, "replace")
    exif.get_ifd(_EXIF)[_USER_COMMENT] = comment[:30_000]
    return {"exif": exif}


def _spliced(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(TEXTS)[:400] + text[at + random.randrange(20) :]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def odd_png(random: Random) -> bytes:
    """A small file that says it is enormous, or has a text that unpacks to a hundred megabytes."""
    width, height = random.choice(
        ((50_000, 50_000), (9000, 9000), (0, 0), (1 << 31, 1), (16_384, 4096), (1, 1 << 24))
    )
    return text_bomb() if random.random() < 0.3 else claiming(width, height)


def claiming(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with the data of at most 64 lines."""
    lines = b"\0" * (min(width, 64) * 3 + 1) * min(height, 64)
    return png_of(width, height, zlib.compress(lines))


def text_bomb() -> bytes:
    """A small PNG with a text of 50 MB."""
    bomb = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 50_000_000))
    return png_of(8, 8, zlib.compress(b"\0" * 25 * 8), more=bomb)


def png_of(
    width: int,
    height: int,
    data: bytes,
    *,
    bits: int = 8,
    colour: int = 2,
    more: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG with that compressed data, whatever it says of its size; chunks before it and after."""
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    ends = chunk(b"IDAT", data) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + size + more + ends


class _Strikes:
    def __reduce__(self) -> Any:
        return exec, (f"raise SystemExit('{CANARY}')",)


def odd_npy(random: Random) -> bytes:
    """Latents whose header lies, or that hold a pickle."""
    return random.choice([*odd_npys()])


_NPY_HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, -8, 8), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -8, 8), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8, 9), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 256, }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (128,), }",
    "{'descr': [1, 2], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': " + "[" * 300 + "]" * 300 + ", 'fortran_order': False, 'shape': (1,)}",
    f"__import__('os').system('{CANARY}')",
    "{'descr': '<f4', 'fortran_order': 1",
    "{'descr': '<U8', 'fortran_order': True, 'shape': (0,), }",
    *("-" * 9000 + "1", "-" * 2000 + "1", "(" * 150 + "'a" * 40, "  x\n y\nz", "\0", "é", ""),
)


def odd_npys() -> Iterator[bytes]:
    """Each header in each version of the format, and two pickles."""
    stream = io.BytesIO()
    np.save(stream, np.array([None, "x"], dtype=object), allow_pickle=True)
    yield stream.getvalue()[:128] + pickle.dumps(_Strikes())
    yield pickle.dumps(_Strikes())
    for text in _NPY_HEADERS:
        header = text.encode()
        for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"):
            length = len(header) if version != b"\x09\x00" else 60_000
            size = struct.pack("<H" if version == b"\x01\x00" else "<I", length)
            yield b"\x93NUMPY" + version + size + header + b"\0" * 1024


def odd_safetensors(random: Random) -> bytes:
    """A trace whose header lies."""
    header = random.choice(
        (
            {"__metadata__": {"kept": "[0, 1]", "deep": DEEP}},
            {"__metadata__": {"kept": "[" * 2000}},
            {"__metadata__": 3},
            {"latents": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
            {"latents": {"dtype": "F32", "shape": [1, 1, 4], "data_offsets": [0, 16]}},
            {"__metadata__": {"kept": '["a"]'}, "latents": None},
            [1],
        )
    )
    text = json.dumps(header).encode()
    length = random.choice((len(text), 1 << 40, 0))
    return struct.pack("<Q", length) + text + b"\0" * 16


def true_artifact(random: Random, kind: str) -> tuple[str, bytes]:
    """An unusual image, latents or trace, and the digest that is its right name.

    Anybody can compute a digest: a right name makes nothing harmless.
    """
    if kind == ".safetensors":
        data = _unusual_trace(random)
        return hashlib.sha256(data).hexdigest(), data
    if kind == ".npy":
        array = _unusual_array(random)
        stream = io.BytesIO()
        np.save(stream, array)
        head = f"torch.float32{array.shape}".encode()
        return hashlib.sha256(head + array.tobytes()).hexdigest(), stream.getvalue()
    data = picture(random)
    while not data.startswith(b"\x89PNG"):
        data = picture(random)
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"))
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(), data


def _unusual_array(random: Random) -> Any:
    shape = random.choice(((4, 8, 8), (4, 8, 8), (0,), (), (4, 0, 8), (1, 2, 3, 4, 5, 6), (64,)))
    value = random.choice((0.0, 1.0, float("nan"), float("inf"), 3e38))
    array = np.full(shape, value, np.float32)
    if array.size > 1 and random.random() < 0.5:
        array.flat[0] = random.choice((1.0, float("nan"), -1e30))
    return array


def _unusual_trace(random: Random) -> bytes:
    kept = random.choice(([0, 1, 2, 3, 4], [0], [], ["a"], None, [4, 3, 2, 1, 0], [-1] * 5, 3))
    arrays: dict[str, Any] = {
        "latents": np.zeros(random.choice(((1, 5, 4, 8, 8), (1, 1, 4, 8, 8), (5,))), np.float32),
        "pictures": np.zeros(random.choice(((1, 3, 64, 64), (0, 3, 64, 64), (3,))), np.float32),
        "text.prompt_embeds": _unusual_array(random),
    }
    if random.random() < 0.2:
        del arrays[random.choice([*arrays])]
    metadata = {"kept": json.dumps(kept)}
    if random.random() < 0.3:
        metadata[random.choice(("kept", "x"))] = random.choice(("{", DEEP, "1e999", "[[]]"))
    return bytes(save(arrays, metadata))
