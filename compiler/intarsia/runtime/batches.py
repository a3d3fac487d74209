"""Inputs longer than the model was compiled for: cut into batches of its size, and the outputs put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.errors import RunError, either
from intarsia.runtime.arguments import Shape, TensorInfo


def batches_of(infos: Sequence[TensorInfo], arrays: Sequence[Any], batch: int, *, pad_last: bool = False) -> int | None:
    """How many times the model runs for these inputs; None for once, as they are.

    infos     the inputs, compiled for `batch` samples on their first axes
    arrays    checked arrays
    pad_last  whether the last batch may be filled up (`split_batches` does it)

    An array may be longer along its first axis than compiled: then all are, equally, and, without `pad_last`, by whole
    batches. With it they may be shorter too. Raises RunError where a shape fits neither way.
    """
    longer = [
        index for index, info in enumerate(infos) if info.is_tensor and not _fits(info.shape, arrays[index].shape)
    ]
    if not longer:
        return None
    for index in longer:
        info, found = infos[index], arrays[index].shape
        shape = info.shape or ()
        if not shape or shape[0] != batch or not found or not _fits(shape[1:], found[1:]):
            raise _wrong_shape(info, found, batch)
    lengths = {}
    for info, array in zip(infos, arrays):
        if not info.is_tensor or not info.shape or info.shape[0] != batch:
            raise RunError(
                where=f"input '{infos[longer[0]].name}'",
                what=f"it holds {arrays[longer[0]].shape[0]} samples, and '{info}' has no batch axis",
                help=f"{either('run it', 'call run()')} once for every {batch if batch > 1 else 'sample'}",
            )
        lengths[info.name] = len(array)
    if len(set(lengths.values())) > 1:
        raise RunError(
            where=either("--input", "run()"),
            what="the inputs hold different numbers of samples: "
            + ", ".join(f"'{name}' {length}" for name, length in lengths.items()),
            help="give all inputs the same first axis",
        )
    total = lengths[infos[0].name]
    if total % batch and not pad_last:
        raise RunError(
            where=either("--input", "run()"),
            what=f"{total} samples are no multiple of the batch of {batch} that the artifact was compiled for",
            help=f"give a multiple of {batch}, or compile with {either('--batch 1', 'batch=1')}",
        )
    return -(-total // batch)


def split_batches(arrays: Sequence[Array], batch: int) -> Iterator[list[Array]]:
    """Inputs of one run after another, as `batch_at` gives them."""
    for start in range(0, len(arrays[0]) if arrays else 0, batch):
        yield batch_at(arrays, start, batch)


def batch_at(arrays: Sequence[Array], start: int, batch: int) -> list[Array]:
    """Inputs of one run, from a sample on.

    arrays   equally long along their first axes
    returns  the same arrays with `batch` samples each, views where nothing has to be filled up: where the last batch is
             short, its last sample is repeated
    """
    parts = [array[start : start + batch] for array in arrays]
    short = start + batch - len(arrays[0])
    if short > 0:
        parts = [np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) for part in parts]
    return parts


def join_batches(infos: Sequence[TensorInfo], batches: Sequence[Sequence[Array]], samples: int) -> list[Array]:
    """Outputs of one run after another as those of all samples, without what came of samples that were repeated.

    infos    the outputs
    batches  for each run, its outputs
    samples  how many were given
    """
    if not batches:
        return [_empty(info) for info in infos]
    return [(parts[0] if len(parts) == 1 else np.concatenate(parts))[:samples] for parts in zip(*batches)]


def check_outputs(infos: Sequence[TensorInfo], batch: int) -> None:
    """RunError where an output has no batch axis, along which the results of several runs could be collected."""
    for info in infos:
        if not info.is_tensor or not info.shape or info.shape[0] != batch:
            raise RunError(
                where=either("--input", "run()"),
                what=f"the inputs hold more samples than the {batch} compiled for, and the output "
                f"'{info}' has no batch axis to collect results along",
                help=either("run it", "call run()")
                + f" once for every {'sample' if batch == 1 else f'{batch} samples'}",
            )


def _empty(info: TensorInfo) -> Array:
    rest = (info.shape or ())[1:]
    return np.zeros((0, *(0 if size is None else size for size in rest)), numpy_dtype(info.dtype))


def _fits(declared: Shape | None, found: tuple[int, ...]) -> bool:
    if declared is None:
        return True
    return len(declared) == len(found) and all(size is None or size == length for size, length in zip(declared, found))


def _wrong_shape(info: TensorInfo, found: tuple[int, ...], batch: int) -> RunError:
    shape = info.shape or ()
    if len(found) == len(shape) - 1 and _fits(shape[1:], found):
        advice = "the batch axis is missing: x[np.newaxis]"
    elif len(shape) == len(found) == 4 and _fits((shape[2], shape[3], shape[1]), found[1:]):
        advice = "the channels stand last: x.transpose(0, 3, 1, 2)"
    elif shape and shape[0] == batch:
        advice = "the first axis may be longer than compiled, the others may not"
    else:
        advice = "give the shape that the model was compiled for, or compile it for this one"
    return RunError(
        where=f"input '{info.name}'",
        what=f"it has shape {list(found)}, the model takes {str(info)[len(info.name) + 2 :]}",
        help=advice,
    )
