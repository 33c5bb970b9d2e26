"""Writes measured numbers, from the results files, into the texts that quote them.

    python experiments/write_numbers.py

A text marks the place: what stands between `<!-- numbers: NAME -->` and `<!-- end -->` (in a TOML
file `# numbers: NAME` and `# end`) is this script's.
"""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from claims import CLAIMS
from tables import benches, claims, devices, evidence, guides, runs
from tables.markdown import ROOT

FROM_COURSE = "../../experiments/"
DTYPES = ("float32", "bfloat16", "float16")
_MARKDOWN = re.compile(r"(<!-- numbers: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOML = re.compile(r"(# numbers: (\S+)\n).*?(# end\n)", re.DOTALL)
_PLACES = ("*.md", "docs/*.md", "docs/*/*.md", "experiments/*.md", "experiments/*/*.md")


def texts() -> Iterator[Path]:
    """The files that have marks."""
    for pattern in (*_PLACES, "configs/**/*.toml"):
        for path in sorted(ROOT.glob(pattern)):
            if re.search("^(<!--|#) numbers: ", path.read_text(encoding="utf-8"), re.MULTILINE):
                yield path


def render(path: Path) -> str:
    """The text of a file with the numbers of today's results in it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return _TOML.sub(
            lambda m: m[1] + "".join(f"#   {line}\n" for line in runs.expected(m[2])) + m[3], text
        )
    return _MARKDOWN.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]]()}\n\n{m[3]}", text)


BLOCKS: dict[str, Callable[[], str]] = {
    "digits/article": lambda: runs.run_table("digits/article"),
    "digits/article_custom": lambda: runs.run_table("digits/article_custom"),
    "digits/norms": lambda: runs.run_table("digits/norms"),
    "digits/learning_rates": lambda: runs.sweep_table("digits/learning_rates"),
    "digits-dead-units": runs.dead_units_table,
    "mnist/article": lambda: runs.run_table("mnist/article"),
    "mnist/cnn": lambda: runs.run_table("mnist/cnn"),
    "resnet18-float32": lambda: runs.resnet18("float32"),
    "resnet18-float64": lambda: runs.resnet18("float64"),
    "resnet18-signs": runs.resnet18_signs,
    "claims": claims.claims,
    "verdicts": claims.verdicts,
    "tally": claims.tally,
    "kept": claims.kept,
    **{f"claim-{name}": functools.partial(claims.claim, name) for name in CLAIMS},
    **{f"found-{name}": functools.partial(claims.sentence, name) for name in CLAIMS},
    **{
        f"evidence-{name}": functools.partial(claims.sentence, name, FROM_COURSE) for name in CLAIMS
    },
    **{f"theme-{name}": functools.partial(guides.theme, name) for name in guides.THEMES},
    "choosing": guides.choosing,
    "evidence": evidence.evidence,
    "accuracy-float32": lambda: benches.accuracy("batch_norm", "y"),
    "accuracy-y": lambda: benches.accuracy("batch_norm", "y", DTYPES),
    "accuracy-dx": lambda: benches.accuracy("batch_norm", "dx", DTYPES),
    "accuracy-layer": lambda: benches.accuracy("layer_norm", "y"),
    "accuracy-layer-dx": lambda: benches.accuracy("layer_norm", "dx"),
    "accuracy-group": lambda: benches.accuracy("group_norm", "y"),
    "accuracy-inputs": benches.accuracy_of_inputs,
    "bench-article": benches.article,
    "bench-start": benches.start,
    "bench-sweep": benches.sweep,
    "bench-devices": benches.devices,
    "bench-stopped": benches.stopped,
    "bench-folding": benches.folding,
    "soak": benches.soak,
    "campaign": benches.campaign,
    "bench-layer": lambda: devices.layers("cpu", "batch_norm", devices.TRAIN),
    "bench-layers": lambda: devices.layers("cpu"),
    "device-targets": devices.targets,
    "device-correctness": devices.correctness,
    "device-layers": devices.layers_on_accelerators,
    "device-resnet": devices.resnet,
    "device-engine": devices.engine,
}


if __name__ == "__main__":
    for path in texts():
        path.write_text(render(path), encoding="utf-8")
