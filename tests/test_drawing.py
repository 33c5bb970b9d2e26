"""Figures and page of the claims: what is in a results file is in them."""

import html
import json
import re
from itertools import pairwise

import numpy as np
import pytest
from drawing import VERDICT_COLORS, draw_claim, draw_overview, to_file
from matplotlib.collections import FillBetweenPolyCollection, LineCollection
from matplotlib.colors import same_color, to_rgba
from matplotlib.text import Text
from report import read_announced, write_report

from jbn.report.style import color_of, to_svg

BATCH, NONE = color_of(0), color_of(1)
README = """# Is it *so*?

The article's claim: it is
so.

**What is wrong in it.** Not *much*.

**Prediction.** With `batch_norm`, as in [the paper](paper.md),
it is < 2 < 3.

**Verdict**, on "so". Holds, if it is.

**In practice.** Do [so](so.md).

**The rule was another one before**: none.
"""


def line(name, x, mean, spread=1.0):
    mean = np.asarray(mean, float)
    low, high = (mean - spread).tolist(), (mean + spread).tolist()
    return {"name": name, "x": list(x), "mean": mean.tolist(), "low": low, "high": high}


def panel(*lines, title="A title", log_x=False, log_y=False):
    named = {"title": title, "x": "rate, 1", "y": "accuracy, %"}
    return {**named, "log_x": log_x, "log_y": log_y, "lines": list(lines)}


EFFECTS = [
    {"name": "two < layers", "effect": [2.04, 1.46, 3.0], "outcome": "holds"},
    {"name": "ten layers", "effect": [0.0, -0.5, 0.5], "outcome": "refuted"},
    {"name": "no_layers", "effect": [1.0, 0.5, 1.5], "outcome": "not shown"},
]
JUDGED = [of | {"smallest": 1.0, "predicted": "holds"} for of in EFFECTS]


def result_of(
    *panels, headline=("batch_norm", "no_norm"), verdict="holds", claim="it helps", judged=()
):
    environment = {"versions": {"python": "3.11", "jax": "0.10"}, "device": "cpu", "num_cpus": 2}
    environment |= {"git_commit": "0123456789abcdef", "command": "python experiments/claims.py so"}
    return {
        "environment": environment,
        "claim": claim,
        "num_trainings": 1440,
        "num_repeats": 10,
        "repeats": "seeds",
        "seconds": 64.2,
        "verdict": verdict,
        "summary": "2.5 [2, 3] & more",
        "headings": ["arm", "width <decades>"],
        "rows": [["batch_norm", "1 < 2"], ["no_norm", "a & b"]],
        "panels": list(panels),
        "headline": list(headline),
        "judged": list(judged),
        "unit": "halvings",
    }


RATES = [1e-3, 1e-2, 1e-1]
NUMERIC = panel(
    line("batch_norm", RATES, [90, 95, 92]),
    line("no_norm", RATES, [80, 85, 10]),
    line("layer_norm", RATES, [81, 82, 83]),
    log_x=True,
)
WORDS = panel(
    line("batch_norm", ["none", "standardize"], [90, 95]),
    line("no_norm", ["none", "standardize"], [70, 96]),
    title="In words",
)
MANY = panel(
    *(
        line(f"{depth} layers, {arm}", RATES, [10 * depth, 90, 95 + shift], 0.1)
        for depth in (2, 5, 10)
        for shift, arm in enumerate(("batch_norm", "batch_norm_recomputed", "no_norm"))
    ),
    log_x=True,
    log_y=True,
)
MANY_HEADLINE = ("10 layers, batch_norm", "10 layers, no_norm")


def texts_of(figure):
    """All that is written in a figure, each text on one line, and its colour."""
    found = (text for text in figure.findobj(Text) if text.get_visible() and text.get_text())
    return {" ".join(text.get_text().split()): text.get_color() for text in found}


def curves_of(axes):
    return [curve for curve in axes.lines if len(curve.get_xdata())]


