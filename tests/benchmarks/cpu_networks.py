"""Whole networks on this processor: intarsia beside ONNX Runtime and OpenVINO. A table, or --json.

    python tests/benchmarks/cpu_networks.py                             all networks, float32 and int8, 1 and 2 threads
    python tests/benchmarks/cpu_networks.py --only resnet18,minilm --precision float32 --threads 1
    python tests/benchmarks/cpu_networks.py --models ../shared/models   the ONNX files of a folder as well
    python tests/benchmarks/cpu_networks.py --compile                   only seconds and memory of compiling them
    python tests/benchmarks/cpu_networks.py --peers onnxruntime         without OpenVINO
    python tests/benchmarks/cpu_networks.py --tune 60s                  with code that was found by timing

It needs onnxruntime and openvino: `pip install -e '.[bench]'`. The networks are made once and kept in the user's cache;
network_models.py and network_files.py say what they are, cpu_engines.py how each engine is set up. A network runs in a
process of its own, in which the engines take turns. Ratios are the time of the faster peer over ours: above 1 we are
faster. Wall clock means little on a busy machine: see the columns `others` and `spread`. Where others cannot be
stopped, priority helps; as root: `setsid sh -c 'echo -20 > /proc/self/autogroup; exec python ...'`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cpu_engines import OWN, PEERS
from network_files import PRECISIONS, cache_folder, given_file, given_models, network_file
from network_models import NETWORKS

from intarsia.cli.compile import seconds_of

Row = dict[str, Any]

WORKER = Path(__file__).parent / "cpu_row.py"

CLOCKS = {True: "time of the process on one core", False: "wall clock"}
"""By whether there is one thread."""


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def in_own_process(**request: Any) -> Row:
    """What cpu_row.py answers, or {"error": its last words}."""
    result = subprocess.run([sys.executable, str(WORKER), json.dumps(request)], capture_output=True, text=True)
    if result.returncode != 0:
        words = [line for line in result.stderr.splitlines() if line.strip()] or [f"status {result.returncode}"]
        return {"error": words[-1]}
    answer: Row = json.loads(result.stdout.splitlines()[-1])
    return answer


def names_of(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def files(options: argparse.Namespace) -> dict[str, Callable[[str], Path | None]]:
    """By name of a network, what gives its file in a precision."""

    def own(name: str) -> Callable[[str], Path | None]:
        return lambda precision: network_file(name, precision, options.folder)

    def given(path: Path) -> Callable[[str], Path | None]:
        return lambda precision: given_file(path, precision, options.folder)

    found = {name: own(name) for name in NETWORKS}
    if options.models is not None:
        found.update({name: given(path) for name, path in given_models(options.models).items()})
    return found


def rows_of(name: str, model: Path, precision: str, options: argparse.Namespace) -> list[Row]:
    """One row for each number of threads; with --compile, one without times."""
    with tempfile.TemporaryDirectory(prefix="intarsia-bench-") as folder:
        artifact = str(Path(folder) / f"{name}.intarsia")
        tell(f"{name} {precision}: compiling")
        made = in_own_process(do="compile", model=str(model), precision=precision, artifact=artifact, tune=options.tune)
        head = {"network": name, "precision": precision}
        if options.compile:
            return [{**head, **made}]
        engines = [*options.peers, *([] if "error" in made else [OWN])]
        rows = []
        for threads in options.threads:
            tell(f"{name} {precision}: measuring with {threads} thread{'s' * (threads > 1)}")
            found = in_own_process(
                do="measure",
                model=str(model),
                artifact=artifact,
                engines=engines,
                threads=threads,
                rounds=options.rounds,
                seconds=options.seconds,
                inputs=options.inputs,
            )
            rows.append({**head, "threads": threads, **found, **made, "ratio": ratio(found, options.peers)})
    return rows


def ratio(row: Row, peers: Sequence[str]) -> float | None:
    """Time of the fastest peer over ours; None where one is missing."""
    times = row.get("milliseconds", {})
    if OWN not in times or not peers:
        return None
    return min(float(times[peer]) for peer in peers) / float(times[OWN])


def means(rows: Sequence[Row]) -> list[Row]:
    """Geometric means of the ratios of our own networks, for each precision and number of threads."""
    groups: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row["ratio"] is not None and row["network"] in NETWORKS:
            groups.setdefault((row["precision"], row["threads"]), []).append(row["ratio"])
    return [
        {
            "precision": precision,
            "threads": threads,
            "ratio": math.exp(sum(map(math.log, found)) / len(found)),
            "networks": len(found),
        }
        for (precision, threads), found in groups.items()
    ]


def machine() -> Row:
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.lower().startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


# ---- text


def table(rows: Sequence[Row], peers: Sequence[str]) -> str:
    lines: list[str] = []
    averages = {(item["precision"], item["threads"]): item for item in means(rows)}
    for precision in PRECISIONS:
        for threads in sorted({row["threads"] for row in rows}):
            mine = [row for row in rows if (row["precision"], row["threads"]) == (precision, threads)]
            if mine:
                lines += ["", _title(precision, threads, peers), _head(peers), *(_line(row, peers) for row in mine)]
                if (precision, threads) in averages:
                    item = averages[precision, threads]
                    width = 26 + 14 * (len(peers) + 1)
                    text = f"geometric mean of {item['networks']}"
                    lines.append(f"{text:<{width}}{item['ratio']:>8.2f}")
    return "\n".join(lines[1:])


def _title(precision: str, threads: int, peers: Sequence[str]) -> str:
    hint = ", OpenVINO with INFERENCE_PRECISION_HINT=f32" if "openvino" in peers else ""
    return f"{precision}, {threads} thread{'s' * (threads > 1)}: milliseconds, {CLOCKS[threads == 1]}{hint}"


def _head(peers: Sequence[str]) -> str:
    names = "".join(f"{name:>14}" for name in (*peers, OWN))
    return f"{'':<26}{names}{'ratio':>8}{'differs by':>12}{'correlation':>13}{'same':>7}{'spread':>8}{'others':>8}"


def _line(row: Row, peers: Sequence[str]) -> str:
    times = row.get("milliseconds", {})
    cells = "".join(f"{times[name]:>14.3f}" if name in times else f"{'-':>14}" for name in (*peers, OWN))
    text = f"{row['network']:<26}{cells}{'-' if row['ratio'] is None else format(row['ratio'], '.2f'):>8}"
    if OWN in row.get("agreement", {}):
        found = row["agreement"][OWN]
        text += f"{found['difference']:>12.1e}{found['correlation']:>13.6f}{found['same']:>7.0%}"
        text += f"{max(row['spread'].values()):>8.0%}{row['others']:>8.0%}"
    if "error" in row:
        text += f"  {row['error']}"
    if row.get("evaluator_nodes"):
        text += f"  by the evaluator: {', '.join(row['evaluator_nodes'])}"
    if row.get("tuned"):
        text += f"  {row['tuned']}"
    return text


def compile_table(rows: Sequence[Row]) -> str:
    lines = [f"{'':<26}{'':<10}{'seconds':>9}{'MB':>7}"]
    for row in rows:
        figures = row.get("error") or f"{row['compile_seconds']:>9.1f}{row['compile_megabytes']:>7.0f}"
        lines.append(f"{row['network']:<26}{row['precision']:<10}{figures}")
    return "\n".join(lines)


NOTES = """
ratio        time of the faster peer over intarsia's: above 1 intarsia is faster
differs by   intarsia's largest difference over the largest output, against ONNX Runtime without optimisations
correlation  of intarsia's outputs with the same
same         share of inputs (or rows) with the same largest output
spread       median round over fastest round, less 1, of the engine for which it is worst
others       share of the machine's processors that other processes took meanwhile"""


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=names_of, default=[], help="names of networks, separated by commas")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: %(default)s)")
    parser.add_argument("--precision", default=",".join(PRECISIONS), help="precisions (default: %(default)s)")
    parser.add_argument("--peers", type=names_of, default=list(PEERS), help=f"default: {','.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each engine (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each engine's turn (default: %(default)s)")
    parser.add_argument("--inputs", type=int, default=4, help="inputs that outputs are compared on")
    parser.add_argument("--models", type=Path, help="folder of further ONNX files")
    parser.add_argument("--folder", type=Path, default=cache_folder(), help="of the networks made (%(default)s)")
    parser.add_argument(
        "--tune", type=seconds_of, help="search for faster code for so long, such as 60s, when compiling"
    )
    parser.add_argument("--compile", action="store_true", help="measure compilation alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    options.precision = names_of(options.precision)
    options.threads = [int(text) if text.isdigit() else 0 for text in names_of(options.threads)]
    if not options.threads or min(options.threads) < 1:
        parser.error("--threads takes whole numbers from 1, separated by commas")
    for chosen, known, option in ((options.precision, PRECISIONS, "--precision"), (options.peers, PEERS, "--peers")):
        unknown = [name for name in chosen if name not in known]
        if unknown:
            parser.error(f"{option}: {', '.join(unknown)} is none of {', '.join(known)}")
    if options.models is not None and not options.models.is_dir():
        parser.error(f"--models: {options.models} is no folder")
    unknown = [name for name in options.only if name not in files(options)]
    if unknown:
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(files(options))}")
    wanted = ["onnxruntime", *([] if options.compile else options.peers)]  # int8 forms are made by onnxruntime
    missing = [name for name in dict.fromkeys(wanted) if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(
            f"{' and '.join(missing)} cannot be imported: pip install -e '.[bench]'"
            + (", or leave it out by --peers onnxruntime" if missing == ["openvino"] else "")
        )
    if not options.compile and max(options.threads) > len(os.sched_getaffinity(0)):
        tell(f"only {len(os.sched_getaffinity(0))} cores here: figures of more threads say little")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    rows: list[Row] = []
    for name, file in files(options).items():
        for precision in options.precision:
            if options.only and name not in options.only:
                continue
            model = file(precision)
            if model is not None:
                rows += rows_of(name, model, precision, options)
    peers = [] if options.compile else options.peers  # compiling needs none of them
    versions = {name: importlib.metadata.version(name) for name in dict.fromkeys(["onnxruntime", *peers])}
    if options.json:
        averages = [] if options.compile else means(rows)
        report = {"machine": machine(), "versions": versions, "rows": rows, "geometric_means": averages}
        print(json.dumps(report, indent=1))
    elif options.compile:
        print(compile_table(rows))
    else:
        print(f"{machine()['processor']}; " + ", ".join(f"{name} {version}" for name, version in versions.items()))
        print(table(rows, options.peers))
        print(NOTES)


if __name__ == "__main__":
    main()
