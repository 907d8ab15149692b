"""Operations that a run counts, held against a count by hand from the networks' own layers."""

from typing import Any

import pytest
from conftest import Sdbench

from sdbench.models.resolve import find_model
from sdbench.runs import load_run

MATRIX = """
[matrix]
resolution = ["64x64"]
attention_slicing = [false, true]
batching = ["loop", "batch"]
"""
STEPS, IMAGES = 2, 2


class ByHand:
    """Twice the multiply-adds of every convolution, linear layer and attention that is called."""

    def __init__(self, *networks: Any) -> None:
        from diffusers.models.attention_processor import Attention
        from torch import nn

        self.flops = 0
        kinds = {nn.Conv2d: self._convolution, nn.Linear: self._linear, Attention: self._attention}
        for network in networks:
            for module in network.modules():
                for kind, count in kinds.items():
                    if isinstance(module, kind):
                        module.register_forward_hook(count, with_kwargs=True)
                if type(module).__name__ == "CLIPAttention":
                    module.register_forward_hook(self._clip_attention, with_kwargs=True)

    def _convolution(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        height, width = module.kernel_size
        per_value = module.in_channels // module.groups * height * width
        self.flops += 2 * output.numel() * per_value

    def _linear(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.flops += 2 * output.numel() * module.in_features

    def _attention(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Scores and their products with the values; batch and tokens are the output's."""
        hidden = args[0]
        channels = hidden.shape[1] if hidden.ndim == 4 else hidden.shape[2]
        queries = hidden.numel() // channels // hidden.shape[0]
        context = kwargs.get("encoder_hidden_states")
        keys = queries if context is None else context.shape[1]
        self.flops += 2 * 2 * hidden.shape[0] * queries * keys * module.inner_dim

    def _clip_attention(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        batch, tokens, width = hidden.shape
        self.flops += 2 * 2 * batch * tokens * tokens * width


def counted_by_hand() -> dict[str, int]:
    """Of one image, by stage: the real pipeline, on the CPU, with hooks."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    model = find_model("synthetic/tiny").prepare()
    pipeline = StableDiffusionPipeline.from_pretrained(model.path, safety_checker=None)
    pipeline.to(torch.float32)  # the files hold float16
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    networks = {
        "text_encoder": pipeline.text_encoder,
        "denoising": pipeline.unet,
        "vae_decode": pipeline.vae,
    }
    counts = {stage: ByHand(network) for stage, network in networks.items()}
    with torch.no_grad():
        pipeline("a cat", height=64, width=64, num_inference_steps=STEPS, guidance_scale=7.5)
    return {stage: count.flops for stage, count in counts.items()}


@pytest.mark.long
def test_counts_are_those_made_by_hand_in_every_setting(
    sdbench: Sdbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_CACHE", sdbench.environment["SDBENCH_CACHE"])
    config = sdbench.config(MATRIX)
    code, document = sdbench.json(
        *("run", config, "--set", f"steps={STEPS}", "--set", f"images={IMAGES}")
    )
    assert code == 0 and len(document["cases"]) == 4
    by_hand = counted_by_hand()
    loaded = load_run(sdbench.folder / document["path"])
    for replicate in loaded.replicates:
        flops = replicate.flops
        assert flops is not None, replicate.flops_missing
        case = loaded.run.plan.planned(replicate.case_id).case
        pictures = IMAGES if case.batching == "batch" else 1
        for stage, count in by_hand.items():
            assert getattr(flops, stage) == pictures * count, (stage, case)
        assert flops.measured_pass == IMAGES * sum(by_hand.values())

    assert [(entry.dtype, entry.reason) for entry in loaded.ceilings] == [("float32", None)]
    for row in document["cases"]:
        efficiency = row["efficiency"]
        assert efficiency["unavailable"] == {}
        assert efficiency["ceiling_flops_per_s"] == loaded.ceilings[0].flops_per_s
        rate = efficiency["pass_flops"] / row["latency_s"]["median"]
        assert efficiency["achieved_flops_per_s"] == pytest.approx(rate)
        assert [stage["stage"] for stage in efficiency["stages"]] == list(by_hand)
    shown = sdbench("show", document["run_id"], document["cases"][0]["case_id"])
    words = " ".join(shown.stdout.split())
    assert "efficiency" in words and "of the rate of large float32 matrix products" in words


def test_dry_run_measures_no_ceiling(sdbench: Sdbench) -> None:
    done = sdbench("run", sdbench.config(MATRIX), "--dry-run")
    assert done.returncode == 0
    assert not (sdbench.folder / "results").exists()
