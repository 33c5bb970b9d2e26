"""What was saved comes back to the bit, and what is damaged is never taken for whole."""

import errno
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jbn.store import Checkpoints, Saved
from jbn.store.layout import checkpoints_path


def states(seed=0):
    """A state with all that Orbax needs help with, some of it shared out among two devices."""
    mesh = jax.make_mesh((2,), ("lanes",), devices=jax.devices()[:2])
    keys = jax.random.split(jax.random.key(seed), 4)
    return {
        "kernel": jax.device_put(
            jax.random.normal(keys[0], (4, 3)), NamedSharding(mesh, P("lanes"))
        ),
        "half": jax.random.normal(keys[1], (4,), jnp.bfloat16),
        "empty": jnp.zeros((4, 0)),
        "nothing": None,
        "opt_state": (jnp.arange(4), jnp.float32(seed)),
        "keys": keys,
    }


def progress(seed=0):
    return {"epoch": seed, "metrics": {"loss": np.float32([seed, np.nan])}, "none": {}}


def bits(tree):
    def of(leaf):
        if jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf).tobytes()

    return jax.tree.map(of, tree)


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path, "2 devices", keep=2)
    yield opened
    opened.close()


def save(checkpoints, *steps, first_trial=0):
    for step in steps:
        checkpoints.save(first_trial, "mine", Saved(step, states(step), progress(step)))
    checkpoints.wait()


def load(checkpoints, identity="mine", like=None):
    said = []
    found = checkpoints.load(0, identity, states() if like is None else like, said.append)
    return found, said


def test_the_last_one_comes_back_to_the_bit_and_where_it_was(checkpoints, tmp_path):
    save(checkpoints, 3, 20, 100)
    found, said = load(checkpoints)
    assert (found.step, said) == (100, [])
    assert bits(found.state) == bits(states(100))
    assert found.state["kernel"].sharding == states()["kernel"].sharding
    assert bits(found.progress["metrics"]) == bits(progress(100)["metrics"])
    assert found.progress["epoch"] == 100
    kept = sorted(path.name for path in checkpoints_path(tmp_path, 0).iterdir())
    assert kept == ["100", "100.json", "20", "20.json"]


def test_a_state_may_be_donated_as_soon_as_it_is_being_saved(checkpoints):
    wanted = bits(states(1)["kernel"])
    reuse = jax.jit(lambda state: jax.tree.map(lambda leaf: 0 * leaf, state), donate_argnums=0)
    for step in range(5):
        state = {"kernel": states(1)["kernel"]}
        checkpoints.save(0, "mine", Saved(step, state, {"epoch": step}))
        jax.block_until_ready(reuse(state))
        found, _ = (checkpoints.wait(), load(checkpoints, like={"kernel": states()["kernel"]}))[1]
        assert bits(found.state["kernel"]) == wanted


def damage(path, how):
    content = bytearray(path.read_bytes())
    match how:
        case "a flipped bit":
            content[len(content) // 2] ^= 1
        case "cut":
            content = content[: len(content) // 2]
        case "gone":
            path.unlink()
            return
        case "of another":
            content = bytearray(b"{}")
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["a flipped bit", "cut", "gone", "of another"])
def test_a_damaged_one_is_said_and_the_one_before_is_taken(checkpoints, tmp_path, how):
    """Whichever of its files is damaged: each of them in turn."""
    save(checkpoints, 3, 20)
    whole = tmp_path / "whole"
    folder = checkpoints_path(tmp_path, 0)
    shutil.copytree(folder, whole)
    files = [path.relative_to(folder) for path in (folder / "20").rglob("*") if path.is_file()]
    tried = 0
    for file in [*files, (folder / "20.json").relative_to(folder)]:
        if not (folder / file).stat().st_size:
            continue
        damage(folder / file, how)
        found, said = load(checkpoints)
        assert found.step == 3, file
        assert bits(found.state) == bits(states(3))
        if how == "gone" and file.suffix == ".json":
            assert said == []  # without its digests it was never whole
        else:
            (line,) = said
            assert "20" in line
            assert ": damaged" in line
            assert line.endswith("; the run goes on from the checkpoint before, or the beginning")
            assert "\n" not in line
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        tried += 1
    assert tried > 10


def test_what_is_of_another_training_is_not_taken(checkpoints):
    save(checkpoints, 3)
    found, (line,) = load(checkpoints, identity="yours")
    assert found is None
    assert "of another training" in line
    for like in (
        states() | {"kernel": jnp.zeros((2, 3))},
        states() | {"half": jnp.zeros(4)},
        states() | {"more": jnp.zeros(1)},
    ):
        found, (line,) = load(checkpoints, like=like)
        assert found is None
        assert "of arrays with other shapes" in line


def test_on_other_devices_it_is_taken_and_said(checkpoints, tmp_path):
    save(checkpoints, 3)
    on_one = jax.tree.map(lambda leaf: jax.device_put(leaf, jax.devices()[3]), states())
    elsewhere = Checkpoints(tmp_path, "1 device", keep=2)
    found, (line,) = load(elsewhere, like=on_one)
    elsewhere.close()
    assert bits(found.state) == bits(states(3))
    assert found.state["kernel"].devices() == {jax.devices()[3]}
    assert "saved on 2 devices; on 1 device the run goes on, and is the same to rounding" in line


def test_what_a_killed_process_was_writing_is_no_checkpoint_and_in_nobodys_way(
    checkpoints, tmp_path
):
    save(checkpoints, 3)
    folder = checkpoints_path(tmp_path, 0)
    (folder / "20.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    shutil.copytree(folder / "3", folder / "20")  # written, and its digests not yet
    assert load(checkpoints)[0].step == 3
    save(checkpoints, 20)
    assert load(checkpoints)[0].step == 20
    assert not list(folder.glob("*tmp*"))


def test_later_ones_of_a_training_that_went_another_way_do_not_push_new_ones_out(checkpoints):
    """Those that can't be read are later than what is saved after them."""
    save(checkpoints, 1000, 2000)
    found, said = load(checkpoints, identity="other")
    assert (found, len(said)) == (None, 2)
    for step in (100, 200, 300):
        checkpoints.save(0, "other", Saved(step, states(step), progress(step)))
    checkpoints.wait()
    found, said = load(checkpoints, identity="other")
    assert (found.step, said) == (300, [])


def test_a_full_disk_is_an_error_of_the_system(checkpoints, monkeypatch):
    from orbax.checkpoint import v1 as orbax

    class Fails:
        def result(self):
            raise ValueError("RESOURCE_EXHAUSTED: Failed writing [os_error_code='28']")

    monkeypatch.setattr(orbax, "save_checkpointables_async", lambda *_: Fails())
    checkpoints.save(0, "mine", Saved(3, states(), progress()))
    with pytest.raises(OSError, match="No space left on device") as error:
        checkpoints.wait()
    assert error.value.errno == errno.ENOSPC
    assert load(checkpoints) == (None, [])


def test_the_checkpoints_of_a_turn_go_and_those_of_others_stay(checkpoints, tmp_path):
    save(checkpoints, 3, 20)
    save(checkpoints, 5, 6, first_trial=7)
    checkpoints.remove(0)
    assert load(checkpoints) == (None, [])
    assert not checkpoints_path(tmp_path, 0).exists()
    checkpoints.remove(7, but_last=True)
    kept = sorted(path.name for path in checkpoints_path(tmp_path, 7).iterdir())
    assert kept == ["6", "6.json"]
