"""The graph: values in single assignment form, nodes in an order in which they can run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from intarsia.dtypes import Array, dtype_name
from intarsia.ir.types import Quantization, TensorType

Attribute = Any
"""int, float, str, bytes, bool, a tuple of those, an Array, or a Graph that the node runs (which nobody changes)."""


class Value:
    """A tensor that flows through the graph: an input, a constant, or an output of exactly one node.

    Made by Graph.add_input, Graph.add_constant and Graph.add_node, never by hand.
    """

    __slots__ = ("_users", "data", "name", "producer", "quantization", "type")

    def __init__(self, name: str, type: TensorType) -> None:
        self.name = name
        self.type = type
        self.quantization: Quantization | None = None
        self.data: Array | None = None
        self.producer: Node | None = None
        self._users: dict[Node, int] = {}

    @property
    def is_constant(self) -> bool:
        """True when the elements are known at compile time (they are in `data`)."""
        return self.data is not None

    @property
    def users(self) -> tuple[Node, ...]:
        """Nodes that read this value, each once, oldest reader first."""
        return tuple(self._users)

    @property
    def user_count(self) -> int:
        """How many nodes read this value. Thousands may, so that asking for all of them takes long."""
        return len(self._users)

    @property
    def only_user(self) -> Node | None:
        """The node that alone reads this value; None where several do, or none."""
        return next(iter(self._users)) if len(self._users) == 1 else None

    @property
    def shape(self) -> tuple[int, ...]:
        """The static shape; a programming error where it is not static."""
        return self.type.dims

    @property
    def dtype(self) -> str:
        """The element type."""
        return self.type.dtype

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Node:
    """One operation: an op name, inputs (None for an optional one left out), outputs and attributes.

    op       an ONNX name ("Conv") with ONNX meaning, or one of our integer ops ("qconv", lower case)
    name     what errors and reports call it; unique in the graph
    opset    the ONNX opset whose meaning the attributes and inputs have (0 for our own ops)
    domain   "" for ONNX's standard ops and ours
    """

    __slots__ = ("__weakref__", "_inputs", "attributes", "domain", "name", "op", "opset", "outputs")

    def __init__(
        self,
        op: str,
        name: str,
        inputs: Sequence[Value | None],
        attributes: Mapping[str, Attribute],
        opset: int,
        domain: str,
    ) -> None:
        self.op = op
        self.name = name
        self._inputs: list[Value | None] = []
        self.outputs: list[Value | None] = []
        self.attributes: dict[str, Attribute] = dict(attributes)
        self.opset = opset
        self.domain = domain
        self.set_inputs(inputs)

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """What the node reads, in order; None for an input that is left out."""
        return tuple(self._inputs)

    @property
    def output(self) -> Value:
        """The first output; every op has one."""
        value = self.outputs[0]
        assert value is not None, f"{self.where} leaves out its first output"
        return value

    @property
    def where(self) -> str:
        """How an error names this node."""
        return f"{self.op} '{self.name}'"

    def input(self, index: int) -> Value:
        """Input `index`, which must be present."""
        value = self._inputs[index]
        assert value is not None, f"{self.where} has no input {index}"
        return value

    def optional_input(self, index: int) -> Value | None:
        """Input `index`, or None where it was left out."""
        return self._inputs[index] if index < len(self._inputs) else None

    def set_inputs(self, inputs: Sequence[Value | None]) -> None:
        """Replace all inputs, keeping the users of the values in step."""
        for value in self._inputs:
            if value is not None:
                value._users[self] -= 1
                if value._users[self] == 0:
                    del value._users[self]
        self._inputs = list(inputs)
        for value in self._inputs:
            if value is not None:
                value._users[self] = value._users.get(self, 0) + 1

    def replace_input(self, old: Value, new: Value) -> None:
        """Read `new` wherever this node reads `old`."""
        place = -1
        for _ in range(old._users.pop(self, 0)):  # not by set_inputs: some nodes have thousands of inputs
            place = self._inputs.index(old, place + 1)
            self._inputs[place] = new
            new._users[self] = new._users.get(self, 0) + 1

    def __repr__(self) -> str:
        return self.where


class Outputs(list[Value]):
    """A list of values that knows at once whether a value is in it, however long it is."""

    def __init__(self, values: Iterable[Value] = ()) -> None:
        super().__init__(values)
        self._places: dict[Value, list[int]] | None = None

    def _found(self) -> dict[Value, list[int]]:
        if self._places is None:
            self._places = {}
            for place, value in enumerate(self):
                self._places.setdefault(value, []).append(place)
        return self._places

    def __contains__(self, value: object) -> bool:
        return value in self._found()

    def replace(self, old: Value, new: Value) -> None:
        """Put `new` wherever `old` stands."""
        found = self._found()
        places = found.pop(old, [])
        for place in places:
            super().__setitem__(place, new)
        if places:
            found[new] = sorted((*found.get(new, ()), *places))

    def append(self, value: Value) -> None:
        if self._places is not None:
            self._places.setdefault(value, []).append(len(self))
        super().append(value)


def _forgetting(name: str) -> Callable[..., Any]:
    """The method of lists, after which the places are found anew."""

    def change(self: Outputs, *arguments: Any) -> Any:
        self._places = None
        return getattr(list, name)(self, *arguments)

    return change


for _name in (
    *("extend", "insert", "pop", "remove", "clear", "reverse", "sort"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(Outputs, _name, _forgetting(_name))


class Names(set[str]):
    """Names that are taken."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}  # for a wish: the lowest count that may be free

    def fresh(self, wish: str) -> str:
        """`wish`, or the first of `wish_1`, `wish_2`, ... that is free."""
        if wish not in self:
            return wish
        count = self._counts.get(wish, 1)
        while f"{wish}_{count}" in self:
            count += 1
        self._counts[wish] = count
        return f"{wish}_{count}"

    def release(self, name: str) -> None:
        """Let others take a name."""
        self.discard(name)
        stem, _, count = name.rpartition("_")
        if stem in self._counts and count.isdecimal():
            self._counts[stem] = min(self._counts[stem], int(count))


