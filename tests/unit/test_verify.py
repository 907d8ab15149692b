"""``sdbench verify``: forged bundles are refused with their reason, good ones are accepted."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import forged_bundles
import msgspec
import pytest
from factories import Called
from forged_bundles import (
    FORGERIES,
    QUICK,
    RESULTS,
    Forgery,
    Members,
    good_members,
    hashed,
    repaired,
    summarised,
)

from sdbench.bundles.format import MANIFEST, SUMMARY, manifest_of
from sdbench.bundles.verify import Verified, verify
from sdbench.bundles.write import sealed
from sdbench.privacy.redact_shared import Kept

RUNS = sorted(path.parent for path in RESULTS.glob("*/run.json"))
ALL_KEPT = Kept(prompts=True, pictures=True, model_name=True)


def verdict(data: bytes) -> Verified:
    return verify(data, "given.sdbench.zip")


@pytest.fixture(scope="session")
def quick() -> Members:
    """A bundle with images and timelines; tests that change it make a copy."""
    return good_members(QUICK)


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.what)
def test_forged_bundles_are_refused(quick: Members, forgery: Forgery) -> None:
    found = verdict(forgery.forge(dict(quick)))
    assert (found.status, found.code) == ("refused", forgery.code), found
    assert found.reason
    assert found.publishable is None


def test_the_table_of_the_proof_has_every_forgery() -> None:
    """``python tools/bundle_table.py`` makes it."""
    text = (RESULTS.parent / "tests/proof/bundles.md").read_text(encoding="utf-8")
    for number, forgery in enumerate(FORGERIES, start=1):
        assert f"| {number} | {forgery.what} | `{forgery.code}` |" in text


FORMS = {
    "as written": lambda run: hashed(good_members(run)),
    "everything included, with a label": lambda run: hashed(
        good_members(run, ALL_KEPT, "fan off, lid open")
    ),
    "without images": lambda run: repaired(without(good_members(run), "images/")),
    "without timelines": lambda run: repaired(without(good_members(run), "telemetry/")),
}


def without(members: Members, folder: str) -> Members:
    return {name: data for name, data in members.items() if not name.startswith(folder)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name[16:])
def test_bundles_of_all_runs_in_git_are_accepted(run: Path, form: str) -> None:
    found = verdict(FORMS[form](run))
    assert (found.status, found.reason) == ("ok", None)
    assert found.simulated is False
    assert found.publishable is not None
    assert "virtual" in {blocker.code for blocker in found.publishable.blockers}
    told = " ".join(found.not_checked)
    if form == "without images":
        assert "not in the bundle" in told
    if form == "without timelines":
        assert "nothing else recorded when passes began" in told


def test_the_run_of_the_first_schema_is_accepted() -> None:
    found = verdict(hashed(good_members(RESULTS.parent / "tests/data/runs/schema-1-first")))
    assert (found.status, found.reason) == ("ok", None)
    assert found.virtual is None


def test_a_bundle_of_another_version_is_compared_by_its_figures(quick: Members) -> None:
    """Its sentences and findings are not compared, and the result says so; its figures are."""

    def older(summary: dict[str, object]) -> None:
        summary["sdbench_version"] = "0.0.9"
        summary["diagnosis"] = {"findings": [{"code": "no-longer-known"}]}

    found = verdict(hashed(forged_bundles.edited(quick, SUMMARY, older)))
    assert (found.status, found.reason) == ("ok", None)
    assert any("sdbench 0.0.9 wrote them" in words for words in found.not_checked)

    def faster(summary: dict[str, Any]) -> None:
        older(summary)
        summary["run"]["cases"][0]["latency_s"]["median"] /= 2

    found = verdict(hashed(forged_bundles.edited(quick, SUMMARY, faster)))
    assert found.code == "figures-differ"


@pytest.mark.parametrize("version", ["2.99.0", "2.13.1", "2.14.0.dev20260901", "2.13.0+cu130"])
def test_what_is_merely_newer_is_not_refused(quick: Members, version: str) -> None:
    found = verdict(forged_bundles.with_version("torch", version)(quick))
    assert (found.status, found.reason) == ("ok", None)
    known = version.endswith("+cu130")
    assert known != any(f"whether there is torch {version}" in one for one in found.not_checked)


def test_a_damaged_run_is_accepted_and_not_publishable(quick: Members) -> None:
    """A run with lines that could not be read is what it says: it counts as damaged."""
    lost = forged_bundles.of_kind("replicate", forged_bundles.process(quick, 3))
    torn = summarised(forged_bundles.without_records(without(quick, "images/"), lost))
    assert verdict(hashed(torn)).code == "record-missing"
    manifest = msgspec.json.encode(manifest_of(torn, lines_left_out=1))
    found = verdict(sealed(torn | {MANIFEST: manifest}))
    assert (found.status, found.reason) == ("ok", None)
    assert found.publishable is not None
    assert "damaged" in {blocker.code for blocker in found.publishable.blockers}


# --- the verb -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "code"), [("images/", "pictures-missing"), ("telemetry/", "times-unchecked")]
)
def test_what_was_left_out_confirms_nothing(quick: Members, folder: str, code: str) -> None:
    left = {name: data for name, data in quick.items() if not name.startswith(folder)}
    found = verdict(repaired(left))
    assert found.status == "ok" and found.not_checked
    assert found.publishable is not None
    assert code in [blocker.code for blocker in found.publishable.blockers]


def test_json_and_exit_codes(quick: Members, call: Called, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.sdbench.zip", tmp_path / "bad.sdbench.zip"
    good.write_bytes(hashed(quick))
    bad.write_bytes(good.read_bytes() + b"more")
    code, out, _ = call("verify", str(good), "--json")
    (entry,) = json.loads(out)["files"]
    assert code == 0
    assert (entry["path"], entry["status"], entry["code"]) == (str(good), "ok", None)
    assert (entry["simulated"], entry["virtual"]) == (False, True)
    assert entry["publishable"]["ok"] is False
    code, out, _ = call("verify", str(good), str(bad), "--json")
    assert code == 1
    assert [entry["code"] for entry in json.loads(out)["files"]] == [None, "unsafe-archive"]


def test_words(quick: Members, call: Called, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.sdbench.zip", tmp_path / "bad.sdbench.zip"
    good.write_bytes(hashed(without(quick, "report")))
    bad.write_bytes(b"PK")
    code, out, error = call("verify", str(good), str(bad))
    first, second = out.splitlines()
    assert code == 1
    assert first.startswith(f"ok       {good}: recorded as real, in a virtual machine; not publish")
    assert second == f"refused  {bad}: not a ZIP archive from its first byte (unsafe-archive)"
    assert error == "next: sdbench verify --help\n"


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_what_is_no_file_is_a_usage_error(what: str, call: Called, tmp_path: Path) -> None:
    given = tmp_path / "missing" if what == "missing" else tmp_path
    code, out, error = call("verify", str(given))
    assert (code, out) == (2, "")
    assert str(given) in error
    assert len(error.splitlines()) == 1


def test_nothing_is_written(
    quick: Members, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither a good nor a hostile bundle leaves a file, wherever sdbench keeps its own."""
    for name in ("HOME", "TMPDIR", "SDBENCH_CACHE", "SDBENCH_STATE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert verdict(hashed(quick)).status == "ok"
    for forgery in FORGERIES[:12]:
        assert verdict(forgery.forge(dict(quick))).status == "refused"
    assert list(tmp_path.rglob("*")) == []


def test_a_text_of_a_forger_does_not_reach_the_terminal(
    quick: Members, call: Called, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.sdbench.zip"
    bad.write_bytes(forged_bundles.zip_of(quick, ("\x1b[2Jrun.json", b"")))
    code, out, error = call("verify", str(bad))
    assert code == 1
    assert "\x1b" not in out + error


def test_the_signature_of_the_documentation(quick: Members, tmp_path: Path) -> None:
    """The commands of docs/how-to/verify-a-bundle.md, with a key that is made for it."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen here")
    bundle = tmp_path / "mine.sdbench.zip"
    bundle.write_bytes(hashed(quick))
    key = tmp_path / "key"

    def keygen(*words: str | Path, stdin: bytes = b"") -> int:
        done = subprocess.run(["ssh-keygen", *words], input=stdin, capture_output=True, check=False)
        return done.returncode

    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", key) == 0
    assert keygen("-Y", "sign", "-f", key, "-n", "sdbench-bundle", bundle) == 0
    signers = tmp_path / "signers"
    signers.write_text(f"octocat {(tmp_path / 'key.pub').read_text()}")
    check = (
        *("-Y", "verify", "-f", signers, "-I", "octocat", "-n", "sdbench-bundle"),
        *("-s", tmp_path / "mine.sdbench.zip.sig"),
    )
    assert keygen(*check, stdin=bundle.read_bytes()) == 0
    assert keygen(*check, stdin=bundle.read_bytes() + b"more") != 0
