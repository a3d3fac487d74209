"""Answers that were given before. A model gives the same bytes for the same bytes, so that they may be given again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from intarsia.dtypes import Array

_ENTRY_BYTES = 512
"""About what keeping an answer takes beside its elements."""

Key = tuple[int, bytes]


class ResponseCache:
    """The answers that were used last, of all models, in so many bytes.

    most_bytes  of outputs, and of what keeping them takes; an answer larger than an eighth of it is not kept
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[Sequence[Array], int]] = OrderedDict()
        self._bytes = 0
        self._count = 0
        self._owners: set[int] = set()

    @property
    def bytes(self) -> int:
        """What is kept."""
        return self._bytes

    def new_owner(self) -> int:
        """A number for a model that was loaded: a later one of the same name finds none of its answers."""
        with self._lock:
            self._count += 1
            self._owners.add(self._count)
            return self._count

    @staticmethod
    def key(owner: int, arrays: Sequence[Array]) -> Key | None:
        """What a request is known by: its model, shapes and bytes of its inputs. None for texts: they are not kept."""
        digest = hashlib.blake2b(digest_size=32)
        for array in arrays:
            if array.dtype == object:
                return None
            digest.update(repr(array.shape).encode())
            digest.update(array.tobytes())
        return owner, digest.digest()

    def get(self, key: Key) -> Sequence[Array] | None:
        """The outputs that were kept, which nobody may change."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: Key, outputs: Sequence[Array]) -> None:
        """Keep outputs; those that were not used for the longest time make room."""
        size = sum(array.nbytes for array in outputs) + _ENTRY_BYTES
        if size > self._most_bytes // 8 or any(array.dtype == object for array in outputs):
            return
        # Views of the outputs of a batch would keep all of it.
        own = [array if array.base is None else array.copy() for array in outputs]
        with self._lock:
            if key[0] not in self._owners or key in self._kept:
                return
            self._kept[key] = own, size
            self._bytes += size
            while self._bytes > self._most_bytes:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed

    def forget(self, owner: int) -> None:
        """Give up the answers of a model that is closed."""
        with self._lock:
            self._owners.discard(owner)
            for key in [key for key in self._kept if key[0] == owner]:
                self._bytes -= self._kept.pop(key)[1]
