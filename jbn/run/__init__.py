"""A run on disk: every trial of a config, trained, and everything about it in one folder."""

from jbn.run.events import EpochEnded as EpochEnded
from jbn.run.events import Event as Event
from jbn.run.events import LanesCompiled as LanesCompiled
from jbn.run.events import LanesTooMany as LanesTooMany
from jbn.run.events import PartEnded as PartEnded
from jbn.run.events import Said as Said
from jbn.run.events import Sink as Sink
from jbn.run.events import TrainingBegan as TrainingBegan
from jbn.run.events import TrialsEnded as TrialsEnded
from jbn.run.events import TurnBegan as TurnBegan
from jbn.run.events import TurnState as TurnState
from jbn.run.run import run as run
from jbn.run.shares import run_merged as run_merged
from jbn.run.shares import run_share as run_share
from jbn.run.shares import run_whole as run_whole
from jbn.run.sinks import progress_sink as progress_sink
from jbn.run.stop import Stopped as Stopped
from jbn.run.stop import listening as listening
