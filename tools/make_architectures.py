"""Write sdbench/models/data/architectures.json: names and shapes of the tensors of each network.

    python tools/make_architectures.py

Every network of the catalogue that is listed there is built from its configuration file by the
class of the installed diffusers or transformers, on torch's meta device, which holds no numbers.
A test compares the table with the classes; run this after a network was added.
"""

import json
from typing import Any

from sdbench.models.architecture import TABLES, Tabled, unfold
from sdbench.models.catalogue import SYNTHETIC

Shape = tuple[int, ...]


def real_shapes(config: dict[str, Any]) -> dict[str, Shape]:
    """Name to shape of what a real network stores; a tensor that stands for another is left out."""
    import diffusers
    import torch
    import transformers

    with torch.device("meta"):
        if "_class_name" in config:
            network = getattr(diffusers, config["_class_name"]).from_config(config)
        else:
            kind = getattr(transformers, config["architectures"][0])
            network = kind(kind.config_class(**config))
    shared = getattr(network, "_tied_weights_keys", None) or {}
    return {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if name not in shared
    }


def fold(shapes: dict[str, Shape]) -> dict[str, Any]:
    """The tree that :func:`sdbench.models.architecture.unfold` reads, equal layers put together."""
    tree: dict[str, Any] = {}
    for name, shape in shapes.items():
        *parts, last = name.split(".")
        branch = tree
        for part in parts:
            branch = branch.setdefault(part, {})
        branch[last] = list(shape)
    return _folded(tree)


def _folded(tree: dict[str, Any]) -> dict[str, Any]:
    runs: list[tuple[str, str, Any]] = []  # first key, last key, what is below
    for key, below in tree.items():
        small = below if isinstance(below, list) else _folded(below)
        first, last, before = runs[-1] if runs else ("", "", None)
        if last.isdigit() and key == str(int(last) + 1) and small == before:
            runs[-1] = (first, key, small)
        else:
            runs.append((key, key, small))
    return {first if first == last else f"{first}..{last}": below for first, last, below in runs}


def tables() -> dict[str, Any]:
    """Every listed network of the catalogue, as a tree."""
    found: dict[str, Any] = {}
    for model in SYNTHETIC.values():
        for component, network in model.networks.items():
            if isinstance(network, Tabled):
                shapes = real_shapes(model.configs[f"{component}/config.json"])
                tree = fold(shapes)
                assert dict(unfold(tree)) == shapes
                assert found.setdefault(network.name, tree) == tree, network.name
    return found


def main() -> None:
    """Write the file, one network a line."""
    lines = [
        f"{json.dumps(name)}:{json.dumps(tree, separators=(',', ':'))}"
        for name, tree in sorted(tables().items())
    ]
    TABLES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{TABLES}: {len(lines)} networks, {TABLES.stat().st_size} bytes")


if __name__ == "__main__":
    main()
