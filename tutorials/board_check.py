"""Is this board ready for intarsia? Looks at what the FPGA needs, in order, and says what is missing first.

    python3 board_check.py                     # Python, packages, FPGA, root, pynq, bitstream
    python3 board_check.py fashion.intarsia    # and then runs the artifact's own test vectors on the FPGA

Python's standard library is all that it needs to begin with. Exit code 0: all is there; 1: outputs differ from those
recorded in the artifact; 2: something is missing, with a letter that says what to do. docs/board_guide.md has the way
from the SD card to here. Nothing of this has run on a board yet.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

SHELL = "sudo -i, then . /etc/profile.d/pynq_venv.sh and, where it exists, . /etc/profile.d/xrt_setup.sh"
BOARDS = {"armv7l": "PYNQ-Z2", "aarch64": "KV260"}
"""The board that has a processor of this name."""


class Missing(Exception):
    """What stands in the way, and what to do about it."""

    def __init__(self, what: str, help: str) -> None:
        super().__init__(what)
        self.what, self.help = what, help


def installed(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Machine:
    """What is looked at. Tests put a board together of other values.

    name          the processor's, as Linux calls it
    user          0 is root
    version_of    version of an installed package, or None
    load          imports a module
    """

    name: str
    python: tuple[int, int]
    user: int
    environment: Mapping[str, str]
    fpga_manager: Path
    version_of: Callable[[str], str | None]
    load: Callable[[str], Any]


def this_machine() -> Machine:
    """The one that this runs on."""
    return Machine(
        platform.machine(),
        sys.version_info[:2],
        os.geteuid(),
        os.environ,
        Path("/sys/class/fpga_manager/fpga0"),
        installed,
        import_module,
    )


# ---- the checks, in order: each returns what it found, or raises Missing


def check_python(machine: Machine) -> str:
    found = ".".join(map(str, machine.python))
    if machine.python < (3, 10):
        raise Missing(f"this is Python {found}, and 3.10 is the least", "use an image of PYNQ 3.1 or newer")
    return f"Python {found}"


def check_numpy(machine: Machine) -> str:
    found = machine.version_of("numpy")
    if found is None:
        raise Missing("NumPy is not installed", f"use the environment of pynq: {SHELL}")
    if _numbers(found) < (1, 21):
        raise Missing(f"NumPy is {found}, and 1.21 is the least", "use an image of PYNQ 3.1 or newer")
    if machine.version_of("pynq") is not None and _numbers(found) >= (2,):
        raise Missing(f"NumPy is {found}, and pynq takes none of 2 or newer", 'python3 -m pip install "numpy<2"')
    return f"NumPy {found}"


def check_intarsia(machine: Machine) -> str:
    found = machine.version_of("intarsia")
    if found is None:
        raise Missing(
            "intarsia is not installed in this environment",
            "copy the wheel here and run: python3 -m pip install --no-deps intarsia-*.whl",
        )
    _load(machine, "intarsia", "install the wheel again, with --no-deps")
    return f"intarsia {found}"


def check_board(machine: Machine) -> str:
    if machine.name not in BOARDS or not machine.fpga_manager.exists():
        raise Missing(
            f"no board is here: this {machine.name} machine has no FPGA that Linux can load ({machine.fpga_manager})",
            "copy this file to the board and run it there; here, artifacts run on the simulator, with the same bytes: "
            "intarsia verify FILE --device simulator",
        )
    return f"{machine.name} with an FPGA, taken for a {BOARDS[machine.name]}"


def check_root(machine: Machine) -> str:
    if machine.user != 0:
        raise Missing("this is not root, and only root may load the FPGA", f"open a root shell: {SHELL}")
    return "root"


def check_xrt(machine: Machine) -> str:
    found = machine.environment.get("XILINX_XRT")
    if not found:
        raise Missing(
            "XILINX_XRT is not set, and pynq finds no board without it (sudo drops it)", f"open a root shell: {SHELL}"
        )
    return f"XILINX_XRT={found}"


def check_pynq(machine: Machine) -> str:
    found = machine.version_of("pynq")
    wanted = "3.1.2" if machine.name == "armv7l" else "4.0.0"
    install = f'python3 -m pip install "pynq=={wanted}" "pycparser<3" "numpy<2"'
    if found is None:
        raise Missing("pynq is not installed in this environment", f"use the environment of pynq: {SHELL}")
    if _numbers(found) < (3, 1):
        raise Missing(f"pynq is {found}, and 3.1 is the least", f"{install}; PYNQ-Z2: use the image of 3.1")
    if machine.name == "armv7l" and _numbers(found) >= (4,):
        raise Missing(f"pynq is {found}, which no longer loads overlays on Zynq-7000 boards", install)
    # Loading an overlay imports this; `import pynq` alone passes where pycparser is too new.
    _load(machine, "pynq.lib", install)
    return f"pynq {found}; tests ran with 3.1.2 and 4.0.0"


def check_device(machine: Machine) -> str:
    pynq = machine.load("pynq")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pynq warns of what is said below
        names = [device.arch for device in pynq.Device.devices if getattr(device, "arch", None) in BOARDS]
    if not names:
        raise Missing("pynq finds no FPGA (pynq.Device.devices is empty)", f"open a root shell: {SHELL}")
    return f"pynq sees an FPGA beside {names[0]}"


def check_bitstream(machine: Machine) -> str:
    design = machine.load("intarsia_backends.pynq.design")
    config = machine.load("intarsia_backends.overlay.machine.config")
    wanted = config.PYNQ_Z2 if machine.name == "armv7l" else config.KV260
    try:
        return str(design.find_bitstream(wanted, machine.environment))
    except machine.load("intarsia.errors").RunError as error:
        raise Missing(error.what, error.help) from None


@dataclass(frozen=True)
class Check:
    """A line of the list.

    needs  titles of what must be there before it makes sense to look
    """

    title: str
    look: Callable[[Machine], str]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("Python", check_python),
    Check("NumPy", check_numpy),
    Check("intarsia", check_intarsia, ("NumPy",)),
    Check("board", check_board),
    Check("root", check_root, ("board",)),
    Check("XRT", check_xrt, ("board",)),
    Check("pynq", check_pynq, ("board", "NumPy")),
    Check("device", check_device, ("root", "XRT", "pynq")),
    Check("bitstream", check_bitstream, ("board", "intarsia")),
)


def look(machine: Machine) -> list[tuple[str, str | Missing | None]]:
    """Every check with what it found, why it failed, or None where what it needs is missing."""
    found: dict[str, str | Missing | None] = {}
    for check in CHECKS:
        if all(isinstance(found[name], str) for name in check.needs):
            try:
                found[check.title] = check.look(machine)
            except Missing as missing:
                found[check.title] = missing
        else:
            found[check.title] = None
    return list(found.items())


def run_artifact(path: str, device: str = "pynq") -> int:
    """Run the artifact's test vectors and print what they gave: 0 where they are as recorded, 1 where not.

    RunError where it cannot be loaded or run; nothing else takes the device's place.
    """
    from intarsia.errors import RunError
    from intarsia.runtime.session import load
    from intarsia.runtime.vectors import read_vectors, verify_vectors

    with load(path, device=device) as session:
        print("runs on    " + ", ".join(f"{region}: {name}" for region, name in session.devices.items()))
        vectors = read_vectors(session.artifact)
        if not vectors:
            raise RunError(where=path, what="it has no test vectors", help="take one that `intarsia compile` wrote")
        results = verify_vectors(session)
        for result in results:
            state = "as recorded" if result.ok else f"{result.different} of {result.elements} elements DIFFER"
            print(f"vector {result.vector}   output '{result.output}': {state}")
        run = session.execute(vectors[0][0])
    if "cycles" in run.counters:
        print(f"cycles     {run.counters['cycles']:,} for one run, counted by device '{device}'")
    return 0 if all(result.ok for result in results) else 1


def main(arguments: list[str], machine: Machine) -> int:
    """Print the list; then the letter about what is missing first, or what the artifact gave. Returns the exit code."""
    if len(arguments) > 1 or any(word.startswith("-") for word in arguments):
        return _letter("board_check.py", f"it takes one artifact at most, not {' '.join(arguments)}", "see its top")
    found = look(machine)
    for title, state in found:
        what = "missing" if isinstance(state, Missing) else "not looked at yet" if state is None else state
        print(f"{title:<10} {what}")
    missing = next(((title, state) for title, state in found if isinstance(state, Missing)), None)
    if missing is not None:
        return _letter(missing[0], missing[1].what, missing[1].help)
    if not arguments:
        print("all is there; give an artifact to run it on the FPGA")
        return 0
    from intarsia.errors import IntarsiaError

    try:
        return run_artifact(arguments[0])
    except IntarsiaError as error:
        return _letter(error.where, error.what, error.help)


def _letter(where: str, what: str, help: str) -> int:
    print(f"error: {where}: {what}\n  help: {help}", file=sys.stderr)
    return 2


def _load(machine: Machine, module: str, help: str) -> Any:
    try:
        return machine.load(module)
    except Exception as error:  # pynq and what it stands on raise what they like
        raise Missing(f"{module} cannot be imported: {type(error).__name__}: {error}", help) from None


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: (3, 1, 2) for 3.1.2, (4, 0) for 4.0rc1."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], this_machine()))
