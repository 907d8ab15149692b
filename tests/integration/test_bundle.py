"""A bundle of a real run that was made by somebody with a name, a home and secrets."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import SMALL, Sdbench

from sdbench.models import synthetic
from sdbench.models.catalogue import SYNTHETIC
from sdbench.plan.config import Config

USER, HOST, HOME, MODEL = "zelmira", "zelmiras-quarzuhr", "heimathaus", "hochzeitsmodell"
TOKEN = "hf_" + "a1B2" * 8
PROMPT = "a violet walrus playing chess with grandmother Ottilie"
PRIVATE = (USER, HOST, HOME, MODEL, TOKEN, "walrus", "Ottilie")
# The process is somebody else's: names that a system gives cannot be set by variables alone.
PROGRAM = f"""
import getpass, os, platform, sys
os.getuid = lambda: 501
getpass.getuser = lambda: {USER!r}
platform.node = lambda: {HOST!r} + ".example.org"
from sdbench.cli import main
sys.exit(main(sys.argv[1:]))
"""


def as_zelmira(
    sdbench: Sdbench, home: Path, *arguments: str | Path
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=home,
        env=sdbench.variables(
            HOME=str(home),
            SDBENCH_STATE=str(home / "state"),
            HF_TOKEN=TOKEN,
            SDBENCH_NOTE=f"{USER} on {HOST} with {TOKEN} in {home}/x",
        ),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.long
def test_bundle_holds_no_name_home_prompt_or_token(
    sdbench: Sdbench, cache: Path, tmp_path: Path
) -> None:
    """No shared run serves: the names must be there while the run is made."""
    home = tmp_path / HOME / USER
    home.mkdir(parents=True)
    synthetic.ensure(SYNTHETIC["synthetic/tiny"], cache)
    model = home / MODEL
    shutil.copytree(synthetic.folder_of(SYNTHETIC["synthetic/tiny"], cache), model)
    prompts = json.dumps([Config().prompts[0], PROMPT])
    plan = home / f"{USER}-plan.toml"
    plan.write_text(f"prompts = {prompts}\n{SMALL}[matrix]\nresolution = ['64x64']\n")
    as_zelmira(sdbench, home, "run", plan, "--model", model, "--label", f"{USER} on {HOST}")
    (run,) = (home / "results").iterdir()
    original = (run / "run.json").read_text() + run.name
    for word in (USER, HOST, MODEL, "walrus"):  # else the bundle proves nothing
        assert word in original, word

    as_zelmira(sdbench, home, "bundle", run, "--yes", "-o", "x.sdbench.zip")
    with zipfile.ZipFile(home / "x.sdbench.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, data in members.items():
        text = f"{name}\n{data.decode('utf-8', 'replace')}".lower()
        assert [word for word in PRIVATE if word.lower() in text] == [], name
    images = {Path(name).stem for name in members if name.startswith("images/")}
    kept = {path.stem for path in (run / "images").iterdir()}
    assert images and images < kept  # that of the built-in prompt is there, the own one is not
