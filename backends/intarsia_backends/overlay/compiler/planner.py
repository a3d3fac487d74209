"""Where each tensor stands: in ACT for its whole life where it fits, else in DRAM, in tiles as it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intarsia_backends.overlay.compiler.cascade import buffer_words, least_rows
from intarsia_backends.overlay.compiler.program_builder import assign_banks, banks_of
from intarsia_backends.overlay.compiler.steps import ConvStep, Step, VecStep
from intarsia_backends.overlay.compiler.tensors import Dram, Resident, Tensor, Window, ceil_div
from intarsia_backends.overlay.machine.config import LANES, WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.machine.isa import Segment, VecOperation


@dataclass(frozen=True)
class Plan:
    """Where tensors stand; their `place` is set.

    live         for each group the resident tensors that stand in ACT while it runs
    arena_bytes  of the arena segment
    spilled      tensors in the arena
    """

    live: tuple[tuple[Tensor, ...], ...]
    arena_bytes: int
    spilled: frozenset[Tensor]


Groups = Sequence[Sequence[Step]]
"""Steps in their order; those of one group run together, band by band."""


@dataclass
class _Life:
    """From the group that makes a tensor to the last that reads it."""

    tensor: Tensor
    first: int
    last: int
    before: _Life | None = None  # whose words it takes over

    @property
    def owner(self) -> _Life:
        return self if self.before is None else self.before.owner


def plan(groups: Groups, fixed: Iterable[Tensor], config: OverlayConfig) -> Plan:
    """Place all tensors that go from one group of steps to another.

    fixed  tensors that have a place in DRAM already
    """
    lives = _lives(groups, set(fixed))
    spilled: set[Tensor] = set()
    while True:
        victim = _assign(groups, lives, spilled, config) or _crowded(groups, lives, spilled, config)
        if victim is None:
            break
        spilled.add(victim)
    arena_words = 0
    for tensor in lives:
        if tensor in spilled:
            tensor.place = Dram(Segment.ARENA, arena_words)
            arena_words += tensor.words
    live = tuple(
        tuple(tensor for tensor in lives if tensor not in spilled and _spans(lives[tensor], number))
        for number in range(len(groups))
    )
    return Plan(live, arena_words * WORD_BYTES, frozenset(spilled))


def _spans(life: _Life, number: int) -> bool:
    return life.first <= number <= life.last


def _lives(groups: Groups, placed: set[Tensor]) -> dict[Tensor, _Life]:
    lives: dict[Tensor, _Life] = {}
    for number, group in enumerate(groups):
        inside = {step.output for step in group[:-1]}
        for step in group:
            for tensor in (*step.inputs, step.output):
                if tensor.root in placed or tensor.root in inside:
                    continue
                life = lives.setdefault(tensor.root, _Life(tensor.root, number, number))
                life.last = number
    return lives


def _assign(groups: Groups, lives: dict[Tensor, _Life], spilled: set[Tensor], config: OverlayConfig) -> Tensor | None:
    """Give each tensor that is not spilled a run of whole banks; where one does not fit, the tensor to spill."""
    done: list[_Life] = []
    for life in sorted(lives.values(), key=lambda life: life.first):
        life.before = None
        if life.tensor in spilled:
            continue
        heir = _takes_over(groups[life.first], life, lives, spilled)
        if heir is not None:
            life.before, life.tensor.place = heir, heir.tensor.place
            done.append(life)
            continue
        used = [False] * config.activation_banks
        rivals = [other for other in done if other.last >= life.first]
        for other in rivals:
            assert isinstance(other.tensor.place, Resident)
            for bank in banks_of(other.tensor.place.base, other.tensor.words, config):
                used[bank] = True
        count = ceil_div(life.tensor.words, config.bank_words)
        for bank in range(config.activation_banks - count + 1):
            if not any(used[bank : bank + count]):
                life.tensor.place = Resident(bank * config.bank_words)
                done.append(life)
                break
        else:
            return max((*rivals, life), key=lambda one: (one.tensor.words, one.last)).tensor
    return None


def _takes_over(group: Sequence[Step], life: _Life, lives: dict[Tensor, _Life], spilled: set[Tensor]) -> _Life | None:
    """A tensor that ends at the step where this one begins, whose words this one may overwrite as they are read."""
    if len(group) > 1:
        return None
    (step,) = group
    if isinstance(step, ConvStep):
        given = None if step.residual is None or step.inputs[0].root is step.residual.root else step.residual
    elif isinstance(step, VecStep) and step.operation in _IN_PLACE and step.window == Window() and not step.upsample:
        given = step.inputs[0]
    else:
        return None
    if given is None or given.parent is not None or step.output is not life.tensor:
        return None
    if any(tensor.root is given for tensor in step.inputs if tensor is not given):
        return None
    old = lives.get(given)
    if old is None or given in spilled or old.last != life.first or given.words != life.tensor.words:
        return None
    return old


_IN_PLACE = (VecOperation.ADD, VecOperation.MULTIPLY, VecOperation.LOOKUP, VecOperation.SUM)


def _crowded(groups: Groups, lives: dict[Tensor, _Life], spilled: set[Tensor], config: OverlayConfig) -> Tensor | None:
    """Where resident tensors leave too few banks for the tiles of a group, the largest of them."""
    for number, group in enumerate(groups):
        sizes = _tiles(group, lives, spilled, config)
        if not any(sizes):
            continue
        used = [False] * config.activation_banks
        live = [life for life in lives.values() if life.tensor not in spilled and _spans(life, number)]
        for life in live:
            assert isinstance(life.tensor.place, Resident)
            for bank in banks_of(life.tensor.place.base, life.tensor.words, config):
                used[bank] = True
        if live and assign_banks(sizes, used, config) is None:
            return max(live, key=lambda life: (life.tensor.words, life.last)).tensor
    return None


def _tiles(group: Sequence[Step], lives: dict[Tensor, _Life], spilled: set[Tensor], config: OverlayConfig) -> list[int]:
    """Words of the tiles that a group should have room for at least."""
    most = config.bank_words * max(config.activation_banks // 8, 1)

    def streams(tensor: Tensor) -> bool:
        return tensor.root not in lives or tensor.root in spilled

    if len(group) > 1:
        ends = streams(group[0].inputs[0]), streams(group[-1].output)
        return buffer_words(group, least_rows(group, config), *ends) * 2
    (step,) = group
    operands = [tensor for tensor in dict.fromkeys(step.inputs) if streams(tensor)]
    if isinstance(step, ConvStep) and step.residual in operands:
        operands.remove(step.residual)
    sizes = [_input_words(step, tensor) for tensor in operands]
    if streams(step.output):
        sizes.append(step.output.words)
    return [min(size, most) for size in sizes] * 2


def _input_words(step: Step, tensor: Tensor) -> int:
    if isinstance(step, ConvStep) and step.patch is not None:
        return ceil_div(step.weight.shape[1], LANES) * step.output.height * step.output.width
    return tensor.words
