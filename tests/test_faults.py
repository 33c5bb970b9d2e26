"""The faults of `tests/faults.py` can be planted: each text stands once in its file."""

from pathlib import Path

import pytest
from faults import FAULTS

import jbn

FOLDER = Path(jbn.__file__).parent


@pytest.mark.quick
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_text_stands_once(fault):
    text = (FOLDER / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.old) == 1
    assert all((FOLDER.parent / "tests" / name).exists() for name in fault.tests)
