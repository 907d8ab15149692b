"""What is shared names nobody: private words are planted everywhere and looked for everywhere."""

import base64
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest
from factories import make_config, make_model, make_pass, make_picture, make_replicate, make_run
from measured_runs import kept, measured, one_case
from msgspec import inspect

from sdbench.bundles.installation import this_installation
from sdbench.bundles.write import bundle_of
from sdbench.cli import main
from sdbench.cli.report import _FORMATS
from sdbench.plan.read_config import load_config, shipped_configs
from sdbench.privacy.redact_shared import LEFT_OUT, LOCAL_MODEL, Private, shared
from sdbench.records import (
    Compared,
    InterimAnalysis,
    MatmulRate,
    Preflight,
    Record,
    Replicate,
    Run,
    Started,
    TelemetrySummary,
    Withdrawn,
)
from sdbench.runs import LoadedRun, RunFolder, load_run

USER, HOST, FULL_NAME = "adalove", "adas-mini", "Ada Lovelace"
HOME = f"/Users/{USER}"
HF = "hf_abcdefghijklmnopqrstuvwxyz012345"
SK = "sk-proj-abcdefghijklmnopqrstuvwxyz012345"
AWS = "AKIAIOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PASSWORD = "hunter2hunter2"
PROMPT = "my grandmother's house by the sea"
PRIVATE = Private(frozenset({USER, FULL_NAME}), frozenset({HOST}))
FORBIDDEN = (
    *(USER, HOST, FULL_NAME, "My Secrets", "wedding", HF, SK, AWS, AWS_SECRET, PASSWORD),
    *("ada@example.org", "grandmother"),
)
PLANTED = (
    f"{USER} on {HOST}.local, {FULL_NAME} <ada@example.org>: cannot open {HOME}/My Secrets/wedding "
    f"or '/Volumes/My Secrets/wedding/x y', {HF} {SK} {AWS} {AWS_SECRET} "
    f"https://{USER}:{PASSWORD}@example.org/x?token={PASSWORD} {PROMPT.upper()}"
)


# Fields of a loaded run that nothing shows.
NAMELESS = ("folder", "recorded_ids", "run_sha256", "left_out", "unreadable", "order")


def leaks(text: str) -> list[str]:
    """The forbidden words in a text, also where JSON or HTML has escaped them."""
    flat = text.replace("\\/", "/").replace("&#39;", "'").lower()
    return [word for word in FORBIDDEN if word.lower() in flat]


# --- single words --------------------------------------------------------------------------------


def scrubbed(text: str, prompts: tuple[str, ...] = (PROMPT,)) -> str:
    """What becomes of a text in a run."""
    run = make_run(make_config(prompts=list(prompts)), label=text)
    (loaded,) = shared([LoadedRun(Path("x"), run, [], [])], PRIVATE)
    assert loaded.run.label is not None
    return loaded.run.label


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"cannot open {HOME}/x/y.bin: no such file", "cannot open <path>: no such file"),
        ("in '/Volumes/My Disk/a b'", "in '<path>'"),
        ("see /data/My Secret Project/x.py:3", "see <path>:3"),
        ("/opt/lib:~/lib", "<path>:<path>"),
        ("~/x (copy)/wedding", "<path>(copy)<path>"),
        ("file:///Users/grace/x", "<path>"),
        (r"C:\Users\grace\x", "<path>"),
        (r"\\server\share\x", "<path>"),
        ("../grace/plan.toml", "<path>"),
        ("?next=%2FUsers%2Fgrace%2Fx&a", "?next=<path>&a"),
        (f"by {USER.upper()}", "by <user>"),
        (f"{USER}_plan", "<user>_plan"),
        (f"on {HOST} or {HOST}.fritz.box", "on <host> or <host>.fritz.box"),
        ("on graces-macbook.local", "on <host>"),
        ("ask ada+x@mail.example.org!", "ask <email>!"),
        (f"401 for {HF}", "401 for <token>"),
        (f"key {SK}.", "key <token>."),
        (f"{AWS}:{AWS_SECRET}", "<token>:<token>"),
        ("https://me:pw123@example.org/x", "https://<secret>@example.org/x"),
        ("https://example.org/x?api_key=123456&y=1", "https://example.org/x?api_key=<secret>&y=1"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer <secret>"),
        ("Authorization: Basic YWRhOnBhc3M=", "Authorization: Basic <secret>"),
        ('{"password": "hunter2"}', '{"password": "<secret>"}'),
        (f"prompt {PROMPT!r} truncated", 'prompt "own prompt 1" truncated'),
        ("My  Grandmother's house\nby the sea", "own prompt 1"),
    ],
)
def test_private_word_goes(text: str, expected: str) -> None:
    assert scrubbed(text) == expected
    assert scrubbed(expected) == expected  # and once more changes nothing


