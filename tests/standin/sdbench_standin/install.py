"""Puts the device, the API and the faults in place, in the order in which they depend on each other."""

from __future__ import annotations

import torch

from . import native
from .api_age import show_api_of
from .fault_effects import apply_faults
from .fault_spec import SettingError
from .interception import IN_FLOAT32, Interceptor
from .settings import Settings

# Decomposes above the backend by looking at the device, and the CPU's choice is the one that is wanted.
_COMPOSITES = ["aten::scaled_dot_product_attention"]


def install(settings: Settings) -> None:
    """Gives this process an ``mps`` device. Cannot be undone."""
    if torch.backends.mps.is_built():
        raise RuntimeError(
            "sdbench_standin: this torch has a real MPS backend; a stand-in would replace it"
        )
    release = _number(settings.release or torch.__version__)
    if release > _number(torch.__version__):
        raise SettingError(
            f"SDBENCH_STANDIN_API: {settings.release} is newer than the installed torch {torch.__version__}; "
            "names can be taken away, not added"
        )
    native.prepare()
    ops = torch.ops.sdbench_standin
    # 2.9 to 2.12 had the names in torch.accelerator, but their MPS allocator could not answer them.
    ops.register_allocator(not (2, 9) <= release < (2, 13))
    ops.set_limits(
        settings.recommended_bytes,
        settings.high_watermark,
        settings.low_watermark,
        release
        >= (2, 7),  # GiB and MiB; reports up to 2.5 say GB and MB, from spring 2025 on GiB and MiB
        release >= (2, 3),  # bfloat16
    )
    interceptor = Interceptor()
    missing = apply_faults(settings.faults, interceptor, settings.fall_back_to_cpu)
    chosen = sorted({*_COMPOSITES, *missing, *interceptor.operators})
    whole = [name for name in chosen if _decomposes(name)]
    ops.register_operators(interceptor.operators, chosen, whole, IN_FLOAT32)
    interceptor.register()
    _complete_api(settings.device_name)
    if settings.release is not None:
        show_api_of(settings.release)


def _decomposes(operator: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CompositeImplicitAutograd")


def _number(version: str) -> tuple[int, int]:
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)


def _complete_api(device_name: str) -> None:
    """What torch leaves out of its bindings when it is built without Metal."""
    torch._C._has_mps = True
    torch._C._mps_get_name = lambda: device_name
    torch._C._mps_get_core_count = lambda: 8
    torch.UntypedStorage.mps = _storage_to_mps  # type: ignore[method-assign,assignment]


def _storage_to_mps(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """torch.load(map_location="mps") needs it; UntypedStorage(device="mps") is compiled only for Macs."""
    if storage.device.type == "mps":
        return storage
    out = torch.empty(storage.nbytes(), dtype=torch.uint8, device="mps").untyped_storage()
    return out.copy_(storage, False)
