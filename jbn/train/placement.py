"""Where arrays lie: the one file that names a mesh, with the axes "lanes" and "batch"."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P


class Placement(NamedTuple):
    """What is shared out among the devices by lane, by example, or lies on each of them."""

    by_lane: NamedSharding
    by_example: NamedSharding
    everywhere: NamedSharding


def place(devices: Sequence[jax.Device], *, num_lanes: int = 1, num_shards: int = 1) -> Placement:
    """The placement of so many lanes, whose batches are in so many shards each.

    It takes the most devices of which each has as many lanes.
    """
    most = len(devices) // num_shards
    number = max(n for n in range(1, most + 1) if num_lanes % n == 0)
    mesh = jax.make_mesh(
        (number, num_shards),
        ("lanes", "batch"),
        (AxisType.Auto, AxisType.Auto),
        devices=devices[: number * num_shards],
    )
    return Placement(*(NamedSharding(mesh, spec) for spec in (P("lanes"), P("batch"), P())))
