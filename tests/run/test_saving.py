"""A run that is stopped goes on from what it saved, and comes to the bits of one that wasn't."""

import contextlib
import functools
import time

import jax
import numpy as np
import pytest
from recorded import Recorder, results

from jbn import store
from jbn.config import CheckpointConfig, UserError, config_from_dict, plan, plan_groups
from jbn.run import EpochEnded, PartEnded, Stopped, TrainingBegan, TurnState, run
from jbn.run.compiler import Compiler
from jbn.run.saving import Saver, _identity
from jbn.run.stop import Stop
from jbn.store.layout import checkpoints_path
from jbn.train import TrainKeys
from jbn.trained import load_run

pytestmark = pytest.mark.usefixtures("programs_compiled_once")

TABLE = {
    "name": "x",
    "num_seeds": 3,
    "model": {"hidden_sizes": [4]},
    "train": {"num_epochs": 4, "batch_size": 300, "ema_decay": 0.5},  # five batches
    "sweep": {"max_lanes": 2},
    "checkpoint": {"every_epochs": 1},
}


class Fails(BaseException):
    """What SIGKILL is, to those who are told nothing."""


def start(out, table=TABLE, *, sink=None, stop=None):
    recorder = Recorder()
    sinks = [recorder, *([] if sink is None else [sink])]
    run(config_from_dict(table), out, device=jax.devices()[0], sinks=sinks, stop=stop)
    return recorder


def fail_at(number, kind=PartEnded):
    """A sink that fails at the event of that kind and number, from 1."""
    events = []

    def sink(event):
        if isinstance(event, kind):
            events.append(event)
            if len(events) == number:
                raise Fails

    return sink


