"""Weights to begin with, from each place that they may lie in."""

import chex
import numpy as np
import orbax.checkpoint
import pytest
from orbax.checkpoint import v1

from jbn.config import UserError
from jbn.store import read_variables, read_weights
from jbn.store.arrays import save_arrays

WEIGHTS = {
    "params": {"head": {"kernel": np.float32([[1, 2]]), "bias": np.float32([3])}},
    "batch_stats": {"norm": {"mean": np.float32([4, 5])}},
}


def save_npz(path):
    save_arrays(path.with_suffix(".npz"), WEIGHTS)
    return path.with_suffix(".npz")


def save_by_numpy(path):
    flat = {"params/head/kernel": WEIGHTS["params"]["head"]["kernel"]}
    flat |= {"params/head/bias": WEIGHTS["params"]["head"]["bias"]}
    np.savez(path, **flat, **{"batch_stats/norm/mean": np.float32([4, 5])})
    return path.with_suffix(".npz")


def save_new_orbax(path):
    v1.save(path, WEIGHTS)
    return path


def save_old_orbax(path):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, WEIGHTS)
    return path


@pytest.mark.filterwarnings("ignore")  # Orbax's own
@pytest.mark.parametrize("save", [save_npz, save_by_numpy, save_new_orbax, save_old_orbax])
def test_weights_are_read_as_they_were_saved(save, tmp_path):
    found = read_weights(save(tmp_path / "weights"))
    chex.assert_trees_all_equal(found, WEIGHTS)


def test_a_run_gives_those_of_its_first_trial_or_of_any(small_run):
    first = read_variables(small_run, "batch_norm", 5)
    chex.assert_trees_all_equal(read_weights(small_run), first)
    other = read_weights(small_run / "variables" / "no_norm" / "6.npz")
    assert sorted(other) == ["inputs", "params"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nothing", "found nothing at .*nothing, wanted a run's folder, an npz file or an Orbax"),
        ("text.npz", r"text.npz can't be read as an npz file"),
        ("folder", "folder is no run and no Orbax checkpoint"),
        ("other.npz", "found x in .*other.npz, wanted params, and other collections"),
        ("a" * 300, "found nothing at .*a, wanted a run's folder"),
        ("list", "found a list in .*list, wanted params, and other collections"),
        ("of_lists", "found nothing in .*of_lists, wanted params, and other collections"),
    ],
)
def test_what_holds_no_weights_is_named(tmp_path, name, line):
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "other.npz", x=np.zeros(2))
    v1.save(tmp_path / "list", [np.zeros(2)])
    v1.save(tmp_path / "of_lists", {"params": [np.zeros(2)]})
    with pytest.raises(UserError, match=f"^model.init_from: .*{line}"):
        read_weights(tmp_path / name)


def test_a_home_of_nobody_is_a_folder_that_is_not_there():
    with pytest.raises(UserError, match="found nothing at ~nobody-of-this-name/x, wanted"):
        read_weights("~nobody-of-this-name/x")
