"""Code of one region for machines of several kinds: how it shares the region's files, and is found again.

A region's metadata is that of its first code. What is otherwise in another one stands in the list `further` there, an
object each, beside the names of its files: those of equal contents are stored once. NumPy and the standard
library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from intarsia.artifact.schema import Entry
from intarsia.runtime.device import RegionFiles

FURTHER, FILES = "further", "files"

Code = tuple[Mapping[str, bytes], Mapping[str, Any]]
"""Files by name, and metadata."""


def joined(first: Code, other: Code, suffix: str) -> Code:
    """Files and metadata of a region that has both codes.

    first   may be joined itself
    suffix  of the other's files where those of their names hold something else: "region.so" becomes "region.SUFFIX.so"
    """
    files, metadata = dict(first[0]), dict(first[1])
    names: dict[str, str] = {}
    for name, content in other[0].items():
        stem, dot, kind = name.rpartition(".")
        names[name] = name if files.get(name) == content else f"{stem}.{suffix}{dot}{kind}"
        files[names[name]] = content
    differing = {key: value for key, value in other[1].items() if key not in metadata or metadata[key] != value}
    metadata[FURTHER] = [*metadata.get(FURTHER, ()), {**differing, FILES: names}]
    return files, metadata


def codes_of(region: RegionFiles, where: str) -> list[RegionFiles]:
    """The region once for each code, as if it had that one alone; the first is what it has without `further`.

    where  how errors name the region's metadata

    Raises RunError where the list of further codes is not one that `joined` wrote.
    """
    metadata = {key: value for key, value in region.metadata.items() if key != FURTHER}
    found = [replace(region, metadata=metadata)]
    whole = Entry(region.metadata, where)
    if FURTHER not in whole.rest:
        return found
    for index, item in enumerate(whole.objects(FURTHER)):
        code = Entry(item, f"{where}, {FURTHER}[{index}]")
        names = code.entry(FILES)
        files = {}
        for name in list(names.rest):
            stored = names.text(name)
            if stored not in region.files:
                names.refuse(f"'{name[:80]}' is '{stored[:80]}', which the region does not have")
            files[name] = region.files[stored]
        found.append(replace(region, files=files, metadata={**metadata, **code.rest}))
    return found
