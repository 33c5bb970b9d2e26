"""Data as arrays: read, split once with a seed; batched, augmented and normalized in the step."""

from jbn.data.augment import augment as augment
from jbn.data.batches import batch_indices as batch_indices
from jbn.data.batches import noisy_labels as noisy_labels
from jbn.data.download import download as download
from jbn.data.inputs import fit_inputs as fit_inputs
from jbn.data.inputs import normalize_inputs as normalize_inputs
from jbn.data.load import Dataset as Dataset
from jbn.data.load import Examples as Examples
from jbn.data.load import load as load
from jbn.data.load import load_all as load_all
