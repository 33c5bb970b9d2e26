"""Kept programs: the bits of new ones, never another's, and nothing of a user's own among them."""

import os
import shutil

import jax
import numpy as np
import pytest

from jbn import store
from jbn.config import config_from_dict
from jbn.run import compiler, kept, run
from jbn.train import compile_together

TABLE = {
    "name": "x",
    "num_seeds": 2,
    "model": {"hidden_sizes": [4]},
    "train": {"num_epochs": 2, "batch_size": 480},
    "arms": {
        "slow": {},
        "fast": {"optimizer": {"learning_rate": 0.1}},
        "raw": {"data": {"normalize": "none", "input_scale": 0.1}},
    },
}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A cache that a run has filled, and what the run came to."""
    folder = tmp_path_factory.mktemp("first")
    return folder / "cache", results(folder / "x", folder / "cache")


@pytest.fixture
def cache(first, tmp_path):
    """That cache, to be changed."""
    return shutil.copytree(first[0], tmp_path / "cache")


@pytest.fixture
def compiled(monkeypatch):
    """The names of the parts that were compiled, as they come."""
    names = []

    def noted(parts):
        names.extend(parts)
        return compile_together(parts)

    monkeypatch.setattr(kept, "compile_together", noted)
    return names


def results(out, cache, table=TABLE):
    """What a run comes to, bit for bit."""
    run(config_from_dict(table), out, device=jax.devices()[0], cache=cache)
    variables = store.read_variables(out, "fast", 1)
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(variables)]
    return (out / "metrics.csv").read_bytes(), (out / "norms.json").read_bytes(), leaves


def test_a_kept_program_is_not_compiled_and_comes_to_the_same_bits(tmp_path, first, compiled):
    _, wanted = first
    assert results(tmp_path / "a", None) == wanted
    assert results(tmp_path / "b", tmp_path) == wanted
    # All arms are one program.
    assert sorted(compiled) == ["baseline", "epoch", "finish", "init", "norms"]
    assert results(tmp_path / "c", tmp_path) == wanted
    assert len(compiled) == 5


SLOW = [pytest.param(of, marks=pytest.mark.slow) for of in ("changed", "another's")]


@pytest.mark.parametrize("damage", ["cut", *SLOW])
def test_a_file_that_is_damaged_is_thrown_away(tmp_path, first, cache, compiled, damage):
    _, wanted = first
    files = sorted((cache / "programs").iterdir())
    contents = [path.read_bytes() for path in files]
    others = [*contents[1:], contents[0]]
    for path, content, other in zip(files, contents, others, strict=True):
        changed = {
            "cut": content[: len(content) // 2],
            "changed": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
            "another's": other,
        }[damage]
        path.write_bytes(changed)
    assert results(tmp_path / "b", cache) == wanted
    assert len(compiled) == 5
    assert results(tmp_path / "c", cache) == wanted
    assert len(compiled) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"num_seeds": 4},
        {"model": {"hidden_sizes": [4], "activation": "tanh"}},
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                {"train": {"num_epochs": 2, "batch_size": 240}},
                {"data": {"name": "mixture"}},
                {"loss": {"class_weights": "balanced"}},
            )
        ),
    ],
)
def test_another_config_is_another_program(tmp_path, cache, compiled, change):
    results(tmp_path / "b", cache, TABLE | change)
    assert compiled.count("epoch") == 1


def test_all_splits_share_a_program_and_come_to_their_own_numbers(tmp_path, cache, compiled):
    table = TABLE | {"data": {"split_seed": 1}}
    found = results(tmp_path / "b", cache, table)
    assert compiled == []
    assert found == results(tmp_path / "c", None, table)


def test_splits_share_a_program_of_a_users_model_too(tmp_path, compiled, monkeypatch):
    monkeypatch.setattr(compiler, "compile_together", vars(kept)["compile_together"])
    table = TABLE | {"model": {"factory": "run.test_run:OwnStatistics"}, "arms": {"only": {}}}
    found = {}
    for name, more in (
        ("alone", {"data": {"split_seed": 9}}),
        ("sweep", {"sweep": {"data.split_seed": [*range(10)]}}),
    ):
        run(config_from_dict(table | more), tmp_path / name, device=jax.devices()[0])
        found[name] = store.read_trials(tmp_path / name)["val_loss"]
    assert compiled.count("epoch") == 2
    np.testing.assert_array_equal(found["sweep"][-2:], found["alone"])


def test_weights_that_balance_a_split_are_of_no_other(tmp_path, compiled):
    for seed in (0, 1):
        data, loss = {"split_seed": seed}, {"class_weights": "balanced"}
        results(tmp_path / str(seed), tmp_path, TABLE | {"data": data, "loss": loss})
    assert compiled.count("epoch") == 2


def test_a_changed_jbn_compiles_anew(tmp_path, cache, compiled, monkeypatch):
    monkeypatch.setattr(kept, "_digest_of_source", lambda: "another")
    results(tmp_path / "b", cache)
    assert compiled.count("epoch") == 1


def test_what_a_user_wrote_is_not_kept(tmp_path):
    table = TABLE | {"model": {"factory": "run.test_run:OwnStatistics"}}
    results(tmp_path / "a", tmp_path, table)
    assert not (tmp_path / "programs").exists()


def test_the_folder_has_an_end_and_what_was_used_last_stays(tmp_path, cache, monkeypatch):
    files = set((cache / "programs").iterdir())
    total = sum(path.stat().st_size for path in files)
    younger = cache / "programs" / f"{'0' * 64}.jbn-program"
    younger.write_bytes(bytes(2 * total))
    for path in (*files, younger):
        os.utime(path, times=(2, 2) if path == younger else (1, 1))
    monkeypatch.setattr(kept, "_MOST_BYTES", 3 * total + total // 2)
    results(tmp_path / "b", cache)  # the older ones are used again, and all may stay
    assert set((cache / "programs").iterdir()) == {*files, younger}
    results(tmp_path / "c", cache, TABLE | {"model": {"hidden_sizes": [5]}})
    left = set((cache / "programs").iterdir())
    assert sum(path.stat().st_size for path in left) <= kept._MOST_BYTES
    assert left > files
    assert younger not in left


def test_other_files_of_the_folder_are_left_alone(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "thesis.tar").write_bytes(bytes(100))
    monkeypatch.setattr(kept, "_MOST_BYTES", 1)
    results(tmp_path / "a", tmp_path)
    assert [path.name for path in folder.iterdir()] == ["thesis.tar"]


def test_jaxs_own_cache_is_as_it_was_after_a_run(tmp_path, cache):
    before = jax.config.values["jax_enable_compilation_cache"]
    results(tmp_path / "a", cache)
    assert jax.config.values["jax_enable_compilation_cache"] == before
