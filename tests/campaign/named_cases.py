"""What no damage by chance comes to: cases for single lines, and lines that no file reaches.

A case is a function of a folder of its own, the valid runs, and pytest's `monkeypatch`. It raises
what isn't a refusal.
"""

import io
import zipfile

import jax
import named_folders
import numpy as np
import valid_runs
from judge import refused

from jbn import store
from jbn.config import (
    DataConfig,
    config_from_dict,
    load_config,
    parse_share,
    plan,
    plan_groups,
    share_groups,
)
from jbn.data import load
from jbn.data.sources import LOADERS
from jbn.run import run


def config_files(folder, runs, monkeypatch):
    """Files that are no configs, and arguments that don't fit one."""
    path = folder / "config.toml"
    with refused("no such file"):
        load_config(path)
    with refused("found a folder"):
        load_config(folder)
    path.write_bytes(b"\xff")
    with refused("no UTF-8 text"):
        load_config(path)
    path.unlink()
    path.symlink_to(path)
    with refused("can't be read"):
        load_config(path)
    path.unlink()
    path.write_text('name = "a"\n[sweep]\nnorm.momentum = [0.1, 0.9]\n')
    for override in ("norm.momentum=0.5", "norm", "a=1\nb=2", "name.a=1"):
        with refused("--set"):
            load_config(path, [override])
    config = load_config(path)
    for share in ("3/2", "a/b", "1/9"):
        with refused("--part"):
            share_groups(plan_groups(plan(config)), parse_share(share))


def data_that_are_not_there(folder, runs, monkeypatch):
    """No files, files without an end, and no memory."""

    def exhausted(config):
        raise MemoryError

    with refused("found its files in none of"):
        load(DataConfig(name="cifar10", dir=str(folder)))
    with refused("found a device or a pipe"):
        load(DataConfig(name="csv", path="/dev/zero"))
    monkeypatch.setitem(LOADERS, "wine", exhausted)
    with refused("doesn't fit into this machine's memory"):
        load(DataConfig(name="wine"))


def configs_that_do_not_fit_the_machine(folder, runs, monkeypatch):
    """What is found when a run begins, before a file is written, or when its numbers end."""
    for changes, words in (
        ({"devices": {"batch": 4}, "train": {"batch_size": 6}}, "wanted a multiple of 4"),
        ({"report": {"metric": "rmse"}}, "report.metric: found 'rmse'"),
    ):
        with refused(words):
            run(_changed(changes), folder / "a", device=jax.devices()[0])
        assert not (folder / "a").exists()
    diverges = {"on_divergence": "stop", "optimizer": {"learning_rate": 1e30, "kind": "sgd"}}
    with refused("the run stops there, as on_divergence says"):
        run(_changed({**diverges, "arms": {}}), folder / "b", device=jax.devices()[0])


def _changed(changes):
    return config_from_dict(valid_runs.TABLE | changes)


def weights_that_are_none(folder, runs, monkeypatch):
    """Weights without statistics of inputs, with others, and what isn't weights."""
    valid = store.read_variables(runs["finished"], "slow", 0)
    mean = valid["inputs"]["mean"]
    for inputs, words in (
        ({"mean": mean}, "its statistics of the inputs are damaged"),
        ({**valid["inputs"], "std": mean[:1]}, "found the shapes"),
    ):
        path = folder / "weights.npz"
        store.arrays.save_arrays(path, {**valid, "inputs": inputs})
        with refused(words):
            table = {"model": {"hidden_sizes": [4], "init_from": str(path)}}
            run(_changed(table), folder / "a", device=jax.devices()[0])
    np.savez(path, a=mean)
    with refused("wanted params"):
        store.read_weights(path)
    with refused("is no run and no Orbax checkpoint"):
        store.read_weights(folder)
    np.savez(path, **{"params": mean, "params/a": mean})
    with refused("params is an array, and has others below it"):
        store.read_weights(path)
    path.write_bytes(b"text")
    with refused("can't be read as an npz file"):
        store.read_weights(path)
    with refused("found nothing at"):
        store.read_weights(folder / "nothing")
    with zipfile.ZipFile(path, "w") as archive:  # bombs of which each is small
        for name in ("params/a", "params/b"):
            archive.writestr(f"{name}.npy", _npy_of_zeros())
    monkeypatch.setattr("jbn._npz._memory", lambda: 2**20)
    with refused("more than this machine's memory"):
        store.read_weights(path)
    monkeypatch.undo()


def _npy_of_zeros():
    file = io.BytesIO()
    np.save(file, np.zeros(2**20, np.uint8))
    return file.getvalue()


CASES = {
    of.__name__: of
    for of in (
        *(config_files, data_that_are_not_there, configs_that_do_not_fit_the_machine),
        *(weights_that_are_none, *named_folders.CASES),
    )
}
# Words of the lines that no file and no config reaches, and why; or who else holds them.
NOT_BY_A_FILE = {
    "wanted a function that makes it": "an argument in Python",
    "wanted (batch, height, width, channels)": "an argument in Python",
    "batch_size: found {batch_size}, wanted from 1 to": "an argument in Python",
    "for the order {order!r}": "an argument in Python",
    "found no examples, wanted at least one": "an argument in Python",
    "inputs and {len(y)} targets, wanted as many": "an argument in Python",
    "wanted them within float32": "an argument: the schema's bounds are narrower",
    "download: ": "the name is an argument; tests/data/published/test_download.py",
    "can't be fetched into": "the network; tests/data/published/test_download.py",
    "{path}: can't be read: {error.strerror}": "a disk that fails",
    "No module named 'sklearn'": "a package that isn't installed",
    "as jbn calls what it keeps": "a model of the user's own; tests/run/test_own_runs.py",
    "which its metrics lack": "a loss of the user's own; tests/run/test_own_runs.py",
    "not even one trial fits": "the device's memory; tests/run/test_engine.py",
    "no longer fits the device's memory": "the device's memory; tests/run/test_saving.py",
    "damaged, or another's": "is answered by compiling anew; tests/run/test_kept.py",
    "can't be extended to more epochs": "the option --extend; tests/run/test_extend.py",
    "raise Stopped(number)": "a signal; tests/run/test_stop.py",
    "than process 0 has": "several processes; tests/run/test_several_processes.py",
    "has parts of {others[0].among}": "the option --part; tests/run/test_shares.py",
    "goes on as one run; give the command": "the option --part; tests/run/test_shares.py",
    "its part {share} is going on": "another process; tests/run/test_shares.py",
    "would be imported from a run's folder": "test_campaign_strangers.py",
    "_as_os_error(error)": "a full disk; tests/store/test_checkpoints.py",
    "_damaged(path, error)": "tables are read as a whole before; tests/store/test_table.py",
    "{run_dir}: holds a run of another config": "the option --part; tests/run/test_shares.py",
    "no longer this process's": "another process; tests/store/test_folder.py",
    "raise FolderInUse(_in_use(path, found))": "another process; tests/store/test_lock.py",
    "can't be written: {error.strerror": "a full disk; tests/run/test_saving.py",
    "which is kept in {path}; choose": "the user's own module; tests/run/test_own_runs.py",
}
