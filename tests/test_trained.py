"""A trained model comes back from disk and predicts."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jbn
from jbn.config import DataConfig, UserError
from jbn.data import load
from jbn.store import read_summary


def test_a_loaded_run_predicts_as_it_was_tested(small_run):
    raw = load(DataConfig())
    summary = read_summary(small_run)
    for arm in ("batch_norm", "no_norm"):
        for lane, seed in enumerate((5, 6)):
            loaded = jbn.load_run(small_run, arm=arm, seed=seed)
            probability = np.asarray(loaded.predict(raw.test.x), np.float64)
            np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
            accuracy = (probability.argmax(1) == raw.test.y).mean()
            loss = -np.log(probability[np.arange(len(raw.test.y)), raw.test.y]).mean()
            tested = summary["arms"][arm]
            np.testing.assert_allclose(accuracy, tested["test_accuracy"]["per_seed"][lane])
            np.testing.assert_allclose(loss, tested["test_loss"]["per_seed"][lane], rtol=1e-4)


def test_first_arm_and_first_seed_are_the_default(small_run):
    default, named = (
        jbn.load_run(small_run),
        jbn.load_run(str(small_run), arm="batch_norm", seed=5),
    )
    np.testing.assert_array_equal(
        default.variables["params"]["Dense_0"]["kernel"],
        named.variables["params"]["Dense_0"]["kernel"],
    )
    assert default.config.norm.kind == "batch"


def test_what_is_not_there_is_named(small_run, tmp_path):
    with pytest.raises(UserError, match="arm: found 'x', wanted one of batch_norm, no_norm"):
        jbn.load_run(small_run, arm="x")
    with pytest.raises(UserError, match="seed: found 7, wanted one from 5 to 6"):
        jbn.load_run(small_run, seed=7)
    with pytest.raises(UserError, match=r"can't be read \(No such file or directory\)"):
        jbn.load_run(tmp_path)


def test_a_trial_that_is_not_done_is_named_and_a_damaged_one(small_run, tmp_path):
    unfinished = shutil.copytree(small_run, tmp_path / "unfinished")
    path = unfinished / "variables" / "batch_norm" / "5.npz"
    path.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(UserError, match=r"5.npz: damaged: .*; run it again"):
        jbn.load_run(unfinished)
    path.unlink()
    with pytest.raises(UserError, match=r"5.npz: can't be read \(.*\); the trial isn't done"):
        jbn.load_run(unfinished)
    assert jbn.load_run(unfinished, seed=6).config.norm.kind == "batch"
    (unfinished / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not the config of a run"):
        jbn.load_run(unfinished)


def test_of_no_rows_it_predicts_none(small_run):
    assert jbn.load_run(small_run).predict(jnp.zeros((0, 8, 8, 1))).shape == (0, 10)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_not_finite_is_named(small_run, value):
    x = np.zeros((4, 8, 8, 1), np.float32)
    x[2:, 0] = value
    with pytest.raises(ValueError, match="x: found NaN or infinity in 2 of 4 rows, first in row 2"):
        jbn.load_run(small_run).predict(x)


def test_an_offset_is_subtracted_in_float64_before_prediction(small_run):
    run = jbn.load_run(small_run)
    x = load(DataConfig()).test.x[:5]
    far = run._replace(input_offset=np.array([1.7e12]))
    np.testing.assert_array_equal(far.predict(x.astype(np.float64) + 1.7e12), run.predict(x))


def test_what_needs_float64_does_not_compile(small_run):
    run, x = jbn.load_run(small_run), jnp.zeros((4, 8, 8, 1))
    with pytest.raises(ValueError, match=r"x: found a traced array.*subtract input_offset first"):
        jax.jit(run._replace(input_offset=np.array([1.7e12])).predict)(x)
    data = run.config.data.model_copy(update={"targets": "numbers"})
    regression = run._replace(config=run.config.model_copy(update={"data": data}))
    with pytest.raises(ValueError, match=r"x: found a traced array.*apply target_stats"):
        jax.jit(regression.predict)(x)