@pytest.mark.parametrize(
    "text",
    [
        "0.8 s/image, new/base 1.02, and/or, 2 / 3",
        "https://github.com/pytorch/pytorch/issues/77764",
        "stable-diffusion-v1-5/stable-diffusion-v1-5 with tokenizers 0.23.3",
        "MPS backend out of memory (8.00 GB, max allowed: 9.07 GB)",
        "adalovelace, disadaloved",
        "2026-01-02T03:04:05.000+00:00 3f786850e387550fdab836ed7e6dc881de23001b",
        "token indices sequence length: 77 > 76",
        "a basic transformer block, secret of speed, Metal: MTLReportFailure",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrubbed(text) == text


def test_users_of_other_machines_are_found_by_their_home_folders() -> None:
    replicate = make_replicate(reason="no /Users/gracehopper/x", exception_message="GraceHopper!")
    run = make_run(label="for gracehopper")
    (loaded,) = shared([LoadedRun(Path("x"), run, [], [replicate])], PRIVATE)
    assert loaded.run.label == "for <user>"
    assert loaded.attempts[0].exception_message == "<user>!"


@pytest.mark.parametrize("user", ["float16", "images", "batch", "max", "current", "nominal"])
def test_user_who_is_called_like_a_setting_breaks_nothing(user: str) -> None:
    device = {"kind": "mps", "facts": {"recommended_max_bytes": 3}}
    loaded = measured(fields=lambda slot: {"device": device})
    (told,) = shared([loaded], Private(frozenset({user})))
    assert told.run.plan == loaded.run.plan
    assert told.attempts == loaded.attempts
    assert told.run.config == loaded.run.config


# --- prompts, models, names ----------------------------------------------------------------------


def test_shipped_prompts_stay_and_own_ones_are_numbered_over_all_runs() -> None:
    astronaut = make_config().prompts[0]
    first = make_run(make_config(prompts=[astronaut, PROMPT]))
    second = make_run(make_config(prompts=["another one", PROMPT]))
    told = shared([LoadedRun(Path("x"), run, [], []) for run in (first, second)], PRIVATE)
    assert [one.run.config["prompts"] for one in told] == [
        [astronaut, "own prompt 1"],
        ["own prompt 2", "own prompt 1"],
    ]


def test_prompts_of_shipped_configurations_are_everybodys() -> None:
    for name in shipped_configs():
        run = make_run(make_config(prompts=list(load_config(name).prompts)))
        (told,) = shared([LoadedRun(Path("x"), run, [], [])], PRIVATE)
        assert told.run.config["prompts"] == run.config["prompts"]


def with_pictures(root: Path) -> LoadedRun:
    """Two images per pass, the second of an own prompt, both kept, as are trace and latents."""
    astronaut = make_config().prompts[0]
    pictures = [
        make_picture(pixels_sha256="a" * 64, content="right"),
        make_picture(pixels_sha256="b" * 64, content="wrong", content_reason="no house"),
    ]
    made = [make_pass(1.0, index, images=pictures) for index in (1, 2)]
    made.append(make_pass(1.0, 0, "profile", images=pictures, trace_sha256="c" * 64))
    loaded = measured(
        config=one_case(1, prompts=[astronaut, PROMPT], images=2),
        fields=lambda slot: {"passes": made},
    )
    path = kept(root, loaded)
    (path / "images").mkdir()
    for digest in ("a" * 64, "b" * 64):
        (path / "images" / f"{digest}.png").write_bytes(b"")
    return load_run(path)


def test_pictures_of_own_prompts_are_left_out(tmp_path: Path) -> None:
    (told,) = shared([with_pictures(tmp_path)], PRIVATE)
    first, second = told.attempts[0].passes[0].images
    assert (told.files / "images" / f"{first.pixels_sha256}.png").is_file()
    assert not (told.files / "images" / f"{second.pixels_sha256}.png").exists()
    assert second.not_kept == f"made from an own prompt, {LEFT_OUT}"
    assert (first.content_reason, second.content, second.content_reason) == (
        None,
        "wrong",
        LEFT_OUT,
    )
    # Passes that made the same image still did.
    assert told.attempts[0].passes[1].images[1].pixels_sha256 == second.pixels_sha256
    assert told.attempts[0].passes[2].trace_sha256 is None


def test_model_in_one_file_is_not_named() -> None:
    named = {"name": "us/wedding.safetensors", "file": "~/us/wedding.safetensors", "path": "/c/0"}
    run = make_run(model=msgspec.structs.replace(make_model(), **named))
    run.config["parts"] = "~/us/parts"
    (told,) = shared([LoadedRun(Path("x"), run, [], [])], PRIVATE)
    assert (told.run.model.name, told.run.model.file) == (LOCAL_MODEL, "")
    assert told.run.config["parts"] == ""


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("synthetic/sd15", "~/.cache/x/synthetic--sd15", "synthetic/sd15"),
        ("builtin/shapes", "/venv/sdbench/models/data/builtin/shapes", "builtin/shapes"),
        ("owner/model", "~/.cache/hub/models--owner--model/snapshots/0", "owner/model"),
        ("models/wedding", "~/work/models/wedding", LOCAL_MODEL),
        ("~/models/wedding", "~/models/wedding", LOCAL_MODEL),
        ("./wedding", "/data/wedding", LOCAL_MODEL),
        ("wedding", "/data/wedding", LOCAL_MODEL),
        ("hub/models--me--wedding", "/hub/models--me--wedding/snapshots/0", LOCAL_MODEL),
    ],
)
def test_only_models_that_everybody_can_have_are_named(name: str, path: str, expected: str) -> None:
    run = make_run(model=msgspec.structs.replace(make_model(), name=name, path=path))
    (told,) = shared([LoadedRun(Path("x"), run, [], [])], PRIVATE)
    assert (told.run.model.name, told.run.model.path) == (expected, "")
    assert told.run.config["model"] == expected


