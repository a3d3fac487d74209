"""Input arrays from files and pictures, and output arrays into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from intarsia.cli.pictures import pictures_of, read_pictures
from intarsia.errors import RunError
from intarsia.outputs import check_output, write_output

if TYPE_CHECKING:
    from intarsia.dtypes import Array
    from intarsia.images import ImageOptions
    from intarsia.runtime.arguments import TensorInfo

_HELP = "write it with np.save or np.savez, without pickled objects"


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a .npz file by name, or the one of a .npy file under the name "". RunError for anything else."""
    import numpy as np

    where = f"file {path}"
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise RunError(where=where, what="there is no such file", help="check the path") from error
    except OSError as error:
        raise RunError(where=where, what=f"it cannot be read: {error.strerror or error}", help=_HELP) from error
    except (ValueError, EOFError, BadZipFile, KeyError) as error:
        raise RunError(where=where, what="it is no .npy or .npz file of plain arrays", help=_HELP) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise RunError(where=where, what=f"'{name}' in it is no array", help=_HELP)
    return arrays


def input_paths(files: Sequence[str], names: Sequence[str]) -> list[Path]:
    """The files that `match_arrays` reads."""
    return [_split(text, names)[1] for text in files]


def match_arrays(
    files: Sequence[str], infos: Sequence[TensorInfo], images: ImageOptions | None = None
) -> tuple[list[Any], list[str]]:
    """An array for each input of the model, in order, and the names of arrays that no input takes.

    files   paths of .npz files, whose arrays have the names of inputs (any name where file and model have one only), of
            .npy files for the inputs in order, of pictures and folders of them, or name=path for one of them
    images  how pictures become inputs, where that is known; all those of an input are its rows, in their order
    """
    names = [info.name for info in infos]
    found: dict[str, Any] = {}
    unused: list[str] = []
    drawn: dict[str | None, list[Path]] = {}
    for text in files:
        wanted, path = _split(text, names)
        pictures = pictures_of([path])
        if pictures:
            drawn.setdefault(wanted, []).extend(pictures)
            continue
        arrays = read_arrays(path)
        for key, array in arrays.items():
            if wanted is not None and len(arrays) == 1:
                name = wanted
            elif key in names:
                name = key
            elif wanted is None and len(arrays) == 1:
                name = next((name for name in names if name not in found), key)
            else:
                unused.append(key)
                continue
            if name in found:
                raise RunError(where=f"input '{name}'", what=f"{path} gives it again", help="give each input once")
            found[name] = array
    for wanted, pictures in drawn.items():
        info = next((info for info in infos if info.name == wanted or (not wanted and info.name not in found)), None)
        if info is None or info.name in found:
            where, what = f"picture {pictures[0]}", "other files give every input already"
            raise RunError(where=where, what=what, help="give each input once")
        found[info.name] = read_pictures(pictures, info, images)
    missing = [info for info in infos if info.name not in found]
    if missing:
        raise RunError(
            where="--input",
            what=f"nothing is given for {', '.join(map(str, missing))}"
            + (f"; arrays of other names: {', '.join(unused)}" if unused else ""),
            help="give a .npz with an array for each input by name, or --input name=file.npy for each",
        )
    unused += [name for name in found if name not in names]
    return [found[name] for name in names], unused


def _split(text: str, names: Sequence[str]) -> tuple[str | None, Path]:
    """("x", file) for "x=file" where x is an input; names of files may hold "=" too."""
    for name in names:
        if text.startswith(f"{name}="):
            return name, Path(text[len(name) + 1 :])
    return None, Path(text)


def check_output_name(path: Path, names: Sequence[str]) -> None:
    """Raise RunError where outputs of these names cannot go into a file of that name."""
    if path.suffix not in (".npz", ".npy") or (path.suffix == ".npy" and len(names) != 1):
        raise RunError(
            where=f"output {path}",
            what=f"a file of that name does not hold the model's outputs, {', '.join(names)}",
            help="give a name that ends with .npz, or with .npy for a model of one output",
        )


def check_arrays_place(path: Path, infos: Sequence[TensorInfo], read: Sequence[str | Path], overwrite: bool) -> None:
    """Look at the place for outputs before a run.

    infos  name, dtype and shape of every output, as `Session.outputs` has them
    read   the files that are read by the same run
    """
    check_output_name(path, [info.name for info in infos])

    def ours(place: Path) -> bool:
        return _holds_outputs(place, infos)

    what = "one of the same outputs"
    check_output(path, "output", inputs=read, ours=ours, kind=what, overwrite=overwrite, error=RunError)


def _holds_outputs(path: Path, infos: Sequence[TensorInfo]) -> bool:
    """Whether a file looks as if an earlier run wrote it: a .npz of the outputs' names, or a .npy of such rows."""
    import numpy as np

    from intarsia.dtypes import dtype_name

    try:
        if path.suffix == ".npz":
            with ZipFile(path) as archive:
                return sorted(archive.namelist()) == sorted(f"{info.name}.npy" for info in infos)
        found = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, BadZipFile):
        return False
    (info,) = infos
    rows = (None,) * found.ndim if info.shape is None else info.shape
    alike = found.ndim == len(rows) and all(size in (None, at) for size, at in zip(rows[1:], found.shape[1:]))
    return dtype_name(found.dtype) == info.dtype and alike


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Put arrays into a .npz file, or the only one into a .npy file."""
    from intarsia.artifact.arrays import to_npy

    check_output_name(path, list(arrays))
    if path.suffix == ".npy":
        check_plain(arrays)
        write_output(path, "output", to_npy(next(iter(arrays.values()))), error=RunError)
        return
    write_output(path, "output", npz(arrays), error=RunError)


def npz(arrays: Mapping[str, Array]) -> bytes:
    """The content of a .npz file for outputs by name."""
    from intarsia.artifact.arrays import to_npz

    check_plain(arrays)
    return to_npz(arrays)


def check_plain(arrays: Mapping[str, Array]) -> None:
    """RunError for outputs that files of arrays do not hold."""
    import numpy as np

    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind in "OV":
            raise RunError(
                where=f"output '{name}'",
                what="it is no array of plain numbers, which .npy files hold",
                help="use Python: intarsia.load(path).run(...)",
            )