@pytest.mark.parametrize(
    "panels", [[NUMERIC], [WORDS], [NUMERIC, WORDS], [NUMERIC] * 3, [WORDS] * 4]
)
def test_every_line_of_every_panel_is_drawn_and_named_in_its_colour(panels):
    figure = draw_claim(result_of(*panels))
    assert len(figure.axes) == len(panels)
    for axes, shown in zip(figure.axes, panels, strict=True):
        assert axes.get_title(loc="left") == shown["title"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == (shown["x"], shown["y"])
        names = texts_of(axes)
        for drawn, wanted in zip(curves_of(axes), shown["lines"], strict=True):
            np.testing.assert_array_equal(drawn.get_ydata(), wanted["mean"])
            assert same_color(names[wanted["name"].replace("_", " ")], drawn.get_color())


def test_batch_norm_and_no_norm_keep_their_colours_and_variants_differ_in_dashes():
    axes = draw_claim(result_of(MANY, headline=MANY_HEADLINE)).axes[0]
    looks = {}
    for drawn, wanted in zip(curves_of(axes), MANY["lines"], strict=True):
        arm = NONE if "no_norm" in wanted["name"] else BATCH
        assert same_color(drawn.get_color(), arm)
        looks[wanted["name"]] = (drawn.get_color(), str(drawn._unscaled_dash_pattern))
    assert len(set(looks.values())) == len(looks)
    # The headline's are unbroken, and what has the same depth has the same dashes.
    assert all(looks[name][1] == "(0, None)" for name in MANY_HEADLINE)
    assert looks["2 layers, batch_norm"][1] == looks["2 layers, no_norm"][1]


def test_names_at_the_ends_of_lines_do_not_overlap():
    figure = draw_claim(result_of(MANY, headline=MANY_HEADLINE))
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without leaders
    assert len(boxes) == 9
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
    assert max(box.x1 for box in boxes) <= figure.bbox.width


def test_bands_and_bars_go_from_low_to_high():
    number, words = draw_claim(result_of(NUMERIC, WORDS)).axes
    bands = [c for c in number.collections if isinstance(c, FillBetweenPolyCollection)]
    for band, wanted in zip(bands, NUMERIC["lines"], strict=True):
        y = band.get_paths()[0].vertices[:, 1]
        assert (y.min(), y.max()) == (min(wanted["low"]), max(wanted["high"]))
    bars = [c for c in words.collections if isinstance(c, LineCollection)]
    for bar, wanted in zip(bars, WORDS["lines"], strict=True):
        ends = [segment[:, 1].tolist() for segment in bar.get_segments()]
        assert ends == [list(pair) for pair in zip(wanted["low"], wanted["high"], strict=True)]


def test_axes_are_logarithmic_as_said_and_categories_are_named_and_apart():
    number, words = draw_claim(result_of(MANY, WORDS, headline=MANY_HEADLINE)).axes
    assert (number.get_xscale(), number.get_yscale()) == ("log", "log")
    assert (words.get_xscale(), words.get_yscale()) == ("linear", "linear")
    assert [label.get_text() for label in words.get_xticklabels()] == ["none", "standardize"]
    points = curves_of(words)
    assert all(point.get_linestyle() == "None" for point in points)
    assert not set(points[0].get_xdata()) & set(points[1].get_xdata())


@pytest.mark.parametrize("log", [False, True])
def test_what_is_no_number_is_left_out_and_the_rest_is_drawn(log):
    nan, inf = float("nan"), float("inf")
    broken = panel(
        line("batch_norm", [1, 10, 100, 1000], [90, nan, 92, 1e9]),
        line("no_norm", [1, 10, 100, 1000], [nan] * 4),
        line("layer_norm", [0, 10, 100, 1000], [-inf, 50, inf, 7]),
        log_x=log,
        log_y=log,
    )
    figure = draw_claim(result_of(broken))
    first, none, third = curves_of(figure.axes[0])
    np.testing.assert_array_equal(first.get_ydata(), [90, nan, 92, 1e9])
    assert not np.isfinite(none.get_ydata()).any()
    np.testing.assert_array_equal(third.get_ydata(), [nan, 50, nan, 7])
    assert "no norm (no number)" in texts_of(figure)
    assert np.isfinite(figure.axes[0].get_ylim()).all()
    for svg in (to_file(figure), to_svg(draw_overview({"it": result_of(broken)}))):
        assert not re.search(r"\bnan\b|\binf\b", svg)


def claims():
    pairs = zip("abcdef", [*VERDICT_COLORS, "holds", "refuted"], strict=True)
    panels = [NUMERIC, WORDS, NUMERIC, WORDS, MANY, WORDS]
    return {
        name: result_of(
            shown,
            claim=f"claim {name} of all that was measured here",
            verdict=verdict,
            headline=MANY_HEADLINE if shown is MANY else ("batch_norm", "no_norm"),
        )
        for (name, verdict), shown in zip(pairs, panels, strict=True)
    }


def test_an_overview_has_each_claim_with_its_two_lines_and_its_verdict():
    results = claims()
    figure = draw_overview(results)
    assert len(figure.axes) == len(results)
    written = [" ".join(text.get_text().split()) for text in figure.texts]
    for axes, result in zip(figure.axes, results.values(), strict=True):
        lines = {line["name"]: line for line in result["panels"][0]["lines"]}
        drawn = curves_of(axes)
        assert [curve.get_ydata().tolist() for curve in drawn] == [
            lines[name]["mean"] for name in result["headline"]
        ]
        assert [to_rgba(curve.get_color()) for curve in drawn] == [to_rgba(BATCH), to_rgba(NONE)]
        assert result["claim"] in written
    for verdict, color in VERDICT_COLORS.items():
        said = [text for text in figure.texts if text.get_text() == verdict]
        assert len(said) == sum(result["verdict"] == verdict for result in results.values())
        assert {text.get_color() for text in said} == {color}


@pytest.mark.parametrize("draw", [draw_claim, lambda result: draw_overview({"it": result})])
def test_effects_are_drawn_from_the_top_in_the_colours_of_their_outcomes(draw):
    axes = draw(result_of(NUMERIC, judged=JUDGED)).axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    bars, strokes = axes.collections[::2], axes.collections[1::2]
    for row, (point, bar, stroke, of) in enumerate(zip(points, bars, strokes, JUDGED, strict=True)):
        assert point.get_xydata().tolist() == [[of["effect"][0], row]]
        assert bar.get_segments()[0].tolist() == [[end, row] for end in of["effect"][1:]]
        assert {x for x, _ in stroke.get_segments()[0]} == {of["smallest"]}
        assert same_color(point.get_color(), VERDICT_COLORS[of["outcome"]])
    low, high = axes.get_ylim()
    assert low > high
    assert axes.get_xlabel() == "effect, halvings"


def test_a_claims_effects_are_named():
    axes = draw_claim(result_of(NUMERIC, judged=JUDGED)).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["two < layers", "ten layers", "no layers"]


def test_an_overview_names_lines_that_are_not_with_and_without_batch_norm():
    others = panel(line("both", RATES, [1, 2, 3]), line("neither", RATES, [3, 2, 1]))
    results = {"it": result_of(others, headline=("both", "neither")), "so": result_of(NUMERIC)}
    figure = draw_overview(results)
    names, drawn = texts_of(figure), curves_of(figure.axes[0])
    assert "● batch norm" in names
    for curve, name in zip(drawn, ("both", "neither"), strict=True):
        assert same_color(names[f"● {name}"], curve.get_color())
        assert not any(same_color(curve.get_color(), taken) for taken in (BATCH, NONE))


@pytest.fixture
def folder(tmp_path):
    for name, result in claims().items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(result))
        (tmp_path / name / "README.md").write_text(README)
    return tmp_path