def test_arms_and_stacks_keep_apart_and_timelines_are_found(tmp_path: Path) -> None:
    arms = [
        {"name": f"{USER}-old", "stack": f"{HOME}/old"},
        {"name": f"old-{USER}", "stack": f"{HOME}/new", "env": {"MY_API_KEY": "1234"}},
    ]
    loaded = measured(config=one_case(2, arm=arms), path=tmp_path)
    (told,) = shared([loaded], PRIVATE)
    assert [arm.name for arm in told.run.plan.arms] == ["arm-1", "arm-2"]
    assert [arm.stack for arm in told.run.plan.arms] == ["stack-1", "stack-2"]
    assert set(told.run.stacks) == {"stack-1", "stack-2"}
    assert told.run.plan.arms[1].env == {"MY_API_KEY": "<secret>"}
    assert {entry.arm for entry in told.attempts} == {"arm-1", "arm-2"}
    assert {entry.replicate_id for entry in told.replicates} == {
        slot.replicate_id for slot in told.run.plan.slots
    }
    for before, after in zip(loaded.attempts, told.attempts, strict=True):
        assert told.timeline_path(after) == loaded.timeline_path(before)
    (again,) = shared([told], PRIVATE)
    assert again.attempts == told.attempts
    assert again.timeline_path(again.attempts[0]) == loaded.timeline_path(loaded.attempts[0])


def test_number_that_an_arm_already_has_is_not_given_again() -> None:
    arms = [{"name": f"{USER}-old"}, {"name": "arm-1"}]
    (told,) = shared([measured(config=one_case(1, arm=arms))], PRIVATE)
    assert [arm.name for arm in told.run.plan.arms] == ["arm-2", "arm-1"]


@pytest.mark.parametrize("prompt", ["a", "cat", "normal", "float32"])
def test_prompt_that_is_a_word_of_ours_breaks_nothing(prompt: str) -> None:
    telemetry = TelemetrySummary(samples=1, period_s=1, cost_share=0, pressure_peak="normal")
    loaded = measured(
        config=one_case(3, prompts=[prompt]),
        fields=lambda slot: {"telemetry": telemetry, "reason": "a cat"},
    )
    (told,) = shared([loaded], PRIVATE)
    assert told.run.config["prompts"] == ["own prompt 1"]
    assert told.attempts[0].telemetry == telemetry
    assert told.attempts[0].reason == "a cat"


