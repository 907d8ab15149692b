"""Reads the archive of a bundle without trusting it: in memory, within limits, nothing extracted.

The form is exactly the one that sdbench writes, which leaves no room for a second reading: members
lie one after another from the first byte, each local header repeats the central directory, the
directory follows the last member, and the file ends with it. So nothing can overlap, be hidden
before, between or behind the members, or be read differently by another program. Members have names
of a fixed list, are regular files, stored or deflated, and say their sizes in advance.

Source of the form: APPNOTE.TXT, the specification of ZIP, sections 4.3.7, 4.3.12 and 4.3.16.
"""

import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from sdbench.bundles.format import (
    MANIFEST,
    MOST_MANIFEST_BYTES,
    MOST_MEMBERS,
    MOST_UNPACKED_BYTES,
    RECORDS_MEMBER,
    REPORT,
    REQUIRED,
    RUN_MEMBER,
    SUMMARY,
    is_member,
)
from sdbench.bundles.refusal import RefusedError
from sdbench.files.access import MIB
from sdbench.words import shortened

# By the beginning of a name. Images are as large as a configuration may ask for, uncompressed.
_MOST_BYTES = {
    MANIFEST: MOST_MANIFEST_BYTES,
    RUN_MEMBER: 64 * MIB,
    RECORDS_MEMBER: 128 * MIB,
    SUMMARY: 64 * MIB,
    REPORT: 64 * MIB,
    "images/": 128 * MIB,
    "telemetry/": 16 * MIB,
}
# Records that repeat themselves become 40 times smaller; deflate ends at 1032.
_MOST_RATIO = 250
_RATIO_COUNTS_FROM_BYTES = MIB
_END, _CENTRAL = struct.Struct("<4s4H2LH"), struct.Struct("<4s6H3L5H2L")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_UTF8 = 1 << 11
_STORED, _DEFLATED = 0, 8
_ZIP64 = 0xFFFF, 0xFFFFFFFF
_UNIX = 3
_FOLDER_OF_DOS = 0x10
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class Entry(NamedTuple):
    """A member as the central directory has it."""

    name: str
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    bytes: int
    offset: int


def read_archive(data: bytes) -> dict[str, bytes]:
    """The members by name, in the order of the archive.

    Raises:
        RefusedError: the archive is not one that sdbench writes, or it is beyond the limits.
    """
    entries, directory = _directory(data)
    _check_names([entry.name for entry in entries])
    _check_sizes(entries)
    members: dict[str, bytes] = {}
    at = 0
    for entry in entries:
        if entry.offset != at:
            how = "overlaps another member" if entry.offset < at else "follows bytes of no member"
            raise _unsafe(f"{entry.name} {how}")
        at, packed = _packed(data, entry, directory)
        members[entry.name] = _unpacked(entry, packed)
    if at != directory:
        raise _unsafe("there are bytes of no member before the directory")
    for name in REQUIRED:
        if name not in members:
            raise RefusedError("schema", f"{name} is missing")
    return members


def _unsafe(reason: str) -> RefusedError:
    return RefusedError("unsafe-archive", reason)


def _directory(data: bytes) -> tuple[list[Entry], int]:
    """The central directory, and where it begins."""
    if len(data) < _END.size or not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise _unsafe("not a ZIP archive from its first byte")
    end = len(data) - _END.size
    signature, disk, first_disk, here, count, size, begin, comment = _END.unpack_from(data, end)
    if signature != b"PK\x05\x06" or comment:
        raise _unsafe("the file does not end with the directory of its members")
    if disk or first_disk or here != count:
        raise _unsafe("one of several volumes")
    if count in _ZIP64 or size in _ZIP64 or begin in _ZIP64:
        raise _unsafe("in the format ZIP64, which no bundle needs")
    if count > MOST_MEMBERS:
        raise _unsafe(f"{count:,} members, and at most {MOST_MEMBERS:,} are read")
    if begin + size != end:
        raise _unsafe("its directory is not where the end of the file says")
    return list(_entries(data, begin, end, count)), begin


def _entries(data: bytes, begin: int, end: int, count: int) -> Iterator[Entry]:
    at = begin
    for _ in range(count):
        if at + _CENTRAL.size > end:
            raise _unsafe("its directory is cut")
        fields = _CENTRAL.unpack_from(data, at)
        signature, made_by, needed, flags, method, _, _, crc32, packed, size = fields[:10]
        name_length, extra, comment, disk, _, attributes, offset = fields[10:]
        at += _CENTRAL.size
        raw = data[at : at + name_length]
        at += name_length
        if signature != b"PK\x01\x02" or at > end:
            raise _unsafe("its directory is cut")
        name = _name(raw)
        if extra or comment or disk:
            raise _unsafe(f"{name}: extra fields, which no bundle has")
        if flags & 1:
            raise _unsafe(f"{name} is encrypted")
        if flags & ~_UTF8:
            raise _unsafe(f"{name}: flags that no bundle has ({flags:#x})")
        if method not in (_STORED, _DEFLATED):
            raise _unsafe(f"{name}: compression method {method}, expected 0 or 8")
        if needed > 20 or packed in _ZIP64 or size in _ZIP64 or offset in _ZIP64:
            raise _unsafe(f"{name}: in a newer format of ZIP, which no bundle needs")
        _check_kind(name, made_by >> 8, attributes)
        yield Entry(name, flags, method, crc32, packed, size, offset)
    if at != end:
        raise _unsafe("its directory has more than it says")


