"""Small tables of measurements, from scikit-learn's wheel."""

import numpy as np

from jbn.data.sources.scikit_learn import path_of, read_table
from jbn.data.sources.source import Source


def load_breast_cancer() -> Source:
    """569 tumours, 30 numbers each. The label 0 is malignant, 1 is benign."""
    return _as_source(*read_table("breast_cancer.csv", skiprows=1))


def load_wine() -> Source:
    """178 wines, 13 numbers each. The label is one of three growers."""
    return _as_source(*read_table("wine_data.csv", skiprows=1))


def load_diabetes() -> Source:
    """442 patients, 10 numbers each. The target is the progress of the disease after a year.

    References:
        Efron, Hastie, Johnstone and Tibshirani, 2004, Least angle regression, Annals of Statistics.
    """
    return _as_source(
        np.loadtxt(path_of("diabetes_data_raw.csv.gz")),
        np.loadtxt(path_of("diabetes_target.csv.gz")),
    )


def _as_source(x: np.ndarray, y: np.ndarray) -> Source:
    return Source(x.astype(np.float32), y, num_test=0, where="scikit-learn")
