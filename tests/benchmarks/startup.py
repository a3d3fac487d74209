"""How long a person waits: `--help` and `explain`, best of several starts of the command line. A table, or --json.

python tests/benchmarks/startup.py --model model.onnx [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-c", "from intarsia.cli.main import main; main()"]


def best_seconds(arguments: list[str], starts: int) -> float:
    """Wall clock of the fastest start; the others find a busy machine or cold files."""
    seconds = []
    for _ in range(starts):
        started = time.perf_counter()
        subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--target", default="pynq-z2")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = {
        "--help": best_seconds(["--help"], options.starts),
        "explain": best_seconds(["explain", str(options.model), "--target", options.target], options.starts),
    }
    print(json.dumps(rows) if options.json else "\n".join(f"{name:<10} {value:.2f} s" for name, value in rows.items()))


if __name__ == "__main__":
    main()
