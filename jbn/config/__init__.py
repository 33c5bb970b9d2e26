"""The schema of a config, its sweep and its plan; a TOML file is read or all its mistakes named."""

from jbn.config.errors import UserError as UserError
from jbn.config.load import config_from_dict as config_from_dict
from jbn.config.load import load_config as load_config
from jbn.config.plan import NUMBERS as NUMBERS
from jbn.config.plan import Group as Group
from jbn.config.plan import Program as Program
from jbn.config.plan import Trial as Trial
from jbn.config.plan import describe_plan as describe_plan
from jbn.config.plan import plan as plan
from jbn.config.plan import plan_groups as plan_groups
from jbn.config.plan import split_evenly as split_evenly
from jbn.config.plan import trial_shape as trial_shape
from jbn.config.schema import ArmConfig as ArmConfig
from jbn.config.schema import AugmentConfig as AugmentConfig
from jbn.config.schema import CheckpointConfig as CheckpointConfig
from jbn.config.schema import Config as Config
from jbn.config.schema import DataConfig as DataConfig
from jbn.config.schema import LossConfig as LossConfig
from jbn.config.schema import MixtureConfig as MixtureConfig
from jbn.config.schema import ModelConfig as ModelConfig
from jbn.config.schema import NormConfig as NormConfig
from jbn.config.schema import OptimizerConfig as OptimizerConfig
from jbn.config.schema import ReportConfig as ReportConfig
from jbn.config.schema import SweepConfig as SweepConfig
from jbn.config.schema import TrainConfig as TrainConfig
from jbn.config.sweep import sweep_points as sweep_points
