"""Data as arrays: loaded, split once with a seed, and normalized with the training split alone."""

from jbn.data.batches import batch_indices as batch_indices
from jbn.data.inputs import fit_inputs as fit_inputs
from jbn.data.inputs import normalize_inputs as normalize_inputs
from jbn.data.load import Dataset as Dataset
from jbn.data.load import Examples as Examples
from jbn.data.load import load as load
