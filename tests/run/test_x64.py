"""A run is the same with x64 on: float32, and it goes on from what was saved with x64 off."""

import contextlib

import jax
import numpy as np
import pytest
from recorded import Recorder

from jbn import store
from jbn.config import config_from_dict
from jbn.run import PartEnded, Stopped, run
from jbn.run.stop import Stop

TABLE = {
    "name": "x",
    "num_seeds": 1,
    "model": {"hidden_sizes": [4]},
    "train": {"num_epochs": 4, "batch_size": 300, "ema_decay": 0.5},
    "optimizer": {"kind": "adamw", "schedule": "cosine"},
    "checkpoint": {"every_epochs": 1, "keep_best": True},
    "arms": {"batch": {"norm": {"momentum_warmup": True}}},
}


@contextlib.contextmanager
def x64(is_on):
    """In all threads, as JAX_ENABLE_X64 is."""
    jax.config.update("jax_enable_x64", is_on)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def train(out, stop_after=None):
    """The dtypes of the run's states, by their paths."""
    stop, recorder = Stop(), Recorder()
    dtypes = {}

    def sink(event):
        if isinstance(event, PartEnded):
            leaves = jax.tree_util.tree_leaves_with_path((event.turn.state, event.turn.best.state))
            dtypes.update({jax.tree_util.keystr(path): leaf.dtype for path, leaf in leaves})
            if event.turn.epoch == stop_after:
                stop.number = 15

    # The saver looks at `stop` before this sink hears: the run ends after the next epoch.
    with contextlib.nullcontext() if stop_after is None else pytest.raises(Stopped):
        run(
            config_from_dict(TABLE), out, device=jax.devices()[0], sinks=[recorder, sink], stop=stop
        )
    return dtypes, recorder.said


def numbers(out):
    """All numbers that the run came to, but for its times."""
    tables = [store.read_trials(out), store.read_metrics(out)]
    kept = [{k: v for k, v in t.items() if k not in ("seconds", "part", "arm")} for t in tables]
    return [kept, *(store.read_variables(out, "batch", 0, best=best) for best in (False, True))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with x64 off: its numbers, and its dtypes."""
    out = tmp_path_factory.mktemp("runs") / "off"
    dtypes, _ = train(out)
    return numbers(out), dtypes


def close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), found, wanted)


@pytest.mark.parametrize("first", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_run_goes_on_where_x64_is_another(tmp_path, whole, first):
    wanted, dtypes = whole
    assert {dtype.name for dtype in dtypes.values()} <= {"float32", "int32"}
    with x64(first):
        found, _ = train(tmp_path / "run", stop_after=1)
    assert found == dtypes
    with x64(not first):
        found, said = train(tmp_path / "run")
    assert found == dtypes
    assert not [line for line in said if "goes on from the checkpoint before" in line]
    assert store.read_trials(tmp_path / "run")["part"].tolist() == [1]
    close(numbers(tmp_path / "run"), wanted)
