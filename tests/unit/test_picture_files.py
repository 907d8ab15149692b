"""Images that somebody has: what is embedded in them, and what their faults may come from."""

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sdbench.correctness.picture_kinds import PictureKind, kinds_of
from sdbench.errors import UsageError
from sdbench.explain.picture_causes import explain_picture
from sdbench.explain.picture_files import (
    PictureFile,
    PictureSettings,
    embedded_settings,
    picture_format,
    read_picture,
)
from sdbench.knowledge.known_issues import load_known_issues
from sdbench.knowledge.version_ranges import UNKNOWN, Versions

PARAMETERS = (
    "a castle (detailed:1.2), steps, by nobody\nNegative prompt: blurry, low quality\n"
    'Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: "base, v1", '
    "Version: v1.9.0"
)
GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 5, "steps": 8, "cfg": 1.5, "model": ["4", 0]},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "Odd", "inputs": 3},
    "8": 7,
}


def saved(kind: str = "PNG", size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, options.pop("colour", (90, 60, 30))).save(stream, kind, **options)
    return stream.getvalue()


def with_text(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text) if name == "XML" else info.add_text(name, text)
    return saved(pnginfo=info)


def settings_of(data: bytes) -> PictureSettings:
    found = read_picture(data, "x").settings
    assert found is not None
    return found


def test_format_is_told_by_the_content() -> None:
    assert [picture_format(saved(kind)) for kind in ("PNG", "JPEG", "WEBP")] == [
        *("PNG", "JPEG", "WEBP"),
    ]
    assert picture_format(saved("GIF")) is None
    assert picture_format(b"Traceback") is None
    assert picture_format(b"") is None


def test_parameters_of_the_web_ui() -> None:
    found = settings_of(with_text(parameters=PARAMETERS))
    assert found.program == "A1111 web UI or Forge"
    assert found.values["prompt"] == "a castle (detailed:1.2), steps, by nobody"
    assert found.values["negative prompt"] == "blurry, low quality"
    assert (found.values["Seed"], found.values["Size"]) == ("42", "512x768")
    assert found.values["Model"] == "base, v1"


def test_graph_of_comfyui() -> None:
    found = settings_of(with_text(prompt=json.dumps(GRAPH), workflow="{}"))
    assert found.program == "ComfyUI"
    assert found.values == {
        "KSampler.seed": "5",
        "KSampler.steps": "8",
        "KSampler.cfg": "1.5",
        "CheckpointLoaderSimple.ckpt_name": "sd_xl.safetensors",
        "CLIPTextEncode.text": "a cat",
    }


def test_metadata_of_invokeai_and_draw_things() -> None:
    metadata = {"steps": 30, "model": {"name": "dream", "hash": "x"}, "seed": 1, "loras": []}
    found = settings_of(with_text(invokeai_metadata=json.dumps(metadata)))
    assert (found.program, found.values["model"]) == ("InvokeAI", "dream")
    packet = (
        "<x:xmpmeta><exif:UserComment><rdf:Alt><rdf:li xml:lang='x-default'>"
        "{&quot;c&quot;:&quot;a dog&quot;,&quot;seed&quot;:7}</rdf:li></rdf:Alt>"
        "</exif:UserComment></x:xmpmeta>"
    )
    xmp = embedded_settings({"xmp": packet})
    assert xmp is not None
    assert (xmp.program, xmp.values) == ("Draw Things", {"c": "a dog", "seed": "7"})


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("codec", ["utf-16-be", "utf-16-le", "ascii"])
def test_exif_comment(kind: str, codec: str) -> None:
    head = b"ASCII\x00\x00\x00" if codec == "ascii" else b"UNICODE\x00"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = head + PARAMETERS.encode(codec)
    found = settings_of(saved(kind, exif=exif))
    assert found.values["Seed"] == "42"


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"parameters": "only a prompt"},
        {"prompt": "{"},
        {"prompt": "[" * 5_000},
        {"prompt": "[1, 2]"},
        {"invokeai_metadata": "7"},
        {"xmp": "<exif:UserComment>"},
        {"Comment": "made with a camera"},
    ],
)
def test_other_texts_are_no_settings(texts: dict[str, str]) -> None:
    assert embedded_settings(texts) is None


def test_settings_are_bounded() -> None:
    found = embedded_settings({"Comment": json.dumps({f"k{i}": "x\n" * 5_000 for i in range(99)})})
    assert found is not None
    assert len(found.values) == 40
    assert all(len(value) <= 300 and "\n" not in value for value in found.values.values())


