"""A run as one sealed file: what is in it, what is not, and that it is the same every time."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from factories import Called, make_config, make_model, make_pass, make_picture
from measured_runs import kept, measured, one_case

from sdbench import machine
from sdbench.bundles import contents
from sdbench.bundles.format import MANIFEST, SUMMARY, Manifest, is_member
from sdbench.bundles.installation import this_installation
from sdbench.bundles.summary import encoded, examine, load_contents
from sdbench.bundles.write import Bundle, bundle_of, laid_out
from sdbench.correctness.artifact_files import pixels_digest
from sdbench.errors import StoreError
from sdbench.privacy.redact_shared import LOCAL_MODEL, Kept
from sdbench.runs import load_run

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(path.parent for path in (ROOT / "results").glob("*/run.json"))
PROMPT = "my grandmother's house by the sea"
MOST_BYTES = 3_000_000


def picture(shade: int) -> tuple[str, bytes]:
    """An image of 64x64 pixels with its name, and with a remark that names its maker."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    pixels = np.full((64, 64, 3), shade, np.uint8)
    remark = PngInfo()
    remark.add_text("Author", "Ada")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", pnginfo=remark)
    return pixels_digest(pixels), file.getvalue() + b"after the end"


SHIPPED, OWN = picture(10), picture(20)


def pictured(root: Path, **run_fields: Any) -> Path:
    """A run with an image of a prompt of ours and one of the user's own, both kept."""
    images = [make_picture(pixels_sha256=digest) for digest, _ in (SHIPPED, OWN)]
    passes = [make_pass(1.0, index, images=images) for index in (1, 2)]
    prompts = [make_config().prompts[0], PROMPT]
    path = kept(
        root,
        measured(
            config=one_case(3, prompts=prompts, images=2),
            fields=lambda slot: {"passes": passes, "stderr_tail": "anything"},
            **run_fields,
        ),
    )
    (path / "images").mkdir()
    for digest, data in (SHIPPED, OWN):
        (path / "images" / f"{digest}.png").write_bytes(data)
    return path


def removed(bundle: Bundle) -> dict[str, int]:
    return {entry.code: entry.count for entry in bundle.removed}


def blockers(bundle: Bundle) -> list[str]:
    return [entry.code for entry in bundle.publishable.blockers]


@pytest.fixture
def run(results: Path, undrawn: None) -> Path:
    return pictured(results)


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_every_committed_run_becomes_a_small_bundle_that_says_the_same_when_read(
    path: Path, request: pytest.FixtureRequest
) -> None:
    if path not in COMMITTED[:2]:  # two pages are drawn
        request.getfixturevalue("undrawn")
    bundle = bundle_of(path, this_installation())
    assert len(bundle.data) <= MOST_BYTES
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())
    assert list(members) == list(bundle.members) and all(map(is_member, members))
    manifest = msgspec.json.decode(members[MANIFEST], type=Manifest)
    assert set(manifest.members) == set(members) - {MANIFEST}
    for name, entry in manifest.members.items():
        assert entry.bytes == len(members[name])
        assert entry.sha256 == hashlib.sha256(members[name]).hexdigest()
    with laid_out(members) as folder:
        again = load_contents(folder)
        assert encoded(examine(again).document) == members[SUMMARY]
    original = load_run(path, as_recorded=True)
    assert again.order == original.order and again.warnings == original.warnings
    times = [[one.duration_s for one in entry.passes] for entry in original.attempts]
    assert [[one.duration_s for one in entry.passes] for entry in again.attempts] == times


