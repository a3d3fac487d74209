"""Single layers and whole networks on the Verilated RTL: cycles beside the cycle model and a bound. A table, or --json.

    python tests/benchmarks/rtl_layers.py [--models ../shared/models] [--target pynq-z2] [--json]

Layers begin and end with everything in DRAM: input, weights, output. The bound of a layer is the larger of the time of
its products (16 output channels of a pixel a cycle for depthwise layers) and of its bytes, each moved once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("overlay", "simulator")]

from engines import compiled_regions, target  # noqa: E402
from overlay_graphs import Net  # noqa: E402

import intarsia  # noqa: E402
from intarsia.artifact.manifest import Tensor  # noqa: E402
from intarsia.ir.graph import Graph  # noqa: E402
from intarsia.runtime.device import RegionFiles  # noqa: E402
from intarsia_backends.overlay.machine.config import CONFIGS, LANES, OverlayConfig  # noqa: E402
from intarsia_backends.overlay.machine.isa import Segment  # noqa: E402
from intarsia_backends.overlay.machine.region import read_region  # noqa: E402
from intarsia_backends.rtl.device import RtlDevice  # noqa: E402


def conv(channels: int, outputs: int, size: int, kernel: int, stride: int = 1, group: int = 1) -> Graph:
    net = Net("layer")
    return net.output(net.conv(net.input(1, channels, size, size), outputs, kernel, stride, group=group))


LAYERS: dict[str, Callable[[], Graph]] = {
    "conv 3x3 64->64 56x56": lambda: conv(64, 64, 56, 3),
    "conv 3x3 128->128 28x28": lambda: conv(128, 128, 28, 3),
    "conv 3x3 256->256 14x14": lambda: conv(256, 256, 14, 3),
    "conv 3x3 512->512 7x7": lambda: conv(512, 512, 7, 3),
    "conv 1x1 256->64 56x56": lambda: conv(256, 64, 56, 1),
    "conv 7x7 s2 3->64 224x224": lambda: conv(3, 64, 224, 7, 2),
    "depthwise 3x3 192 28x28": lambda: conv(192, 192, 28, 3, group=192),
}

NETWORKS = (
    "digits_cnn",
    "fmnist_resnet8",
    "ic_resnet8_int8",
    "kws_dscnn_int8",
    "ad_ae_int8",
    "fastestdet_coco",
    "efficientnet_lite0_static",
)


def figures(files: RegionFiles) -> dict[str, Any]:
    """One run of a region with random inputs."""
    loaded, random = RtlDevice().load(files), np.random.default_rng(0)
    inputs = [random.integers(-128, 128, shape).astype(dtype) for _, dtype, shape in files.inputs]
    started = time.perf_counter()
    counters = loaded.run(inputs).counters
    found = {
        "cycles": counters["cycles"],
        "modelled": loaded.counters["cycles"],
        "macs": counters["macs"],
        "bytes": counters["bytes_read"] + counters["bytes_written"],
        "queues": counters["queues"],
        "seconds": time.perf_counter() - started,
    }
    loaded.close()
    return found


def layer(name: str, config: OverlayConfig) -> dict[str, Any]:
    """A layer alone, with its bound."""
    graph = LAYERS[name]()
    ((_, files),) = compiled_regions(graph, target(config.name))
    found = figures(files)
    segments = read_region(files).segments
    each_once = sum(segments[segment] for segment in (Segment.CONSTANTS, Segment.INPUTS, Segment.OUTPUTS))
    outputs = int(np.prod(graph.outputs[0].shape))
    products = outputs / LANES if name.startswith("depthwise") else found["macs"] / config.macs_per_cycle
    bound = max(products, each_once / config.dram_bytes_per_cycle)
    return {"name": name, **found, "bound": round(bound), "bound_by": "products" if bound == products else "bytes"}


def _sizes(item: Tensor) -> tuple[int, ...]:
    return tuple(size for size in item.shape or () if size is not None)


def network(path: Path, config: OverlayConfig) -> dict[str, Any]:
    """A whole network: all its regions on the overlay, calibrated with noise, as cycles do not depend on data."""
    graph = intarsia.load(intarsia.compile_model(path, target="cpu", precision="float32")).inputs[0]
    noise = np.random.default_rng(0).standard_normal((4, *graph.dims[1:])).astype(np.float32)
    calibration = None if path.stem.endswith("_int8") else noise
    artifact = intarsia.compile_model(path, target=config.name, calibration=calibration)
    totals: dict[str, Any] = {"name": path.stem, "cycles": 0, "modelled": 0, "macs": 0, "bytes": 0, "seconds": 0.0}
    for region in artifact.contents.regions:
        if region.kind != "overlay":
            continue
        files = RegionFiles(
            region.name,
            region.kind,
            tuple((item.name, item.dtype, _sizes(item)) for item in region.inputs),
            tuple((item.name, item.dtype, _sizes(item)) for item in region.outputs),
            {name: artifact.files[region.path(name)] for name in region.files},
            region.metadata,
            region.layers,
        )
        found = figures(files)
        for key in ("cycles", "modelled", "macs", "bytes", "seconds"):
            totals[key] += found[key]
    bound = max(totals["macs"] / config.macs_per_cycle, 0)
    return {**totals, "bound": round(bound), "bound_by": "products"}


def find_model(name: str, folder: Path | None) -> Path | None:
    places = [ROOT / "compiler/intarsia/demo", ROOT / "tests/models", *([folder] if folder else [])]
    return next((place / f"{name}.onnx" for place in places if (place / f"{name}.onnx").exists()), None)


def table(rows: list[dict[str, Any]]) -> str:
    head = f"{'':<28} {'cycles':>10} {'modelled':>10} {'ratio':>6} {'bound':>10} {'ratio':>6}  bound by"
    lines = [head]
    for row in rows:
        ratios = [f"{row['cycles'] / row[key]:>6.3f}" if row[key] else "     -" for key in ("modelled", "bound")]
        lines.append(
            f"{row['name']:<28} {row['cycles']:>10,} {row['modelled']:>10,} {ratios[0]} {row['bound']:>10,} {ratios[1]}"
            f"  {row['bound_by']}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="pynq-z2", choices=sorted(CONFIGS))
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    parser.add_argument("--only", help="names that contain this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config, rows = CONFIGS[options.target], []
    for name in LAYERS:
        if not options.only or options.only in name:
            rows.append(layer(name, config))
    for name in NETWORKS:
        path = find_model(name, options.models)
        if path is not None and (not options.only or options.only in name):
            rows.append(network(path, config))
    print(json.dumps(rows, indent=2) if options.json else table(rows))


if __name__ == "__main__":
    main()
