"""Synthetic models of more families: tables of tensors, tokenizers, the same bytes everywhere."""

import json
import math
import re
from pathlib import Path

import jinja2
import make_architectures
import pytest
from factories import make_config
from hypothesis import given
from hypothesis import strategies as st

from sdbench.models import synthetic
from sdbench.models.architecture import TABLES, Tabled, parameter_count, stored_bytes, unfold
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.token_tables import (
    QWEN_END_ID,
    QWEN_VOCABULARY,
    T5_VOCABULARY,
    qwen_tokenizer_files,
    t5_tokenizer_files,
)
from sdbench.models.tokenizer import read_tokenizer
from sdbench.runner.prepare import prompt_remarks

TINY = [name for name in SYNTHETIC if name.startswith("synthetic/tiny")]


# --- sizes and tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "network", "parameters"),
    [
        # Counted from the real classes with the configurations here, so a change is noticed; the
        # checkpoints themselves were not read.
        ("synthetic/sd3", "transformer", 2_084_951_104),
        ("synthetic/sd3", "text_encoder_3", 4_762_310_656),
        ("synthetic/flux", "transformer", 11_891_178_560),
        ("synthetic/flux", "vae", 83_819_683),
        ("synthetic/flux2-klein", "transformer", 3_875_544_576),
        ("synthetic/flux2-klein", "text_encoder", 4_022_468_096),
        ("synthetic/z-image", "transformer", 6_154_908_736),
        ("synthetic/lcm", "unet", 859_602_884),
    ],
)
def test_network_keeps_its_size(model: str, network: str, parameters: int) -> None:
    assert parameter_count(SYNTHETIC[model].networks[network]) == parameters


@pytest.mark.parametrize("name", TINY)
def test_models_for_tests_are_small(name: str) -> None:
    assert SYNTHETIC[name].bytes_on_disk < 8e6


def test_table_is_small_and_every_network_in_it_is_used() -> None:
    assert TABLES.stat().st_size < 50_000
    networks = [network for model in SYNTHETIC.values() for network in model.networks.values()]
    used = {network.name for network in networks if isinstance(network, Tabled)}
    assert used == set(json.loads(TABLES.read_text()))


names = st.lists(
    st.sampled_from(["a", "b", "0", "1", "2", "3", "10", "2-1"]), min_size=1, max_size=3
)
shapes = st.sampled_from([(), (1,), (2, 3), (4, 5, 6)])


@given(st.dictionaries(names.map(".".join), shapes, max_size=12))
def test_folding_loses_nothing(tensors: dict[str, tuple[int, ...]]) -> None:
    # A tensor and a module cannot have the same name.
    whole = {n: s for n, s in tensors.items() if not any(o.startswith(f"{n}.") for o in tensors)}
    assert dict(unfold(make_architectures.fold(whole))) == whole


def test_equal_layers_are_listed_once() -> None:
    tensors: dict[str, tuple[int, ...]] = {"layers.12.weight": (4,)}
    tensors = {f"layers.{index}.weight": (4, 4) for index in range(12)} | tensors
    assert make_architectures.fold(tensors) == {
        "layers": {"0..11": {"weight": [4, 4]}, "12": {"weight": [4]}}
    }


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_small_model_comes_out_byte_for_byte(name: str, own_cache: Path) -> None:
    model = SYNTHETIC[name]
    folder = synthetic.ensure(model, own_cache)  # refuses other bytes
    assert synthetic.digest_unwritten(model) == model.sha256
    for component, network in model.networks.items():
        (weights,) = (folder / component).glob("*.safetensors")
        data = weights.read_bytes()
        header = int.from_bytes(data[:8], "little")
        assert len(data) - 8 - header == stored_bytes(network)


def test_every_model_has_a_digest_of_its_own() -> None:
    digests = [model.sha256 for model in SYNTHETIC.values()]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)