def png_of(
    width: int, height: int, body: bytes = b"", after: tuple[bytes, bytes] = (b"IDAT", b"")
) -> bytes:
    """A PNG that claims a size; ``after`` is a chunk behind its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    chunks = ((b"IHDR", head), (b"IDAT", body), after, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_of(100_000, 100_000), "expected at most"),
        (png_of(10_000, 10_000), "expected at most"),
        (png_of(9_000, 9_000), "9000x9000 pixels; expected at most"),
        (png_of(8, 8, b"garbage"), "cannot be decoded"),
        (saved(size=(300, 300))[:60], "cannot be decoded"),
        (saved("JPEG")[:120], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        # Pillow has an IndexError for a colour profile that is cut, after the pixels.
        (png_of(8, 8, zlib.compress(bytes(25 * 8)), after=(b"iCCP", b"a")), "cannot be decoded"),
        (b"text", "expected a PNG, JPEG or WebP image"),
    ],
)
def test_damaged_or_enormous_pictures_are_one_line(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_picture(data, "a.png")


def test_a_text_that_unpacks_to_gigabytes_is_refused() -> None:
    packed = b"parameters\x00\x00" + zlib.compress(b"a" * 80_000_000, 9)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    picture = saved()
    with pytest.raises(UsageError, match="cannot be decoded"):
        read_picture(picture[:33] + chunk + picture[33:], "a.png")


def test_pixels_are_what_a_person_sees() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(stream, "PNG")
    assert read_picture(stream.getvalue(), "x").pixels.min() == 255  # transparent, not black
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(deep, "PNG")
    pixels = read_picture(deep.getvalue(), "x").pixels
    assert pixels.shape == (4, 4, 3)
    assert 150 <= pixels.min() == pixels.max() <= 160


# --- kinds and known faults ----------------------------------------------------------------------


def test_black_and_flat() -> None:
    assert [one.kind for one in kinds_of(np.zeros((8, 8, 3), np.uint8))] == ["black"]
    brown = np.broadcast_to(np.array([90, 60, 30], np.uint8), (8, 8, 3))
    assert [one.kind for one in kinds_of(brown)] == ["flat"]
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert kinds_of(np.stack([ramp, ramp, ramp], axis=-1)) == []


def a_kind(kind: str) -> PictureKind:
    return PictureKind(kind=kind, sentence=f"It is {kind}.", confidence="high")


def a_picture(size: int = 512, model: str | None = None) -> PictureFile:
    settings = None if model is None else PictureSettings(program="p", values={"model": model})
    return PictureFile(format="PNG", width=size, height=size, pixels=None, settings=settings)


def test_kinds_are_joined_with_what_these_versions_are_known_for() -> None:
    versions = Versions(torch="2.5.1", macos="14.6")
    first, *known = explain_picture([a_kind("black")], a_picture(), versions)
    assert (first.id, first.cause, first.confidence) == ("picture-black", "It is black.", "high")
    assert "baddbmm-nan" in [one.id for one in known]
    sliced = next(one for one in known if one.id == "baddbmm-nan")
    assert "if attention slicing was on" in sliced.cause
    assert sliced.confidence == "low"
    assert "pytorch/pytorch#187521" in (sliced.source or "")


def test_other_versions_sizes_and_models_speak_against_an_issue() -> None:
    def found(kind: str, picture: PictureFile, versions: Versions) -> list[str]:
        return [one.id for one in explain_picture([a_kind(kind)], picture, versions)[1:]]

    assert found("black", a_picture(), Versions(torch="2.15.0", macos="26.1")) == []
    assert found("black", a_picture(), UNKNOWN) == []
    beta = Versions(torch="2.12.0", macos="27.0")
    assert "sdxl-corrupted-macos-27" in found("noise", a_picture(model="sd_xl_base"), beta)
    assert "sdxl-corrupted-macos-27" not in found("noise", a_picture(model="v1-5"), beta)
    old = Versions(macos="13.2.1")
    assert "linear-large-macos-13.2" in found("noise", a_picture(1536), old)
    assert "linear-large-macos-13.2" not in found("noise", a_picture(512), old)


def test_a_kind_that_is_not_known_yet_has_a_remedy_all_the_same() -> None:
    (one,) = explain_picture([a_kind("stripes")], a_picture(), UNKNOWN)
    assert "on the CPU" in one.remedy


def test_every_issue_can_be_told_of_a_picture() -> None:
    """No workaround or link breaks the form."""
    for issue in load_known_issues():
        assert issue.workaround
