"""From a region's graph to steps on tensors: shapes seen as planes, constants prepared, additions fused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.integer import wrap_int32
from intarsia_backends.overlay.compiler.shapes import RESHAPES, Planes, canonical, reshaped
from intarsia_backends.overlay.compiler.steps import ConvStep, Scale, Step, VecStep
from intarsia_backends.overlay.compiler.tensors import Tensor, Window, ceil_div
from intarsia_backends.overlay.machine.config import LANES, OverlayConfig
from intarsia_backends.overlay.machine.isa import LoadPatchShape, LoadPatchTarget, Run, VecOperation

PATCH_CHANNELS = 4
PATCH_BLOCKS = 16


@dataclass(frozen=True)
class _Weights:
    """Makes the weights of a step [M, C / group, height, width] of the constant of a node, or of anything of its shape.

    product   whether the constant is a matrix [K, M]
    channels  of the input
    patches   whether the patch builder reads the input: the window is then a column of channels
    """

    product: bool
    channels: int
    kernel: tuple[int, int]
    patches: bool

    def __call__(self, data: Array) -> Array:
        rows = data.T.reshape(-1, self.channels, *self.kernel) if self.product else data
        weight = rows.reshape(*rows.shape[:2], *self.kernel)
        return weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1, 1, 1) if self.patches else weight


@dataclass
class Lowered:
    """A region as steps.

    tensors    of each value that is not a weight
    constants  tensors that are constants (second operands), with their elements as planes [C, H, W]
    """

    steps: list[Step]
    tensors: dict[Value, Tensor]
    planes: dict[Value, Planes]
    constants: dict[Tensor, Array]


def spatial(values: tuple[int, ...], missing: int) -> tuple[int, int]:
    """A window attribute as (y, x); one axis is the columns."""
    found = tuple(int(value) for value in values)
    return (found[0], found[1]) if len(found) == 2 else (missing, found[0])


def conv_window(node: Node) -> Window:
    """The window of a qconv."""
    kernel = spatial(node.input(1).shape[2:], 1)
    pads = node.attributes["pads"]
    return Window(
        kernel,
        spatial(node.attributes["strides"], 1),
        spatial(node.attributes["dilations"], 1),
        spatial(pads[: len(pads) // 2], 0),
    )


def pool_window(node: Node) -> Window:
    """The window of a MaxPool or qaveragepool."""
    kernel = tuple(node.attributes["kernel_shape"])
    rank = len(kernel)
    strides = tuple(node.attributes.get("strides") or (1,) * rank)
    pads = tuple(node.attributes.get("pads") or (0,) * 2 * rank)
    return Window(spatial(kernel, 1), spatial(strides, 1), (1, 1), spatial(pads[:rank], 0))


def takes_patches(node: Node, config: OverlayConfig) -> bool:
    """Whether a qconv may read its input through the patch builder, which makes im2col of it."""
    if node.op != "qconv" or node.attributes.get("group", 1) != 1:
        return False
    planes = canonical(node.input(0).shape)
    if planes is None or planes.channels > PATCH_CHANNELS or planes.channels_last:
        return False
    window = conv_window(node)
    return (
        window.dilations == (1, 1)
        and window.taps * planes.channels <= PATCH_BLOCKS * LANES
        and window.kernel[0] * ceil_div(planes.width * planes.channels, LANES) * LANES <= config.patch_bytes
        and max(planes.height, planes.width) <= LoadPatchShape.most("height")
        and max(window.kernel) <= LoadPatchShape.most("kernel_height")
        and max(window.strides) <= LoadPatchShape.most("stride_y")
        and ceil_div(planes.width * planes.channels, LANES) <= LoadPatchShape.most("pitch")
        and _starts_fit(node, window)
    )


def _starts_fit(node: Node, window: Window) -> bool:
    """Whether the patch builder can be told where the last patch begins, and how far outside of the image the first."""
    made, limit = canonical(node.output.shape), LoadPatchTarget.most("pad_top")
    return made is not None and all(
        pad <= limit and size * stride <= limit
        for pad, size, stride in zip(window.pads, (made.height, made.width), window.strides)
    )


class Lowering:
    """Lowers one region."""

    def __init__(self, graph: Graph, config: OverlayConfig) -> None:
        self.graph, self.config = graph, config
        self.result = Lowered([], {}, {}, {})
        self._fused: dict[Node, Node] = {}  # addition -> the convolution that it is fused into

    def run(self) -> Lowered:
        """The steps of the region. CompileError for a value that is no tensor of the overlay's."""
        for value in self.graph.inputs:
            planes = canonical(value.shape)
            if planes is None:
                raise _shape_error(value)
            image = bool(value.user_count) and not self.graph.is_output(value)
            image = image and all(
                takes_patches(node, self.config) and node.inputs[1] is not value for node in value.users
            )
            self._define(value, planes, image=image)
        self._find_fusions()
        delayed = set(self._fused.values())
        for node in self.graph.nodes:
            if node in delayed:
                continue
            self._lower(node)
        self._copy_passed_through()
        self._place_concats()
        shared = ceil_div(len(self.result.steps), Run.most("tag") + 1)  # 1, but where there are more steps than tags
        for number, step in enumerate(self.result.steps):
            step.tag = number // shared
        return self.result

    # ---- values

    def _define(self, value: Value, planes: Planes, *, image: bool = False) -> Tensor:
        tensor = Tensor(value.name, planes.channels, planes.height, planes.width, image=image)
        self.result.tensors[value], self.result.planes[value] = tensor, planes
        return tensor

    def _tensor(self, value: Value, rank: int = 0) -> Tensor:
        """The tensor of an operand; a constant one is made when first read, with axes in front up to `rank`."""
        if value not in self.result.tensors:
            assert value.data is not None
            planes = canonical((1,) * (rank - len(value.shape)) + value.shape)
            assert planes is not None, value
            tensor = self._define(value, planes)
            data = value.data.reshape(-1, planes.channels).T if planes.channels_last else value.data
            self.result.constants[tensor] = data.reshape(planes.channels, planes.height, planes.width)
        return self.result.tensors[value]

    def _output(self, node: Node, like: Value | None = None) -> Tensor:
        value = node.output
        planes = self.result.planes[like] if like is not None else canonical(value.shape)
        if planes is None:
            raise _shape_error(value)
        return self._define(value, planes)

    # ---- nodes

    def _lower(self, node: Node) -> None:
        if node.op in RESHAPES:
            self._reshape(node)
        elif node.op in ("qconv", "qmatmul"):
            self.result.steps.append(self._convolution(node))
        elif node.op == "qadd" and node in self._fused:
            self.result.steps.append(self._fused_addition(node, self._fused[node]))
        elif node.op in ("qadd", "qmul"):
            self._binary(node)
        elif node.op == "Concat":
            self._concat(node)
        else:
            self._single(node)

    def _reshape(self, node: Node) -> None:
        source = node.input(0)
        planes = reshaped(self.result.planes[source], node.output.shape)
        if planes is None:
            raise CompileError(
                where=node.where,
                what=f"reshape of {source.type} to {node.output.type} would move bytes",
                help="compile for the CPU, or leave the reshape out of the model",
            )
        tensor = self._define(node.output, planes)
        tensor.parent = self._tensor(source)

    def _convolution(self, node: Node) -> ConvStep:
        x, w, bias, multiplier, shift = (node.input(index) for index in range(5))
        attributes = node.attributes
        assert w.data is not None and bias.data is not None
        assert multiplier.data is not None and shift.data is not None
        source, zero = self._tensor(x), int(attributes["input_zero_point"])
        planes = self.result.planes[x]
        window, group, patch = Window(), 1, None
        if node.op == "qmatmul":
            # A row [1, K] made of planes is a convolution whose kernel is the whole plane.
            kernel = (1, 1) if planes.channels_last else (planes.height, planes.width)
            window = Window(kernel)
        else:
            window, group = conv_window(node), int(attributes.get("group", 1))
            kernel = window.kernel
        shaped = _Weights(node.op == "qmatmul", planes.channels, kernel, bool(source.image))
        weight = replace(shaped, patches=False)(w.data)
        sums = weight.astype(np.int64).sum(axis=(1, 2, 3))
        depthwise = group > 1 and group == weight.shape[0] and weight.shape[1] == 1
        if source.image:
            patch = window
        return ConvStep(
            name=node.name,
            op=node.op,
            inputs=[source],
            output=self._output(node),
            macs=int(np.prod(node.output.shape)) * int(np.prod(weight.shape[1:])),
            weight=shaped(w.data),
            origin=(w, shaped),
            bias=wrap_int32(bias.data.astype(np.int64) - zero * sums),
            multiplier=multiplier.data,
            shift=shift.data,
            group=group,
            window=window,
            fill=zero,
            zero_point=int(attributes["output_zero_point"]),
            clamp_min=int(attributes.get("clamp_min", -128)),
            clamp_max=int(attributes.get("clamp_max", 127)),
            depthwise=depthwise,
            patch=patch,
        )

    def _find_fusions(self) -> None:
        order = {node: number for number, node in enumerate(self.graph.nodes)}
        for node in self.graph.nodes:
            if node.op != "qadd" or node.input(0) is node.input(1):
                continue
            found = []
            for value, other in ((node.input(0), node.input(1)), (node.input(1), node.input(0))):
                made = value.producer
                if (
                    made is not None
                    and made.op in ("qconv", "qmatmul")
                    and value.only_user is node
                    and not self.graph.is_output(value)
                    and value.shape == other.shape == node.output.shape
                    and not other.is_constant
                ):
                    found.append(made)
            if found:
                self._fused[node] = max(found, key=lambda made: order[made])

    def _fused_addition(self, node: Node, made: Node) -> Step:
        step = self._convolution(made)
        first = node.input(0).producer is made
        other = node.input(1) if first else node.input(0)
        scale = binary_scale(node)
        if not first:
            scale = replace(
                scale,
                zero_point=scale.second_zero_point,
                multiplier=scale.second_multiplier,
                second_zero_point=scale.zero_point,
                second_multiplier=scale.multiplier,
            )
        step.residual, step.add = self._tensor(other), scale
        step.inputs.append(step.residual)
        step.output = self._output(node)
        return step

    def _binary(self, node: Node) -> None:
        first, second = node.input(0), node.input(1)
        scale = binary_scale(node)
        if first.is_constant or first.shape != node.output.shape:
            first, second = second, first
            scale = replace(
                scale,
                zero_point=scale.second_zero_point,
                second_zero_point=scale.zero_point,
            )
            if node.op == "qadd":
                scale = replace(scale, multiplier=scale.second_multiplier, second_multiplier=scale.multiplier)
        tensors = [self._tensor(first), self._tensor(second, len(node.output.shape))]
        operation = VecOperation.ADD if node.op == "qadd" else VecOperation.MULTIPLY
        self._vector(node, tensors, operation, scale=scale, second=tensors[1], like=first)

    def _vector(
        self, node: Node, inputs: list[Tensor], operation: VecOperation, like: Value | None = None, **more: Any
    ) -> None:
        output = self._output(node, like)
        self.result.steps.append(VecStep(node.name, node.op, inputs, output, operation=operation, **more))

    def _single(self, node: Node) -> None:
        x, attributes = node.input(0), node.attributes
        source = [self._tensor(x)]
        if node.op == "MaxPool":
            self._vector(node, source, VecOperation.MAXIMUM, window=pool_window(node), fill=-128)
        elif node.op in ("qaveragepool", "requantize"):
            scale = Scale(
                zero_point=int(attributes["input_zero_point"]),
                multiplier=int(attributes["multiplier"]),
                shift=int(attributes["shift"]),
                output_zero_point=int(attributes["output_zero_point"]),
                clamp_min=int(attributes.get("clamp_min", -128)),
                clamp_max=int(attributes.get("clamp_max", 127)),
            )
            if node.op == "requantize":
                self._vector(node, source, VecOperation.SUM, x, scale=scale)
            else:
                window, fill = pool_window(node), scale.zero_point
                self._vector(node, source, VecOperation.SUM, window=window, fill=fill, scale=scale)
        elif node.op == "lookup":
            self._vector(node, source, VecOperation.LOOKUP, x, table=node.input(1).data)
        elif node.op == "Resize":
            self._vector(node, source, VecOperation.COPY, upsample=True)
        else:
            raise AssertionError(f"{node.where} was never answered with yes")

    # ---- concatenation

    def _concat(self, node: Node) -> None:
        output = self._output(node)
        channel = 0
        for value in node.inputs:
            assert value is not None
            tensor = self._tensor(value)
            self.result.steps.append(
                VecStep(
                    node.name,
                    node.op,
                    [tensor],
                    output,
                    operation=VecOperation.COPY,
                    shifted=channel % LANES,
                    output_block=channel // LANES,
                )
            )
            channel += tensor.channels

    def _place_concats(self) -> None:
        """Let what makes an input of a concatenation write it there, where it begins and ends at whole blocks."""
        outputs = {self.result.tensors[value].root for value in self.graph.outputs if value in self.result.tensors}
        made = {id(step.output): step for step in self.result.steps if step.op != "Concat"}
        kept: list[Step] = []
        for step in self.result.steps:
            source = step.inputs[0]
            if (
                step.op == "Concat"
                and isinstance(step, VecStep)
                and not step.shifted
                and source.parent is None
                and id(source) in made
                and source not in outputs
                and (source.channels % LANES == 0 or self._ends(step, source))
                and (source.height, source.width) == (step.output.height, step.output.width)
            ):
                source.parent, source.block_offset = step.output, step.output_block
                if not self._shares_banks():
                    continue
                source.parent, source.block_offset = None, 0
            kept.append(step)
        self.result.steps[:] = kept

    def _shares_banks(self) -> bool:
        """Whether a convolution would write into the tensor that it reads: the array needs those banks for itself."""
        return any(isinstance(step, ConvStep) and step.inputs[0].root is step.output.root for step in self.result.steps)

    @staticmethod
    def _ends(step: VecStep, source: Tensor) -> bool:
        return step.output_block * LANES + source.channels == step.output.channels

    def _copy_passed_through(self) -> None:
        """Outputs that are inputs seen with another shape need a copy of their own."""
        for value in self.graph.outputs:
            tensor = self.result.tensors.get(value)
            if tensor is None:
                raise CompileError(
                    where=f"output '{value.name}'", what="it is a constant", help="take it out of the region"
                )
            if tensor.root in {self.result.tensors[given] for given in self.graph.inputs}:
                copy = Tensor(value.name, tensor.channels, tensor.height, tensor.width)
                self.result.steps.append(VecStep(value.name, "Identity", [tensor], copy, operation=VecOperation.COPY))
                self.result.tensors[value] = copy


def binary_scale(node: Node) -> Scale:
    """The scale of a qadd or qmul, its operands in the node's order."""
    attributes = node.attributes
    multipliers = (
        (attributes["a_multiplier"], attributes["b_multiplier"]) if node.op == "qadd" else (attributes["multiplier"], 0)
    )
    return Scale(
        zero_point=int(attributes["a_zero_point"]),
        multiplier=int(multipliers[0]),
        second_zero_point=int(attributes["b_zero_point"]),
        second_multiplier=int(multipliers[1]),
        shift=int(attributes["shift"]),
        output_zero_point=int(attributes["output_zero_point"]),
        clamp_min=int(attributes.get("clamp_min", -128)),
        clamp_max=int(attributes.get("clamp_max", 127)),
    )


def _shape_error(value: Value) -> CompileError:
    return CompileError(
        where=f"value '{value.name}'",
        what=f"{value.type} is not [N,C], [1,C,W] or [1,C,H,W]",
        help="the overlay takes one image at a time, with one or two spatial axes",
    )
