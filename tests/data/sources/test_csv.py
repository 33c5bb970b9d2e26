"""The user's own tables: read as written, and every mistake named in one line, with its line."""

import numpy as np
import pytest

from jbn.config import UserError
from jbn.data.sources.csv import load_csv


@pytest.fixture
def load(tmp_path):
    """Writes text to data.csv, and loads that."""

    def load(text):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode())
        return load_csv(path)

    return load


@pytest.mark.parametrize(
    "text",
    [
        "1,2.5,0\n-3,4e1,1\n",
        "1,2.5,0\n-3,4e1,1",
        " 1 ,2.5, 0\r\n-3,4e1,1.0\r\n",
        "width,height,label\n1,2.5,0\n-3,4e1,1\n",
        "0,1,label\n1,2.5,0\n-3,4e1,1\n",
        "# width,height,label\n1,2.5,0\n-3,4e1,1\n",
        "\ufeffwidth,höhe,\n\n1,2.5,0\n\n-3,4e1,1\n\n",
    ],
)
def test_a_table_is_read_with_or_without_a_header(load, tmp_path, text):
    source = load(text)
    assert (source.x.dtype, source.y.dtype) == (np.float32, np.int32)
    assert source.x.tolist() == [[1, 2.5], [-3, 40]]
    assert source.y.tolist() == [0, 1]
    assert (source.num_test, source.where) == (0, str(tmp_path / "data.csv"))


def test_a_table_of_one_line_is_a_table(load):
    assert load("7,0\n").x.tolist() == [[7]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "found no table, wanted lines such as"),
        ("a,b,label\n", "found no table"),
        ("1\n2\n", "found no table"),
        ("1;2;0\n3;4;1\n", "found no table"),
        ("1,2,0\n3,4\n", "found 2 values in line 2, wanted 3"),
        ("a,b,c\n\n1,2,0\n\n3,4,5,1\n", "found 4 values in line 5, wanted 3"),
        ("1,2,0\n3,x,1\n", "found 'x' in line 2, wanted a number"),
        ("a,b,c\n1,2,0\n3,,1\n", "found '' in line 3, wanted a number"),
        ("?,2,0\n3,4,1\n", "found '.' in line 1, wanted a number"),
        ("1,1_000,0\n", "found '1_000' in line 1, wanted a number"),
        ("1,2,0\n3,4,cat\n", "found 'cat' in line 2, wanted a number"),
        ("a,b,c\n\n1,2,0\n\n3,nan,1\n", "a number in line 5 that is no finite float32"),
        ("1,2,0\n-inf,4,1\n", "a number in line 2 that is no finite float32"),
        ("1,2,0\n1e39,4,1\n", "a number in line 2 that is no finite float32"),
        ("1,2,0\n3,4,1.5\n", "found the label 1.5 in line 2, wanted an integer"),
        ("a,b,c\n1,2,0\n3,4,nan\n", "found the label nan in line 3, wanted an integer"),
        ("1,2,0\n3,4,inf\n", "found labels from 0 to inf of 2 examples"),
        ("1,2,1\n3,4,2\n", "found labels from 1 to 2 of 2 examples, wanted them from 0 up"),
        ("1,2,0\n3,4,-1\n", "found labels from -1 to 0 of 2 examples"),
    ],
)
def test_a_mistake_in_a_table_is_named_with_its_line(load, tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        load(text)
    assert str(error.value).startswith(f"{tmp_path}/data.csv: ")
    assert "\n" not in str(error.value)


def test_what_can_not_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="none: can't be read: No such file"):
        load_csv(tmp_path / "none")
    with pytest.raises(UserError, match="can't be read: Is a directory"):
        load_csv(tmp_path)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "data.csv").write_bytes(b"1,\xff,0\n")
    with pytest.raises(UserError, match="found bytes that are no UTF-8 text, wanted a CSV file"):
        load_csv(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        ("0,1,2", "1.0,2.0,0\n2.0,1.0,1\n"),  # pandas's names of columns
        ("0,1,label", "1,2,0\n2,1,1\n"),
        ("a,b,", "1,2,0\n2,1,1\n"),
    ],
)
def test_names_of_columns_are_no_example(load, first, rows):
    assert len(load(f"{first}\n{rows}").y) == 2


def test_a_first_line_that_may_be_either_is_asked_about(load):
    with pytest.raises(UserError, match="found 0,1,2 in the first line, which may be an example"):
        load("0,1,2\n1,2,0\n-2,1,1\n")


def test_a_first_example_without_its_label_is_a_mistake(load):
    with pytest.raises(UserError, match="found '' in line 1, wanted a number"):
        load("9.0,9.0,\n1.0,2.0,0\n")
