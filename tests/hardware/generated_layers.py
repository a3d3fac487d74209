"""Generated programs on the NumPy machine and on the Verilated RTL: every byte that they leave in DRAM must agree.

    python -m tests.hardware.generated_layers --count 10000 --config tiny --config pynq-z2 --seed 1
    python -m tests.hardware.generated_layers --replay rtl_difference

Single layers, small graphs and networks are generated, compiled, and run with memory that is fast, slow, or stalls at
random; one program in four is made of random raw words. The first difference ends it: a folder is left behind with all
that is needed to run the case again. Exit code 1 for a difference.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[place]) for place in (0, 1)]
sys.path += [str(Path(__file__).parents[1] / name) for name in ("overlay", "simulator")]

from engines import all_values, compiled_regions, target  # noqa: E402
from equality import Case, difference, load, random_memory, save  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import seed as seeded  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from random_nets import random_net  # noqa: E402
from random_words import random_program  # noqa: E402

from generated_graphs import graphs, layers, networks, random_inputs  # noqa: E402
from intarsia.dtypes import Array  # noqa: E402
from intarsia.ir.graph import Graph  # noqa: E402
from intarsia.ir.text import text  # noqa: E402
from intarsia_backends.overlay.machine import isa  # noqa: E402
from intarsia_backends.overlay.machine.config import CONFIGS, OverlayConfig  # noqa: E402
from intarsia_backends.overlay.machine.region import read_region  # noqa: E402
from intarsia_backends.rtl.core import Core  # noqa: E402

CHUNK = 200
"""Graphs that are drawn at a time."""


def graph_cases(graph: Graph, config: OverlayConfig, random: np.random.Generator) -> Iterator[Case]:
    """The regions of a graph that the overlay takes, each with inputs as the graph gives them."""
    values = all_values(graph, random_inputs(graph, int(random.integers(1 << 31))))
    for region, files in compiled_regions(graph, target(config.name)):
        described = read_region(files)
        inputs: Array = described.pack([values[value.name] for value in region.inputs])
        yield Case(
            config,
            described.program,
            described.constants,
            {segment: described.segments[segment] for segment in isa.Segment if segment != isa.Segment.CONSTANTS},
            inputs.view(np.uint8),
            random_memory(random),
            int(random.integers(16)),
            text(region),
        )


def word_case(config: OverlayConfig, random: np.random.Generator) -> Case:
    """A program of random raw words."""
    program, constants, segments = random_program(config, random, int(random.integers(1, 7)))
    inputs = random.integers(0, 256, segments[isa.Segment.INPUTS], np.uint8)
    return Case(config, program, constants, segments, inputs, random_memory(random), int(random.integers(16)))


def generated_graphs(count: int, seed: int) -> list[Graph]:
    """Graphs drawn by Hypothesis, the same for the same seed: layers, small graphs, networks."""
    found: list[Graph] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(layers(), layers(), layers(), layers(), graphs(), networks()))
    def draw(graph: Graph) -> None:
        found.append(graph)

    draw()
    return found


def cases(config: OverlayConfig, seed: int) -> Iterator[Case]:
    """Cases without end, the same for the same seed."""
    random = np.random.default_rng([seed, len(config.name)])
    for chunk in itertools.count():
        for index, graph in enumerate(generated_graphs(CHUNK, seed * 1_000_003 + chunk)):
            yield from graph_cases(graph, config, random)
            if index % 3 == 0:
                yield word_case(config, random)
            if index % 8 == 0:
                net = random_net(int(random.integers(1 << 31)))
                if net is not None:
                    yield from graph_cases(net, config, random)


def compare(
    config: OverlayConfig, count: int, seed: int, folder: Path, say: Callable[[str], None], **options: bool
) -> bool:
    """Whether `count` cases agree. The first that does not is saved in the folder.

    options  of core.Core
    """
    core = Core(config, **options)
    started, cycles, words = time.monotonic(), 0, Counter[str]()
    last = started
    for number, case in enumerate(itertools.islice(cases(config, seed), count), 1):
        what, taken = difference(core, case)
        if what:
            save(case, folder, what)
            say(f"{config.name}, case {number} of seed {seed}: {what}\n  --replay {folder} runs it again")
            return False
        cycles += taken
        words.update(type(word).__name__ for word in isa.decode_program(case.program) if isinstance(word, isa.Run))
        if time.monotonic() - last > 20:
            last = time.monotonic()
            say(f"{config.name}: {number} of {count} agree, {cycles:,} cycles, {last - started:.0f} s")
    seconds = time.monotonic() - started
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(words.items()) if kind != "End")
    say(f"{config.name}: {count} programs agree, {cycles:,} cycles in {seconds:.0f} s; words run: {kinds}")
    return True


def replay(folder: Path, **options: bool) -> bool:
    """Run a saved case again."""
    case = load(folder)
    what, cycles = difference(Core(case.config, **options), case)
    print(what or f"agrees, {cycles:,} cycles")
    return not what


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="programs on each configuration")
    parser.add_argument("--config", action="append", choices=sorted(CONFIGS), help="default: tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("rtl_difference"), help="where a case that differs goes")
    parser.add_argument("--checks", action="store_true", help="run the assertions in the RTL too")
    parser.add_argument("--synthesised", action="store_true", help="without the modules written for simulation; slower")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run a case that was left behind")
    options = parser.parse_args()
    built = {"checks": options.checks, "fast": not options.synthesised}
    if options.replay is not None:
        return 0 if replay(options.replay, **built) else 1
    for name in options.config or ["tiny"]:
        config = CONFIGS[name]
        if not compare(config, options.count, options.seed, options.folder, _say, **built):
            return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
