"""The file of ``sdbench fleet run --hosts``: what it may say, and that nothing breaks out of it."""

from pathlib import Path

import pytest

from sdbench.errors import ConfigError, UsageError
from sdbench.fleet.hosts_file import Host, HostsFile, read_hosts


def read(folder: Path, text: str) -> HostsFile:
    path = folder / "hosts.toml"
    path.write_text(text)
    return read_hosts(path)


def test_everything_but_the_host_has_a_default(tmp_path: Path) -> None:
    found = read(tmp_path, '[[host]]\nhost = "studio.local"\n')
    assert found.hosts == (Host(name="studio.local", host="studio.local", python="python3"),)
    assert (found.port, found.known_hosts) == (None, None)
    assert found.hosts[0].ssh_words == "ssh studio.local"


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "known").write_text("")
    found = read(
        tmp_path,
        """
        address = "192.168.1.10"
        port = 8786
        known_hosts = "known"
        [[host]]
        name = "studio"
        host = "fe80::1%en0"
        user = "me"
        port = 2222
        python = "~/it's mine/bin/python"
        address = "10.0.0.1"
        [[host]]
        host = "mini.local"
        stack = "torch-2.13"
        """,
    )
    assert found.hosts == (
        Host(
            name="studio",
            host="fe80::1%en0",
            user="me",
            port=2222,
            python="~/it's mine/bin/python",
            address="10.0.0.1",
        ),
        Host(
            name="mini.local",
            host="mini.local",
            python=None,
            stack="torch-2.13",
            address="192.168.1.10",
        ),
    )
    assert (found.port, found.known_hosts) == (8786, tmp_path / "known")
    assert found.hosts[0].ssh_words == "ssh -p 2222 me@fe80::1%en0"


HOSTILE = (
    "a; touch /tmp/x",
    "$(touch x)",
    "`touch x`",
    "-oProxyCommand=touch x",
    "a b",
    "a'b",
    'a"b',
    "a\nb",
    "a\\b",
    "a&b",
    "a|b",
    "../a",
    "a/b",
    "a@b",
    "[::1]",
    "a:22",
    "",
    "ü",
    "a" * 300,
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("key", ["host", "name", "user", "address", "stack"])
def test_value_that_a_shell_could_take_apart_is_refused(
    tmp_path: Path, key: str, value: str
) -> None:
    lines = {"host": '"studio"', key: quoted(value)}
    text = "[[host]]\n" + "".join(f"{name} = {word}\n" for name, word in lines.items())
    with pytest.raises(ConfigError, match=rf"hosts\.toml: host\[1\]\.{key}: .*expected") as raised:
        read(tmp_path, text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "host: expected 1 to 1000 tables"),
        ("host = 1", "host: expected 1 to 1000 tables"),
        ("host = []", "host: expected 1 to 1000 tables"),
        ("host = [1]", r"host\[1\]: expected a table"),
        ("[[host]]\nname = 'a'", r"host\[1\]\.host: missing; expected a name"),
        ("[[host]]\nhost = 1", r"host\[1\]\.host: 1: expected a name"),
        ("[[host]]\nhost = 'a'\nport = 0", r"host\[1\]\.port: 0: expected a port, 1 to 65535"),
        ("[[host]]\nhost = 'a'\nport = true", r"host\[1\]\.port: True: expected a port"),
        ("port = '1'\n[[host]]\nhost = 'a'", "port: '1': expected a port"),
        ("[[host]]\nhost = 'a'\npyton = 'b'", r"host\[1\]\.pyton: unknown key; .*python"),
        ("hots = 1\n[[host]]\nhost = 'a'", "hots: unknown key; .*host"),
        ("[[host]]\nhost = 'a'\nstack = 'torch-2.14'", r"host\[1\]\.stack: .*expected one of"),
        (
            "[[host]]\nhost = 'a'\nstack = 'torch-2.13'\npython = 'b'",
            r"host\[1\]\.stack: there is python, too; expected only one",
        ),
        ("[[host]]\nhost = 'a'\n[[host]]\nhost = 'a'", r"host\[2\]\.name: a is the name of"),
        ("[[host]]\nhost = 'a'\npython = ''", r"host\[1\]\.python: '': expected the path"),
        ("[[host]]\nhost = 'a'\npython = '-c'", r"host\[1\]\.python: '-c': expected the path"),
        ('[[host]]\nhost = "a"\npython = "a\\nb"', r"host\[1\]\.python: .*expected the path"),
        ("[[host]]\nhost = '::1'", r"host\[1\]\.name: '::1': expected letters.*add a name"),
        ("known_hosts = 'no'\n[[host]]\nhost = 'a'", "known_hosts: .*no is not there"),
        ("[[host]", "not valid TOML"),
    ],
)
def test_wrong_value_is_one_line_with_the_key_and_what_was_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=rf"hosts\.toml: {said}") as raised:
        read(tmp_path, text)
    assert "\n" not in str(raised.value)


def test_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_hosts(tmp_path / "hosts.toml")
