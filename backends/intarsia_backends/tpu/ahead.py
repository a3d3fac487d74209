"""Compilation for TPUs that are not here, by libtpu, in a process of its own with limits of memory and time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intarsia.errors import CompileError
from intarsia_backends.tpu.portable import installed

_WORKER = "intarsia_backends.tpu.ahead_worker"

_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_SKIP_MDS_QUERY": "1",  # nobody is asked over the network which TPUs this machine has
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no lock: nothing here touches a TPU
}


@dataclass(frozen=True)
class Limits:
    """What a compilation may take.

    memory_bytes  of address space; libtpu alone takes 2 GiB of that, and touches a fifth
    seconds       of time
    """

    memory_bytes: int
    seconds: int


def compile_ahead(data: bytes, generation: str, limits: Limits, where: str) -> tuple[Mapping[str, Any], str]:
    """Figures of a module compiled for a generation, or {} and a text that says why there are none.

    data   StableHLO's portable artifact
    where  how an error names the region

    Raises CompileError where XLA refuses the module, as for a TPU's memory.
    """
    unmade = f"not compiled ahead of time for {generation}"
    if installed("libtpu") is None:
        return {}, f"{unmade}: the package libtpu is not installed (pip install 'intarsia[tpu]')"
    environment = {**os.environ, **_ENVIRONMENT}
    command = [sys.executable, "-m", _WORKER, generation, str(limits.memory_bytes)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=limits.seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {}, f"{unmade}: it took longer than {limits.seconds} s; ahead_seconds gives it more"
    if done.returncode != 0:
        return {}, f"{unmade}: {_why(done, limits)}"
    answer = json.loads(done.stdout)
    if "unable" in answer:
        return {}, f"{unmade}: {_first(answer['unable'])}"
    if "refused" in answer:
        raise CompileError(
            where=f"{where}, for {generation}",
            what=f"XLA refuses it: {_first(answer['refused'])}",
            help="use smaller inputs or batches, another generation, or tpu{ahead=false} to leave it to the device",
        )
    return answer, ""


def _first(text: str) -> str:
    """The first line of what another program says."""
    return next(iter(text.strip().splitlines()), "it does not say why")[:300]


def _why(done: subprocess.CompletedProcess[bytes], limits: Limits) -> str:
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    said = f" ({last[0][:120]})" if last else ""
    if done.returncode < 0 or "MemoryError" in said:
        name = signal.Signals(-done.returncode).name if done.returncode < 0 else "MemoryError"
        gib = limits.memory_bytes >> 30
        return f"the compiler ended by {name}, as one does that needs more than {gib} GiB; ahead_gib gives it more"
    return f"the compiler ended with status {done.returncode}{said}"
