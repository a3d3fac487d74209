"""Where boxes and wires stand: rows from top to bottom in the order of running, as few crossings as a few sweeps find.

The method is that of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures",
1981): rows by longest path, bends where a wire passes a row, order within rows by barycentres; then positions, each row
as near to its neighbours as widths allow, by pooling adjacent violators. Lanes never share a row.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intarsia.partition.pictures.scene import Scene

ORDER_SWEEPS = 12
PLACE_SWEEPS = 60
GAP = 28.0
"""Between things of a row, in pixels like all sizes here."""
BEND_WIDTH = 14.0
ROW_GAP = 44.0
LANE_GAP = 30.0
LANE_HEAD = 30.0
LANE_FOOT = 26.0
MARGIN = 24.0


@dataclass(frozen=True)
class Place:
    """Where a box stands: its middle, its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Path:
    """A wire: points from top to bottom; between rows it swings from one to the next."""

    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Layout:
    """A scene with places: of boxes and wires by their index, of lanes as (top, height)."""

    width: float
    height: float
    boxes: tuple[Place, ...]
    wires: tuple[Path, ...]
    lanes: tuple[tuple[float, float], ...]
    ports: Mapping[tuple[int, str], tuple[float, float]]


@dataclass
class _Item:
    """A box, or the bend of a port's wire in a row that it passes."""

    width: float
    box: int | None
    x: float = 0.0
    above: tuple[int, ...] = ()
    below: tuple[int, ...] = ()


def lay_out(scene: Scene, sizes: Sequence[tuple[float, float]], top: float, least_width: float) -> Layout:
    """Place everything.

    sizes        width and height of each box
    top          where the first row begins
    least_width  of the whole picture
    """
    ranks = _ranks(scene)
    items = [_Item(width, index) for index, (width, _) in enumerate(sizes)]
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for index, rank in enumerate(ranks):
        rows[rank].append(index)
    bends = _add_bends(scene, ranks, items, rows)
    _connect(scene, ranks, items, bends)
    _order(rows, items)
    _position(rows, items)

    left = min((items[index].x - items[index].width / 2 for row in rows for index in row), default=0.0)
    right = max((items[index].x + items[index].width / 2 for row in rows for index in row), default=0.0)
    width = max(right - left + 4 * MARGIN, least_width)
    shift = (width - (right - left)) / 2 - left
    for item in items:
        item.x += shift

    lane_of = {box: number for number, lane in enumerate(scene.lanes) for box in lane.boxes}
    row_lane = [lane_of.get(min(index for index in row if items[index].box is not None)) for row in rows]
    heights = [max(sizes[index][1] for index in row if items[index].box is not None) for row in rows]
    tops: list[float] = []
    lanes: dict[int, tuple[float, float]] = {}
    y = top
    for number, lane in enumerate(row_lane):
        if lane is not None and lane not in lanes:
            y += LANE_GAP if number else 0.0
            lanes[lane] = (y, 0.0)
            y += LANE_HEAD
        elif lane is None and number:
            y += LANE_GAP
        tops.append(y)
        y += heights[number]
        ends = number + 1 == len(rows) or row_lane[number + 1] != lane
        if lane is not None and ends:
            y += LANE_FOOT
            lanes[lane] = (lanes[lane][0], y - lanes[lane][0])
        elif not ends:
            y += ROW_GAP
    places = tuple(
        Place(items[index].x, tops[ranks[index]] + heights[ranks[index]] / 2, *sizes[index])
        for index in range(len(scene.boxes))
    )
    ports = _ports(scene, places)
    wires = []
    for wire in scene.wires:
        target = places[wire.target]
        points = [ports[wire.source, wire.port]]
        for rank in range(ranks[wire.source] + 1, ranks[wire.target]):
            x = items[bends[wire.source, wire.port, rank]].x
            points += [(x, tops[rank]), (x, tops[rank] + heights[rank])]
        points.append((_entry(target, points[-1][0]), target.y - target.height / 2))
        wires.append(Path(tuple(points)))
    spans = tuple(lanes[number] for number in range(len(scene.lanes)))
    return Layout(width, y + MARGIN, places, tuple(wires), spans, ports)


