"""Valid runs of a few numbers, whose folders are damaged, and what may be done with a folder."""

import csv
import shutil
import warnings

import jax
import numpy as np
from judge import commanded

import jbn
from jbn import store
from jbn.config import Share, config_from_dict
from jbn.report.page import write_report
from jbn.run import PartEnded, run, run_merged
from jbn.run.compiler import Compiler
from jbn.run.stop import Stop, Stopped

TABLE = {
    "name": "campaign",
    "num_seeds": 2,
    "data": {"name": "mixture", "mixture": {"num_examples": 40, "num_features": 3}},
    "model": {"hidden_sizes": [4]},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "train": {"num_epochs": 2, "batch_size": 8},
    "checkpoint": {"every_epochs": 1, "keep_best": True},
    "arms": {"slow": {}, "fast": {"optimizer": {"learning_rate": 0.5}}},
}
CONFIG = config_from_dict(TABLE)
SWEEP = config_from_dict(
    {**TABLE, "arms": {}, "sweep": {"norm": {"momentum": [0.5, 0.9]}, "max_lanes": 2}}
)


def compiled_once(patch):
    """Runs share their programs, in memory: nothing is kept on the disk, which is a pickle."""
    built, build = {}, Compiler._build

    def build_once(self, key, parts):
        place = repr((self._devices, key, *parts))
        if place not in built:
            built[place] = build(self, key, parts)
        return built[place]

    patch.setattr(Compiler, "_build", build_once)


class StopsAt:
    """A sink that tells a run to end after so many epochs of all turns."""

    def __init__(self, stop, number):
        self.stop, self.left = stop, number

    def __call__(self, event):
        if isinstance(event, PartEnded):
            self.left -= 1
            if not self.left:
                self.stop.number = 15


def trained(out, config=CONFIG, *, stops_after=0, **options):
    """Trains in the folder; with `stops_after`, up to so many epochs of turns."""
    stop = Stop()
    sinks = [StopsAt(stop, stops_after)]
    try:
        # The sink of epochs comes after the saver: the next part sees that it is to end.
        run(config, out, device=jax.devices()[0], sinks=sinks, stop=stop, **options)
    except Stopped:
        assert stops_after


def make_runs(root):
    """The folders of a finished run, a stopped one, a sweep's, and one with a sweep's parts."""
    folders = {name: root / name for name in ("finished", "stopped", "swept", "shared")}
    trained(folders["finished"])
    write_report(folders["finished"])
    trained(folders["stopped"], stops_after=3)
    trained(folders["swept"], SWEEP)
    for number in (1, 2):
        share = Share(number, 2)
        trained(store.share_path(folders["shared"], share), SWEEP, share=share)
    return folders


def go_on(out, config=CONFIG):
    """The run goes on to its end, and is whole then."""
    trained(out, config)
    check_whole(out, config)


def report(out):
    """The page is written, and has a row for each arm with a trial, and curves of the epochs."""
    page = write_report(out).read_text(encoding="utf-8")
    assert page.endswith("</html>")
    for row in read_rows(out / "trials.csv"):
        assert f"<td>{row['arm']}</td>" in page
    if read_rows(out / "metrics.csv"):
        assert "<svg" in page


def report_by_command(out):
    """As a user writes the page."""
    return commanded("report", out)


def load(out):
    """Every trial that is done predicts numbers."""
    jbn.load_run(out)
    rows = read_rows(out / "trials.csv")
    config = store.read_config(out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in rows[:1] + rows[-1:]:
            for best in {False, config.checkpoint.keep_best}:
                found = jbn.load_run(out, arm=row["arm"], seed=int(row["seed"]), best=best)
                features = found.input_stats.mean.shape
                y = found.predict(np.ones((2, *features), np.float32))
                assert y.shape[0] == 2


def begin_with(out):
    """The weights of the run's first trial are read."""
    assert store.read_weights(out)["params"]


def merge(out, merged):
    """The parts in the folder become one run, which is whole unless they lack a trial."""
    options = {"device": jax.devices()[0], "sinks": []}
    if run_merged(merged, [out], **options):
        check_whole(merged, SWEEP)
    else:
        assert {int(row["trial"]) for row in read_rows(merged / "trials.csv")} < set(range(4))


def read_rows(path):
    """A table as Python's own module reads it."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_whole(out, config):
    """Nothing partial: each trial once, with each of its epochs, and its variables."""
    num_trials = len(config.arms) * config.num_seeds * len(SWEEP.sweep.axes["norm.momentum"])
    if not config.sweep.axes:
        num_trials = len(config.arms) * config.num_seeds
    assert (out / "summary.json").exists()
    assert [int(row["trial"]) for row in read_rows(out / "trials.csv")] == list(range(num_trials))
    wanted = [(trial, epoch) for trial in range(num_trials) for epoch in (1, 2)]
    rows = read_rows(out / "metrics.csv")
    assert [(int(row["trial"]), int(row["epoch"])) for row in rows] == wanted
    for row in rows:
        assert row["train_loss"]
        assert row["val_loss"]
    if not config.sweep.axes:
        assert len(list((out / "variables").rglob("*.npz"))) == 2 * num_trials


def copied(folder, target):
    """A copy to be damaged."""
    return shutil.copytree(folder, target, symlinks=True)
