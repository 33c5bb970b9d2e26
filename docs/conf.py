"""How Sphinx builds the site: `make docs`.

The source folder is the repository's. So a link from `docs/` to `experiments/` works in a checkout
and on the site alike.
"""

import jbn

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

html_theme = "furo"
html_title = "jbn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["root"]
html_copy_source = False
html_show_sphinx = False
