"""The synthetic models: which networks, which configuration files, which expected content.

All but the tiny ones have published architectures, so their time and memory are the real models'.
Only the numbers differ: random weights, made on this machine.
"""

from sdbench.models.transformer_models import TRANSFORMER_MODELS
from sdbench.models.unet_models import UNET_MODELS

SYNTHETIC = {model.name: model for model in (*UNET_MODELS, *TRANSFORMER_MODELS)}
