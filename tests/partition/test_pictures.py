"""Pictures of explanations: complete, escaped, the same bytes every time, readable for models of any size."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from intarsia.cli.commands import intarsia
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType
from intarsia.partition import partition
from intarsia.partition.explanation import Explanation, explain_partition
from intarsia.partition.pictures import SUFFIXES, save_picture, svg
from intarsia.partition.pictures.layout import lay_out
from intarsia.partition.pictures.scene import MANY_IN_A_REGION, MANY_OPS, Scene, make_scene
from intarsia.targets import YES, Blob, Support, Target, no

TYPE = TensorType("int8", (1, 4))
SVG = "{http://www.w3.org/2000/svg}"
MODEL = str(Path(__file__).parents[1] / "models" / "digits_cnn.onnx")

HOSTILE = (
    '"]; rm [label="',
    "</title></svg><script>alert(1)</script>",
    "a & b < c > d 'e' &amp; &#65;",
    "back\\slash\\N \\",
    "line\nbreak\ttab\r",
    "\x00\x01\x1b[31m\x7f\x85",
    "\u202egnp.\u2066txt\u200f",
    "]]>--><!--",
    "{curly|record} <port> %s %(x)s {}",
    "日本語 ñandú 🙂",
    "",
    "x" * 300,
)


class Picky(Target):
    """Takes ops by name."""

    description = "a target for tests"

    def __init__(self, name: str, host: str | None, ops: set[str]) -> None:
        self.name, self.host, self.ops = name, host, ops

    def supports(self, node: Node) -> Support:
        return YES if node.op in self.ops else no("op", f"{node.op} is <unknown> here", 'use "another" op')

    def compile(self, region: Graph) -> Blob:
        raise AssertionError("pictures compile nothing")


TARGETS = (Picky("fast", "slow", {"Relu"}), Picky("slow", None, {"Abs", "Relu"}))


def explained(graph: Graph) -> Explanation:
    return explain_partition(
        partition(graph, TARGETS),
        TARGETS,
        model=graph.name,
        precision="int8",
        notes=(("a < b", "& so on"),),
        assumed=False,
    )


def add(graph: Graph, op: str, *sources: Value, name: str = "") -> Value:
    return graph.add_node(op, sources, [TYPE], name=name or op, output_names=[f"{name or op} out"], opset=18).output


def detour(name: str = "detour") -> Explanation:
    """x -> Relu first -> Abs aside -> Relu last; `first` is read by `last` too."""
    graph = Graph(name)
    first = add(graph, "Relu", graph.add_input("x", TYPE), name="first")
    last = add(graph, "Relu", first, add(graph, "Abs", first, name="aside"), name="last")
    graph.outputs = [last, first]
    return explained(graph)


def chain(length: int, every: int) -> Explanation:
    """Relu after Relu, each `every`-th one an Abs."""
    graph = Graph("chain")
    value = graph.add_input("x", TYPE)
    for index in range(length):
        value = add(graph, "Abs" if index % every == every - 1 else "Relu", value, name=f"n{index}")
    graph.outputs = [value]
    return explained(graph)


def hostile() -> Explanation:
    """Every name of the model is hostile: its own, of inputs, values, ops, outputs."""
    graph = Graph(HOSTILE[0])
    value = graph.add_input(HOSTILE[1], TYPE)
    for index, name in enumerate(HOSTILE):
        node = graph.add_node(
            "Abs" if index % 2 else "Relu", [value], [TYPE], name=name, output_names=[HOSTILE[-index]], opset=18
        )
        value = node.output
    graph.outputs = [value]
    return explained(graph)


def drawn(explanation: Explanation, folder: Path, suffix: str) -> str:
    path = folder / f"new folder/picture{suffix}"
    save_picture(explanation, path)
    return path.read_bytes().decode()


# ---- to networkx


def test_the_graph_has_every_op_and_value() -> None:
    graph = detour().to_networkx()
    assert graph.graph == {"model": "detour", "target": "fast", "precision": "int8"}
    ends = {(source, target, key) for source, target, key in graph.edges(keys=True)}
    assert ends == {
        (("input", "x"), ("op", "first"), "x"),
        (("op", "first"), ("op", "aside"), "first out"),
        (("op", "first"), ("op", "last"), "first out"),
        (("op", "aside"), ("op", "last"), "aside out"),
        (("op", "last"), ("output", "last out"), "last out"),
        (("op", "first"), ("output", "first out"), "first out"),
    }
    facts = graph.nodes["op", "aside"]
    assert (facts["place"], facts["region"], facts["compute"]) == ("slow", "1_slow", True)
    assert facts["reasons"] == 'fast refuses (op): Abs is <unknown> here; help: use "another" op'
    value = graph.edges[("op", "first"), ("op", "last"), "first out"]
    assert value == {"value": "first out", "dtype": "int8", "shape": "1x4", "type": "int8[1,4]"}


def test_the_graph_can_be_written_by_networkx(tmp_path: Path) -> None:
    import networkx

    networkx.write_graphml(chain(4, 2).to_networkx(), tmp_path / "chain.graphml")
    assert networkx.is_directed_acyclic_graph(hostile().to_networkx())


def test_networkx_is_imported_for_pictures_alone() -> None:
    program = (
        "import sys, intarsia\n"
        f"told = intarsia.explain({MODEL!r}, target='pynq-z2')\n"
        "before = 'networkx' in sys.modules\n"
        "told.to_networkx()\n"
        "print(before, 'networkx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False True\n", done.stderr


# ---- what is drawn


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures(suffix: str, golden: Callable[[str], None], tmp_path: Path) -> None:
    text = drawn(detour(), tmp_path, suffix)
    assert drawn(detour(), tmp_path, suffix) == text
    golden(text)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def texts(element: ElementTree.Element) -> list[str]:
    return ["".join(item.itertext()) for item in element.iter(f"{SVG}text")]


def test_every_op_has_a_box_with_its_reasons() -> None:
    root = parsed(svg.render(detour()))
    tooltips = ["".join(item.itertext()) for item in root.iter(f"{SVG}title")]
    (aside,) = [text for text in tooltips if text.startswith("Abs 'aside'")]
    assert "fast refuses (op): Abs is <unknown> here" in aside and "region 1_slow" in aside
    shown = texts(root)
    assert {"first", "aside", "last", "x", "first out", "last out", "fast: op", "int8[1,4]"} <= set(shown)
    assert "'first out': int8[1,4]" in tooltips


def boxes_of(scene: Scene) -> list[tuple[float, float, float, float]]:
    layout = lay_out(scene, [(120.0, 40.0)] * len(scene.boxes), 80.0, 500.0)
    assert all(place.x - place.width / 2 > 0 and place.x + place.width / 2 < layout.width for place in layout.boxes)
    assert all(place.y + place.height / 2 < layout.height for place in layout.boxes)
    for wire, path in zip(scene.wires, layout.wires):
        assert [y for _, y in path.points] == sorted(y for _, y in path.points), wire
    return [(place.x - 60, place.y - 20, place.x + 60, place.y + 20) for place in layout.boxes]


def test_boxes_do_not_overlap_and_wires_go_down() -> None:
    graph = Graph("wide")
    values = [graph.add_input(name, TYPE) for name in "xy"]
    for index in range(60):
        left, right = values[index * 7 % len(values)], values[-1 - index * 3 % len(values)]
        values.append(add(graph, "Abs" if index % 5 == 4 else "Relu", left, right, name=f"n{index}"))
    graph.outputs = [value for value in values if not value.users]
    boxes = boxes_of(make_scene(explained(graph)))
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
            assert apart, (one, other)


def test_large_regions_of_large_models_are_one_box() -> None:
    small = make_scene(chain(MANY_OPS, 40))
    assert [box.kind for box in small.boxes].count("op") == MANY_OPS
    large = chain(MANY_OPS + 1, 40)
    scene = make_scene(large)
    kinds = [box.kind for box in scene.boxes]
    assert kinds.count("region") == 4 and kinds.count("op") == 3
    folded = next(box for box in scene.boxes if box.kind == "region")
    assert folded.title == "39 ops" and folded.lines == ("39 x Relu",) and MANY_IN_A_REGION < 39
    assert "151 ops: each region of more than 12 is drawn as one box." in scene.notes
    assert [box.kind for box in make_scene(large, every_op=True).boxes].count("op") == MANY_OPS + 1
    assert len(scene.wires) == len(scene.boxes) - 1


def test_many_small_regions_are_drawn_op_by_op(tmp_path: Path) -> None:
    root = parsed(drawn(chain(600, 6), tmp_path, ".svg"))
    assert len(texts(root)) > 1200


# ---- names out of models


class Tags(HTMLParser):
    """Which tags a page has, and how deep they end."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag not in ("br", "meta", "rect", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("br", "meta", "rect", "path"):
            assert self.open.pop() == tag


