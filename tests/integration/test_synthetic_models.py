"""Synthetic models in the real classes: strict names and shapes, one image of each family."""

import functools
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_architectures
import pytest
from conftest import Lazy

from sdbench.models import synthetic
from sdbench.models.architecture import TABLES, Network
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.synthetic_model import SyntheticModel

torch: Any = Lazy("torch")
diffusers: Any = Lazy("diffusers")
transformers: Any = Lazy("transformers")

# The libraries' own remarks about arguments that are still theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


def has_classes(model: SyntheticModel) -> bool:
    """Whether the installed releases know the family."""
    parts = [kind for kind in model.configs["model_index.json"].values() if isinstance(kind, list)]
    modules = {"diffusers": diffusers, "transformers": transformers}
    return hasattr(torch.nn.functional, "scaled_dot_product_attention") and all(
        library is None or hasattr(modules[library], name)
        for library, name in [*parts, ["diffusers", model.pipeline_class]]
    )


TINY = [name for name in SYNTHETIC if name.startswith("synthetic/tiny")]


@pytest.fixture(autouse=True)
def _in_these_releases(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"] if hasattr(request.node, "callspec") else None
    if not all(has_classes(model) for key, model in SYNTHETIC.items() if name in (key, None)):
        pytest.skip("an older diffusers lacks this family")


def folder_of(name: str, cache: Path) -> Path:
    return synthetic.ensure(SYNTHETIC[name], cache)


@functools.cache
def real_shapes(config: str) -> dict[str, tuple[int, ...]]:
    return make_architectures.real_shapes(json.loads(config))


def as_published(network: Network | dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Without the prefix of CLIP's names, which releases of transformers add or drop."""
    tensors = network if isinstance(network, dict) else dict(network.parameters())
    return {name.removeprefix("text_model."): shape for name, shape in tensors.items()}


@pytest.mark.parametrize("name", SYNTHETIC)
def test_tensors_are_those_of_the_real_classes(name: str) -> None:
    model = SYNTHETIC[name]
    for component, network in model.networks.items():
        config = json.dumps(model.configs[f"{component}/config.json"], sort_keys=True)
        assert as_published(network) == as_published(real_shapes(config)), component


def test_table_is_what_the_tool_writes() -> None:
    assert json.loads(TABLES.read_text()) == make_architectures.tables()


@pytest.mark.parametrize("name", TINY)
def test_every_weight_is_loaded_and_none_is_made_up(name: str, cache: Path) -> None:
    folder, model = folder_of(name, cache), SYNTHETIC[name]
    for component in model.networks:
        library, class_name = model.configs["model_index.json"][component]
        kind = getattr({"diffusers": diffusers, "transformers": transformers}[library], class_name)
        _, info = kind.from_pretrained(
            folder / component, local_files_only=True, output_loading_info=True
        )
        found = {key: keys for key, keys in info.items() if key != "conversion_errors" and keys}
        assert not found, component


def same_noise(shape: Any, generator: Any = None, **options: Any) -> Any:
    """Instead of diffusers' ``randn_tensor``: the same numbers in every dtype."""
    (seeded,) = generator if isinstance(generator, list) else [generator]
    noise = torch.randn(tuple(shape), generator=seeded, dtype=torch.float32)
    return noise.to(options.get("device"), options.get("dtype"))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side, see conftest.py."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def noise_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TINY:
        if has_classes(SYNTHETIC[name]):
            getattr(diffusers, SYNTHETIC[name].pipeline_class)  # modules load when asked for
    for name, module in [*sys.modules.items()]:
        if name.startswith("diffusers.") and "randn_tensor" in vars(module):
            monkeypatch.setattr(module, "randn_tensor", same_noise)


@functools.lru_cache(maxsize=2)
def pipeline_of(name: str, cache: Path, dtype: Any) -> Any:
    """The model in the real classes."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder_of(name, cache), local_files_only=True, torch_dtype=dtype
    )
    assert type(pipeline).__name__ == SYNTHETIC[name].pipeline_class
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def image(name: str, cache: Path, dtype: Any, prompt: str = "a cat on a roof") -> Any:
    """One image by the model's own scheduler, in float64 and the range from 0 to 1."""
    pipeline = pipeline_of(name, cache, dtype)
    options = {"use_resolution_binning": False, "guidance_scale": 2.0}
    taken = inspect.signature(pipeline.__call__).parameters
    drawn = pipeline(
        prompt=[prompt],
        width=96,
        height=64,
        num_inference_steps=2,
        generator=[torch.Generator().manual_seed(5)],
        output_type="pt",
        **{key: value for key, value in options.items() if key in taken},
    )
    return torch.as_tensor(drawn.images)[0].double()


@pytest.mark.parametrize("name", TINY)
def test_image_is_finite_varied_of_its_prompt_and_the_same_but_for_rounding(
    name: str, cache: Path
) -> None:
    exact, single = (image(name, cache, dtype) for dtype in (torch.float64, torch.float32))
    assert single.shape == (3, 64, 96)
    assert torch.isfinite(single).all()
    assert single.std() > 0.1
    assert ((single > 0) & (single < 1)).double().mean() > 0.5  # not clipped to black and white
    assert 0 < torch.linalg.norm(single - exact) / torch.linalg.norm(exact - exact.mean()) < 1e-4
    other = image(name, cache, torch.float32, "two dogs")
    assert torch.equal(image(name, cache, torch.float32), single), "not what the pipeline kept"
    assert (single - other).abs().max() > 0.01


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", TINY)
def test_image_in_half_precision_is_finite_and_near(name: str, dtype: str, cache: Path) -> None:
    half, single = (image(name, cache, getattr(torch, kind)) for kind in (dtype, "float32"))
    assert torch.isfinite(half).all()
    assert torch.linalg.norm(half - single) / torch.linalg.norm(single - single.mean()) < 0.3