def test_the_page_holds_every_verdict_cell_and_figure(folder):
    results = claims()
    write_report(folder, results)
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 1 + len(results)
    for name, result in results.items():
        assert f'href="#{name}"' in page
        start = page.index(f'<article id="{name}">')
        article = page[start : page.index("</article>", start)]
        assert article.count("<svg") == 1
        cells = [*result["headings"], *(cell for row in result["rows"] for cell in row)]
        words = [cell.replace("_", " ") for cell in cells]
        for text in (result["claim"], result["verdict"], result["summary"], *words):
            assert html.escape(text) in article
        assert html.escape("With batch_norm, as in the paper, it is < 2 < 3.") in article
        assert f'href="{name}/README.md"' in article
        for text in (
            "1,440 trainings",
            "10 seeds",
            "64 s",
            "python experiments/claims.py so",
            "jax",
        ):
            assert text in article
    assert "<decades>" not in page
    assert "#010203" not in page  # ink is that of the page


def test_the_page_says_what_came_of_each_comparison_and_how_many_were_predicted(folder):
    results = claims()
    results["a"]["judged"] = JUDGED
    (folder / "a" / "results.json").write_text(json.dumps(results["a"]))
    write_report(folder, results)
    page = " ".join((folder / "report.html").read_text().split())
    assert "Of 3 comparisons 1 hold, 1 are refuted, and 1 aren't shown; 1 came out as pre" in page
    article = page[page.index('<article id="a">') : page.index('<article id="b">')]
    for text in ("two &lt; layers", "2.04 [1.46, 3.00]", "0.00 [-0.50, 0.50]", "effect, halvings"):
        assert text in article


