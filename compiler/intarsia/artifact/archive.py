"""The zip file of an artifact, in one canonical form: equal contents give equal bytes, and no other bytes are read.

Files are stored, not deflated: the bytes do not depend on a compressor's version, a board reads them without unpacking,
and no small archive can grow. Order is by name, times are 1980-01-01, permissions 0644, there are no extra fields and
no comments. The reader knows exactly which bytes must stand where, so that a change anywhere is noticed; ordinary zip
tools read the files, and what they write is refused.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from intarsia.artifact.names import LENGTH_LIMIT, clash, complaint
from intarsia.errors import RunError

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")

_VERSION_NEEDED = 20
_MADE_BY_UNIX = 3 << 8 | _VERSION_NEEDED
_MIDNIGHT, _FIRST_OF_1980 = 0, 0x0021
_REGULAR_FILE_0644 = 0o100644 << 16

FILES_LIMIT = 0xFFFE
BYTES_LIMIT = 0xFFFF_0000
"""What a zip without its 64-bit extension holds."""

ARCHIVE_LIMIT = BYTES_LIMIT + (FILES_LIMIT + 1) * (_LOCAL.size + _CENTRAL.size + 2 * LENGTH_LIMIT)
"""Bytes of the longest zip that may be one of ours, its headers included."""


def pack(files: Mapping[str, bytes]) -> Iterator[bytes]:
    """The archive, in pieces.

    files    contents by name, each name as `names.complaint` wants it
    returns  bytes to be written one after the other

    Raises RunError where the files are too many or too large for a zip.
    """
    total = sum(len(data) for data in files.values())
    if len(files) > FILES_LIMIT or total > BYTES_LIMIT:
        raise RunError(
            where="artifact",
            what=f"{len(files)} files of {total} bytes together, at most {FILES_LIMIT} files of {BYTES_LIMIT} bytes",
            help="save it as a folder instead: a path that ends with '/'",
        )
    directory, offset = [], 0
    for name in sorted(files):
        data = files[name]
        checksum = binascii.crc32(data)
        header = _local(name, checksum, len(data))
        directory.append(_central(name, checksum, len(data), offset))
        offset += len(header) + len(data)
        yield header
        yield data
    yield from _tail(directory, offset)


def _local(name: str, checksum: int, size_bytes: int) -> bytes:
    encoded = name.encode("ascii")
    fields = (_VERSION_NEEDED, 0, 0, _MIDNIGHT, _FIRST_OF_1980, checksum, size_bytes, size_bytes, len(encoded), 0)
    return _LOCAL.pack(b"PK\3\4", *fields) + encoded


def _central(name: str, checksum: int, size_bytes: int, offset: int) -> bytes:
    encoded = name.encode("ascii")
    times = (_MIDNIGHT, _FIRST_OF_1980)
    sizes = (checksum, size_bytes, size_bytes, len(encoded))
    return (
        _CENTRAL.pack(
            b"PK\1\2", _MADE_BY_UNIX, _VERSION_NEEDED, 0, 0, *times, *sizes, 0, 0, 0, 0, _REGULAR_FILE_0644, offset
        )
        + encoded
    )


def _tail(directory: list[bytes], offset: int) -> Iterator[bytes]:
    yield from directory
    count, size_bytes = len(directory), sum(len(entry) for entry in directory)
    yield _END.pack(b"PK\5\6", 0, 0, count, count, size_bytes, offset, 0)


class Member(NamedTuple):
    """A file inside: its name, checksum, and where its bytes lie in the archive."""

    name: str
    checksum: int
    start: int
    size_bytes: int


Read = Callable[[int, int], bytes]
"""(start, bytes) -> so many bytes of the archive, fewer where it ends before."""


def members(read: Read, archive_bytes: int, where: str) -> list[Member]:
    """What an archive that `pack` wrote holds. Headers and directory are read and compared, no file's bytes.

    archive_bytes  length of the whole zip file
    where          how errors name it

    Raises RunError, naming the file inside, for any archive that `pack` cannot have written.
    """
    found: list[Member] = []
    directory: list[bytes] = []
    offset, previous = 0, ""
    if read(0, 4) != b"PK\3\4":
        raise RunError(where=where, what="it does not begin as an artifact does", help="give a file that compile made")
    if archive_bytes > ARCHIVE_LIMIT:
        raise _damaged(where, f"it has {archive_bytes} bytes, a zip has at most {ARCHIVE_LIMIT}")
    while True:
        header = read(offset, _LOCAL.size)
        if header[:4] == b"PK\1\2":
            break
        place = f"{where}, after '{previous}'" if previous else where
        if len(header) < _LOCAL.size:
            raise _damaged(place, f"it ends, or is broken, at byte {offset} of {archive_bytes}")
        fields = _LOCAL.unpack(header)
        checksum, size_bytes, name_bytes = fields[6], fields[7], fields[9]
        start = offset + _LOCAL.size + name_bytes
        encoded = read(offset + _LOCAL.size, name_bytes)
        name = _name(encoded, previous, place)
        place = f"{where}, file '{name}'"
        if not previous and name.endswith(".npy") and "/" not in name:
            what, help = "it is a .npz file of arrays, and no artifact", "give a file that compile made"
            raise RunError(where=where, what=what, help=help)
        if header + encoded != _local(name, checksum, size_bytes):
            raise _damaged(place, f"the header at byte {offset} is not as intarsia writes it")
        if start + size_bytes > archive_bytes:
            raise _damaged(place, f"{size_bytes} bytes are announced, the archive has {archive_bytes - start} more")
        if len(found) == FILES_LIMIT:
            raise _damaged(place, f"it is one more than the {FILES_LIMIT} files that a zip may hold")
        found.append(Member(name, checksum, start, size_bytes))
        directory.append(_central(name, checksum, size_bytes, offset))
        offset, previous = start + size_bytes, name
    for index, expected in enumerate(_tail(directory, offset)):
        if read(offset, len(expected)) != expected:
            what = f"entry of '{found[index].name}'" if index < len(found) else "end record"
            raise _damaged(f"{where}, zip directory", f"the {what} at byte {offset} does not fit the files")
        offset += len(expected)
    if offset != archive_bytes:
        raise _damaged(where, f"{archive_bytes - offset} bytes follow the end of the archive")
    pair = clash(member.name for member in found)
    if pair is not None:
        raise _damaged(where, f"the names '{pair[0]}' and '{pair[1]}' cannot stand in one folder")
    return found


def content(read: Read, member: Member, where: str) -> bytes:
    """The bytes of one file. RunError where they do not have the checksum that its header says."""
    data = read(member.start, member.size_bytes)
    if len(data) != member.size_bytes or binascii.crc32(data) != member.checksum:
        raise _damaged(f"{where}, file '{member.name}'", "the contents do not have the checksum that the archive says")
    return data


def unpack(archive: bytes, where: str) -> dict[str, bytes]:
    """The files of an archive that `pack` wrote, by name; errors as from `members` and `content`."""

    def read(start: int, size_bytes: int) -> bytes:
        return archive[start : start + size_bytes]

    return {member.name: content(read, member, where) for member in members(read, len(archive), where)}


def _name(encoded: bytes, previous: str, where: str) -> str:
    name = encoded.decode("latin-1")
    trouble = complaint(name)
    if trouble is not None:
        raise _damaged(where, f"the next file is called {name[:80]!r}: {trouble}")
    if name <= previous:
        raise _damaged(where, f"the next file is called '{name}': names stand in order, each once")
    return name


def _damaged(where: str, what: str) -> RunError:
    return RunError(
        where=where,
        what=what,
        help="the file was changed after it was written, or another program zipped it: copy it again, compile again, "
        "or unzip it and load the folder",
    )
