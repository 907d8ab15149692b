"""In which stage the peak of memory is: from the device's counter, and without one from samples."""

import json

import pytest
from conftest import Sdbench

# The decode of a batch at this size takes a tenth of the process's memory, and some tenths of a
# second, so it stands out and is sampled.
CASE = '[[case]]\nresolution = "256x256"\nbatching = "batch"\n'


@pytest.mark.parametrize("fault", [{}, {"256": "hide-peaks"}], ids=["counter", "samples"])
def test_decode_of_a_batch_sets_the_peak(sdbench: Sdbench, fault: dict[str, str]) -> None:
    # One measured pass only: what it leaves behind is no higher than its own decode.
    code, document = sdbench.json(
        *("run", sdbench.config(CASE), "--set", "passes=1", "--set", "start=spawn"),
        *("--set", "reference.budget_s=0"),
        SDBENCH_WORKER_PRELOAD="sdbench_test_faults",
        SDBENCH_TEST_FAULTS=json.dumps(fault),
    )
    (row,) = document["cases"]
    assert code == 0
    assert (row["peak_stage"], row["peak_stage_source"]) == ("vae_decode", "rss"), row
    shown = sdbench("show", "latest", row["case_id"]).stdout
    assert "peak in the VAE decode" in shown
    assert ("(process)" in shown) == bool(fault)
    code, document = sdbench.json("show", "latest", row["case_id"])
    assert document["summary"][0]["peak_stage"] == "vae_decode"
    stages = document["replicates"][0]["passes"][-1]["stages"]
    assert stages[-1]["stage"] == "vae_decode" and stages[-1]["footprint_peak_bytes"] > 0
    assert [stage["begin_t"] for stage in stages] == sorted(stage["begin_t"] for stage in stages)