def test_last_words_are_left_out_and_what_was_empty_stays_empty() -> None:
    loaded = measured(fields=lambda slot: {"stderr_tail": "anything"})
    (told,) = shared([loaded], PRIVATE)
    assert told.attempts[0].stderr_tail == LEFT_OUT
    assert told.attempts[0].stdout_tail == ""


def test_nothing_changes_where_nothing_is_private() -> None:
    loaded = measured(config=one_case(3))
    (told,) = shared([loaded], Private())
    assert told.attempts == loaded.attempts
    assert told.run.plan == loaded.run.plan
    assert told.path == Path(loaded.run.run_id)


def test_names_of_this_user_and_machine_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 501)
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    monkeypatch.setattr("platform.node", lambda: f"{HOST}.example.org")
    monkeypatch.setenv("HOME", "/data/people/lovelace")
    here = Private.here()
    assert {USER, "lovelace"} <= here.users
    assert here.hosts == {HOST, f"{HOST}.example.org"}


# --- every field of every record ------------------------------------------------------------------

# Fields that are not free: they tie records together, or are read as numbers.
BLACK = hashlib.sha256(repr((8, 8, 3)).encode() + bytes(8 * 8 * 3)).hexdigest()
"""The name of a black image of 8 x 8 pixels."""
STRUCTURAL = {"resolution", "case_id", "replicate_id"}


def planted(told: inspect.Type, name: str = "") -> Any:
    """A document of that type in which every free text holds what is private."""
    if isinstance(told, inspect.StructType):
        document = {entry.encode_name: planted(entry.type, entry.name) for entry in told.fields}
        return document | ({told.tag_field: told.tag} if told.tag_field else {})
    if isinstance(told, inspect.StrType):
        if told.pattern is not None:
            return "64x64" if name == "resolution" else "a" * 64
        return {"resolution": "64x64", "case_id": "", "replicate_id": ""}.get(name, PLANTED)
    if isinstance(told, inspect.LiteralType):
        return told.values[0]
    if isinstance(told, inspect.UnionType):
        first = sorted(told.types, key=lambda one: isinstance(one, inspect.NoneType))[0]
        return planted(first, name)
    if isinstance(told, inspect.CollectionType):
        return [planted(told.item_type, name)]
    if isinstance(told, inspect.DictType):
        return {f"{PLANTED} key": planted(told.value_type), "known": planted(told.value_type)}
    if isinstance(told, inspect.AnyType):
        return {"deep": [PLANTED, {f"{PLANTED} key": PLANTED}]}
    if isinstance(told, inspect.BoolType):
        return False
    return 1.0 if isinstance(told, inspect.FloatType) else 1


