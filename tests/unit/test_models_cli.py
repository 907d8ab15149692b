"""``sdbench models``: what it lists, makes and removes, and when it asks."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from factories import Called, make_facts

from sdbench.cli import run
from sdbench.errors import UsageError
from sdbench.models import offline, synthetic
from sdbench.models.builtin import BUILTIN
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.resolve import find_model
from sdbench.plan.fit import Room
from sdbench.process.find_device import FoundDevice
from sdbench.process.room import room_without_torch

TINY = "synthetic/tiny-sd3"
LARGE = "synthetic/flux"


@pytest.fixture
def listed(call: Called) -> Any:
    """The rows of the list by name, and the rest of the document."""

    def called() -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        code, out, _ = call("models", "--json")
        assert code == 0
        document = json.loads(out)
        return {row["name"]: row for row in document.pop("models")}, document

    return called


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())


def with_free_disk(monkeypatch: pytest.MonkeyPatch, free_bytes: float) -> None:
    monkeypatch.setattr(offline, "free_disk_bytes", lambda cache: int(free_bytes))


def changed_later(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


# --- list ----------------------------------------------------------------------------------------


def test_list_has_every_model_and_makes_none(listed: Any, own_cache: Path) -> None:
    rows, document = listed()
    assert set(rows) == {*BUILTIN, *SYNTHETIC}
    assert {row["state"] for row in rows.values()} == {"absent", "shipped"}
    assert all(row["family"] and row["purpose"] for row in rows.values())
    assert document["folder"] == str(own_cache / "models")
    assert not own_cache.exists()


def test_list_shows_what_is_made_and_what_was_changed(
    listed: Any, call: Called, own_cache: Path
) -> None:
    assert call("models", "make", TINY)[0] == 0
    assert listed()[0][TINY]["state"] == "made"
    changed_later(own_cache / "models" / "synthetic--tiny-sd3" / "vae" / "config.json")
    assert listed()[0][TINY]["state"] == "unchecked"
    assert "changed" in call("models")[1]


def test_list_does_not_hash(
    listed: Any, tiny: None, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "file_digest", lambda path: pytest.fail("hashed"))
    assert listed()[0]["synthetic/tiny"]["state"] == "made"


@pytest.mark.parametrize(
    ("available", "fits", "word"), [(10e9, False, "fails"), (200e9, True, "fits"), (None, None, "")]
)
def test_whether_it_fits_is_of_the_memory_available_now(
    available: float | None,
    fits: bool | None,
    word: str,
    listed: Any,
    call: Called,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Room("cpu", available_bytes=available)
    monkeypatch.setattr("sdbench.cli.models.room_without_torch", lambda facts, environment: room)
    rows, document = listed()
    assert rows[LARGE]["fits_memory_now"] is fits
    assert rows[LARGE]["fit"] == (word or "unknown")
    assert document["memory_available_bytes"] == available
    (line,) = [line for line in call("models")[1].splitlines() if f"{LARGE} " in line]
    assert (word or "unkn") in line


def test_the_memory_is_what_a_run_predicts(listed: Any) -> None:
    rows, document = listed()
    assert document["device"] in ("cpu", "cuda", "mps")
    assert all(row["memory_bytes"] > row["disk_bytes"] for row in rows.values())
    assert rows[LARGE]["resolution"] == "1024x1024"


def test_the_device_of_a_mac_is_known_without_torch() -> None:
    facts = make_facts()
    identity = msgspec.structs.replace(
        facts.identity, system="Darwin", architecture="arm64", memory_bytes=16 * 2**30
    )
    room = room_without_torch(msgspec.structs.replace(facts, identity=identity), {})
    assert room.device == "mps"
    assert room.device_free_bytes == pytest.approx(2 / 3 * 16 * 2**30)


# --- make ----------------------------------------------------------------------------------------


def test_made_once_and_kept(call: Called, own_cache: Path) -> None:
    code, out, _ = call("models", "make", TINY)
    assert (code, f"{TINY} is ready" in out) == (0, True)
    assert synthetic.is_cached(SYNTHETIC[TINY], own_cache)
    assert f"{TINY} exists already" in call("models", "make", TINY)[1]
    code, out, _ = call("models", "make", TINY, "synthetic/tiny", "--json")
    actions = {row["name"]: row["action"] for row in json.loads(out)["models"]}
    assert actions == {TINY: "kept", "synthetic/tiny": "made"}


@pytest.mark.parametrize("verb", ["make", "remove"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("synthetic/nothing", "no model 'synthetic/nothing'"),
        ("builtin/shapes", "comes with sdbench"),
        ("../x", "no model '../x'"),
    ],
)
def test_what_is_not_synthetic_is_refused(
    verb: str, name: str, words: str, call: Called, own_cache: Path
) -> None:
    code, out, err = call("models", verb, TINY, name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not own_cache.exists()  # nor was the first one made


def test_too_little_disk_is_told_before_anything_is_written(
    call: Called, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free_disk(monkeypatch, 34e9)  # enough for the files, not for the rest of the machine
    code, _, err = call("models", "make", LARGE, "--yes")
    assert (code, err.count("\n")) == (2, 1)
    assert "33.7 GB of disk, and 34.0 GB are free" in err
    with pytest.raises(UsageError, match=r"33\.7 GB of disk"):
        find_model(LARGE).prepare()
    assert not own_cache.exists()


def test_sizes_of_several_models_are_added_up(
    call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free_disk(monkeypatch, 40e9)
    code, _, err = call("models", "make", LARGE, "synthetic/sd3", LARGE)
    assert (code, "49.2 GB of disk" in err) == (2, True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked, and answered with no."""
    questions: list[str] = []

    def refuse(text: str, **options: object) -> bool:
        questions.append(text)
        return False

    monkeypatch.setattr("click.confirm", refuse)
    with_free_disk(monkeypatch, 900e9)
    return questions