def test_digest_can_be_had_without_writing(own_cache: Path) -> None:
    told: list[tuple[int, int]] = []
    model = SYNTHETIC["synthetic/tiny-flux2-klein"]
    synthetic.digest_unwritten(model, lambda done, total: told.append((done, total)))
    assert told[-1] == (model.bytes_on_disk, model.bytes_on_disk)
    assert not own_cache.exists()


def test_statistics_of_latents_are_no_weights(own_cache: Path) -> None:
    import numpy as np

    folder = synthetic.ensure(SYNTHETIC["synthetic/tiny-flux2-klein"], own_cache)
    data = (folder / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    counter = header["bn.num_batches_tracked"]
    assert (counter["dtype"], counter["shape"]) == ("I64", [])
    begin, stop = header["bn.running_var"]["data_offsets"]
    variances = np.frombuffer(data[end + begin : end + stop], np.float16)
    assert 0.7 < variances.min() < variances.max() < 1.3


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("encoder.block.0.layer.0.SelfAttention.q.weight", (64, 64), 1 / 64),
        ("encoder.block.0.layer.0.SelfAttention.k.weight", (64, 64), 1 / 8),
        ("pos_embed.pos_embed", (1, 256, 64), 1 / 8),
        ("x_pad_token", (1, 64), 1 / 8),
    ],
)
def test_scale_of_values(name: str, shape: tuple[int, ...], wanted: float) -> None:
    import numpy as np

    values = np.frombuffer(synthetic.tensor_data(f"synthetic/x/{name}", shape), np.float16)
    assert len(values) == math.prod(shape)
    assert 0.6 < values.astype(np.float64).std() / wanted < 1.6


# --- tokenizers ----------------------------------------------------------------------------------


def test_t5_tokenizer_begins_as_the_published_one() -> None:
    document = json.loads(t5_tokenizer_files()["tokenizer.json"])
    tokens = [token for token, _ in document["model"]["vocab"]]
    assert tokens[:4] == ["<pad>", "</s>", "<unk>", "\u2581"]
    assert len(set(tokens)) == len(tokens) == T5_VOCABULARY


def test_qwen_tokenizer_has_a_token_for_every_byte_and_then_the_special_ones() -> None:
    files = qwen_tokenizer_files()
    assert sorted(json.loads(files["vocab.json"]).values()) == list(range(256))
    added = json.loads(files["tokenizer_config.json"])["added_tokens_decoder"]
    assert [*map(int, added)] == list(range(256, QWEN_VOCABULARY))
    assert added[str(QWEN_END_ID)]["content"] == "<|endoftext|>"


@pytest.mark.parametrize(
    ("thinking", "end"), [(True, ""), (False, "<think>\n\n</think>\n\n"), (None, "")]
)
def test_chat_template_is_as_qwen3_has_it(thinking: bool | None, end: str) -> None:
    config = json.loads(qwen_tokenizer_files()["tokenizer_config.json"])
    said = {} if thinking is None else {"enable_thinking": thinking}
    text = jinja2.Template(config["chat_template"]).render(
        messages=[{"role": "user", "content": "a cat"}], add_generation_prompt=True, **said
    )
    assert text == f"<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n{end}"


@pytest.mark.parametrize("name", TINY)
def test_prompts_are_counted_where_an_encoder_is_clip(name: str, own_cache: Path) -> None:
    folder = synthetic.ensure(SYNTHETIC[name], own_cache)
    kinds = {
        **dict.fromkeys(("synthetic/tiny", "synthetic/tiny-sdxl", "synthetic/tiny-lcm"), ""),
        **dict.fromkeys(("synthetic/tiny-sd3", "synthetic/tiny-flux"), "T5"),
    }
    tokenizer = read_tokenizer(folder)
    assert (None if tokenizer is None else tokenizer.beside) == kinds.get(name)
    config = make_config(prompts=["a lighthouse at dusk, " * 20])
    assert len(prompt_remarks(config, name, None)) == (name in kinds)
    assert prompt_remarks(config, name, None) == prompt_remarks(config, str(folder), folder)