def free_texts(value: Any) -> Iterator[str]:
    """All texts in a document, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from free_texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from free_texts(one)


def planted_run(path: Path) -> LoadedRun:
    """A run that holds together, every free text in it private."""
    arms = [{"name": f"arm-of-{USER}", "stack": f"{HOME}/venv", "env": {"SOME_PATH": PLANTED}}]
    config = make_config(replicates=3, prompts=[PROMPT], description=PLANTED, arm=arms)
    sound = make_run(config)
    document = planted(inspect.type_info(Run)) | {
        "run_id": f"20260102-030405-{USER}-abcd",
        "created_utc": sound.created_utc,
        "config": msgspec.to_builtins(sound.config),
        "stacks": {f"{HOME}/venv": planted(inspect.type_info(Run))["stacks"]["known"]},
        "machine": {"chip": PLANTED, "memory_bytes": 8_000_000_000, "x": PLANTED, PLANTED: 1},
    }
    document["config"] |= {"mode": "image-to-image", "strength": 0.6}
    document["config"]["name"] = f"{USER}-plan"
    document["config"]["model"] = document["model"]["name"] = f"{HOME}/My Secrets/model"
    run = msgspec.convert(document, Run)
    cases = [
        msgspec.structs.replace(
            planned,
            flags=[PLANTED],
            merged=[PLANTED],
            skip_reason=PLANTED if index else None,
        )
        for index, planned in enumerate(sound.plan.cases)
    ]
    run = msgspec.structs.replace(
        run, plan=msgspec.structs.replace(sound.plan, cases=cases), simulated=False
    )
    attempts, compared, started = [], [], []
    for slot in run.plan.slots:
        if slot.case_id != cases[0].case_id:
            continue
        names = {
            "replicate_id": slot.replicate_id,
            "case_id": slot.case_id,
            "arm": slot.arm,
            "block": slot.block,
        }
        # The last process failed, so that its words are told too.
        outcome = {"outcome": "failed" if slot.block == 2 else "ok", "simulated": False}
        telling = planted(inspect.type_info(Replicate)) | names | outcome
        telling |= {"started_utc": sound.created_utc, "ended_utc": sound.created_utc}
        telling["telemetry"] |= {"pressure_peak": None, "thermal_peak": None}
        (made,) = telling["passes"]
        kept_picture = made["images"][0] | {"not_kept": None, "pixels_sha256": BLACK}
        telling["passes"] = [made | {"kind": "measured", "index": 1}]
        telling["passes"] += [
            made | {"kind": "measured", "index": index, "images": [kept_picture]}
            for index in (2, 3)
        ]
        attempts.append(msgspec.convert(telling, Replicate))
        beside = planted(inspect.type_info(Compared)) | names | {"simulated": False}
        beside["divergence"] = [{"image": 0, "step": [1], "rel_l2": [0.1], "allowed_rel_l2": [1]}]
        beside.pop("block")
        compared.append(msgspec.convert(beside, Compared))
        started.append(msgspec.convert(planted(inspect.type_info(Started)) | names, Started))
    check = msgspec.convert(planted(inspect.type_info(Preflight)), Preflight)
    withdrawn = msgspec.convert(
        planted(inspect.type_info(Withdrawn)) | {"replicate_id": attempts[0].replicate_id},
        Withdrawn,
    )
    arm = {"arm": run.plan.arms[0].name}
    ceiling = msgspec.convert(planted(inspect.type_info(MatmulRate)) | arm, MatmulRate)
    looked = msgspec.convert(planted(inspect.type_info(InterimAnalysis)), InterimAnalysis)
    return LoadedRun(
        path=path,
        run=run,
        ceilings=[ceiling],
        looks=[looked],
        started=started,
        attempts=attempts,
        warnings=[PLANTED],
        withdrawn=[withdrawn],
        comparisons=compared,
        checks=[check],
    )


def test_every_free_text_of_every_record_is_planted() -> None:
    """The check of the check: what is planted is there, in every record and field."""
    loaded = planted_run(Path(f"{HOME}/results/x"))
    for record in (*loaded.attempts[:1], *loaded.comparisons[:1], loaded.run, *loaded.checks):
        found = leaks(json.dumps(msgspec.to_builtins(record)))
        assert set(FORBIDDEN) - set(found) == set()
    free = [text for text in free_texts(msgspec.to_builtins(loaded.attempts[0])) if "Ada" in text]
    assert len(free) > 30


def test_nothing_private_is_left_in_any_record() -> None:
    loaded = planted_run(Path(f"{HOME}/results/x"))
    (told,) = shared([loaded], PRIVATE)
    for name in (one.name for one in fields(told) if one.name not in NAMELESS):
        value = getattr(told, name)
        assert value, f"nothing was planted in {name}"
        text = str(value) if name == "path" else json.dumps(msgspec.to_builtins(value))
        assert leaks(text) == [], name
        assert re.search(r"/Users/(?!<)", text) is None
    assert leaks(str(told.path)) == []


# --- every format --------------------------------------------------------------------------------


def planted_folder(root: Path) -> Path:
    """The planted run on disk, with timelines and images."""
    loaded = planted_run(root)
    path = kept(root / USER / "results", loaded)
    folder = RunFolder.open(path)
    records: list[Record] = [*loaded.started, *loaded.withdrawn, *loaded.comparisons]
    for record in (*records, *loaded.checks, *loaded.ceilings, *loaded.looks):
        folder.append(record)
    for entry in loaded.attempts:
        lines = [
            msgspec.json.encode({"t": 1.0 + t, "footprint_bytes": t, "available_bytes": 9})
            for t in range(40)
        ]
        phase = msgspec.json.encode({"t": 1.0, "phase": PLANTED})
        folder.write_telemetry(
            f"{entry.replicate_id}.{entry.attempt}", [line + b"\n" for line in (phase, *lines)]
        )
    folder.close()
    with (path / "records.jsonl").open("a") as file:
        file.write('{"type": "' + PLANTED[:40] + '"}\n')
    (path / "images").mkdir()
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    named = PngInfo()
    named.add_text("Author", PLANTED)
    Image.new("RGB", (8, 8)).save(path / "images" / f"{BLACK}.png", pnginfo=named)
    return path


@pytest.fixture
def as_ada(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user and the computer whose names are planted."""
    monkeypatch.setattr("os.getuid", lambda: 501)
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    monkeypatch.setattr("platform.node", lambda: HOST)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_gecos=f"{FULL_NAME},,,"))


