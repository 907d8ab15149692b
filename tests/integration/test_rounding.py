"""TF32 as it is emulated on the CPU, in real torch."""

import math
from typing import Any

import pytest
from conftest import Lazy

torch: Any = Lazy("torch")
rounding: Any = Lazy("sdbench.worker.rounding")


@pytest.mark.parametrize(
    ("number", "rounded"),
    [
        (1.0, 1.0),
        (1 + 2**-10, 1 + 2**-10),
        (1 + 2**-12, 1.0),
        (1 + 2**-11, 1 + 2**-10),  # halves go away from zero
        (-1 - 2**-11, -1 - 2**-10),
        (2 - 2**-12, 2.0),
        (0.0, 0.0),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
    ],
)
def test_ten_bits_after_the_point_are_left(number: float, rounded: float) -> None:
    assert rounding.to_tf32(torch.tensor([number])).item() == rounded


def test_every_number_is_within_half_a_unit_and_stays() -> None:
    numbers = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    rounded = rounding.to_tf32(numbers)
    assert float(((rounded - numbers) / numbers).abs().max()) <= 2**-11
    assert torch.equal(rounding.to_tf32(rounded), rounded) and not torch.equal(rounded, numbers)
    assert rounding.to_tf32(torch.tensor([math.nan])).isnan().all()
    assert rounding.loaded_as("tf32") == rounding.loaded_as("tf32-linear") == "float32"


class _Pipeline:
    def __init__(self) -> None:
        self.components = {
            "unet": torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.Linear(4, 4)),
            "scheduler": object(),
        }

    def to(self, dtype: Any) -> "_Pipeline":
        return self


@pytest.mark.parametrize("linear", [False, True])
def test_convolutions_are_rounded_and_linear_layers_where_asked(linear: bool) -> None:
    torch.manual_seed(0)
    pipeline = _Pipeline()
    convolution, layer = pipeline.components["unet"]
    weights = [module.weight.clone() for module in (convolution, layer)]
    given = torch.randn(1, 2, 4, 4)
    with rounding.Tf32Rounding(pipeline, linear=linear), torch.no_grad():
        got = convolution(given)
        product = layer(given)
    exact = torch.nn.functional.conv2d(
        rounding.to_tf32(given), rounding.to_tf32(weights[0]), convolution.bias.detach()
    )
    assert torch.allclose(got, exact, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        assert not torch.allclose(got, convolution(given), rtol=1e-6, atol=1e-6), "left again"
        assert torch.equal(product, layer(given)) is not linear
    assert torch.equal(layer.weight, weights[1]) is not linear
