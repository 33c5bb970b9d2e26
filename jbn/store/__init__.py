"""The folder of a run: its one owner. Whoever writes or reads a run's files does it by these.

`opened` gives a `Folder` to train for; the others read one, finished or not.
docs/reference/runs.md describes the files.
"""

from jbn.store.arrays import INPUTS as INPUTS
from jbn.store.checkpoints import Checkpoints as Checkpoints
from jbn.store.checkpoints import Saved as Saved
from jbn.store.folder import Folder as Folder
from jbn.store.folder import opened as opened
from jbn.store.folder import written as written
from jbn.store.layout import share_path as share_path
from jbn.store.lock import FolderInUse as FolderInUse
from jbn.store.lock import in_use as in_use
from jbn.store.lock import lock_of_parts as lock_of_parts
from jbn.store.lock import remove_locks as remove_locks
from jbn.store.merge import check_config as check_config
from jbn.store.merge import merge as merge
from jbn.store.merge import read_shares as read_shares
from jbn.store.read import check_rows as check_rows
from jbn.store.read import done_trials as done_trials
from jbn.store.read import is_finished as is_finished
from jbn.store.read import longer_arms as longer_arms
from jbn.store.read import read_config as read_config
from jbn.store.read import read_groups as read_groups
from jbn.store.read import read_metrics as read_metrics
from jbn.store.read import read_norms as read_norms
from jbn.store.read import read_parts as read_parts
from jbn.store.read import read_seed_counts as read_seed_counts
from jbn.store.read import read_shown_metrics as read_shown_metrics
from jbn.store.read import read_source as read_source
from jbn.store.read import read_summary as read_summary
from jbn.store.read import read_trials as read_trials
from jbn.store.read import read_variables as read_variables
from jbn.store.read import write_report as write_report
from jbn.store.table import Columns as Columns
from jbn.store.weights import read_weights as read_weights
