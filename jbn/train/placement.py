"""Where arrays lie: the one file that names a mesh, with the axes "lanes" and "batch"."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jbn.config import UserError

LANES = "lanes"
_BATCH = "batch"
# Each trains lanes of its own; the devices of a row share the batches of its lanes.
Devices = Sequence[jax.Device] | Sequence[Sequence[jax.Device]]


def in_rows(devices: Sequence[jax.Device], batch: int | Literal["all"]) -> list[list[jax.Device]]:
    """The devices in rows of so many, which share a batch.

    Raises:
        UserError: some would be left over.
    """
    size = len(devices) if batch == "all" else batch
    if len(devices) % size:
        raise UserError(
            f"devices.batch: found {size}, wanted a divisor of {len(devices)}, the devices that "
            "JAX has here, or 'all'"
        )
    number = len(devices) // size
    return [list(devices[row * size : (row + 1) * size]) for row in range(number)]


class Placement(NamedTuple):
    """What is shared out among the devices by lane, by example, or lies on each of them."""

    by_lane: NamedSharding
    by_example: NamedSharding
    everywhere: NamedSharding

    @property
    def num_shards(self) -> int:
        """The devices that share a batch."""
        return self.everywhere.mesh.shape[_BATCH]

    def of_batch(self, size: int) -> NamedSharding:
        """The placement of a batch that all lanes share."""
        return self.everywhere if size % self.num_shards else self.by_example

    def of_lanes_batches(self, size: int) -> NamedSharding:
        """The placement of arrays with axes of lanes, of batches, and of so many examples."""
        if size % self.num_shards:
            return self.by_lane
        return NamedSharding(self.everywhere.mesh, P(LANES, None, _BATCH))


def place(devices: Devices, *, num_lanes: int = 1) -> Placement:
    """The placement of so many lanes on devices, or on rows of devices.

    It takes the most of which each has as many lanes.

    Raises:
        UserError: a process would have none.
    """
    rows = np.array(devices).reshape(len(devices), -1)
    number = max(n for n in range(1, len(rows) + 1) if num_lanes % n == 0)
    if idle := _processes(rows) - _processes(rows[:number]):
        raise UserError(
            f"devices.batch: found {rows.shape[1]}, which leaves process {min(idle)} nothing to "
            "train; wanted 'all'"
        )
    mesh = jax.make_mesh(
        (number, rows.shape[1]),
        (LANES, _BATCH),
        (AxisType.Auto, AxisType.Auto),
        devices=rows[:number].ravel().tolist(),
    )
    return Placement(*(NamedSharding(mesh, spec) for spec in (P(LANES), P(_BATCH), P())))


def put(arrays: Any, sharding: NamedSharding) -> Any:
    """The arrays of a tree on the devices.

    All processes have the same arrays. Each puts what its own devices get, and waits for no other.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(arrays, sharding)
    return jax.tree.map(lambda leaf: put_made(leaf.__getitem__, leaf.shape, sharding), arrays)


def put_made(
    make: Callable[[tuple[slice, ...]], Any], shape: tuple[int, ...], sharding: NamedSharding
) -> Any:
    """A tree of arrays, of which `make` returns the part at an index of the first axes.

    It is asked for the parts of this process's devices. The arrays have the shape, and may have
    further axes.
    """
    where = sharding.devices_indices_map(shape)
    mine = [device for device in where if device in sharding.addressable_devices]
    parts = [jax.device_put(make(where[device]), device) for device in mine]

    def whole(*of_devices: jax.Array) -> jax.Array:
        more = of_devices[0].shape[len(shape) :]
        return jax.make_array_from_single_device_arrays((*shape, *more), sharding, of_devices)

    return jax.tree.map(whole, *parts)


def to_host(arrays: Any) -> Any:
    """The arrays of a tree on the host of each process. All processes call it at the same time."""
    for leaf in jax.tree.leaves(arrays):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            sharding: Any = leaf.sharding  # by `put` and programs, one with a mesh
            arrays = _copied(NamedSharding(sharding.mesh, P()))(arrays)
            break
    return jax.device_get(arrays)


@functools.cache
def _copied(everywhere: NamedSharding) -> Callable[[Any], Any]:
    return jax.jit(lambda arrays: arrays, out_shardings=everywhere)


def _processes(devices: np.ndarray) -> set[int]:
    return {device.process_index for device in devices.ravel()}


def spread(examples: Any, by_example: NamedSharding | None) -> Any:
    """The arrays of a batch, in a program, with each device's share of the examples on it.

    What the devices don't divide, each of them computes whole; None: there is one.
    """
    if by_example is None:
        return examples
    num_shards = by_example.mesh.shape[_BATCH]

    def constrained(leaf: Any) -> Any:
        if len(leaf) % num_shards:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, by_example)

    return jax.tree.map(constrained, examples)
