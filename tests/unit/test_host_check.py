"""Words about a host that cannot take part: what is wrong and the next command, in one line."""

import asyncio
import socket
from typing import Any

import asyncssh
import pytest

from sdbench import __version__
from sdbench.fleet.connection import no_route_words
from sdbench.fleet.host_check import connect_options, shell_word, why_not_connected, why_unfit
from sdbench.fleet.host_workers import _FOLDER
from sdbench.fleet.hosts_file import Host

HOST = Host(name="studio", host="studio.local", user="me", port=2222)
SETTING = "System Settings, Privacy & Security, Local Network"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asyncssh.HostKeyNotVerifiable("not trusted"), "connect once and compare the key: ssh -p"),
        (asyncssh.PermissionDenied("denied"), "ssh-copy-id -p 2222 me@studio.local"),
        (ConnectionRefusedError(61, "Connection refused"), "Remote Login"),
        (OSError("Multiple exceptions: [Errno 61] Connect call failed, refused"), "Remote Login"),
        (asyncio.TimeoutError(), "no answer within 15 s"),
        (socket.gaierror(8, "nodename nor servname provided"), "its name is not known here"),
        (asyncssh.ConnectionLost("lost\nin two lines"), "no ssh connection (lost"),
    ],
)
def test_reason_and_next_command(error: Exception, words: str) -> None:
    said = why_not_connected(HOST, error, "linux")
    assert words in said
    assert "\n" not in said
    assert SETTING not in said


@pytest.mark.parametrize(
    "error",
    [
        OSError(65, "No route to host"),
        OSError("Multiple exceptions: [Errno 65] Connect call failed ('192.168.1.9', 22)"),
    ],
)
def test_no_route_to_host_names_the_setting_on_a_mac_only(error: OSError) -> None:
    said = why_not_connected(HOST, error, "darwin")
    assert SETTING in said
    assert "the terminal program" in said
    assert why_not_connected(HOST, error, "linux") == "No route to host"


def test_no_route_to_host_is_found_behind_what_it_caused() -> None:
    try:
        try:
            raise OSError(65, "No route to host")
        except OSError as error:
            raise OSError("Timed out trying to connect to 'tls://studio:8786'") from error
    except OSError as error:
        assert SETTING in no_route_words(error, "this program", "darwin")
    assert no_route_words(OSError(61, "Connection refused"), "this program", "darwin") == ""


FOUND: dict[str, Any] = {
    "python": "3.12.4",
    "sdbench": __version__,
    "torch": "2.13.0",
    "missing": [],
}


@pytest.mark.parametrize(
    ("changes", "words", "wanted"),
    [
        ({"sdbench": None}, "no sdbench in Python 3.12.4 at ~/a b/python", "sdbench[fleet]=="),
        ({"sdbench": "0.0.1"}, f"it has sdbench 0.0.1, and here is {__version__}", "sdbench["),
        ({"missing": ["dask", "distributed"]}, "no dask, distributed in", "sdbench[fleet]=="),
        ({"torch": None}, "no torch in", "sdbench[fleet,torch]=="),
    ],
)
def test_what_a_python_lacks_comes_with_the_command_that_installs_it(
    changes: dict[str, object], words: str, wanted: str
) -> None:
    said = why_unfit(HOST, "~/a b/python", {**FOUND, **changes}, needs_torch=True)
    assert said is not None
    assert words in said
    assert "ssh -p 2222 me@studio.local " in said
    assert "-m pip install" in said
    assert wanted in said


def test_torch_is_needed_only_where_it_is_measured_in_that_python() -> None:
    assert why_unfit(HOST, "python3", FOUND, needs_torch=True) is None
    assert why_unfit(HOST, "python3", {**FOUND, "torch": None}, needs_torch=False) is None


def test_host_keys_are_always_checked() -> None:
    for host in (HOST, Host(name="a", host="a")):
        options = connect_options(host, asyncssh.import_known_hosts(""))
        assert options["known_hosts"], "asyncssh then checks no key, or reads others"


@pytest.mark.parametrize(
    ("python", "word"),
    [
        ("python3", "python3"),
        ("~/venv/bin/python", '"$HOME"/venv/bin/python'),
        ("~/it's; $(x)/python", "\"$HOME\"/'it'\"'\"'s; $(x)/python'"),
        ("/a b/python", "'/a b/python'"),
        ("~other/python", "'~other/python'"),
    ],
)
def test_shell_expands_nothing_but_the_home_folder(python: str, word: str) -> None:
    assert shell_word(python) == word


@pytest.mark.parametrize(
    ("folder", "usable"),
    [
        ("/tmp/sdbench-fleet-a_b1", True),
        ("/var/folders/z7/x_y/T/sdbench-fleet-0", True),
        ("relative", False),
        ("/tmp/it's", False),
        ('/tmp/a"b', False),
        ("/tmp/a b", False),
        ("/tmp/$(x)", False),
        ("/tmp/a\n", False),
        ("/tmp/a\\", False),
        ("", False),
    ],
)
def test_folder_that_a_host_names_stands_between_quotes_safely(folder: str, usable: bool) -> None:
    assert bool(_FOLDER.fullmatch(folder)) is usable
