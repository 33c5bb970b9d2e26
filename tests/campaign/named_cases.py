"""What no damage by chance comes to: cases for single lines, and lines that no file reaches.

A case is a function of a folder of its own, the valid runs, and pytest's `monkeypatch`. It raises
what isn't a refusal.
"""

import io
import zipfile
from typing import NamedTuple

import jax
import named_folders
import numpy as np
import valid_runs
from judge import refused

from jbn import store
from jbn.config import (
    DataConfig,
    config_from_dict,
    find_config,
    load_config,
    parse_share,
    plan,
    plan_groups,
    share_groups,
    write_template,
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
    with refused("no such file, and no packaged config"):
        find_config(folder / "nothing")
    with refused("can't be written"):
        write_template(folder / "nothing" / "a.toml")
    path.write_text('name = "a"\n[sweep]\nnorm.momentum = [0.1, 0.9]\n')
    for override in ("norm.momentum=0.5", "norm", "a=1\nb=2", "name.a=1"):
        with refused("--set"):
            load_config(path, [override])
    with refused("found a file or folder of this name"):
        write_template(path)
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


class Held(NamedTuple):
    """Why neither a file nor a config reaches a line; and the test that holds it, if one does."""

    why: str
    test: str = ""  # a file below tests/
    words: str = ""  # in that file
    lines: int = 1  # that are meant


_ARGUMENT, _BATCHES = "an argument in Python", "data/test_batches.py"
_DOWNLOAD, _SHARES = "data/published/test_download.py", "run/test_shares.py"
# By the file of jbn, and words of the line after the name of its function.
NOT_BY_A_FILE = {
    ("config/functions.py", "wanted a function that makes it"): Held(
        _ARGUMENT, "train/test_own_parts.py", "found a GradientTransform.*, wanted a function that"
    ),
    ("data/augment.py", "wanted (batch, height, width, channels)"): Held(
        _ARGUMENT, "test_cli.py", "wanted (batch, height, width, channels)"
    ),
    ("data/batches.py", "batch_size: found {batch_size}, wanted from 1 to"): Held(
        _ARGUMENT, _BATCHES, "batch_size: found 105, wanted from 1 to 104"
    ),
    ("data/batches.py", "for the order {order!r}"): Held(
        _ARGUMENT, _BATCHES, "labels: found shape"
    ),
    ("data/batches.py", "found no examples, wanted at least one"): Held(
        _ARGUMENT, _BATCHES, "found no examples"
    ),
    ("data/batches.py", "inputs and {len(y)} targets, wanted as many"): Held(
        _ARGUMENT, _BATCHES, "found 3 inputs and 2 targets, wanted as many"
    ),
    ("data/sources/mixture.py", "wanted them within float32"): Held(
        "an argument: the schema's bounds are narrower"
    ),
    ("data/published/download.py", "download: found {name!r}, wanted one of"): Held(
        "the name is an argument", _DOWNLOAD, "found 'digits', wanted one of mnist"
    ),
    ("data/published/download.py", "pooch, which isn't installed"): Held(
        "a package that isn't installed", _DOWNLOAD, "test_without_pooch_the_command_is_named"
    ),
    ("data/published/download.py", "can't be fetched into"): Held(
        "the network", _DOWNLOAD, "can't be fetched into"
    ),
    ("data/published/find.py", "_sha256: raise UserError"): Held("a disk that fails"),
    ("data/published/gunzip.py", "{path}: can't be read: {error.strerror}"): Held(
        "a disk that fails"
    ),
    ("data/sources/scikit_learn.py", "No module named 'sklearn'"): Held(
        "a package that isn't installed"
    ),
    ("run/compiler.py", "as jbn calls what it keeps"): Held(
        "a model of the user's own", "run/test_run.py", "found a collection named 'inputs'"
    ),
    ("run/describe.py", "which its metrics lack"): Held(
        "a loss of the user's own", "run/test_own_runs.py", "which its metrics lack"
    ),
    ("run/engine.py", "not even one trial fits"): Held(
        "the device's memory", "run/test_engine.py", "not even one trial fits"
    ),
    ("run/saving.py", "no longer fits the device's memory"): Held(
        "the device's memory", "run/test_saving.py", "no longer fits the device's memory"
    ),
    ("run/kept.py", "damaged, or another's"): Held(
        "is answered by compiling anew",
        "run/test_kept.py",
        "test_a_file_that_is_damaged_is_thrown_away",
    ),
    ("run/longer.py", "can't be extended to more epochs"): Held(
        "the option --extend", "run/test_extend.py", "can't be extended to more epochs"
    ),
    ("run/saving.py", "raise Stopped(number)"): Held(
        "a signal", "run/test_saving.py", "pytest.raises(Stopped)", lines=2
    ),
    ("run/shared.py", "than process 0 has"): Held(
        "several processes", "run/test_several_processes.py", "found another config than process 0"
    ),
    ("run/shares.py", "has parts of {others[0].among}"): Held(
        "the option --part", _SHARES, "has parts of 3; wanted one of these"
    ),
    ("run/shares.py", "goes on as one run; give the command"): Held(
        "the option --part", _SHARES, "goes on as one run; give the command without --part"
    ),
    ("run/shares.py", "its part {share} is going on"): Held(
        "another process", _SHARES, "its part 2/4 is going on; wait for it"
    ),
    ("run/shares.py", "would be imported from a run's folder"): Held(
        "the user's own module",
        "campaign/test_campaign_strangers.py",
        "evil_module:make would be imported from a run's folder",
    ),
    ("store/checkpoints.py", "_as_os_error(error)"): Held(
        "a full disk", "store/test_checkpoints.py", "No space left on device"
    ),
    ("store/table.py", "numbers_in: raise _damaged"): Held("tables are read as a whole before"),
    ("store/table.py", "keep_until: raise _damaged"): Held("tables are read as a whole before"),
    ("store/merge.py", "{run_dir}: holds a run of another config"): Held(
        "the option --part", _SHARES, "holds a run of another config"
    ),
    ("store/lock.py", "no longer this process's"): Held(
        "another process", "store/test_lock.py", "no longer this process's"
    ),
    ("store/lock.py", "raise FolderInUse(_in_use(path, found))"): Held(
        "another process", "store/test_lock.py", "pytest.raises(FolderInUse"
    ),
    ("store/folder.py", "the earlier run is {moved} now"): Held(
        "another process", "store/test_folder.py", "the earlier run is .*small"
    ),
    ("store/weights.py", "_read_orbax: raise UserError(f'model.init_from: found a"): Held(
        "a checkpoint of a list", "store/test_weights.py", "found a list in .*list, wanted params"
    ),
    ("store/folder.py", "which is kept in {path}; choose"): Held(
        "the user's own module",
        "run/test_own_runs.py",
        "run with another version of own_houses",
    ),
}