def test_hostile_names_in_svg(tmp_path: Path) -> None:
    text = drawn(hostile(), tmp_path, ".svg")
    root = parsed(text)
    allowed = {"svg", "title", "rect", "g", "path", "text", "tspan", "marker"}
    assert {item.tag.removeprefix(SVG) for item in root.iter()} == allowed
    told = "".join(root.itertext())
    assert "</title></svg><script>alert(1)</script>" in told and "日本語 ñandú 🙂" in told
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_hostile_names_in_html(tmp_path: Path) -> None:
    page = Tags()
    page.feed(drawn(hostile(), tmp_path, ".html"))
    assert page.open == [] and "script" not in page.names and {"table", "svg", "a"} <= page.names


_DOT_TOKEN = re.compile(r'//.*\n|\s+|"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z_0-9]*|[0-9]+|->|[{}\[\];,=]')


def test_hostile_names_in_dot(tmp_path: Path) -> None:
    """Nothing outside of quotes comes from the model; Graphviz, where it is here, says the same."""
    text = drawn(hostile(), tmp_path, ".dot")
    at, outside = 0, set()
    while at < len(text):
        token = _DOT_TOKEN.match(text, at)
        assert token is not None, text[at : at + 60]
        if not token[0].startswith(('"', "//")):
            outside.update(re.findall(r"[a-z]+", token[0]))
        at = token.end()
    known = (
        "digraph graph node edge subgraph cluster n label labelloc t fontname elvetica rankdir shape box style fontsize"
    )
    assert outside <= {*known.split(), "color", "fillcolor", "tooltip", "ellipse"}
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr.strip(), done.stderr
        assert "back\\slash\\N" in "".join(parsed(done.stdout).itertext())


# ---- the command


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(intarsia, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_draws(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"digits{suffix}"
        told = call("explain", MODEL, "--target", "pynq-z2", "--graph", str(path))
        assert "computing ops on pynq-z2" in told and "digits_cnn for pynq-z2, int8" in path.read_text()
    assert parsed((tmp_path / "digits.svg").read_text()).tag == f"{SVG}svg"


@pytest.mark.parametrize("name", ["picture.png", "picture", "picture.SVG", ".svg"])
def test_other_endings_are_refused_before_any_work(name: str, tmp_path: Path) -> None:
    told = call("explain", str(tmp_path / "no such model.onnx"), "--target", "cpu", "--graph", name, code=2)
    assert "no picture can be made with the ending" in told and ".svg, .html or .dot" in told
    with pytest.raises(CompileError, match="no picture can be made"):
        save_picture(detour(), name)


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = call("explain", MODEL, "--target", "cpu", "--graph", str(tmp_path / "file" / "picture.dot"), code=2)
    assert "file' is no folder" in told


def test_a_picture_shows_no_pass() -> None:
    told = call("explain", MODEL, "--target", "cpu", "--pass", "fuse-activation", "--graph", "a.svg", code=2)
    assert "give one of them" in told
