"""Devices for regions of StableHLO: XLA on this machine's processor, and TPUs. jax is imported when one is loaded."""

from __future__ import annotations

from glob import glob
from importlib.util import find_spec

from intarsia.errors import RunError, said
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles
from intarsia_backends.tpu.blob import KIND, read

_INSTALL = "pip install 'intarsia[tpu]' (Python 3.11 or newer)"


def _missing(*packages: str) -> str | None:
    for package in packages:
        if find_spec(package) is None:
            return f"the package {package} is not installed: {_INSTALL}"
    return None


class XlaCpuDevice(Device):
    """This machine's processor, by XLA: the same module that a TPU runs."""

    name = "xla-cpu"
    kinds = (KIND,)
    native = True

    def absent(self) -> str | None:
        return _missing("jax", "jaxlib")

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Check the module, and have it compiled. RunError where it is damaged."""
        described = read(region)
        from intarsia_backends.tpu.xla import XlaRegion, cpu_client

        return XlaRegion(described, cpu_client())


class TpuDevice(Device):
    """The first TPU of this machine."""

    name = "tpu"
    kinds = (KIND,)
    native = True
    priority = 10

    def absent(self) -> str | None:
        missing = _missing("jax", "jaxlib", "libtpu")
        if missing is None and not (glob("/dev/accel[0-9]*") or glob("/dev/vfio/[0-9]*")):
            return "this machine has no TPU: neither /dev/accel0 nor /dev/vfio/0 is there"
        return missing

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Check the module, and have it compiled. RunError where it is damaged, and where no TPU answers."""
        described = read(region)
        from intarsia_backends.tpu.xla import XlaRegion, tpu_client

        try:
            client = tpu_client()
        except RuntimeError as error:
            raise RunError(
                where="device 'tpu'",
                what=f"no TPU answers: {said(error)[:200]}",
                help="end other processes that use it, or name the device 'xla-cpu'",
            ) from error
        return XlaRegion(described, client)
