"""Is sdbench's steady time that of a bare loop? Fresh processes until the answer is sharp.

    python tests/benchmarks/fidelity.py [--device cuda] [--model synthetic/sd15] …  (see --help)

One side is a worker as ``sdbench run`` starts it (real executor, telemetry on), the other one a
hand-written loop that does exactly the same pass (the loop below). How: see ``lockstep.py``.

    python tests/benchmarks/fidelity.py --in-turn --device cuda --model synthetic/sd15 …

Each worker makes both kinds of pass itself, in turn: for a GPU host, where processes differ far
more than 1%. How: see ``in_turn.py``.
"""

import sys

import in_turn
from lockstep import Side, compare, option_parser, sdbench_side

# A person's own loop: the same prompt path, the same latents, pixels to the host. Nothing of
# sdbench in it.
BARE_LOOP = """
import json, sys, time
import torch, turns
from diffusers import StableDiffusionPipeline, DDIMScheduler
job = json.loads(sys.argv[1])
case, device = job["case"], job["device"]
dtype = getattr(torch, case["dtype"])
pipe = StableDiffusionPipeline.from_pretrained(
    job["model_path"], torch_dtype=dtype, safety_checker=None, requires_safety_checker=False
).to(device)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
if case["attention_slicing"]:
    pipe.enable_attention_slicing()
shape = (1, 4, case["height"] // 8, case["width"] // 8)
noise = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(job["seed"] + i)).to(dtype)
         for i in range(job["images"])]
prompts = [job["prompts"][i % len(job["prompts"])] for i in range(job["images"])]
times = []
calls = list(zip(prompts, noise))
if case["batching"] == "batch":
    calls = [(prompts, torch.cat(noise))]
line = turns.Turns()
for _ in range(job["passes"]):
    line.wait()
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for prompt, latents in calls:
        pipe(prompt, latents=latents, width=case["width"], height=case["height"],
             num_inference_steps=job["steps"], guidance_scale=job["guidance_scale"],
             output_type="pt").images.cpu()
    times.append(time.perf_counter() - started)
    line.end()
print(json.dumps({"times": times}))
"""


if __name__ == "__main__":
    parser = option_parser(__doc__)
    in_turn.add_options(parser)
    options = parser.parse_args()
    if options.in_turn:
        in_turn.measure(options)
    else:
        compare(options, sdbench_side("sdbench"), Side("bare", [sys.executable, "-c", BARE_LOOP]))
