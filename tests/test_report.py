"""The report: one page that needs nothing else and trusts nothing that it shows."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from jbn.config import UserError
from jbn.report import summary_table, write_report


@pytest.fixture
def run_dir(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_it_needs_no_network_and_no_script(small_run):
    html = (small_run / "report.html").read_text()
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)  # namespaces are names, not addresses
    assert "http" not in without_names
    assert not re.search(r"<(script|link|img|iframe)\b|@import|\burl\((?!#)", html)


def test_it_shows_table_curves_config_and_environment(small_run):
    html = (small_run / "report.html").read_text()
    summary = json.loads((small_run / "summary.json").read_text())
    for row in summary_table(summary)[1]:
        for cell in row:
            assert f"<td>{cell}</td>" in html
    for text in (
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


def test_it_is_well_formed(small_run):
    open_tags = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br", "hr"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed((small_run / "report.html").read_text())
    assert open_tags == []


def test_the_page_has_colours_for_light_and_dark(small_run):
    html = (small_run / "report.html").read_text()
    assert "prefers-color-scheme: dark" in html
    assert "currentColor" in html
    assert "#010203" not in html


def test_the_same_run_makes_the_same_bytes(run_dir):
    first = write_report(run_dir).read_bytes()
    assert write_report(run_dir).read_bytes() == first


def test_what_comes_from_data_or_config_is_escaped(run_dir):
    nasty = "<script>alert('x')</script>&"
    edit_json(run_dir / "config.json", lambda config: config.update(name=nasty))
    edit_json(run_dir / "environment.json", lambda env: env.update(device=nasty, command=nasty))

    def rename(content):
        content["arms"] = {nasty: content["arms"]["batch_norm"]}

    for name in ("summary.json", "config.json"):
        edit_json(run_dir / name, rename)
    edit_json(run_dir / "norms.json", lambda norms: norms.update({nasty: norms.pop("batch_norm")}))
    path = run_dir / "metrics.jsonl"
    path.write_text(path.read_text().replace('"batch_norm"', json.dumps(nasty)))
    html = write_report(run_dir).read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 5


def test_a_diverged_seed_is_shown_as_such(run_dir):
    def diverge(summary):
        arm = summary["arms"]["no_norm"]
        arm["test_loss"] = {"mean": None, "std": None, "per_seed": [None, 1.0]}
        arm["epochs_to_target"] = {"median": None, "num_reached": 1, "per_seed": [None, 2]}

    edit_json(run_dir / "summary.json", diverge)
    path = run_dir / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if (row["arm"], row["seed"]) == ("no_norm", 5):
            row["train_loss"] = row["gradient_norm"] = None
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = write_report(run_dir).read_text()
    assert "every seed diverged" not in html
    assert "<td>diverged</td>" in html
    assert "<td>never (1 of 2)</td>" in html


def test_a_run_in_which_every_seed_diverged_has_a_report(run_dir):
    path = run_dir / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row | {"train_loss": None, "gradient_norm": None} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_report(run_dir).read_text().count("every seed diverged") == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{"),
        ("summary.json", '{"arms": {}}'),
        ("metrics.jsonl", "{}\n"),
        ("metrics.jsonl", '{"arm": "batch_norm", "epo'),
        ("config.json", "[]"),
        ("summary.json", '{"num_seeds": 2, "arms": []}'),
        ("environment.json", "{}"),
    ],
)
def test_a_damaged_file_is_an_error_and_the_report_stays(run_dir, name, content):
    before = (run_dir / "report.html").read_bytes()
    (run_dir / name).write_text(content)
    with pytest.raises(UserError, match="damaged"):
        write_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == before


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"summary.json: can't be read"):
        write_report(tmp_path)


def test_the_table_reads_mean_and_deviation():
    arm = {
        "test_accuracy": {"mean": 0.98, "std": 0.01},
        "test_loss": {"mean": 0.1, "std": None},
        "target_accuracy": 0.95,
        "epochs_to_target": {"median": np.float64(2.5), "num_reached": 8},
        "compile_seconds": 1.25,
        "train_seconds": 0.5,
    }
    large = {"a": arm | {"test_loss": {"mean": 1.5e24, "std": 2.5e24}}}
    assert summary_table({"num_seeds": 8, "arms": large})[1][0][2] == "1.5e+24 ± 2.5e+24"
    headings, rows = summary_table({"num_seeds": 8, "arms": {"a": arm}})
    assert headings[3] == "epochs to 95%"
    assert rows == [["a", "0.980 ± 0.010", "0.100", "2.5", "1.2 s", "0.50 s"]]
