"""The site: code in its pages runs, prints what they say, and draws the pictures that they show."""

import re

import pages
import pytest
from pages import DOCS


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_of_a_page_does_what_the_page_says(page, tmp_path, capsys):
    text = page.read_text()
    if "import pandas" in pages.code_of(page):
        pytest.importorskip("pandas")
    pages.run(page, tmp_path)

    # What a block of Python prints follows it, in a block without a language.
    said = re.findall(r"```python\n(?:(?!```).)*?```\n\n```\n(.*?)```", text, re.DOTALL)
    if said:
        assert capsys.readouterr().out == "".join(said)

    if page in pages.COURSE:
        shown = set(re.findall(r"!\[[^\]]*\]\((\w+\.svg)\)", text))
        drawn = {path.name for path in tmp_path.glob("*.svg")}
        assert shown == drawn == {path.name for path in page.parent.glob("*.svg")} & drawn
        assert drawn