def test_large_model_is_asked_about_on_a_terminal(
    call: Called, asked: list[str], terminal: None, own_cache: Path
) -> None:
    code, _, err = call("models", "make", LARGE)
    assert (code, "not started" in err) == (2, True)
    assert asked == [f"Note: making {LARGE} takes 33.7 GB of disk, once; 900.0 GB are free. Go on?"]
    assert not own_cache.exists()


def test_small_model_is_not_asked_about(call: Called, asked: list[str], terminal: None) -> None:
    assert call("models", "make", TINY)[0] == 0
    assert asked == []


@pytest.mark.parametrize("options", [(), ("--yes",)])
def test_where_nobody_answers_nothing_is_asked(
    options: tuple[str, ...], call: Called, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "ASK_BEYOND_BYTES", 0)
    if options:  # on a terminal too
        monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    assert call("models", "make", TINY, *options)[0] == 0
    assert asked == []


def prepared(name: str) -> Any:
    source = find_model(name)
    return SimpleNamespace(
        model=source, questions=list, facts=make_facts(), device=FoundDevice("cpu")
    )


def test_run_asks_before_it_makes_a_large_model(asked: list[str], terminal: None) -> None:
    with pytest.raises(UsageError, match="not started"):
        run._ask(prepared(LARGE))
    assert "33.7 GB" in asked[0]
    run._ask(prepared("synthetic/sd15"))
    assert len(asked) == 1


def test_run_makes_a_large_model_where_nobody_answers(asked: list[str]) -> None:
    run._ask(prepared(LARGE))
    assert asked == []


# --- remove --------------------------------------------------------------------------------------


def test_removed_is_gone(call: Called, own_cache: Path) -> None:
    call("models", "make", TINY)
    code, out, _ = call("models", "remove", TINY, "synthetic/tiny", "--json")
    assert code == 0
    assert json.loads(out)["models"] == [
        {"name": TINY, "removed": True},
        {"name": "synthetic/tiny", "removed": False},
    ]
    assert [path for path in (own_cache / "models").iterdir() if path.is_dir()] == []
    assert f"{TINY} was not made" in call("models", "remove", TINY)[1]
