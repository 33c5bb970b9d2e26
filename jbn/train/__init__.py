"""Training as pure functions: a step, an epoch, a whole training; seeds are a `vmap` around.

`make_task` makes a `Task` of a config; `run_training`, of `run_epoch`, of `run_steps`, trains it.
Their data are `TrainState`, `TrainKeys`, `Hypers`, `Metrics` and `EpochMetrics`. `compile_program`
makes a program of many trainings.
"""

from jbn.data import Batch as Batch
from jbn.data import DataSpec as DataSpec
from jbn.data import Examples as Examples
from jbn.train.baseline import baseline_metrics as baseline_metrics
from jbn.train.compile import Build as Build
from jbn.train.compile import Lower as Lower
from jbn.train.compile import compile_together as compile_together
from jbn.train.in_parts import compile_in_parts as compile_in_parts
from jbn.train.lanes import CompiledProgram as CompiledProgram
from jbn.train.lanes import EpochPart as EpochPart
from jbn.train.lanes import Lanes as Lanes
from jbn.train.lanes import axes_of_lanes as axes_of_lanes
from jbn.train.lanes import compile_program as compile_program
from jbn.train.lanes import default_num_lanes as default_num_lanes
from jbn.train.lanes import make_lanes as make_lanes
from jbn.train.lanes import take_lanes as take_lanes
from jbn.train.loop import EpochMetrics as EpochMetrics
from jbn.train.loop import batches_to_evaluate as batches_to_evaluate
from jbn.train.loop import evaluate_batches as evaluate_batches
from jbn.train.loop import final_variables as final_variables
from jbn.train.loop import make_gather as make_gather
from jbn.train.loop import rows_of_epoch as rows_of_epoch
from jbn.train.loop import run_epoch as run_epoch
from jbn.train.loop import run_steps as run_steps
from jbn.train.loop import run_training as run_training
from jbn.train.loss import Loss as Loss
from jbn.train.loss import make_cross_entropy as make_cross_entropy
from jbn.train.loss import make_squared_error as make_squared_error
from jbn.train.metrics import Metrics as Metrics
from jbn.train.parts import check_taken as check_taken
from jbn.train.parts import depends_on_length as depends_on_length
from jbn.train.placement import Devices as Devices
from jbn.train.placement import Placement as Placement
from jbn.train.placement import in_rows as in_rows
from jbn.train.placement import place as place
from jbn.train.placement import put as put
from jbn.train.placement import to_host as to_host
from jbn.train.state import Hypers as Hypers
from jbn.train.state import TrainKeys as TrainKeys
from jbn.train.state import TrainState as TrainState
from jbn.train.task import StepMetrics as StepMetrics
from jbn.train.task import Task as Task
from jbn.train.task import make_task as make_task
from jbn.train.trace import check_task as check_task
from jbn.train.trace import count_parameters as count_parameters
from jbn.train.trace import metric_names as metric_names
