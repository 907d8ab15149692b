"""What a worker needs to know of a device. Counters that a release lacks are None with a reason."""

import abc
from dataclasses import dataclass
from typing import Any, Optional


class DeviceUnavailableError(Exception):
    """The device cannot be used here; the message is for the user and says what to do."""


@dataclass(frozen=True)
class MemoryReading:
    """Memory as the device's allocator sees it, in bytes; None where ``reason`` says why."""

    allocated_bytes: Optional[int] = None
    driver_bytes: Optional[int] = None
    recommended_max_bytes: Optional[int] = None
    reason: Optional[str] = None


class Device(abc.ABC):
    """An opened device of the running torch."""

    kind: str

    @abc.abstractmethod
    def why_unavailable(self) -> Optional[str]:
        """None when torch reports the device, else why not, in words a user can act on."""

    @abc.abstractmethod
    def synchronize(self) -> None:
        """Return when all work given to the device so far is done."""

    @abc.abstractmethod
    def memory(self) -> MemoryReading:
        """The allocator's counters now."""

    @abc.abstractmethod
    def reset_peak(self) -> None:
        """Start a new window for :meth:`peak_bytes`."""

    @abc.abstractmethod
    def peak_bytes(self) -> "tuple[Optional[int], Optional[str]]":
        """Highest memory since :meth:`reset_peak` and its source, or (None, why not).

        The source is one of ``cuda-allocated``, ``mps-allocated``, ``rss``.
        """

    @abc.abstractmethod
    def empty_cache(self) -> None:
        """Give cached blocks back to the system."""

    @abc.abstractmethod
    def facts(self) -> "dict[str, Any]":
        """Name, cores, recommended maximum of memory, driver, for the record; None if not told."""

    @abc.abstractmethod
    def supported_dtypes(self) -> "tuple[str, ...]":
        """The dtypes a pipeline can run in here."""

    def explain(self, error: Exception) -> str:
        """What the failed proof means and, where it is known, what to do."""
        return str(error)

    def prove(self) -> None:
        """Run one small operation: ``is_available()`` is not proof.

        Virtual machines report mps and fail at the first allocation; a GPU in use exclusively by
        somebody else reports cuda and does the same.

        Raises:
            DeviceUnavailableError: torch lacks the device or the operation failed.
        """
        import torch

        reason = self.why_unavailable()
        if reason is not None:
            raise DeviceUnavailableError(reason)
        try:
            total = float((torch.ones(8, device=self.kind) * 2).sum().cpu())
        except Exception as error:
            raise DeviceUnavailableError(
                f"torch reports {self.kind}, but the first operation on it failed: "
                f"{self.explain(error)}"
            ) from error
        if total != 16.0:
            raise DeviceUnavailableError(
                f"the first operation on {self.kind} gave {total} instead of 16.0: "
                "the device or its driver computes wrongly"
            )