CASES = {
    "whole epochs": {},
    "parts of an epoch": {"checkpoint": {"every_steps": 2}},
    "the best epoch": {"checkpoint": {"every_epochs": 1, "keep_best": True}},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nobody stopped, by their case: what each came to, and its parts."""

    @functools.cache
    def run_whole(case="whole epochs"):
        out = tmp_path_factory.mktemp("whole") / "x"
        parts = start(out, TABLE | CASES[case]).of(PartEnded)
        return results(out), [(event.num_steps, event.turn.epoch) for event in parts]

    return run_whole


@pytest.mark.parametrize(
    ("case", "number"),
    [
        ("whole epochs", 6),  # in the second turn
        pytest.param("parts of an epoch", 4, marks=pytest.mark.slow),
        ("parts of an epoch", 24),  # after the last epoch
        ("the best epoch", 3),
    ],
)
def test_a_stopped_run_comes_to_the_same_bits(tmp_path, whole, case, number):
    wanted, parts = whole(case)
    with pytest.raises(Fails):
        start(tmp_path / "x", TABLE | CASES[case], sink=fail_at(number))
    again = start(tmp_path / "x", TABLE | CASES[case])
    assert results(tmp_path / "x") == wanted
    rest = [(event.num_steps, event.turn.epoch) for event in again.of(PartEnded)]
    assert rest == parts[number:]
    (first, *_) = again.of(TrainingBegan)
    assert first.epoch == parts[number - 1][1]


class Recorded:
    """In the place of checkpoints and their folder: it knows what was saved."""

    def __init__(self):
        self.steps = []

    def save(self, first_trial, identity, saved):
        self.steps.append(saved.step)

    def has(self, first_trial):
        return False

    def load(self, *_):
        return None

    def rewind(self, *_):
        pass

    wait = sync_metrics = lambda self: None
    written = contextlib.nullcontext


@pytest.mark.parametrize(
    ("wanted", "steps"),
    [
        ({}, []),  # five minutes, and it takes four
        ({"every_minutes": 2}, [10, 20]),
        ({"every_minutes": 1.5}, [9, 17]),
        ({"every_epochs": 3}, [15]),
        ({"every_steps": 7}, [7, 14]),
        ({"every_steps": 2}, [2, 4, 7, 9, 12, 14, 17, 19]),
        ({"every_epochs": 3, "every_steps": 10}, [10, 20]),
    ],
)
def test_it_saves_at_most_so_often(monkeypatch, wanted, steps):
    """Four epochs of five steps, each in parts of 2, 2 and 1, and of a minute."""
    now = {"minutes": 0.0}
    monkeypatch.setattr(time, "monotonic", lambda: 60 * now["minutes"])
    (group,) = plan_groups(plan(config_from_dict(TABLE | {"sweep": {}})))
    recorded = Recorded()
    saver = Saver(
        *(recorded, recorded, CheckpointConfig(**wanted)),
        keeps_final=True,
        say=print,
        stop=Stop(),
    )
    first = TurnState({}, 0, 0.0, np.array([-1]), {})
    saver.restore(group.trials, first)
    for step in range(1, 21):
        if step % 5 in (2, 4, 0):
            epoch = step // 5
            now["minutes"] = step / 5
            saver(PartEnded(group, group.trials, step, first._replace(epoch=epoch)))
    assert recorded.steps == steps


def test_at_its_end_the_last_state_stays_and_of_a_sweep_none(tmp_path):
    start(tmp_path / "a")
    kept = sorted(path.name for path in checkpoints_path(tmp_path / "a", 0).iterdir())
    assert kept == ["20", "20.json"]
    axes = {"optimizer": {"learning_rate": [0.1, 0.2]}, "max_lanes": 3}
    start(tmp_path / "b", TABLE | {"sweep": axes, "num_seeds": 2})
    assert not checkpoints_path(tmp_path / "b", 0).parent.exists()
    start(tmp_path / "c", TABLE | {"checkpoint": {}})  # too short to be saved
    assert not checkpoints_path(tmp_path / "c", 0).parent.exists()


def test_the_best_epoch_of_each_trial_is_kept(tmp_path):
    """It is the last one of a run that ends there."""
    table = TABLE | {"train": {"num_epochs": 5, "batch_size": 300}, "sweep": {}}
    table |= {"checkpoint": {"keep_best": True}, "report": {"metric": "loss"}}
    table |= {"optimizer": {"kind": "sgd", "learning_rate": 2.0}}  # which overshoots
    start(tmp_path / "a", table)
    losses = store.read_metrics(tmp_path / "a")["val_loss"].reshape(3, 5)
    best = losses.argmin(1) + 1
    trials = store.read_trials(tmp_path / "a")
    assert trials["best_epoch"].tolist() == best.tolist()
    assert len(set(best)) > 1  # or one trial could stand for all
    assert min(best) < 5  # or there is nothing to see here
    for num_epochs in set(best.tolist()):
        out = tmp_path / f"{num_epochs}"
        start(out, table | {"train": {"num_epochs": num_epochs, "batch_size": 300}})
        shorter = store.read_trials(out)
        for seed in np.flatnonzero(best == num_epochs):
            assert trials["best_test_loss"][seed] == shorter["test_loss"][seed]
            a = load_run(tmp_path / "a", seed=seed, best=True)
            b = load_run(out, seed=seed)
            jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
    start(tmp_path / "c", {**table, "checkpoint": {}})
    with pytest.raises(UserError, match=r"found a run without checkpoint\.keep_best"):
        load_run(tmp_path / "c", best=True)


def test_a_checkpoint_is_of_one_training_of_any_length():
    def identity(**keys):
        table = TABLE | {"sweep": {}} | keys
        (group,) = plan_groups(plan(config_from_dict(table)))
        return _identity(group.trials)

    same = [identity(), identity(train={**TABLE["train"], "num_epochs": 7})]
    assert len(set(same)) == 1
    others = [
        identity(seed=1),
        identity(num_seeds=2),
        identity(optimizer={"learning_rate": 0.1}),
        identity(train={**TABLE["train"], "batch_size": 200}),
        identity(norm={"epsilon": 0.1}),
    ]
    assert len({*same, *others}) == 1 + len(others)


def test_a_run_that_is_told_to_end_saves_and_goes_on(tmp_path, whole):
    """In the middle of the last epoch but one."""
    table = TABLE | CASES["parts of an epoch"]
    stop = Stop()

    def tell(event):
        if isinstance(event, EpochEnded) and event.epoch == 2:
            stop.number = 15

    with pytest.raises(Stopped) as stopped:
        start(tmp_path / "x", table, sink=tell, stop=stop)
    assert stopped.value.number == 15
    assert not (tmp_path / "x" / "running").exists()
    (first, *_) = start(tmp_path / "x", table).of(TrainingBegan)
    assert first.epoch == 2
    assert results(tmp_path / "x") == whole("parts of an epoch")[0]


def test_a_disk_that_is_full_while_it_saves_is_one_line_and_nothing_is_lost(
    tmp_path, whole, monkeypatch
):
    from orbax.checkpoint import v1 as orbax

    class Fails:
        def result(self):
            raise ValueError("RESOURCE_EXHAUSTED: Failed writing [os_error_code='28']")

    save, number = orbax.save_checkpointables_async, []

    def save_until_full(*arguments):
        number.append(1)
        return Fails() if len(number) > 2 else save(*arguments)

    monkeypatch.setattr(orbax, "save_checkpointables_async", save_until_full)
    with pytest.raises(UserError) as error:
        start(tmp_path / "x")
    assert "can't be written: No space left on device; " in str(error.value)
    assert "the same command goes on from what was saved last" in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    (first, *_) = start(tmp_path / "x").of(TrainingBegan)
    assert first.epoch == 2
    assert results(tmp_path / "x") == whole()[0]


def test_a_damaged_checkpoint_is_said_and_the_one_before_goes_on(tmp_path, whole):
    with pytest.raises(Fails):
        start(tmp_path / "x", sink=fail_at(3))
    store.Checkpoints(tmp_path / "x", "", keep=2).close()
    last = max(checkpoints_path(tmp_path / "x", 0).glob("*.json"), key=lambda path: int(path.stem))
    for file in last.with_suffix("").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[::-1])
    recorder = start(tmp_path / "x")
    (said,) = [text for text in recorder.said if ": damaged:" in text]
    assert last.stem in said
    assert recorder.of(TrainingBegan)[0].epoch == int(last.stem) // 5 - 1
    assert results(tmp_path / "x") == whole()[0]


def save_data(folder, seed):
    x = np.random.default_rng(seed).normal(size=(200, 3))
    np.savez(folder / "a.npz", x=x, y=np.arange(200) % 2)


@pytest.fixture
def stopped(tmp_path):
    """A run without a trial that is done, saved after its second epoch; and its table."""
    np.savez(
        tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(200, 3)), y=np.arange(200) % 2
    )
    table = {
        **TABLE,
        "data": {"name": "npz", "path": str(tmp_path / "a.npz")},
        "train": {"num_epochs": 4, "batch_size": 80},
    }
    with pytest.raises(Fails):
        start(tmp_path / "x", table, sink=fail_at(2))
    return tmp_path / "x", table


def test_a_training_does_not_go_on_with_other_data(stopped, tmp_path):
    out, table = stopped
    np.savez(
        tmp_path / "a.npz", x=np.random.default_rng(1).normal(size=(200, 3)), y=np.arange(200) % 2
    )
    with pytest.raises(UserError, match="holds a part of a run with other data"):
        start(out, table)


def test_where_the_memory_is_less_than_before_nothing_that_was_saved_is_lost(stopped, monkeypatch):
    out, table = stopped
    before = sorted(checkpoints_path(out, 0).iterdir())

    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(Compiler, "compile", exhausted)
    with pytest.raises(UserError, match="no longer fits the device's memory; make room there, and"):
        start(out, table)
    monkeypatch.undo()
    assert sorted(checkpoints_path(out, 0).iterdir()) == before
    (first, *_) = start(out, table).of(TrainingBegan)
    assert first.epoch == 2
    metrics = store.read_metrics(out)
    assert metrics["epoch"][metrics["trial"] == 0].tolist() == [1, 2, 3, 4]


DIVERGES = {
    "name": "x",
    "num_seeds": 2,
    "model": {"hidden_sizes": [4]},
    "optimizer": {"kind": "sgd", "learning_rate": 1e9},
    "train": {"num_epochs": 4, "batch_size": 300},
    "norm": {"kind": "none"},
}


def test_where_numbers_stop_being_finite_is_said(tmp_path):
    said = start(tmp_path / "x", DIVERGES).said
    step = store.read_trials(tmp_path / "x")["diverged_step"][0]
    (line,) = [text for text in said if "diverged" in text]
    assert line.startswith(f"none, seed 0: diverged at step {step}: not finite are ")
    assert "Dense_" in line


def test_a_run_may_stop_there_and_keeps_what_was_good(tmp_path, monkeypatch):
    """At a rate of 1e9 from the third epoch on: until then all is saved."""
    schedule = {"schedule_factory": f"{__name__}:late", "kind": "sgd", "learning_rate": 1e-3}
    table = DIVERGES | {"optimizer": schedule, "checkpoint": {"every_epochs": 1}}
    with pytest.raises(UserError, match=r"none, seed 0: diverged at step 1[0-4]: not finite"):
        start(tmp_path / "x", table | {"on_divergence": "stop"})
    names = [path.name for path in checkpoints_path(tmp_path / "x", 0).glob("*.json")]
    assert max(names, key=len) == "10.json"
    assert not store.is_finished(tmp_path / "x")


def test_a_turn_whose_trials_have_all_diverged_saves_no_more(tmp_path):
    """They do so after ten steps, of twenty."""
    schedule = {"schedule_factory": f"{__name__}:late", "kind": "sgd", "learning_rate": 1e-3}
    start(tmp_path / "x", DIVERGES | {"optimizer": schedule, "checkpoint": {"every_epochs": 1}})
    assert (store.read_trials(tmp_path / "x")["diverged_step"] >= 10).all()
    saved = [path.name for path in checkpoints_path(tmp_path / "x", 0).glob("*.json")]
    assert saved == ["10.json"]


def test_a_stopped_run_knows_at_which_step_a_trial_had_diverged(tmp_path):
    swept = {"optimizer": {"learning_rate": [1e9, 1e-3]}}
    table = DIVERGES | {"num_seeds": 1, "sweep": swept, "checkpoint": {"every_epochs": 1}}
    start(tmp_path / "whole", table)
    with pytest.raises(Fails):
        start(tmp_path / "x", table, sink=fail_at(2))
    start(tmp_path / "x", table)
    found, wanted = (
        store.read_trials(tmp_path / name)["diverged_step"].tolist() for name in ("x", "whole")
    )
    assert found == wanted
    assert 0 <= wanted[0] < 5  # in the first epoch
    assert wanted[1] == -1


def test_the_trial_that_diverged_is_trained_again_from_what_was_saved_of_it(tmp_path, monkeypatch):
    asked = []

    def find(task, state, train, keys, hypers, *, last_step):
        asked.append((state, keys, hypers))

    monkeypatch.setattr("jbn.run.divergence.find_divergence", find)
    schedule = {"schedule_factory": f"{__name__}:late", "kind": "sgd", "learning_rate": 1e-3}
    table = DIVERGES | {"seed": 3, "num_seeds": 1, "optimizer": schedule}
    table |= {"checkpoint": {"every_epochs": 1}, "on_divergence": "stop"}
    swept = {"optimizer": {"learning_rate": [1e-30, 1e-3]}}  # the first moves nothing
    with pytest.raises(UserError, match=r"none, optimizer\.learning_rate=0\.001, seed 3: diverged"):
        start(tmp_path / "x", table | {"sweep": swept})
    ((state, keys, hypers),) = asked
    assert hypers.learning_rate == np.float32(1e-3)
    wanted = TrainKeys.of(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, *map(jax.random.key_data, (keys.init, wanted.init)))
    start(tmp_path / "alone", table | {"train": {"num_epochs": 2, "batch_size": 300}})
    alone = store.read_variables(tmp_path / "alone", "none", 3)["params"]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), state.params, alone)


def late(num_steps):
    """A schedule that multiplies the rate by 1e20 after two epochs."""
    return lambda count: jax.numpy.where(count < 10, 1.0, 1e20)