def test_same_run_gives_the_same_bytes_in_other_surroundings(
    results: Path, tmp_path: Path, call: Called
) -> None:
    run = pictured(results)
    first, second = tmp_path / "first.sdbench.zip", tmp_path / "second.sdbench.zip"
    assert call("bundle", run, "--yes", "-o", first)[0] == 0
    (run / "images" / f"{SHIPPED[0]}.png").touch()
    surroundings = os.environ | {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    program = "import os, sys; os.umask(0o77); from sdbench.cli import main; sys.exit(main())"
    subprocess.run(
        [sys.executable, "-I", "-c", program, "bundle", run, "--yes", "-o", second],
        env=surroundings,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert first.read_bytes() == second.read_bytes()


# --- what is private ------------------------------------------------------------------------------


def test_own_prompts_and_their_images_are_left_out(run: Path) -> None:
    bundle = bundle_of(run, this_installation())
    assert [name for name in bundle.members if name.startswith("images/")] == [
        f"images/{SHIPPED[0]}.png"
    ]
    shown = bundle.loaded.run.config["prompts"][1]
    assert shown.startswith("own prompt ") and PROMPT not in shown
    everything = b"".join(bundle.members.values())
    assert PROMPT.encode() not in everything and OWN[0].encode() not in everything
    assert b"Ada" not in bundle.data and b"after the end" not in bundle.data
    found = removed(bundle)
    assert (found["own-prompts"], found["own-pictures"], found["error-output"]) == (1, 1, 3)


def test_what_is_included_stays(run: Path) -> None:
    bundle = bundle_of(run, this_installation(), kept=Kept(prompts=True, pictures=True))
    assert bundle.loaded.run.config["prompts"][1] == PROMPT
    assert f"images/{OWN[0]}.png" in bundle.members
    assert not {"own-prompts", "own-pictures"} & set(removed(bundle))


def test_prompt_alone_brings_no_image(run: Path) -> None:
    bundle = bundle_of(run, this_installation(), kept=Kept(prompts=True))
    assert f"images/{OWN[0]}.png" not in bundle.members


@pytest.mark.usefixtures("undrawn")
def test_local_model_goes_by_a_salted_hash_and_by_its_name_if_included(results: Path) -> None:
    named = msgspec.structs.replace(make_model(), name="~/us/wedding", path="/data/wedding")
    path = pictured(results, model=named)
    shown = bundle_of(path, this_installation()).loaded.run.model
    assert shown.name.startswith(f"{LOCAL_MODEL} ") and shown.path == ""
    bundle = bundle_of(path, this_installation(), kept=Kept(model_name=True))
    assert bundle.loaded.run.model.name == "wedding"
    assert "unknown-model" in blockers(bundle)


def test_hashes_are_salted_by_the_installation(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = this_installation()
    assert this_installation() == here
    assert Path(os.environ["SDBENCH_STATE"], "sharing.json").stat().st_mode & 0o77 == 0
    first = bundle_of(run, here).loaded.run
    monkeypatch.setenv("SDBENCH_STATE", str(tmp_path / "elsewhere"))
    second = bundle_of(run, this_installation()).loaded.run
    assert first.config["prompts"] != second.config["prompts"]
    assert first.machine_id == here.machine_id != second.machine_id


def test_machine_that_is_not_this_one_keeps_an_id_of_its_own() -> None:
    here = this_installation()
    ids = [here.machine(name) for name in (machine.machine_id(), "other", "third")]
    assert len(set(ids)) == 3 and ids[0] == here.machine_id
    assert [here.machine(name) for name in ids] == ids


def test_a_new_machine_with_the_home_folder_of_an_old_one_has_an_id_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = machine.machine_id()
    here = this_installation()
    monkeypatch.setattr(machine, "machine_id", lambda: "new")
    moved = this_installation()
    assert moved == here
    assert moved.machine("new") != moved.machine(old) == here.machine_id


def test_no_id_of_the_machine_is_left(run: Path) -> None:
    loaded = load_run(run)
    bundle = bundle_of(run, this_installation())
    everything = b"".join(bundle.members.values())
    for private in (loaded.run.machine_id, loaded.run.sittings[0].boot_id):
        assert private is not None and private.encode() not in everything
    assert bundle.loaded.run.sittings[0].boot_id is not None


def test_file_of_the_installation_that_is_damaged_is_named(tmp_path: Path) -> None:
    this_installation()
    Path(os.environ["SDBENCH_STATE"], "sharing.json").write_text("{}")
    with pytest.raises(StoreError, match="expected the random id and salt"):
        this_installation()


# --- images and damage ----------------------------------------------------------------------------


def test_image_that_is_not_what_its_name_says_is_left_out(run: Path) -> None:
    (run / "images" / f"{SHIPPED[0]}.png").write_bytes(OWN[1])
    bundle = bundle_of(run, this_installation())
    assert not [name for name in bundle.members if name.startswith("images/")]
    assert removed(bundle)["damaged-pictures"] == 1


def test_images_beyond_the_limit_are_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_PICTURE_BYTES", 10)
    bundle = bundle_of(run, this_installation(), kept=Kept(prompts=True, pictures=True))
    assert sum(name.startswith("images/") for name in bundle.members) == 1
    assert removed(bundle)["large-pictures"] == 1


def test_damaged_run_is_bundled_and_may_not_be_published(run: Path) -> None:
    lines = (run / "records.jsonl").read_text().splitlines()
    (run / "records.jsonl").write_text("\n".join([*lines[:-1], lines[-1][:50]]))
    bundle = bundle_of(run, this_installation())
    assert blockers(bundle)[:2] == ["simulated", "virtual-unknown"]
    assert {"damaged", "unfinished", "few-processes"} <= set(blockers(bundle))
    assert removed(bundle)["damaged-lines"] == 1
    manifest = msgspec.json.decode(bundle.members[MANIFEST], type=Manifest)
    assert manifest.lines_left_out == 1


def test_run_without_records_is_bundled(run: Path) -> None:
    (run / "records.jsonl").unlink()
    bundle = bundle_of(run, this_installation())
    assert bundle.members["records.jsonl"] == b""
    assert {"unfinished", "nothing-measured"} <= set(blockers(bundle))


# --- the command ----------------------------------------------------------------------------------


def test_document_says_what_is_written(run: Path, tmp_path: Path, call: Called) -> None:
    target = tmp_path / "x.sdbench.zip"
    code, out, err = call("bundle", run, "--yes", "--json", "-o", target, "--label", "fan off")
    document = json.loads(out)
    data = target.read_bytes()
    assert code == 0 and document["path"] == str(target)
    assert document["bytes"] == len(data)
    assert document["sha256"] == hashlib.sha256(data).hexdigest()
    assert document["members"] == zipfile.ZipFile(target).namelist()
    assert document["publishable"]["ok"] is False
    assert {"code", "sentence", "remedy"} == set(document["publishable"]["blockers"][0])
    assert "own prompt" in err and "label 'fan off'" in err  # shown before it was written
    with zipfile.ZipFile(target) as archive:
        assert json.loads(archive.read("run.json"))["label"] == "fan off"


def asked(
    run: Path, call: Called, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> tuple[tuple[int, str, str], list[str]]:
    """What the command prints to a person who answers so, and the questions."""
    shown: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def confirm(question: str, **_: Any) -> bool:
        shown.append(question)
        return answer

    monkeypatch.setattr("click.confirm", confirm)
    return call("bundle", run), shown


@pytest.mark.parametrize("answer", [True, False])
def test_nothing_is_written_before_the_answer(
    answer: bool, run: Path, tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code, out, err), shown = asked(run, call, monkeypatch, answer)
    target = tmp_path / f"{run.name}.sdbench.zip"
    assert shown == [f"Write {target.name}?"]
    assert target.exists() == answer and code == (0 if answer else 2)
    assert "Removed or replaced:" in out and "Publishable: no." in out
    assert ("Next: sdbench verify" in out) == answer and ("not written" in err) != answer


def test_without_a_terminal_yes_must_be_given(run: Path, call: Called) -> None:
    code, out, err = call("bundle", run)
    assert (code, out) == (2, "")
    assert err.rstrip().endswith(f"next: sdbench bundle {run} --yes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--include", "prompt"), "did you mean 'prompts'?"),
        (("--include", ""), "expected one or more of prompts, pictures, model-name"),
        (("--label", "x" * 101), "--label: expected 1 to 100 printable characters, got 101"),
        (("--label", "a\x1b[2J"), "--label: expected"),
    ],
)
def test_wrong_option_is_one_line(
    arguments: tuple[str, ...], words: str, run: Path, call: Called
) -> None:
    code, out, err = call("bundle", run, "--yes", *arguments)
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_only_a_bundle_is_written_over(run: Path, tmp_path: Path, call: Called) -> None:
    target = tmp_path / "x.sdbench.zip"
    assert call("bundle", run, "--yes", "-o", target)[0] == 0
    assert call("bundle", run, "--yes", "-o", target)[0] == 0
    target.write_bytes(b"PK\x03\x04 somebody's archive")
    code, _, err = call("bundle", run, "--yes", "-o", target)
    assert code == 2 and "was not written by sdbench" in err
    assert call("bundle", run, "--yes", "-o", target, "--force")[0] == 0
