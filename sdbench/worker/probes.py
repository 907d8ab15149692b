"""Short computations that show a known fault of mps where it exists: the probes of the catalogue.

Each is at most 20 lines and named like the entry of ``known_issues.toml`` that it belongs to. It
returns what it found wrong, or None where the fault does not show. A fault that ends the process is
shown by the end of the child in which the probes run. None proves no absence: a fault may need
another size, another state of the memory or more attempts.
"""

from typing import TYPE_CHECKING, Callable, Dict, List, Optional

from .probe_elements import ELEMENTS
from .probe_products import PRODUCTS

if TYPE_CHECKING:
    from .channel import Channel

Probe = Callable[[str], Optional[str]]

PROBES: "Dict[str, Probe]" = {
    probe.__name__.replace("_", "-"): probe for probe in (*PRODUCTS, *ELEMENTS)
}
"""Every probe by its name in the catalogue; it takes the device."""


def examine_probes(channel: "Channel", device: str, names: "List[str]") -> None:
    """Run the probes of these names and send what became of each.

    An exception is an answer, too: the probe could not be run.
    """
    import torch

    with torch.no_grad():
        for name in names:
            channel.send("trying", key=name)
            try:
                found = PROBES[name](device)
            except Exception as error:
                # A fault cannot be in what this torch or this device does not have.
                missing = isinstance(error, (AttributeError, NotImplementedError))
                verdict = "not-there" if missing else "not-run"
                message = f"{type(error).__name__}: {error}"[:500]
                channel.send("probe", name=name, verdict=verdict, message=message)
            else:
                verdict = "absent" if found is None else "shown"
                channel.send("probe", name=name, verdict=verdict, message=found)