def _name(raw: bytes) -> str:
    """A member's name if it is one that bundles have."""
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", "replace")
        like = unicodedata.normalize("NFKC", shown).casefold()
        what = "looks like another name" if is_member(like) else "no name of a bundle's"
        raise _unsafe(f"{_quoted(shown)}: not ASCII, {what}") from None
    if is_member(name):
        return name
    raise _unsafe(f"{_quoted(name)}: {_wrong_with(name)}")


def _wrong_with(name: str) -> str:
    if "\0" in name:
        return "its name has a NUL"
    if "\\" in name:
        return "its name has a backslash"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if {"..", "."} & {*name.split("/")}:
        return "a path that leaves the bundle"
    if name.endswith("/"):
        return "a folder"
    return "a bundle has no such member"


def _quoted(name: str) -> str:
    return repr(shortened(name))


def _check_kind(name: str, system: int, attributes: int) -> None:
    kind = stat.S_IFMT(attributes >> 16)
    if kind in _KINDS:
        raise _unsafe(f"{name} is {_KINDS[kind]}, not a regular file")
    if kind not in (0, stat.S_IFREG) or attributes & _FOLDER_OF_DOS:
        raise _unsafe(f"{name} is not a regular file")


def _check_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.get(name.casefold())
        if other == name:
            raise _unsafe(f"{name} is there twice")
        if other is not None:
            raise _unsafe(f"{other} and {name} differ in upper and lower case only")
        seen[name.casefold()] = name


def _check_sizes(entries: list[Entry]) -> None:
    for entry in entries:
        most = next(most for start, most in _MOST_BYTES.items() if entry.name.startswith(start))
        if entry.bytes > most:
            raise _unsafe(f"{entry.name}: {entry.bytes:,} bytes, and at most {most:,} are read")
        unlike = entry.bytes > _MOST_RATIO * max(entry.packed_bytes, 1)
        if entry.bytes > _RATIO_COUNTS_FROM_BYTES and unlike:
            raise _unsafe(f"{entry.name} becomes {entry.bytes:,} bytes of {entry.packed_bytes:,}")
    total = sum(entry.bytes for entry in entries)
    if total > MOST_UNPACKED_BYTES:
        raise _unsafe(f"{total:,} bytes unpacked, and at most {MOST_UNPACKED_BYTES:,} are read")


def _packed(data: bytes, entry: Entry, directory: int) -> tuple[int, memoryview]:
    """Where the next member begins, and this one's content as it is in the archive."""
    if entry.offset + _LOCAL_HEADER.size > directory:
        raise _unsafe(f"{entry.name}: not before the directory")
    signature, needed, flags, method, _time, _date, crc32, packed, size, name_length, extra = (
        _LOCAL_HEADER.unpack_from(data, entry.offset)
    )
    at = entry.offset + _LOCAL_HEADER.size
    name = data[at : at + name_length]
    at += name_length
    here = signature, flags, method, crc32, packed, size, name, extra
    there = (
        *(b"PK\x03\x04", entry.flags, entry.method, entry.crc32),
        *(entry.packed_bytes, entry.bytes, entry.name.encode(), 0),
    )
    if here != there or needed > 20:
        raise _unsafe(f"{entry.name}: its own header is not what the directory says of it")
    if at + entry.packed_bytes > directory:
        raise _unsafe(f"{entry.name}: cut, or it overlaps the directory")
    return at + entry.packed_bytes, memoryview(data)[at : at + entry.packed_bytes]


def _unpacked(entry: Entry, packed: memoryview) -> bytes:
    """The content, of exactly the size that was announced: never a byte more is unpacked."""
    if entry.method == _STORED:
        data = bytes(packed)
    else:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(packed, entry.bytes + 1)
        except zlib.error as error:
            raise _unsafe(f"{entry.name}: damaged ({error})") from None
        if len(data) <= entry.bytes and (not unpacker.eof or unpacker.unused_data):
            raise _unsafe(f"{entry.name}: its compressed content does not end where it should")
    if len(data) != entry.bytes:
        raise _unsafe(f"{entry.name}: not of the size that the directory says")
    if zlib.crc32(data) != entry.crc32:
        raise _unsafe(f"{entry.name}: damaged (its checksum differs)")
    return data
