"""What comes out of a worker, however odd: event lines and the tails of its streams."""

import json
import os

import pytest

from sdbench.process.events import DECODER, Event, Phase
from sdbench.process.streams import MAX_LINE_BYTES, TAIL_BYTES, EventLines, Streams, Tail


def line(name: str) -> bytes:
    return json.dumps({"event": "phase", "t": 1.0, "name": name}).encode() + b"\n"


def phases(*names: str) -> list[Event]:
    """What is read of such lines."""
    return [Phase(t=1.0, name=name) for name in names]


def test_event_may_come_in_pieces() -> None:
    lines = EventLines(DECODER)
    whole = line("a") + line("b")
    for index in range(len(whole)):
        lines.feed(whole[index : index + 1])
    assert list(lines.pending) == phases("a", "b")
    assert lines.unreadable == 0


def test_half_an_event_waits_for_its_other_half() -> None:
    lines = EventLines(DECODER)
    lines.feed(line("a")[:-1])
    assert not lines.pending
    lines.feed(b"\n")
    assert list(lines.pending) == phases("a")
    assert lines.unreadable == 0


@pytest.mark.parametrize(
    "rubbish",
    [
        b"hello",
        b"",
        b"[1, 2]",
        b"5",
        b"null",
        b'{"a": 1}',
        b'{"event": 5}',
        b'{"event": "x"}',
        b'{"event": "phase"}',
        b"\xff\xfe",
        b"{" * 50,
    ],
)
def test_what_is_no_event_is_counted_and_the_next_one_read(rubbish: bytes) -> None:
    lines = EventLines(DECODER)
    lines.feed(rubbish + b"\n" + line("a"))
    assert lines.unreadable == 1
    assert list(lines.pending) == phases("a")


def test_deeply_nested_rubbish_is_counted() -> None:
    lines = EventLines(DECODER)
    lines.feed(b"[" * 200_000 + b"\n")
    assert lines.unreadable == 1


def test_endless_line_is_noticed_and_not_kept() -> None:
    lines = EventLines(DECODER)
    for _ in range(3):
        lines.feed(b"x" * (MAX_LINE_BYTES // 2))
    assert lines.flooded
    assert len(lines._buffer) <= MAX_LINE_BYTES // 2


def test_longest_honest_line_is_read() -> None:
    lines = EventLines(DECODER)
    name = "x" * (MAX_LINE_BYTES - 100)
    lines.feed(line(name))
    assert not lines.flooded
    assert list(lines.pending) == phases(name)


def test_tail_keeps_the_last_bytes_only() -> None:
    tail = Tail()
    tail.feed(b"start")
    for _ in range(5):
        tail.feed(b"m" * TAIL_BYTES)
    tail.feed(b"end")
    text = tail.text()
    assert len(text) == TAIL_BYTES
    assert text.endswith("mend")
    assert "start" not in text


def test_tail_of_little_is_all_of_it() -> None:
    tail = Tail()
    for piece in (b"one ", b"", b"two"):
        tail.feed(piece)
    assert tail.text() == "one two"


def test_tail_cut_within_a_character_is_still_text() -> None:
    tail = Tail()
    tail.feed("é".encode() * TAIL_BYTES + b"!")
    assert tail.text().endswith("é!")


def test_streams_are_read_apart_and_to_their_end() -> None:
    events, events_in = os.pipe()
    out, out_in = os.pipe()
    err, err_in = os.pipe()
    streams = Streams(events, out, err, DECODER)
    os.write(events_in, line("a"))
    os.write(out_in, b"printed")
    os.write(err_in, b"complained")
    streams.wait(5.0)
    streams.drain()
    assert list(streams.events.pending) == phases("a")
    assert (streams.stdout.text(), streams.stderr.text()) == ("printed", "complained")
    assert not streams.events_closed

    os.close(events_in)
    streams.wait(5.0)
    assert streams.events_closed
    for fd in (out_in, err_in):
        os.close(fd)
    streams.close()


def test_drain_does_not_wait_for_a_pipe_somebody_holds_open() -> None:
    pipes = [os.pipe() for _ in range(3)]
    streams = Streams(pipes[0][0], pipes[1][0], pipes[2][0], DECODER)
    os.write(pipes[1][1], b"last words")
    streams.drain()
    assert streams.stdout.text() == "last words"
    streams.close()
    for _, writing in pipes:
        os.close(writing)
