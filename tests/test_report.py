"""The report: one page that needs nothing else and trusts nothing that it shows."""

import csv
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from jbn.config import UserError
from jbn.report import load_curves, summary_table
from jbn.report.page import write_report


@pytest.fixture
def run_dir(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture(params=["small_run", "small_sweep"])
def any_dir(request, tmp_path):
    """A run, and a sweep."""
    return shutil.copytree(request.getfixturevalue(request.param), tmp_path / "run")


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_table(path, change):
    """Changes a table, given and taken back as a list of rows by name."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = change(rows) or rows
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_it_needs_no_network_and_no_script(any_dir):
    html = (any_dir / "report.html").read_text()
    # Namespaces are names, not addresses; and a picture's own bytes may spell anything.
    html = re.sub(r'xmlns(:\w+)?="[^"]*"|data:image/png;base64,[^"]*', "", html)
    assert "http" not in html
    assert not re.search(r"<(script|link|img|iframe)\b|@import|\burl\((?!#)", html)


def test_it_shows_table_curves_config_and_environment(small_run):
    html = (small_run / "report.html").read_text()
    summary = json.loads((small_run / "summary.json").read_text())
    for row in summary_table(summary)[1]:
        for cell in row:
            assert f"<td>{cell}</td>" in html
    for text in (
        "2 arms, 2 seeds each: 4 trials",
        "validation accuracy",
        "training loss",
        "gradient norm",
        "learning_rate",
        "jaxlib",
    ):
        assert text in html
    assert html.count("<svg") == 2


def test_it_shows_the_batch_statistics_of_each_layer_and_its_warnings(run_dir):
    html = (run_dir / "report.html").read_text()
    assert "batch_norm: BatchNorm_0" in html
    line = "BatchNorm_0: 3 of 8 channels are always 0"
    edit_json(
        run_dir / "norms.json", lambda norms: norms["batch_norm"].update(warnings=[line, "<b>"])
    )
    html = write_report(run_dir).read_text()
    assert f"<li>{line}</li>" in html
    assert "<li>&lt;b&gt;</li>" in html
    (run_dir / "norms.json").write_text("{}")  # a run without batch normalization
    assert "Batch statistics" not in write_report(run_dir).read_text()


def test_it_is_well_formed(any_dir):
    open_tags = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br", "hr"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed((any_dir / "report.html").read_text())
    assert open_tags == []


def test_the_page_has_colours_for_light_and_dark(any_dir):
    html = (any_dir / "report.html").read_text()
    assert "prefers-color-scheme: dark" in html
    assert "currentColor" in html
    assert not re.search("#010203|#030201", html)


def test_the_same_run_makes_the_same_bytes(any_dir):
    first = write_report(any_dir).read_bytes()
    assert write_report(any_dir).read_bytes() == first


NASTY = "<script>alert('x')</script>&"


def test_what_comes_from_data_or_config_is_escaped(run_dir):
    data = {"name": "csv", "path": NASTY}
    edit_json(run_dir / "config.json", lambda c: c["arms"]["no_norm"]["data"].update(data))
    edit_json(run_dir / "run.json", lambda run: run["parts"][0].update(device=NASTY, command=NASTY))
    edit_json(run_dir / "norms.json", lambda norms: norms["batch_norm"].update(warnings=[NASTY]))
    edit_json(
        run_dir / "norms.json",
        lambda norms: norms["batch_norm"].update(
            layers={NASTY: norms["batch_norm"]["layers"]["BatchNorm_0"]}
        ),
    )
    html = write_report(run_dir).read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6  # the device stands in two places


@pytest.mark.parametrize("key", ["name", "arms"])
def test_a_name_that_no_config_can_have_is_an_error(run_dir, key):
    def rename(config):
        config[key] = NASTY if key == "name" else {NASTY: config["arms"]["batch_norm"]}

    edit_json(run_dir / "config.json", rename)
    with pytest.raises(UserError, match="not the config of a run"):
        write_report(run_dir)


def test_a_diverged_seed_is_shown_as_such(run_dir):
    def diverge(summary):
        arm = summary["arms"]["no_norm"]
        arm["test_loss"] = {"mean": None, "std": None, "per_seed": [None, 1.0]}
        arm["epochs_to_target"] = {"median": None, "num_reached": 1, "per_seed": [None, 2]}

    def lose(rows):
        for row in rows:
            if row["trial"] == "2":  # the arm's first seed
                row["train_loss"] = row["gradient_norm"] = "nan"

    edit_json(run_dir / "summary.json", diverge)
    edit_table(run_dir / "metrics.csv", lose)
    html = write_report(run_dir).read_text()
    assert "every seed diverged" not in html
    assert "of the seeds that had not diverged" in html
    assert "<td>diverged</td>" in html
    assert "<td>only 1 of 2 seeds</td>" in html


def test_a_run_in_which_every_seed_diverged_has_a_report(run_dir):
    def lose(rows):
        for row in rows:
            row["train_loss"] = row["gradient_norm"] = "nan"

    edit_table(run_dir / "metrics.csv", lose)
    assert write_report(run_dir).read_text().count("every seed diverged") == 2


def test_the_curves_are_those_of_the_metrics(small_run):
    with (small_run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "no_norm"]
    curves = load_curves(small_run)
    assert list(curves) == ["batch_norm", "no_norm"]
    assert {"train_loss", "val_accuracy", "gradient_norm"} <= set(curves["no_norm"])
    for name, values in curves["no_norm"].items():
        wanted = [[float(row[name]) for row in rows if row["seed"] == seed] for seed in "56"]
        np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{"),
        ("summary.json", '{"arms": {"x": {}}}'),
        ("summary.json", '{"num_seeds": 2, "arms": [1]}'),
        ("trials.csv", ""),
        ("trials.csv", "trial\n1,2\n"),
        ("metrics.csv", "[1, 2]\n"),
        ("config.json", "[]"),
        ("run.json", '{"format": 1}'),
        ("run.json", '{"format": 1, "parts": [{}]}'),
        ("norms.json", '{"batch_norm": {}}'),
    ],
)
def test_a_damaged_file_is_an_error_and_the_report_stays(any_dir, name, content):
    before = (any_dir / "report.html").read_bytes()
    (any_dir / name).write_text(content)
    with pytest.raises(UserError, match=r"damaged|not the config of a run"):
        write_report(any_dir)
    assert (any_dir / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trials.csv", lambda rows: [row.pop("diverged_step") for row in rows] and None),
        ("trials.csv", lambda rows: rows[1:]),
        ("trials.csv", lambda rows: rows[0].update(trial="10000")),
        ("metrics.csv", lambda rows: [row.pop("val_accuracy") for row in rows] and None),
        ("metrics.csv", lambda rows: rows[2:]),
        ("metrics.csv", lambda rows: rows[0].update(val_accuracy="x")),
    ],
)
def test_tables_that_do_not_fit_the_config_are_an_error(any_dir, name, change):
    edit_table(any_dir / name, change)
    with pytest.raises(UserError, match="damaged"):
        write_report(any_dir)


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"run.json: can't be read .*; wanted a run"):
        write_report(tmp_path)


@pytest.fixture
def stopped_dir(any_dir):
    """A run that was stopped in its second trial's second epoch, and its first arm's."""
    for name in ("summary.json", "norms.json", "report.html"):
        (any_dir / name).unlink()
    edit_table(any_dir / "trials.csv", lambda rows: rows[:1])
    edit_table(any_dir / "metrics.csv", lambda rows: rows[:3])
    return any_dir


def test_a_stopped_run_has_a_page_that_says_so(stopped_dir):
    html = write_report(stopped_dir).read_text()
    num_trials = 24 if "small-sweep" in html else 4
    assert f"This run isn't finished: 1 of {num_trials} trials are done" in unescape(html)
    assert "Learning curves so far" in html
    assert html.count("<svg") == 1
    assert "batch_norm" in html
    assert list(load_curves(stopped_dir)) == ["batch_norm"]
    losses = load_curves(stopped_dir)["batch_norm"]["val_accuracy"]
    assert np.isfinite(losses).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("has_header", [False, True])
def test_a_run_that_has_just_begun_has_a_page(stopped_dir, has_header):
    """Or one that goes on, whose unfinished trials were dropped."""
    for path in stopped_dir.glob("*.csv"):
        path.unlink()
    if has_header:
        names = "trial,arm,seed,epoch,train_loss,val_accuracy,gradient_norm"
        (stopped_dir / "metrics.csv").write_text(f"{names}\n")
    html = write_report(stopped_dir).read_text()
    assert "isn't finished: 0 of" in unescape(html)
    assert "<svg" not in html
    assert "jaxlib" in html


def test_each_part_has_its_environment(run_dir):
    edit_json(
        run_dir / "run.json",
        lambda run: run["parts"].append(run["parts"][0] | {"device": "abacus"}),
    )
    html = write_report(run_dir).read_text()
    assert "on cpu, 4 devices and abacus" in html
    assert "Environment of part 0" in html
    assert "Environment of part 1" in html


SUMMARY = {"num_seeds": 8, "shown": ["accuracy", "loss"], "target": 0.95}


def test_the_table_reads_mean_and_deviation():
    arm = {
        "test_accuracy": {"mean": 0.98, "std": 0.01},
        "test_loss": {"mean": 0.1, "std": None},
        "epochs_to_target": {"median": np.float64(2.5), "num_reached": 8, "per_seed": [2] * 8},
        "compile_seconds": 1.25,
        "train_seconds": 0.5,
    }
    large = {"a": arm | {"test_loss": {"mean": 1.5e24, "std": 2.5e24}}}
    assert summary_table(SUMMARY | {"arms": large})[1][0][2] == "1.5e24 ± 2.5e24"
    headings, rows = summary_table(SUMMARY | {"arms": {"a": arm}})
    assert headings[3] == "epochs to 95%"
    assert rows == [["a", "0.980 ± 0.010", "0.100", "2.5", "1.2 s", "0.50 s"]]
