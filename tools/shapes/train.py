"""Train builtin/shapes: first the VAE, then text encoder and UNet together.

    accelerate launch -m shapes.train vae  --out FOLDER --seconds 200
    accelerate launch -m shapes.train unet --out FOLDER --seconds 1000 --stop-after 500

The unet stage keeps its state in FOLDER/state.pt, so a call goes on where the last one stopped
(--stop-after); without a state it starts from the weights in FOLDER, if there are any, and then
takes the sizes of a late stage all the time. Both stages
leave a pipeline folder in FOLDER/pipeline that diffusers loads. The learning rate falls to zero
over the last third of --seconds, so they should be the seconds that training really gets.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from shapes.drawing import Batch, as_batch, distance_fields, draw
from shapes.networks import (
    load_network,
    make_scheduler,
    make_text_encoder,
    make_unet,
    make_vae,
    save_configs,
    save_network,
    tokenise,
)
from shapes.scenes import random_drawing

CHUNK = 32
NOISE_LEVELS = 4
"""Each image of a batch is seen at so many noise levels: it need be drawn and encoded once."""

# Image side: (chunks of drawings in a batch, share of the batches early, share late). The work
# of a batch is about the same at every size.
UNET_SIZES = {
    64: (16, 0.25, 0.03),
    128: (8, 0.50, 0.27),
    192: (4, 0.12, 0.25),
    256: (2, 0.13, 0.45),
}
VAE_SIZES = {64: (8, 0.25, 0.15), 128: (2, 0.5, 0.45), 192: (1, 0.15, 0.25), 256: (1, 0.1, 0.15)}


class Drawings(IterableDataset[Batch]):
    """An endless stream of chunks, another one in every process and loader worker."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        rng = random.Random(self._seed * 1000 + (info.id if info else 0))
        while True:
            drawings = [random_drawing(rng) for _ in range(CHUNK)]
            # One caption in ten is left empty, for classifier-free guidance.
            captions = ["" if rng.random() < 0.1 else drawing.caption for drawing in drawings]
            yield as_batch(drawings, [tokenise(caption) for caption in captions])


