"""What a synthetic model is: networks, configuration files, and the digest they come out as."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdbench.models.architecture import Network, parameter_count, stored_bytes
from sdbench.models.tokenizer import kind_of_tokenizer


@dataclass(frozen=True)
class SyntheticModel:
    """One synthetic pipeline folder.

    ``sha256`` is the digest of the whole folder as :func:`sdbench.models.synthetic.folder_digest`
    forms it: the promise that every machine measures the same bytes.
    """

    name: str
    pipeline_class: str
    networks: dict[str, Network]
    tokenizers: dict[str, Callable[[], dict[str, bytes]]]
    """Folder to what makes its files."""
    configs: dict[str, dict[str, Any]]
    sha256: str

    @property
    def parameters(self) -> int:
        """Parameters of all networks together."""
        return sum(parameter_count(network) for network in self.networks.values())

    @property
    def bytes_on_disk(self) -> int:
        """Size of the weights as stored (float16)."""
        return sum(stored_bytes(network) for network in self.networks.values())

    @property
    def tokenizer_kinds(self) -> tuple[str, ...]:
        """``CLIP``, ``T5``, ``Qwen``, in the order of the text encoders, each once."""
        index = self.configs["model_index.json"]
        return tuple(dict.fromkeys(kind_of_tokenizer(index[name][1]) for name in self.tokenizers))
