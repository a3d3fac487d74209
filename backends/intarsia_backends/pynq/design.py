"""What the driver wants of the designs in hw/boards, and where a bitstream is looked for. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from intarsia.errors import RunError, either
from intarsia_backends.overlay.machine.config import CONFIGS, KV260, PYNQ_Z2, OverlayConfig

INTERRUPT = "interrupt"
"""The core's interrupt pin; pynq makes an attribute of this name where the design routes it to the processor."""

BITSTREAM_VARIABLE = "INTARSIA_BITSTREAM"

PACKAGED = Path(__file__).parent / "bitstreams"


def find_bitstream(
    config: OverlayConfig, environment: Mapping[str, str] = os.environ, folders: tuple[Path, ...] | None = None
) -> Path:
    """The .bit file for a configuration; its .hwh must stand beside it.

    environment  INTARSIA_BITSTREAM names the file, or the folder that holds NAME.bit, NAME being the configuration's
    folders      where NAME.bit is looked for without it: the current folder, then the package's own

    Raises RunError, naming every place, where there is none.
    """
    name = f"{config.name}.bit"
    given = environment.get(BITSTREAM_VARIABLE)
    if given:
        places = [Path(given) / name if Path(given).is_dir() else Path(given)]
    else:
        places = [folder / name for folder in (folders or (Path.cwd(), PACKAGED))]
    for place in places:
        if not place.is_file():
            continue
        if not place.with_suffix(".hwh").is_file():
            raise RunError(
                where=f"bitstream {place}",
                what=f"{place.with_suffix('.hwh').name} does not stand beside it, and pynq reads the design from that",
                help="copy both files that hw/boards/*/build.tcl wrote into one folder",
            )
        return place.resolve()
    looked = ", ".join(str(place) for place in places)
    raise RunError(
        where=f"bitstream for overlay '{config.name}'",
        what=f"there is none at {looked}",
        help=f"set {BITSTREAM_VARIABLE} to the .bit file or its folder (hw/README.md says how it is built), "
        + either("or run on the simulator with --device simulator", "or run on the simulator: device='simulator'"),
    )


def no_bitstream(machine: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """None where a bitstream of any configuration is found, else what is wrong with that of the board.

    machine  the processor's name, which tells boards apart
    """
    own = PYNQ_Z2 if machine == "armv7l" else KV260
    trouble = None
    for config in (own, *CONFIGS.values()):
        try:
            find_bitstream(config, environment)
            return None
        except RunError as error:
            trouble = trouble or error
    assert trouble is not None
    return f"{trouble.where}: {trouble.what}"
