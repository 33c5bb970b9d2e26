"""Long runs and wide sweeps hold on to nothing, and what holds on to something is found."""

import jax
import numpy as np
import pytest
from bench.soak import CASES, FIELDS, alone, grown, saved_training, soak, sweep, training

from jbn.run import EpochEnded, PartEnded, TrialsEnded

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_as_large_at_its_end_as_in_its_middle(tmp_path, name):
    case = CASES[name]()
    samples = alone(soak, case, tmp_path / "run")
    assert np.isfinite(samples).all()
    assert grown(case, samples) == []


class Hoarder:
    """A sink that keeps what an event of a kind brings."""

    def __init__(self, kind, bring):
        self.kind, self.bring, self.kept = kind, bring, []

    def __call__(self, event):
        if isinstance(event, self.kind):
            self.kept.append(self.bring(event))


def metrics(event):
    return event.metrics


def variables(event):
    return event.variables


def state(event):
    return jax.tree.map(lambda leaf: leaf + 0, event.turn.state)


def file(event):
    return open("/dev/null")


def program(event):
    return jax.jit(lambda x: x + 1)(1.0)


@pytest.mark.parametrize(
    ("case", "hoarder", "found"),
    [
        (training(60_000), Hoarder(EpochEnded, metrics), {"resident_kib"}),
        (
            training(9_000),
            Hoarder(EpochEnded, program),
            {"live_arrays", "live_kib", "compilations"},
        ),
        (saved_training(9_000), Hoarder(PartEnded, state), {"live_arrays", "live_kib"}),
        (saved_training(9_000), Hoarder(EpochEnded, file), {"open_files"}),
        (sweep(60), Hoarder(TrialsEnded, variables), {"live_arrays", "live_kib"}),
        (sweep(60), Hoarder(TrialsEnded, file), {"open_files"}),
    ],
)
def test_what_a_sink_holds_on_to_is_found(tmp_path, case, hoarder, found):
    samples = alone(soak, case, tmp_path / "run", [hoarder])
    assert samples.shape == (case.num_events, len(FIELDS))
    assert found <= set(grown(case, samples))
