"""The zip file of an artifact, in one canonical form: equal contents give equal bytes, and no other bytes are read.

Files are stored, not deflated: the bytes do not depend on a compressor's version, a board reads them without unpacking,
and no small archive can grow. Order is by name, times are 1980-01-01, permissions 0644, there are no extra fields and
no comments. The reader knows exactly which bytes must stand where, so that a change anywhere is noticed; ordinary zip
tools read the files, and what they write is refused.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Mapping

from intarsia.artifact.names import clash, complaint
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


def unpack(archive: bytes, where: str) -> dict[str, bytes]:
    """The files of an archive that `pack` wrote.

    archive  the whole zip file
    where    how errors name it
    returns  contents by name; their checksums are right, their names safe

    Raises RunError, naming the file inside, for any archive that `pack` cannot have written.
    """
    files: dict[str, bytes] = {}
    directory: list[bytes] = []
    view, offset, previous = memoryview(archive), 0, ""
    if archive[:4] != b"PK\3\4":
        raise RunError(where=where, what="it does not begin as an artifact does", help="give a file that compile made")
    while archive[offset : offset + 4] != b"PK\1\2":
        place = f"{where}, after '{previous}'" if previous else where
        if offset + _LOCAL.size > len(archive):
            raise _damaged(place, f"it ends, or is broken, at byte {offset} of {len(archive)}")
        fields = _LOCAL.unpack_from(archive, offset)
        checksum, size_bytes, name_bytes = fields[6], fields[7], fields[9]
        start = offset + _LOCAL.size + name_bytes
        name = _name(archive[offset + _LOCAL.size : start], previous, place)
        place = f"{where}, file '{name}'"
        if archive[offset:start] != _local(name, checksum, size_bytes):
            raise _damaged(place, f"the header at byte {offset} is not as intarsia writes it")
        if start + size_bytes > len(archive):
            raise _damaged(place, f"{size_bytes} bytes are announced, the archive has {len(archive) - start} more")
        data = bytes(view[start : start + size_bytes])
        if binascii.crc32(data) != checksum:
            raise _damaged(place, "the contents do not have the checksum that the archive says")
        files[name] = data
        directory.append(_central(name, checksum, size_bytes, offset))
        offset, previous = start + size_bytes, name
    names = list(files)
    for index, expected in enumerate(_tail(directory, offset)):
        if archive[offset : offset + len(expected)] != expected:
            what = f"entry of '{names[index]}'" if index < len(names) else "end record"
            raise _damaged(f"{where}, zip directory", f"the {what} at byte {offset} does not fit the files")
        offset += len(expected)
    if offset != len(archive):
        raise _damaged(where, f"{len(archive) - offset} bytes follow the end of the archive")
    pair = clash(files)
    if pair is not None:
        raise _damaged(where, f"the names '{pair[0]}' and '{pair[1]}' cannot stand in one folder")
    return files


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