@pytest.mark.usefixtures("as_ada")
@pytest.mark.parametrize(
    ("kind", "prompts"),
    [*((kind, [make_config().prompts[0], PROMPT]) for kind in _FORMATS), ("md", [PROMPT])],
)
def test_nothing_private_is_in_any_format(kind: str, prompts: list[str], tmp_path: Path) -> None:
    path = planted_folder(tmp_path)
    document = json.loads((path / "run.json").read_text())
    document["config"]["prompts"] = prompts  # images are shown where the first is everybody's
    (path / "run.json").write_text(json.dumps(document))
    out = tmp_path / "out"
    out.mkdir()
    target = out / f"report.{kind}"
    assert main(["report", str(path), "-f", kind, "--share", "-o", str(target)]) == 0
    files = [file for file in out.rglob("*") if file.is_file()]
    shown = [file.name for file in files if "-picture-" in file.name]
    assert bool(shown) == (kind == "md" and len(prompts) > 1)
    assert files
    for file in files:
        assert leaks(str(file.relative_to(out))) == []
        data = file.read_bytes()
        assert leaks(data.decode("utf-8", "replace")) == [], file.name
        for picture in pictures_in(file, data):
            assert leaks(picture.decode("latin-1")) == [], file.name
            assert b"Author" not in picture


@pytest.mark.usefixtures("as_ada")
def test_nothing_private_is_in_a_bundle(tmp_path: Path) -> None:
    path = planted_folder(tmp_path)
    target = tmp_path / "out.sdbench.zip"
    label = f"{USER} on {HOST}"
    arguments = ["bundle", str(path), "--yes", "--label", label, "-o", str(target)]
    assert main(arguments) == 0
    with zipfile.ZipFile(target) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert {"run.json", "records.jsonl", "summary.json", "report.html"} <= set(members)
    assert leaks(target.read_bytes().decode("latin-1")) == []
    for name, data in members.items():
        assert leaks(name) == []
        assert leaks(data.decode("utf-8", "replace")) == [], name
        for picture in pictures_in(Path(name), data):
            assert leaks(picture.decode("latin-1")) == [], name


@pytest.mark.usefixtures("as_ada")
def test_every_kind_of_record_is_in_the_bundle(tmp_path: Path) -> None:
    """The check of the check: nothing is clean because it is missing."""
    path = planted_folder(tmp_path)
    bundle = bundle_of(path, this_installation())
    kinds = {type(record) for record in bundle.loaded.records()}
    assert kinds == {type(record) for record in load_run(path).records()}
    # A look names cases of the run, which the planted one cannot.
    assert kinds == set(get_args(Record)) - {InterimAnalysis}


def pictures_in(file: Path, data: bytes) -> Iterator[bytes]:
    """The PNG or other images in a file, unpacked."""
    if file.suffix == ".png":
        yield data
    for encoded in re.findall(rb"data:image/[\w.+-]+;base64,([A-Za-z0-9+/=]+)", data):
        yield base64.b64decode(encoded)


@pytest.mark.usefixtures("as_ada")
def test_without_share_everything_is_there(tmp_path: Path) -> None:
    """The check of the check: the same report without --share is full of it."""
    target = tmp_path / "report.md"
    assert main(["report", str(planted_folder(tmp_path)), "-f", "md", "-o", str(target)]) == 0
    assert {USER, HOST, HF, "grandmother"} <= set(leaks(target.read_text()))
