"""Which devices are installed, which of them can be used here, and which one runs a region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from intarsia.arguments import near
from intarsia.errors import RunError, either
from intarsia.runtime.device import GROUP, Device, RegionFiles


@dataclass(frozen=True)
class Found:
    """An installed device.

    absent    None where it can be used here, else why not
    device    None where not even its package can be imported
    hindered  whether its hardware is on this machine, though it is absent
    """

    name: str
    kinds: tuple[str, ...]
    priority: int
    absent: str | None
    device: Device | None
    hindered: bool = False


def installed_devices() -> tuple[Found, ...]:
    """Every device that an installed package announces, sorted by name. A broken package is one that is absent."""
    found: dict[str, Found] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name in found:
            continue
        try:
            device = entry.load()()
            absent = device.absent()
            hindered = absent is not None and device.expected()
            found[entry.name] = Found(entry.name, tuple(device.kinds), device.priority, absent, device, hindered)
        except Exception as error:  # another package's code: whatever it raises, the other devices still work
            reason = f"{entry.value} cannot be loaded: {type(error).__name__}: {error}"
            found[entry.name] = Found(entry.name, (), 0, reason, None)
    return tuple(found.values())


def choose_devices(
    kinds: Iterable[str], wanted: str | None, where: str, *, native: bool = True
) -> dict[str, tuple[Found, ...]]:
    """Devices for each kind of region, best first; none where the evaluator replaces one that maps machine code.

    Those that are hindered stand among them, though they can run nothing: it is to be said why.

    kinds   those that the artifact has
    wanted  name of the device that runs the kinds it can; None leaves the choice to the priorities
    where   how errors name the artifact
    native  whether devices that map machine code may be chosen

    Raises RunError where a kind has no device here, or the wanted one is unknown, absent or useless for all kinds.
    """
    needed = sorted(set(kinds))
    installed = installed_devices() if needed or wanted is not None else ()
    found = installed if native else tuple(item for item in installed if item.device is None or not item.device.native)
    forced = _forced(installed, found, wanted, needed, where)
    chosen: dict[str, tuple[Found, ...]] = {}
    for kind in needed:
        present = [item for item in found if item.absent is None and kind in item.kinds]
        if forced is not None and kind in forced.kinds:
            chosen[kind] = (forced,)
        elif present:
            hindered = [item for item in found if item.hindered and kind in item.kinds]
            chosen[kind] = tuple(sorted([*present, *hindered], key=lambda item: -item.priority))
        elif not any(kind in item.kinds for item in installed if item not in found):
            raise RunError(
                where=where,
                what=f"it has regions of kind '{kind}', and no device here runs those\n{describe(found)}",
                help="install the package of a device that does, or compile the model for another target",
            )
    return chosen


class Picks:
    """Which device runs each region, and what to tell of those that cannot run theirs.

    choices  by kind, devices from the best down, of `choose_devices`
    wanted   the one that was asked for by name: it is taken, whatever it thinks of the region
    """

    def __init__(self, choices: Mapping[str, Sequence[Found]], wanted: str | None) -> None:
        self._choices, self._wanted = choices, wanted
        self._passed: dict[tuple[str, str, str], list[str]] = {}

    def device_for(self, region: RegionFiles) -> Found | None:
        """The best device that fits the region; None for the evaluator. RunError where the region is damaged."""
        passed: list[RunError] = []
        for item in self._choices.get(region.kind, ()):
            assert item.device is not None
            misfit = None if item.name == self._wanted else _hindrance(item) or item.device.unfit(region)
            if misfit is None:
                self._note(region, passed, f"device '{item.name}' runs")
                return item
            passed.append(misfit)
        self._note(region, passed, "the evaluator runs")
        return None

    def _note(self, region: RegionFiles, passed: Sequence[RunError], instead: str) -> None:
        for misfit in passed:
            self._passed.setdefault((misfit.what, misfit.help, instead), []).append(region.name)

    def notes(self) -> tuple[str, ...]:
        """A text for every reason: the regions, what was found, what runs them instead, what to do."""
        return tuple(
            f"{_regions(names)}: {what}; {instead} {'them' if len(names) > 1 else 'it'}, slowly, with the same "
            f"integers\n  help: {help}"
            for (what, help, instead), names in self._passed.items()
        )


def _hindrance(item: Found) -> RunError | None:
    if item.absent is None:
        return None
    return RunError(
        where=f"device '{item.name}'",
        what=f"device '{item.name}' cannot be used: {item.absent}",
        help=f"mend that, and ask for {either(f'--device {item.name}', f'device={item.name!r}')}, so that nothing else "
        "takes its place; ask for another device by name where that is meant",
    )


def _regions(names: Sequence[str]) -> str:
    shown = _quoted(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"region {shown}" if len(names) == 1 else f"regions {shown}"


def _forced(
    installed: tuple[Found, ...], found: tuple[Found, ...], wanted: str | None, needed: list[str], where: str
) -> Found | None:
    if wanted is None:
        return None
    if any(item.name == wanted for item in installed if item not in found):
        raise RunError(
            where=f"device '{wanted}'",
            what="it runs machine code out of the artifact, and "
            f"{either('--no-native', 'native=False')} rules that out",
            help="leave the device out: the evaluator takes its place",
        )
    for item in found:
        if item.name == wanted:
            break
    else:
        raise RunError(
            where=f"device '{wanted}'",
            what=f"no installed package offers it\n{describe(found)}",
            help="give one of these names, or leave the choice to intarsia"
            + near(wanted, [item.name for item in installed], cutoff=0.6),
        )
    if item.absent is not None:
        raise RunError(
            where=f"device '{wanted}'",
            what=f"it cannot be used here: {item.absent}\n{describe(found)}",
            help="leave the choice to intarsia, or mend what is missing",
        )
    if needed and not set(needed) & set(item.kinds):
        others = _takers(found, needed)
        beside = f", which device {_quoted(others)} would run" if others else ""
        raise RunError(
            where=f"device '{wanted}'",
            what=f"it runs regions of kind {_quoted(item.kinds)}, and {where} has {_quoted(needed)}{beside}\n"
            f"{describe(found)}",
            help="leave the choice to intarsia, or compile the model for a target of that device",
        )
    return item


def _takers(found: Iterable[Found], kinds: Iterable[str]) -> list[str]:
    """Names of the devices that run these kinds where the choice is left to the priorities."""
    present = [item for item in found if item.absent is None]
    chosen: dict[str, None] = {}
    for kind in kinds:
        takers = [item for item in present if kind in item.kinds]
        if takers:
            chosen[max(takers, key=lambda item: item.priority).name] = None
    return list(chosen)


def idle_device(kinds: Iterable[str], wanted: str | None) -> str | None:
    """Why a device that is here has nothing to do for an artifact, and which others would run it; None where it has.

    kinds   those of the artifact's regions that need a device
    """
    needed = sorted(set(kinds))
    found = installed_devices() if wanted is not None and needed else ()
    item = next((item for item in found if item.name == wanted and item.absent is None), None)
    others = _takers(found, needed)
    if item is None or set(needed) & set(item.kinds) or not others:
        return None
    return (
        f"device '{wanted}' runs regions of kind {_quoted(item.kinds)}, and there are none: {_quoted(others)} runs them"
    )


def describe(found: Iterable[Found]) -> str:
    """One line for each device: what it runs, or why it is absent."""
    lines = [
        f"    {item.name}: " + (f"runs {_quoted(item.kinds)}" if item.absent is None else f"absent, {item.absent}")
        for item in found
    ]
    return "\n".join(["  devices here:", *lines]) if lines else "  no device is installed"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
