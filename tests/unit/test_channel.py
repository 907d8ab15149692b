"""The worker's pipe: one JSON document a line, never a NaN; standard library alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sdbench.worker
from sdbench.worker.channel import Channel, finite_or_none


@pytest.fixture
def pipe() -> tuple[int, Channel]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, Channel(writing)


def test_event_is_one_line_of_json_with_its_time(pipe: tuple[int, Channel]) -> None:
    reading, channel = pipe
    channel.send("phase", name="a\nb", value=0.25)
    channel.send("done")
    first, second = os.read(reading, 65536).splitlines()
    document = json.loads(first)
    assert (document["event"], document["name"], document["value"]) == ("phase", "a\nb", 0.25)
    assert isinstance(document["t"], float)
    assert json.loads(second)["t"] >= document["t"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite_is_refused_and_nothing_is_written(
    pipe: tuple[int, Channel], value: float
) -> None:
    reading, channel = pipe
    with pytest.raises(ValueError, match="not JSON compliant"):
        channel.send("pass", nested={"mean": [value]})
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)


def test_any_text_is_utf_8_on_the_pipe_and_lone_surrogates_are_replaced(
    pipe: tuple[int, Channel],
) -> None:
    reading, channel = pipe
    channel.send("error", message="Größe \udcff 🖼 …")
    text = os.read(reading, 65536).decode("utf-8")  # strict: raises for anything else
    assert "\\u" not in text
    assert json.loads(text)["message"] == "Größe ? 🖼 …"


def test_parent_that_is_gone_is_noticed() -> None:
    reading, writing = os.pipe()
    channel = Channel(writing)
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        channel.send("phase")


def test_pipe_is_not_inherited_by_the_workers_children() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    Channel(writing)
    assert not os.get_inheritable(writing)
    os.close(reading)
    os.close(writing)


def test_not_finite_becomes_none() -> None:
    assert finite_or_none(1.5) == 1.5
    assert finite_or_none(0.0) == 0.0
    assert [finite_or_none(float(text)) for text in ("nan", "inf", "-inf")] == [None] * 3


def test_worker_starts_without_site_packages() -> None:
    # -S: nothing but the standard library; -I: nothing of this environment.
    folder = Path(sdbench.worker.__file__).parent
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(folder), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--lifeline" in done.stdout
