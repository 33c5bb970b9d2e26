"""Small tables of measurements, from scikit-learn's wheel."""

import numpy as np

from jbn.data.sources.source import Source


def load_breast_cancer() -> Source:
    """569 tumours, 30 numbers each. The label 0 is malignant, 1 is benign."""
    from sklearn import datasets

    return _as_source(*datasets.load_breast_cancer(return_X_y=True))


def load_wine() -> Source:
    """178 wines, 13 numbers each. The label is one of three growers."""
    from sklearn import datasets

    return _as_source(*datasets.load_wine(return_X_y=True))


def load_diabetes() -> Source:
    """442 patients, 10 numbers each. The target is the progress of the disease after a year.

    References:
        Efron, Hastie, Johnstone and Tibshirani, 2004, Least angle regression, Annals of Statistics.
    """
    from sklearn import datasets

    x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    return Source(x.astype(np.float32), y, num_test=0, where="scikit-learn")


def _as_source(x: np.ndarray, y: np.ndarray) -> Source:
    return Source(x.astype(np.float32), y.astype(np.int32), num_test=0, where="scikit-learn")
