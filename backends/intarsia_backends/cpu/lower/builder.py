"""The CPU's builder: it asks how the work of kernels is cut up, and has kernels of its own for matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from intarsia.ir.graph import Graph, Node
from intarsia_backends.cpu.kernels import WEIGHTS, MatrixProduct
from intarsia_backends.cpu.lower.panels import ProductTask, arrange_panels, pad_columns
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tiling import ProductTiling
from intarsia_backends.cpu.tuning_tasks import AskedTask, Configs, Make, TuningTask
from intarsia_backends.lowering.access import Access, joined_loops
from intarsia_backends.lowering.builder import Builder, ImageReader
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.multiplication import Multiplication
from intarsia_backends.lowering.program import Operand
from intarsia_backends.lowering.views import View

_ROWS_MIN = 4
"""Rows from which on columns that lie along the depth are worth turning."""


class CpuBuilder(Builder):
    """Hands out memory for values and collects calls while a region is lowered.

    configs       answers how work is cut up
    winograd_sizes  by convolution, the tiles by which it may be made
    """

    machine: Machine

    def __init__(
        self,
        graph: Graph,
        machine: Machine,
        readers: Mapping[str, ImageReader[Any]],
        configs: Configs | None = None,
    ) -> None:
        super().__init__(graph, machine, readers)
        self.configs = configs or Configs()
        self.winograd_sizes: dict[Node, tuple[int, ...]] = {}

    def call_tuned(self, task: TuningTask, make: Make, output: Operand) -> None:
        """Append the call of a kernel whose work is cut up as the choice for a task says."""
        choice = self.configs.choice(task)
        kernel, operands = make(self, choice.config)
        self.configs.note(AskedTask(task=task, make=make, output=output, program=self.program, work=kernel.work))
        self.program.sources[choice.source] += 1
        self.call(kernel, operands, output)

    def multiply(self, product: Multiplication) -> None:
        """Call a product, in panels of vectors; which loops are rows and which are batches is found out here."""
        x, w, y = product.x, product.w, product.y
        *outer, columns = product.extents
        turned = isinstance(w, View) and w.strides[-1] != 1
        rows = product.extents[-2]
        if isinstance(w, View) and (columns == 1 or (turned and rows < _ROWS_MIN)):
            # Few sums over rows that lie along the depth: each goes along the depth in vectors.
            super().multiply(product)
            return
        w_steps = (*w.strides[:-2], 0) if isinstance(w, View) else (0,) * len(outer)
        outer_walks = [x.strides[:-1], w_steps, y.strides[:-1], *(view.strides[:-1] for view in product.further)]
        extents, (x_steps, w_steps, y_steps, *steps) = joined_loops(outer, outer_walks)
        # Rows are the longest loop over which w stands still; it goes last.
        still = [index for index, step in enumerate(w_steps) if step == 0]
        row = max(still, key=lambda index: extents[index]) if still else None
        order = [index for index in range(len(extents)) if index != row]

        def ordered(numbers: Sequence[int], missing: int = 0) -> tuple[int, ...]:
            return (*(numbers[index] for index in order), missing if row is None else numbers[row])

        *batch, rows = ordered(extents, 1)
        packed = not isinstance(w, View)
        task = ProductTask(
            machine=self.machine,
            products=product.products,
            batch=int(np.prod(batch, dtype=np.int64)),
            rows=rows,
            depth=product.depth,
            columns=columns,
            packed=packed,
            blocks=y.dtype == "float32" and y.strides[-1] == 1 and product.products == "float32",
        )
        if isinstance(w, View):
            w_walk = Access(w.dtype, (*ordered(w_steps)[:-1], *w.strides[-2:]), w.offset)
        else:
            w_walk = Access(WEIGHTS[product.products], ordered(w_steps)[:-1])

        def make(builder: Builder, tiling: ProductTiling) -> tuple[Kernel, Sequence[Operand]]:
            kernel = MatrixProduct(
                products=product.products,
                batch=tuple(batch),
                rows=rows,
                depth=product.depth,
                columns=columns,
                x=Access(x.dtype, (*ordered(x_steps), x.strides[-1]), x.offset),
                w=w_walk,
                packed=packed,
                bias=product.bias is not None,
                further=tuple(
                    Access(view.dtype, (*ordered(own), view.strides[-1]), view.offset)
                    for view, own in zip(product.further, steps)
                ),
                y=Access(y.dtype, (*ordered(y_steps), y.strides[-1]), y.offset),
                tiling=tiling,
                epilogue=product.epilogue,
            )
            return kernel, [x.buffer, *_weights(builder, product, tiling), *(view.buffer for view in product.further)]

        self.call_tuned(task, make, y.buffer)


def _weights(builder: Builder, product: Multiplication, tiling: ProductTiling) -> list[Operand]:
    """w, and the bias where there is one."""
    if isinstance(product.w, View):
        found: list[Operand] = [product.w.buffer]
    else:
        arrange = partial(arrange_panels, tiling=tiling, products=product.products)
        found = [builder.arranged(product.w, arrange, WEIGHTS[product.products])]
    if product.bias is not None:
        found.append(builder.weight(pad_columns(product.bias, tiling)))
    return found
