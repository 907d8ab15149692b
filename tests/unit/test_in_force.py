"""What was already so in a failed run: of a worker all of it, of a pasted log what it shows."""

import msgspec
import pytest

from sdbench.explain.explain import explain_text
from sdbench.knowledge.settings_in_force import (
    check_condition,
    dtype_in_text,
    holds,
    of_job,
    of_text,
)
from sdbench.knowledge.version_ranges import UNKNOWN, Versions
from sdbench.records import Case


def job(images: int = 2, scheduler: str = "ddim", device: str = "mps", **case: object) -> dict:  # type: ignore[type-arg]
    return {
        "device": device,
        "scheduler": scheduler,
        "images": images,
        "case": msgspec.to_builtins(Case(**case)),  # type: ignore[arg-type]
    }


def test_a_worker_s_settings_are_known() -> None:
    usual = {"one-at-a-time", "no-slicing", "no-offload", "ddim", "mps"}
    assert of_job(job(), {}) == usual
    every = of_job(
        job(
            scheduler="euler",
            device="cpu",
            batching="batch",
            attention_slicing=True,
            vae_slicing=True,
            vae_tiling=True,
            offload="model",
        ),
        {"PYTORCH_ENABLE_MPS_FALLBACK": "1"},
    )
    assert every == {"slicing", "vae-slicing", "vae-tiling", "fallback", "cpu"}
    assert "one-at-a-time" in of_job(job(images=1, batching="batch"), {})
    assert "fallback" not in of_job(job(), {"PYTORCH_ENABLE_MPS_FALLBACK": "0"})


@pytest.mark.parametrize(
    ("text", "names", "dtype"),
    [
        ("", set(), None),
        ("$ export PYTORCH_ENABLE_MPS_FALLBACK=1\n$ python a.py", {"fallback"}, None),
        ("PYTORCH_ENABLE_MPS_FALLBACK=1 python a.py", {"fallback"}, None),
        # torch's own advice
        ("you can set the environment variable `PYTORCH_ENABLE_MPS_FALLBACK=1` to", set(), None),
        ("    pipe.enable_vae_tiling()\n", {"vae-tiling"}, None),
        ("  pipe = load(name, torch_dtype=torch.float16)", set(), "float16"),
        ("a(dtype=torch.float16)\nb(dtype=torch.float32)", set(), None),
        ("Launching Web UI with arguments: --no-half --api", set(), "float32"),
        ("Launching Web UI with arguments: --no-half-vae", set(), None),
        ("Try using the --no-half commandline argument to fix this.", set(), None),
    ],
)
def test_a_pasted_log_shows_some(text: str, names: set[str], dtype: str | None) -> None:
    assert of_text(text) == names
    assert dtype_in_text(text) == dtype


def test_conditions() -> None:
    versions = Versions(torch="2.4.1", macos="13.6", dtype="bfloat16", in_force=frozenset({"mps"}))
    so = ("torch>=2.1", "macos<14", "bfloat16", "half", "mps")
    assert all(holds(name, versions) for name in so)
    assert not any(holds(name, versions) for name in ("torch>=2.5", "float16", "cpu", "fallback"))
    assert not any(holds(name, UNKNOWN) for name in (*so, "torch<99"))
    check_condition("torch>=2.1,<2.4")
    with pytest.raises(ValueError, match="torhc"):
        check_condition("torhc>=2.1")


def test_explain_leaves_out_what_the_text_shows() -> None:
    missing = (
        "NotImplementedError: The operator 'aten::x' is not currently implemented for the MPS "
        "device. As a temporary fix, you can set the environment variable "
        "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op."
    )
    (first,) = explain_text(missing, UNKNOWN).explanations
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1" in first.remedy
    command = "$ PYTORCH_ENABLE_MPS_FALLBACK=1 python generate.py\n"
    (second,) = explain_text(command + missing, UNKNOWN).explanations
    assert second.remedy == "Use a newer torch."