def _ranks(scene: Scene) -> list[int]:
    """The row of each box: inputs, the lanes one after another, each by longest path, outputs."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(range(len(scene.boxes)))
    graph.add_edges_from((wire.source, wire.target) for wire in scene.wires)
    ranks = [0] * len(scene.boxes)
    row = 1 if scene.inputs else 0
    for lane in scene.lanes:
        count = 0
        for depth, generation in enumerate(networkx.topological_generations(graph.subgraph(lane.boxes))):
            for box in generation:
                ranks[box] = row + depth
            count = depth + 1
        row += count
    for box in scene.outputs:
        ranks[box] = row
    return ranks


def _add_bends(
    scene: Scene, ranks: Sequence[int], items: list[_Item], rows: list[list[int]]
) -> dict[tuple[int, str, int], int]:
    """One bend for each port and each row that its wires pass, however many readers follow."""
    bends: dict[tuple[int, str, int], int] = {}
    for wire in scene.wires:
        for rank in range(ranks[wire.source] + 1, ranks[wire.target]):
            if (wire.source, wire.port, rank) not in bends:
                bends[wire.source, wire.port, rank] = len(items)
                rows[rank].append(len(items))
                items.append(_Item(BEND_WIDTH, None))
    return bends


def _connect(scene: Scene, ranks: Sequence[int], items: list[_Item], bends: Mapping[tuple[int, str, int], int]) -> None:
    """For each item those of the row above and of the row below that a wire joins it to."""
    pairs: dict[tuple[int, int], None] = {}
    for wire in scene.wires:
        chain = [wire.source]
        chain += [bends[wire.source, wire.port, rank] for rank in range(ranks[wire.source] + 1, ranks[wire.target])]
        chain.append(wire.target)
        pairs.update(dict.fromkeys(zip(chain, chain[1:])))  # noqa: RUF007
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for upper, lower in pairs:
        below.setdefault(upper, []).append(lower)
        above.setdefault(lower, []).append(upper)
    for index, item in enumerate(items):
        item.above, item.below = tuple(above.get(index, ())), tuple(below.get(index, ()))


def _order(rows: list[list[int]], items: Sequence[_Item]) -> None:
    """Sort each row by the mean place of its neighbours, downwards and upwards in turn; keep the best."""
    at = {index: place for row in rows for place, index in enumerate(row)}
    best, fewest = [list(row) for row in rows], _crossings(rows, items, at)
    for sweep in range(ORDER_SWEEPS):
        downwards = sweep % 2 == 0
        for row in rows if downwards else rows[::-1]:
            middle = {}
            for index in row:
                near = items[index].above if downwards else items[index].below
                middle[index] = sum(at[other] for other in near) / len(near) if near else float(at[index])
            row.sort(key=lambda index: (middle[index], at[index]))
            at.update((index, place) for place, index in enumerate(row))
        found = _crossings(rows, items, at)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
        if not fewest:
            break
    rows[:] = best


def _crossings(rows: Sequence[Sequence[int]], items: Sequence[_Item], at: Mapping[int, int]) -> int:
    count = 0
    for row in rows:
        ends: list[int] = []
        for index in sorted(row, key=lambda index: at[index]):
            mine = [at[other] for other in items[index].below]
            count += sum(len(ends) - bisect_right(ends, end) for end in mine)
            for end in mine:
                insort(ends, end)
    return count


def _position(rows: Sequence[Sequence[int]], items: Sequence[_Item]) -> None:
    """Middles: rows packed first, then each in turn as near to its neighbours as widths allow."""
    for row in rows:
        x = 0.0
        for index in row:
            items[index].x = x + items[index].width / 2
            x += items[index].width + GAP
        for index in row:
            items[index].x -= (x - GAP) / 2
    for sweep in range(PLACE_SWEEPS):
        downwards = sweep % 2 == 0
        for row in rows if downwards else rows[::-1]:
            wishes = []
            for index in row:
                item = items[index]
                near = item.above if downwards else item.below
                if not near or sweep >= PLACE_SWEEPS - 4:
                    near = item.above + item.below
                wishes.append(sum(items[other].x for other in near) / len(near) if near else item.x)
            _settle([items[index] for index in row], wishes)


def _settle(row: Sequence[_Item], wishes: Sequence[float]) -> None:
    """The places nearest to the wishes (least squares) that keep order and gaps."""
    offsets, offset = [], 0.0
    for before, item in zip([None, *row], row):
        if before is not None:
            offset += before.width / 2 + GAP + item.width / 2
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # sum of weighted wishes, of weights, number of items
    for item, wish, offset in zip(row, wishes, offsets):
        weight = 1.0 if item.box is not None else 3.0  # a wire that passes stays straight sooner than a box
        pool = (weight * (wish - offset), weight, 1)
        while pools and pools[-1][0] / pools[-1][1] > pool[0] / pool[1]:
            total, weights, count = pools.pop()
            pool = (total + pool[0], weights + pool[1], count + pool[2])
        pools.append(pool)
    middles = [total / weights for total, weights, count in pools for _ in range(count)]
    for item, middle, offset in zip(row, middles, offsets):
        item.x = middle + offset


def _ports(scene: Scene, places: Sequence[Place]) -> dict[tuple[int, str], tuple[float, float]]:
    """Where wires leave their boxes: below, those of one value at one place, in the order in which they were made."""
    found: dict[int, dict[str, None]] = {}
    for wire in scene.wires:
        found.setdefault(wire.source, {})[wire.port] = None
    return {
        (box, port): (
            places[box].x + places[box].width * ((number + 0.5) / len(ports) - 0.5),
            places[box].y + places[box].height / 2,
        )
        for box, ports in found.items()
        for number, port in enumerate(ports)
    }


def _entry(place: Place, from_x: float) -> float:
    """Where a wire reaches its box from above: towards the side that it comes from."""
    reach = place.width / 2 - 16
    return place.x + max(-reach, min(reach, (from_x - place.x) * 0.35))
