"""Trains on the devices that are told, alone or as one of two processes, and writes what it found.

    JAX_NUM_CPU_DEVICES=2 python spread.py OUT [PORT PROCESS]

It is run by `test_processes.py`.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jbn.config import config_from_dict, plan
from jbn.data import Batch, Dataset, Examples, fit_inputs
from jbn.processes import agreed, is_first, join
from jbn.train import (
    Hypers,
    TrainKeys,
    compile_in_parts,
    compile_program,
    in_rows,
    make_lanes,
    make_task,
    place,
    put,
    to_host,
)

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=512).astype(np.int32)
X = (RNG.normal(size=(512, 8)) + 1.5 * np.eye(8)[Y]).astype(np.float32)
SECTIONS = {
    "name": "x",
    "model": {"hidden_sizes": [16, 16]},
    "optimizer": {"kind": "momentum", "learning_rate": 0.05},
    "train": {"num_epochs": 2, "batch_size": 16},
}
TRAIN, VAL, TEST = (
    Examples(X[rows], Y[rows]) for rows in (slice(320), slice(320, 400), slice(400, 512))
)


def main(out, *where):
    """All that is found, in one file."""
    if where:
        port, process = where
        join(f"127.0.0.1:{port}", 2, int(process))
    found = {"in float32": steps(20, jnp.float32), "seeds": seeds(compile_program)}
    with jax.enable_x64():
        found["in float64"] = steps(40, jnp.float64)
    found["fed by the host"] = seeds(functools.partial(compile_in_parts, on_host=True))
    assert agreed([jax.process_index()]) == [0]
    if is_first():
        flat = jax.tree_util.tree_leaves_with_path(found)
        np.savez(out, **{jax.tree_util.keystr(path): leaf for path, leaf in flat})


def made(num_seeds):
    """A program of so many seeds, its data and its task."""
    (program,) = plan(config_from_dict({**SECTIONS, "num_seeds": num_seeds}))
    stats = fit_inputs(program.config.data, TRAIN.x)
    dataset = Dataset(TRAIN, VAL, TEST, stats, 3, sha256="", where="here")
    return program, dataset, make_task(program.config, dataset.spec)


def steps(number, dtype):
    """The first gradient and statistics, the losses, and the last state."""
    program, _, task = made(1)
    placement = place(in_rows(jax.devices(), "all"))
    task = task.spread_by(placement.by_example)
    keys, hypers = TrainKeys.of(jax.random.key(0)), Hypers.of(program.config)
    state = jax.tree.map(
        lambda leaf: leaf.astype(dtype) if leaf.dtype == jnp.float32 else leaf,
        jax.jit(task.init)(keys, hypers),
    )
    state, keys, hypers = put((state, keys, hypers), placement.everywhere)
    step, losses, first = jax.jit(task.step), [], None
    for rows in np.arange(number * 16).reshape(number, 16) % 320:
        x, y = TRAIN.x[rows].astype(dtype), TRAIN.y[rows]
        batch = put(Batch(x, y), placement.by_example)
        if first is None:
            first = to_host(jax.jit(task.gradient)(state, batch, keys, hypers)[:2])
        state, metrics = step(state, batch, keys, hypers)
        losses.append(to_host(metrics.batch.means["loss"]))
    return {"first": first, "losses": np.array(losses), "state": to_host(state)}


def seeds(compile_lanes):
    """Eight seeds, in rows of two devices where there are so many."""
    program, dataset, task = made(8)
    rows = in_rows(jax.devices(), min(2, len(jax.devices())))
    lanes = make_lanes(program, program.trials)
    compiled = compile_lanes(task, program, dataset, 8, rows)
    state, losses = compiled.init(lanes), []
    for _ in range(SECTIONS["train"]["num_epochs"]):
        *_, (state, _, metrics) = compiled.run_epoch(state, lanes, None)
        losses.append(to_host(metrics.train["loss"]))
    variables, test = to_host(compiled.finish(state, lanes))
    return {"losses": np.array(losses), "accuracy": test["accuracy"], "variables": variables}


if __name__ == "__main__":
    main(*sys.argv[1:])