class Graph:
    """A model, or a region of one.

    inputs     values that the caller gives, in order
    outputs    values that the caller gets, in order (one value may stand there twice)
    nodes      in an order in which every value is made before it is read
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self._outputs = Outputs()
        self.nodes: list[Node] = []
        self._names = Names()
        self._node_names = Names()

    @property
    def outputs(self) -> Outputs:
        """Values that the caller gets, in order; a list, which may be changed or set."""
        return self._outputs

    @outputs.setter
    def outputs(self, values: Iterable[Value]) -> None:
        self._outputs = Outputs(values)

    # ---- building

    def add_input(self, name: str, type: TensorType, quantization: Quantization | None = None) -> Value:
        """A new input behind those that are there."""
        value = self._new_value(name, type)
        value.quantization = quantization
        self.inputs.append(value)
        return value

    def add_constant(self, name: str, data: Array) -> Value:
        """A value known at compile time; the array is held, not copied, and must not be written afterwards."""
        value = self._new_value(name, TensorType(dtype_name(data.dtype), tuple(data.shape)))
        value.data = data
        return value

    def add_node(
        self,
        op: str,
        inputs: Sequence[Value | None],
        outputs: Sequence[TensorType | None],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        name: str = "",
        output_names: Sequence[str] = (),
        opset: int = 0,
        domain: str = "",
        before: Node | None = None,
    ) -> Node:
        """Append a node (or put it before another) with fresh output values.

        outputs       a type for each output; None leaves an optional output out
        output_names  wished names; a name already taken gets a suffix
        """
        node = Node(op, self.fresh_node_name(name or op), inputs, attributes or {}, opset, domain)
        for index, type in enumerate(outputs):
            if type is None:
                node.outputs.append(None)
                continue
            wish = output_names[index] if index < len(output_names) else node.name
            value = self._new_value(self.fresh_name(wish), type)
            value.producer = node
            node.outputs.append(value)
        if before is None:
            self.nodes.append(node)
        else:
            self.nodes.insert(self.nodes.index(before), node)
        return node

    def fresh_name(self, wish: str) -> str:
        """`wish`, or `wish_1`, `wish_2`, ... where values of that name exist."""
        return self._names.fresh(wish)

    def fresh_node_name(self, wish: str) -> str:
        """Like `fresh_name`, for nodes."""
        name = self._node_names.fresh(wish)
        self._node_names.add(name)
        return name

    def _new_value(self, name: str, type: TensorType) -> Value:
        assert name not in self._names, f"the graph has two values called {name!r}"
        self._names.add(name)
        return Value(name, type)

    # ---- reading

    def values(self) -> Iterator[Value]:
        """Every value once: inputs, constants in order of first use, node outputs."""
        seen: set[int] = set()
        for value in self.inputs:
            seen.add(id(value))
            yield value
        for node in self.nodes:
            for operand in (*node.inputs, *node.outputs):
                if operand is not None and id(operand) not in seen:
                    seen.add(id(operand))
                    yield operand
        for value in self.outputs:
            if id(value) not in seen:
                seen.add(id(value))
                yield value

    def constants(self) -> list[Value]:
        """Constants that a node reads or that are outputs, in order of first use."""
        return [value for value in self.values() if value.is_constant]

    def value(self, name: str) -> Value:
        """The value of that name; KeyError where there is none."""
        for value in self.values():
            if value.name == name:
                return value
        raise KeyError(name)

    def node(self, name: str) -> Node:
        """The node of that name; KeyError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def is_output(self, value: Value) -> bool:
        """Whether the graph gives the value."""
        return value in self._outputs

    # ---- changing

    def replace_uses(self, old: Value, new: Value) -> None:
        """Read `new` everywhere `old` is read, graph outputs included (the output's name then changes hands).

        A graph output keeps its public name: where `old` was an output made by a node, `new` takes over its name
        unless `new` is itself an input, a constant or an output.
        """
        for node in old.users:
            node.replace_input(old, new)
        if self.is_output(old):
            if new.producer is not None and not self.is_output(new):
                old.name, new.name = new.name, old.name
            self.outputs.replace(old, new)

    def erase(self, node: Node) -> None:
        """Take a node out; nobody may read its outputs any more."""
        for value in node.outputs:
            assert value is None or (not value.user_count and not self.is_output(value)), f"{node.where} is still read"
        node.set_inputs(())
        self.nodes.remove(node)
        self._node_names.release(node.name)
        for value in node.outputs:
            if value is not None:
                self._names.release(value.name)

    def erase_all(self, nodes: Iterable[Node]) -> None:
        """Take out nodes that nobody outside of them reads, in one sweep."""
        dead = set(nodes)
        for node in dead:
            node.set_inputs(())
        for node in dead:
            for value in node.outputs:
                if value is not None:
                    assert not value.user_count and not self.is_output(value), f"{node.where} is still read"
                    self._names.release(value.name)
            self._node_names.release(node.name)
        self.nodes = [node for node in self.nodes if node not in dead]

    def sort(self) -> None:
        """Restore an order in which values are made before they are read (stable; a cycle is a programming error)."""
        done: set[Node] = set()
        order: list[Node] = []
        for root in self.nodes:
            stack: list[tuple[Node, bool]] = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if node in done:
                    continue
                if ready:
                    done.add(node)
                    order.append(node)
                    continue
                stack.append((node, True))
                for value in reversed(node.inputs):
                    if value is not None and value.producer is not None and value.producer not in done:
                        stack.append((value.producer, False))
        assert len(order) == len(self.nodes)
        self.nodes = order

    def copy(self) -> Graph:
        """A deep copy that shares the constant arrays."""
        graph, values = Graph(self.name), dict[Value, Value]()

        def of(value: Value) -> Value:
            if value not in values:
                values[value] = _like(graph, value)
            return values[value]

        graph.inputs = [of(value) for value in self.inputs]
        for node in self.nodes:
            inputs = [None if value is None else of(value) for value in node.inputs]
            twin = Node(node.op, node.name, inputs, node.attributes, node.opset, node.domain)
            graph._node_names.add(node.name)
            for output in node.outputs:
                if output is not None:
                    of(output).producer = twin
                twin.outputs.append(None if output is None else of(output))
            graph.nodes.append(twin)
        graph.outputs = [of(value) for value in self.outputs]
        return graph


def _like(graph: Graph, value: Value) -> Value:
    twin = graph._new_value(value.name, value.type)
    twin.quantization, twin.data = value.quantization, value.data
    return twin
