"""Tables: every number comes back, a killed writer harms nothing, columns may join."""

import csv

import numpy as np
import pytest

from jbn.config import UserError
from jbn.store.table import append_rows, keep_rows, read_columns, read_rows, write_rows


def test_numbers_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 5000, np.uint64).astype(np.uint32).view(np.float32)
    x, y = bits, rng.normal(size=5000) * 10.0 ** rng.integers(-300, 300, 5000)
    rows = [{"trial": n, "x": x[n], "y": y[n]} for n in range(5000)]
    append_rows(path, rows[:3000])
    append_rows(path, rows[3000:])
    found = read_columns(path)
    assert [found[name].dtype.kind for name in ("trial", "x", "y")] == ["i", "f", "f"]
    np.testing.assert_array_equal(found["trial"], np.arange(5000))
    np.testing.assert_array_equal(found["x"].astype(np.float32), x)
    np.testing.assert_array_equal(found["y"], y)


def test_every_row_is_a_line_whatever_a_value_is(tmp_path):
    path = tmp_path / "t.csv"
    values = ["a,b", 'a"b', "a\nb", "[8, 8]", "none"]
    append_rows(path, [{"trial": n, "arm": str(n), "key": v} for n, v in enumerate(values)])
    assert len(path.read_text().splitlines()) == 1 + len(values)
    found = read_columns(path)
    assert found["key"].tolist() == ["a,b", 'a"b', r"'a\nb'", "[8, 8]", "none"]
    assert found["arm"].tolist() == list("01234")  # an arm is a name, whatever it looks like


def test_a_new_name_is_a_new_column(tmp_path):
    path = tmp_path / "t.csv"
    append_rows(path, [{"trial": 0, "key": "a,b"}])
    append_rows(path, [{"trial": 1, "loss": np.float32(0.1), "key": "c"}])
    append_rows(path, [{"trial": 2, "key": "d"}])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            *(["trial", "key", "loss"], ["0", "a,b", ""], ["1", "c", "0.1"], ["2", "d", ""])
        ]
    np.testing.assert_array_equal(read_columns(path)["loss"], [np.nan, 0.1, np.nan])


def test_rows_that_are_read_and_written_are_the_same_table(tmp_path):
    path, again = tmp_path / "t.csv", tmp_path / "again.csv"
    append_rows(path, [{"trial": 0, "key": 'a,"b'}])
    append_rows(path, [{"trial": 1, "loss": np.float32(0.1), "key": "c"}])
    assert read_rows(path)[0] == {"trial": "0", "key": 'a,"b'}
    write_rows(again, read_rows(path))
    assert again.read_bytes() == path.read_bytes()
    write_rows(tmp_path / "empty.csv", [])
    assert read_rows(tmp_path / "empty.csv") == []


@pytest.mark.parametrize("cut", range(1, 30))
def test_wherever_a_writer_was_killed_whole_rows_are_left(tmp_path, cut):
    path = tmp_path / "t.csv"
    rows = [{"trial": n, "x": n / 7} for n in range(3)]
    append_rows(path, rows)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    num_left = max(whole[:-cut].count(b"\n") - 1, 0)
    assert len(read_columns(path).get("trial", [])) == num_left
    keep_rows(path, lambda number: True)
    append_rows(path, rows[num_left:])
    assert path.read_bytes() == whole


def test_sorting_keeps_the_order_within_a_trial(tmp_path):
    path = tmp_path / "t.csv"
    append_rows(path, [{"trial": t, "epoch": e} for t, e in [(10, 1), (9, 1), (10, 2), (9, 2)]])
    keep_rows(path, lambda number: number != 7, sort=True)
    assert path.read_text() == "trial,epoch\n9,1\n9,2\n10,1\n10,2\n"
    keep_rows(path, lambda number: number == 10)
    assert path.read_text() == "trial,epoch\n10,1\n10,2\n"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_what_is_no_table_is_an_error(tmp_path):
    path = tmp_path / "t.csv"
    assert read_columns(path) == {}
    for text in ("a,b\n1\n", 'a\n"x\n', "a\n1,2\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"t\.csv: damaged: .*; run it again"):
            read_columns(path)
    path.write_text("a\nx\n")
    with pytest.raises(UserError, match=r"t\.csv: damaged"):
        keep_rows(path, lambda number: True)


def test_a_number_too_large_for_an_integer_is_a_float(tmp_path):
    path = tmp_path / "t.csv"
    append_rows(path, [{"trial": 0, "key": "99999999999999999999"}])
    assert read_columns(path)["key"].tolist() == [1e20]