def luminance(color):
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_every_color_of_the_pages_text_can_be_read(folder):
    """A contrast of 4.5 to 1, as WCAG 2 asks, on light and on dark paper."""
    write_report(folder, claims())
    page = (folder / "report.html").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", part))
        for part in re.findall(r":root {(.*?)}", page, re.S)
    )
    for colors in (light, dark):
        assert {verdict.replace(" ", "-") for verdict in VERDICT_COLORS} <= colors.keys()
        paper = luminance(colors["paper"])
        for name in colors.keys() - {"paper", "line", "wash"}:
            low, high = sorted((paper, luminance(colors[name])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name
    for verdict, color in VERDICT_COLORS.items():
        assert light[verdict.replace(" ", "-")] == color
        assert f'fill: {color}"' not in page  # the overview's words have the page's colours


def test_figures_and_page_are_the_same_bytes_for_the_same_results(folder):
    files = [folder / "report.html", folder / "figure.svg", folder / "b" / "figure.svg"]
    write_report(folder, claims())
    first = [path.read_bytes() for path in files]
    write_report(folder, claims())
    assert [path.read_bytes() for path in files] == first
    assert all(b"<text" not in svg for svg in first[1:])  # letters are paths: the same everywhere
    assert not any(re.search(rb"\d\.\d{9}|<dc:date>", svg) for svg in first[1:])


def test_what_is_missing_is_said(folder):
    with pytest.raises(ValueError, match=r"other/results\.json: found no such file"):
        write_report(folder, [*claims(), "other"])
    (folder / "b" / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"b/results\.json: found no panels"):
        write_report(folder, "ab")
    (folder / "a" / "README.md").write_text(README.replace("**Prediction.**", ""))
    with pytest.raises(ValueError, match=r"a/README\.md: found no paragraph with its prediction"):
        write_report(folder, "a")


def test_a_readmes_paragraphs_are_read_without_markup():
    assert read_announced(README, "so") == {
        "question": "Is it so?",
        "claim": "The article's claim: it is so.",
        "wrong": "Not much.",
        "prediction": "With batch_norm, as in the paper, it is < 2 < 3.",
        "rule": 'on "so". Holds, if it is.',
        "practice": "Do so.",
        "before": "none.",
    }
