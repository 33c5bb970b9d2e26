"""The pages of the site and the code in them.

    python docs/pages.py

runs each page of the course in its folder, where its code draws the pictures that the page shows.
"""

import contextlib
import re
from pathlib import Path

import matplotlib
from matplotlib import pyplot

DOCS = Path(__file__).parent
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
COURSE = sorted((DOCS / "course").glob("*.md"))


def code_of(page: Path) -> str:
    """The Python code of a page, from its first block to its last."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL))


def run(page: Path, folder: Path) -> None:
    """Runs the code of a page in a folder, as one program. Its pictures have the site's style."""
    style = matplotlib.rc_params_from_file(DOCS / "pictures.mplstyle", use_default_template=False)
    with contextlib.chdir(folder), matplotlib.rc_context(style):
        exec(compile(code_of(page), page.name, "exec"), {"__name__": "__main__"})
    pyplot.close("all")


def tidied(svg: str) -> str:
    """A picture without its date and comments, and with coordinates to a hundredth of a point."""
    svg = re.sub(r"(?ms)^ *<(metadata>.*?</metadata>|!--.*?-->)\n", "", svg)
    return re.sub(r"<[^>]+>", lambda tag: re.sub(r"(?<=\d\.\d\d)\d+", "", tag[0]), svg)


if __name__ == "__main__":
    for page in COURSE:
        print(page.relative_to(DOCS))
        run(page, page.parent)
    for picture in (DOCS / "course").glob("*.svg"):
        picture.write_text(tidied(picture.read_text("utf-8")), "utf-8")
