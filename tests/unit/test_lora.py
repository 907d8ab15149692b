"""LoRA files: read by their headers, refused where they do not fit, part of the digest."""

from pathlib import Path

import msgspec
import pytest
from factories import make_config, make_model, make_run
from test_model_folder import write_safetensors

from sdbench.errors import ModelError, UsageError
from sdbench.models.resolve import find_model
from sdbench.privacy.redact_recorded import hidden_run, shown_run
from sdbench.privacy.redact_shared import shared
from sdbench.process.picture_job import picture_job
from sdbench.records import Case, LoraInfo, Run
from sdbench.runs import LoadedRun

TINY = "synthetic/tiny"
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"


def lora_file(path: Path, width: int = 64, prefix: str = f"unet.{ATTENTION}.to_k") -> Path:
    """A LoRA of one layer that reads text of this width; by default it fits ``synthetic/tiny``."""
    shapes = {f"{prefix}.lora_A.weight": [4, width], f"{prefix}.lora_B.weight": [32, 4]}
    write_safetensors(path, **shapes)
    return path


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return lora_file(tmp_path / "style:v2.safetensors")


@pytest.mark.parametrize(("suffix", "weight"), [("", 1.0), (":0.8", 0.8), (":-1", -1.0), (":0", 0)])
def test_file_and_weight(lora: Path, suffix: str, weight: float) -> None:
    (read,) = find_model(TINY, lora=[f"{lora}{suffix}"]).read_loras()
    assert (read.path, read.weight) == (lora, weight)


@pytest.mark.parametrize("suffix", [":nan", ":inf", ":1000"])
def test_weight_that_is_none_is_wrong_usage(lora: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match="expected a weight from -100 to 100"):
        find_model(TINY, lora=[f"{lora}{suffix}"])


@pytest.mark.parametrize("text", ["absent.safetensors", "", ":1", "\0"])
def test_file_that_is_not_there_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_model(TINY, lora=[text])


@pytest.mark.usefixtures("tiny")
def test_digest_depends_on_each_lora_its_weight_and_their_order(lora: Path, tmp_path: Path) -> None:
    other = lora_file(tmp_path / "other.safetensors", prefix=f"unet.{ATTENTION}.to_v")
    digests = {
        find_model(TINY, lora=[str(one) for one in chosen]).prepare().sha256
        for chosen in ([], [lora], [other], [f"{lora}:0.5"], [lora, other], [other, lora])
    }
    assert len(digests) == 6
    model = find_model(TINY, lora=[f"{lora}:0.5"]).prepare()
    assert model.title == "synthetic/tiny + style:v2.safetensors (0.5)"
    job = picture_job(make_config(), model, "cpu", Case(), allow_pickle=False)
    assert [(one["path"], one["weight"]) for one in job["loras"]] == [(str(lora), 0.5)]


@pytest.mark.parametrize(
    ("name", "tensors", "reason"),
    [
        ("x.safetensors", {f"unet.{ATTENTION}.to_k.lora_A.weight": [4, 768]}, "reads text of wid"),
        ("x.safetensors", {"lora_unet_a_attn2_to_k.lora_down.weight": [4, 2048]}, "width 2048"),
        (
            "x.safetensors",
            {"transformer.transformer_blocks.0.lora_A.weight": [4, 4]},
            "transformer",
        ),
        ("x.safetensors", {"lora_unet_double_blocks_0.lora_down.weight": [4, 4]}, "transformer"),
        ("x.safetensors", {"diffusion_model.layers.0.q.lora_A.weight": [4, 4]}, "transformer"),
        ("x.safetensors", {"conv_in.weight": [4, 4]}, "it holds no LoRA"),
        ("x.safetensors", {"lora_unet_a.hada_w1_a": [4, 4]}, "a LyCORIS file"),
        ("x.pt", {"lora_A": [1]}, "in no other format"),
    ],
)
def test_lora_for_something_else_is_refused(
    tmp_path: Path, name: str, tensors: dict[str, list[int]], reason: str
) -> None:
    write_safetensors(tmp_path / name, **tensors)
    with pytest.raises(ModelError, match=reason):
        find_model(TINY, lora=[str(tmp_path / name)])


def test_lora_of_a_unet_is_refused_on_a_transformer(lora: Path) -> None:
    with pytest.raises(ModelError, match=r"changes a UNet .* has a FluxTransformer2DModel"):
        find_model("synthetic/tiny-flux", lora=[str(lora)])


def test_damaged_file_is_refused(lora: Path) -> None:
    lora.write_bytes(lora.read_bytes()[:-1])
    with pytest.raises(ModelError, match="truncated"):
        find_model(TINY, lora=[str(lora)])


def run_with(path: str) -> Run:
    info = LoraInfo(name="mine.safetensors", path=path, sha256="0" * 64, weight=0.8)
    model = msgspec.structs.replace(make_model(), loras=[info])
    return make_run(make_config(lora=[f"{path}:0.8"]), model=model)


def test_home_is_not_written_down_and_comes_back() -> None:
    run = run_with(str(Path.home() / "loras" / "mine.safetensors"))
    written = hidden_run(run)
    assert str(Path.home()) not in str(msgspec.json.encode(written))
    assert written.config["lora"] == ["~/loras/mine.safetensors:0.8"]
    assert shown_run(written).model.loras == run.model.loras
    assert shown_run(written).config["lora"] == run.config["lora"]


def test_nothing_of_the_file_is_given_away() -> None:
    run = run_with("/data/grace/mine.safetensors")
    (given,) = shared([LoadedRun(Path("x"), run, [], [])])
    text = msgspec.json.encode(given.run).decode()
    assert "mine.safetensors" not in text and "grace" not in text
    assert given.run.config["lora"] == ["LoRA 1:0.8"]
    assert given.run.model.title.endswith(" + LoRA 1 (0.8)")
