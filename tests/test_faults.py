"""The faults of `tests/faults.py` can be planted, and what counts as caught."""

from pathlib import Path

import pytest
from faults import FAULTS, Outcome

import jbn

FOLDER = Path(jbn.__file__).parent


@pytest.mark.quick
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_can_be_planted(fault):
    text = (FOLDER / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.old) == 1
    assert fault.new != fault.old
    compile(text.replace(fault.old, fault.new), fault.file, "exec")
    assert fault.tests
    assert all((FOLDER.parent / "tests" / name).exists() for name in fault.tests)


@pytest.mark.quick
def test_each_has_a_name_of_its_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("code", "line", "failed", "verdict"),
    [
        (0, "", [], "MISSED"),
        (1, "E   AssertionError: 1 != NameError", ["tests/a.py::test_b"], "caught"),
        (1, "E   AssertionError", [], "ERROR"),
        (1, "E   NameError: name 'n' is not defined", ["tests/a.py::test_b"], "ERROR"),
        (1, "E   a.roar.BeartypeCallHintParamViolation: x", ["tests/a.py::test_b"], "ERROR"),
        (2, "", ["tests/a.py::test_b"], "ERROR"),
        (None, "", [], "ERROR"),
    ],
)
def test_only_a_test_that_judged_it_has_caught_it(code, line, failed, verdict):
    assert Outcome(code, f"def f\n{line}\n", failed).verdict == verdict
