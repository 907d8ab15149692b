"""Load a pipeline's denoiser with quantised weights, by what diffusers offers without a network."""

import importlib
import importlib.util
from typing import Any

from .stack import CaseImpossibleError

# The package that does it, by the values of the axis ``quantization``.
_PACKAGES = {
    "bitsandbytes-8bit": "bitsandbytes",
    "bitsandbytes-4bit": "bitsandbytes",
    "torchao-int8": "torchao",
    "quanto-int8": "optimum.quanto",
}
_DENOISERS = ("unet", "transformer")


def quantization_options(name: str, index: "dict[str, Any]", dtype: Any) -> "dict[str, Any]":
    """What ``from_pretrained`` is given for it; nothing for ``none``.

    Args:
        name: a value of the axis.
        index: of the model, as ``model_index.json`` has it.
        dtype: what is computed in.

    Raises:
        CaseImpossibleError: a package is missing, or the pipeline has no denoiser to quantise.
    """
    if name == "none":
        return {}
    package = _PACKAGES[name]
    if not _is_installed(package):
        raise CaseImpossibleError(f"{name} needs the package {package}, which is not installed")
    try:
        from diffusers import PipelineQuantizationConfig
    except ImportError:
        raise CaseImpossibleError(
            "this diffusers has no PipelineQuantizationConfig (it came with 0.34)"
        ) from None
    denoiser = next((one for one in _DENOISERS if one in index), None)
    if denoiser is None:
        raise CaseImpossibleError("this pipeline has neither a unet nor a transformer to quantise")
    try:
        config = _component_config(name, dtype)
    except (ImportError, TypeError, ValueError) as error:
        raise CaseImpossibleError(f"{name}: {error}") from error
    return {"quantization_config": PipelineQuantizationConfig(quant_mapping={denoiser: config})}


def _component_config(name: str, dtype: Any) -> Any:
    import diffusers

    if name == "torchao-int8":
        kinds = importlib.import_module("torchao.quantization")
        return diffusers.TorchAoConfig(kinds.Int8WeightOnlyConfig())
    if name == "quanto-int8":
        return diffusers.QuantoConfig(weights_dtype="int8")
    if name == "bitsandbytes-8bit":
        return diffusers.BitsAndBytesConfig(load_in_8bit=True)
    return diffusers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def has_quantised(network: Any) -> bool:
    """Whether any of a network's weights is held by a quantising library."""
    libraries = ("bitsandbytes", "torchao", "optimum")
    held = [*network.modules(), *network.parameters()]
    return any(type(one).__module__.split(".")[0] in libraries for one in held)
