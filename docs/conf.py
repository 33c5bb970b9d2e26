"""How Sphinx builds the site: `make docs`.

The source folder is the repository's. So a link from `docs/` to `experiments/` works in a checkout
and on the site alike.
"""

import sys
from pathlib import Path

import jbn

sys.path.insert(0, str(Path(__file__).parent))  # Sphinx runs this file from another folder
import docstrings

project = "jbn"
author = copyright = "The jbn authors"
version = release = jbn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "experiments/*.md",
    "experiments/**/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/_build"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

highlight_language = "none"  # of blocks that name none: what code prints

autodoc_typehints = "none"  # the docstrings say shapes and dtypes
autodoc_member_order = "bysource"
default_role = "py:obj"  # what docstrings have in backticks is a link where there is such a name
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

html_theme = "furo"
html_title = "jbn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["root"]
html_copy_source = False
html_show_sphinx = False


def setup(app):
    """Before the hook of napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", docstrings.as_restructured_text, priority=100)
    app.connect("autodoc-process-signature", docstrings.shorten_signature)