class Source:
    """Batches of images on the device, of a random size each."""

    def __init__(self, accelerator: Accelerator, sizes: dict[int, Any], workers: int) -> None:
        seed = 100 * accelerator.process_index + int(time.time()) % 86400
        loader = DataLoader(
            Drawings(seed),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=64 if workers else None,
            pin_memory=accelerator.device.type == "cuda",
        )
        self._chunks = iter(loader)
        self._sizes = sizes
        self._device = accelerator.device
        self._fields = distance_fields().to(self._device)
        self._rng = random.Random(0)  # every process draws the same sizes

    def batch(self, progress: float, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Images in [-1, 1] and the tokens of their captions."""
        late = progress > 0.5
        sides = list(self._sizes)
        weights = [self._sizes[side][2 if late else 1] for side in sides]
        (side,) = self._rng.choices(sides, weights)
        count = max(1, round(scale * self._sizes[side][0]))
        chunks = [next(self._chunks) for _ in range(count)]
        joined = Batch(
            *(torch.cat(parts) for parts in zip(*(vars(c).values() for c in chunks), strict=True))
        ).to(self._device)
        return draw(joined, side, self._fields), joined.tokens


def learning_rate(peak: float, step: int, progress: float) -> float:
    """Rises over 300 steps, stays, and falls to nearly zero over the last third."""
    fall = min(1.0, max(0.0, (1 - progress) / 0.35))
    return peak * min(1.0, (step + 1) / 300) * max(fall, 0.01)


class Clock:
    """Seconds since it was made, the same in every process: all must stop after the same step."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._device = accelerator.device
        self._began = time.monotonic()
        self._readings = 0
        self._agreed_s = 0.0

    def read(self) -> float:
        """The main process's time, asked for at every tenth reading."""
        if self._readings % 10 == 0:
            here = torch.tensor(time.monotonic() - self._began, device=self._device)
            self._agreed_s = float(broadcast(here))
        self._readings += 1
        return self._agreed_s


class Autoencoding(nn.Module):
    """A VAE with its loss: how far the image and its edges are off, and a little KL."""

    def __init__(self) -> None:
        super().__init__()
        self.vae = make_vae()

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and the mean absolute error of an image in [-1, 1]."""
        posterior = self.vae.encode(pictures).latent_dist
        again = self.vae.decode(posterior.sample()).sample
        error = (again - pictures).float()
        edges = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) / 2
        size = posterior.mean[0].numel()
        loss = error.abs().mean() + edges + 2 * error.square().mean()
        return loss + 1e-3 * posterior.kl().mean() / size, error.abs().mean()


def train_vae(accelerator: Accelerator, arguments: argparse.Namespace) -> None:
    """Train the VAE, give its latents mean 0 and deviation 1, and save it."""
    folder = arguments.out / "pipeline"
    source = Source(accelerator, VAE_SIZES, arguments.workers)
    model = Autoencoding()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0)
    trained, optimizer = accelerator.prepare(model, optimizer)
    clock, step, shown = Clock(accelerator), 0, 0.0
    while (spent := clock.read()) < arguments.seconds:
        progress = spent / arguments.seconds
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(arguments.rate or 1e-3, step, progress)
        pictures, _ = source.batch(progress, arguments.scale)
        loss, error = trained(pictures)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if spent - shown > 10:
            shown = spent
            accelerator.print(f"vae {spent:5.0f} s step {step} loss {loss:.4f} error {error:.4f}")
    if accelerator.is_main_process:
        vae = accelerator.unwrap_model(trained).vae.float()
        _standardise(vae, source, arguments.scale)
        save_configs(folder)
        save_network("vae", vae, folder)
        with torch.no_grad():
            pictures, _ = source.batch(1.0, arguments.scale)
            again = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        print(f"vae {step} steps; mean absolute error {(again - pictures).abs().mean():.5f}")


@torch.no_grad()
def _standardise(vae: Any, source: Source, scale: float) -> None:
    """Fold mean and deviation of the latents into the convolutions on both sides of them."""
    latents = []
    for _ in range(16):
        pictures, _ = source.batch(1.0, scale)
        mean = vae.encode(pictures).latent_dist.mean
        latents.append(mean.permute(1, 0, 2, 3).flatten(1)[:, :4096])
    values = torch.cat(latents, dim=1)
    mean, deviation = values.mean(dim=1), values.std(dim=1)
    print(f"latents before: mean {mean.tolist()}, deviation {deviation.tolist()}")
    into, back = vae.quant_conv, vae.post_quant_conv
    into.bias[:4] -= mean
    into.weight[:4] /= deviation[:, None, None, None]
    into.bias[:4] /= deviation
    into.bias[4:] -= 2 * deviation.log()
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= deviation[None, :, None, None]


class Denoiser(nn.Module):
    """Text encoder and UNet with their loss."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = make_text_encoder()
        self.unet = make_unet()

    def forward(
        self, tokens: torch.Tensor, noisy: torch.Tensor, steps: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared error of the predicted velocity."""
        context = self.text_encoder(tokens)[0].repeat_interleave(NOISE_LEVELS, dim=0)
        predicted = self.unet(noisy, steps, context).sample
        return functional.mse_loss(predicted.float(), target)


class Average:
    """An exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module) -> None:
        self._parameters = list(module.parameters())
        self.values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the present parameters."""
        decay = min(0.999, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self._parameters, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Put the average in the module's place, or back."""
        for parameter, value in zip(self._parameters, self.values, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)


def train_unet(accelerator: Accelerator, arguments: argparse.Namespace) -> None:
    """Train text encoder and UNet against the frozen VAE, and save their averages."""
    folder, device = arguments.out / "pipeline", accelerator.device
    state_path = arguments.out / "state.pt"
    vae = make_vae()
    load_network("vae", vae, folder)
    vae.requires_grad_(False).to(device, memory_format=torch.channels_last)
    source = Source(accelerator, UNET_SIZES, arguments.workers)
    model = Denoiser()
    late = (folder / "unet" / "diffusion_pytorch_model.safetensors").exists()
    if late:
        load_network("unet", model.unet, folder)
        load_network("text_encoder", model.text_encoder, folder)
    model.to(device)
    model.unet.to(memory_format=torch.channels_last)
    average = Average(model)
    peak = arguments.rate or 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.01)
    step, before = 0, 0.0
    if state_path.exists():
        late = False
        state = torch.load(state_path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        for value, kept in zip(average.values, state["average"], strict=True):
            value.copy_(kept)
        step, before = state["step"], state["spent_s"]
    trained, optimizer = accelerator.prepare(model, optimizer)
    alphas = make_scheduler().alphas_cumprod.to(device)
    clock, shown, seen, losses = Clock(accelerator), 0.0, 0, []
    while True:
        here = clock.read()
        spent = before + here
        if spent >= arguments.seconds or here >= arguments.stop_after:
            break
        progress = spent / arguments.seconds
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(peak, step, progress)
        pictures, tokens = source.batch(1.0 if late else progress, arguments.scale)
        with torch.no_grad(), accelerator.autocast():
            latents = vae.encode(pictures).latent_dist.mode().float()
        latents = latents.repeat_interleave(NOISE_LEVELS, dim=0)
        # More often noisy than not: what stands where is settled while there is much noise.
        steps = (torch.rand(len(latents), device=device) ** 0.75 * len(alphas)).long()
        signal = alphas[steps].sqrt()[:, None, None, None]
        sigma = (1 - alphas[steps]).sqrt()[:, None, None, None]
        noise = torch.randn_like(latents)
        noisy, target = signal * latents + sigma * noise, signal * noise - sigma * latents
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        loss = trained(tokens, noisy, steps, target)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
        step += 1
        seen += len(latents) * accelerator.num_processes
        losses.append(loss.detach())
        if here - shown > 15:
            mean = torch.stack(losses).mean()
            accelerator.print(
                f"unet {spent:5.0f} s step {step} loss {mean:.4f} {seen / here:.0f} samples/s",
                flush=True,
            )
            shown, losses = here, []
    if accelerator.is_main_process:
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.values,
                "step": step,
                "spent_s": spent,
            },
            state_path,
        )
        average.swap()
        save_configs(folder)
        save_network("unet", model.unet, folder)
        save_network("text_encoder", model.text_encoder, folder)
        print(f"unet {spent:.0f} s, {step} steps, {seen} samples in this call")


def main() -> None:
    """Parse, then train one stage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=["vae", "unet"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="of training in all calls")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="in this call")
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--scale", type=float, default=1.0, help="of the batches")
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision="bf16" if cuda else "no")
    set_seed(accelerator.process_index)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    (train_vae if arguments.stage == "vae" else train_unet)(accelerator, arguments)


if __name__ == "__main__":
    main()
