"""The table of conventions has the defaults of the packages that are installed."""

import inspect
import re
from pathlib import Path

import flax.linen
import flax.nnx
import keras
import pytest

import jbn.linen

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "conventions.md"
ROWS = [
    [cell.strip(" *") for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|")
]
LAYERS = {
    "its default": ("BatchNorm", "momentum"),
    "default, batch norm": ("BatchNorm", "epsilon"),
    "default, layer norm": ("LayerNorm", "epsilon"),
    "default, group norm": ("GroupNorm", "epsilon"),
    "default, RMS norm": ("RMSNorm", "epsilon"),
}


@pytest.mark.parametrize("row", LAYERS)
@pytest.mark.parametrize(
    ("column", "layers", "suffix"),
    [
        ("jbn", jbn.linen, ""),
        ("Flax: Linen, NNX", flax.linen, ""),
        ("Flax: Linen, NNX", flax.nnx, ""),
        ("Keras 3", keras.layers, "alization"),
    ],
    ids=["jbn", "linen", "nnx", "keras"],
)
def test_a_default_is_that_of_the_installed_package(row, column, layers, suffix):
    layer, argument = LAYERS[row]
    said = next(cells for cells in ROWS if cells[0] == row)[ROWS[0].index(column)]
    made = getattr(layers, layer + suffix).__init__
    default = inspect.signature(made).parameters[argument].default
    assert float(re.match(r"[\d.e-]+", said)[0]) == default
