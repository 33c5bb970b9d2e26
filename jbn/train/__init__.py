"""Training as pure functions: a step, an epoch of steps, a whole run; seeds are a `vmap` around.

`make_train_run`, of `make_train_chunk`, of `make_init`, `make_train_step` and `make_evaluate`;
their data `Examples`, `Hypers`, `TrainState`, `Metrics` and `EpochMetrics`; `compile_sweep`.
"""

from jbn.data import Examples as Examples
from jbn.train.loop import EpochMetrics as EpochMetrics
from jbn.train.loop import RunKeys as RunKeys
from jbn.train.loop import make_train_chunk as make_train_chunk
from jbn.train.loop import make_train_run as make_train_run
from jbn.train.metrics import Metrics as Metrics
from jbn.train.state import Hypers as Hypers
from jbn.train.state import TrainState as TrainState
from jbn.train.step import make_evaluate as make_evaluate
from jbn.train.step import make_init as make_init
from jbn.train.step import make_settle as make_settle
from jbn.train.step import make_train_step as make_train_step
from jbn.train.sweep import Lanes as Lanes
from jbn.train.sweep import Sweep as Sweep
from jbn.train.sweep import compile_sweep as compile_sweep
from jbn.train.sweep import count_parameters as count_parameters
from jbn.train.sweep import default_num_lanes as default_num_lanes
from jbn.train.sweep import make_lanes as make_lanes
