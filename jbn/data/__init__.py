"""Data sets as arrays, and what a training step does to a batch.

`load` reads a data set and splits it: `dataset.py` has the split, `sources/` has the readers, and
`published/` finds, checks and downloads published files. A training step calls the other functions,
under `jit`: `batches.py` picks examples, `preprocess.py` normalizes them, `augment.py` changes
images at random.
"""

from jbn.data.augment import augment as augment
from jbn.data.batches import Batch as Batch
from jbn.data.batches import DataSpec as DataSpec
from jbn.data.batches import epoch_rows as epoch_rows
from jbn.data.batches import noisy_labels as noisy_labels
from jbn.data.batches import stacked as stacked
from jbn.data.dataset import Dataset as Dataset
from jbn.data.dataset import Examples as Examples
from jbn.data.dataset import TargetStats as TargetStats
from jbn.data.dataset import load as load
from jbn.data.dataset import load_all as load_all
from jbn.data.dataset import load_spec as load_spec
from jbn.data.preprocess import Normalization as Normalization
from jbn.data.preprocess import fit_inputs as fit_inputs
from jbn.data.preprocess import input_stats_of as input_stats_of
from jbn.data.preprocess import normalization_of as normalization_of
from jbn.data.preprocess import normalize_by as normalize_by
from jbn.data.preprocess import normalize_inputs as normalize_inputs
from jbn.data.published.download import download as download
