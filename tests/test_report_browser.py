"""The report as a browser shows it, at a screen's width and at a phone's."""

import html
import json
import re
import shutil
import subprocess

import pytest

WIDTHS = (1200, 390)
_FRAME = '<iframe style="width: {width}px; height: 2000px; border: 0" srcdoc="{page}"></iframe>'
# Headless Chromium has no window as narrow as a phone: pages are measured in frames.
_MEASURE = """<pre id="measured"></pre><script>
onload = () => {
  const measured = [...document.querySelectorAll("iframe")].map(({contentDocument: page}) => ({
    width: page.documentElement.clientWidth,
    scroll_width: page.documentElement.scrollWidth,
    pictures: [...page.querySelectorAll("svg")].map(svg => {
      const {width, height} = svg.getBoundingClientRect();
      return [width, height, svg.getBBox().width, svg.getBBox().height];
    }),
    images: [...page.querySelectorAll("image")].map(image => image.getBoundingClientRect().width),
  }));
  document.getElementById("measured").textContent = JSON.stringify(measured);
};
</script>"""


@pytest.fixture
def show(tmp_path):
    """Opens a page in headless Chromium, in a frame of each width.

    Returns what was measured in each frame, and what the browser's console says.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser here; wanted one of {', '.join(names)}")

    def run(page):
        frames = [_FRAME.format(width=width, page=html.escape(page)) for width in WIDTHS]
        path = tmp_path / "frames.html"
        path.write_text(f"<!DOCTYPE html>{''.join(frames)}{_MEASURE}", encoding="utf-8")
        ended = subprocess.run(
            [
                browser,
                *("--headless", "--disable-gpu", "--no-first-run", "--window-size=1300,2000"),
                "--no-sandbox",  # which containers have no rights for
                *("--disable-background-networking", "--disable-component-update"),
                *(
                    "--hide-scrollbars",
                    "--disable-sync",
                    "--disable-quic",
                    f"--user-data-dir={tmp_path / 'profile'}",
                ),
                *("--enable-logging=stderr", "--v=0", "--dump-dom", path.as_uri()),
            ],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        measured = re.search('<pre id="measured">(.+?)</pre>', ended.stdout)
        assert measured, ended.stderr
        console = [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
        return json.loads(html.unescape(measured[1])), console

    return run


@pytest.mark.parametrize("folder", ["small_run", "small_sweep"])
def test_all_pictures_are_drawn_and_the_console_is_silent(request, show, folder):
    page = (request.getfixturevalue(folder) / "report.html").read_text()
    frames, console = show(page)
    assert console == []
    assert [frame["width"] for frame in frames] == list(WIDTHS)
    for frame in frames:
        assert frame["scroll_width"] == frame["width"]  # what is wider has a scroll bar of its own
        assert len(frame["pictures"]) == page.count("<svg")
        assert all(min(sizes) > 50 for sizes in frame["pictures"])
        assert all(width > 10 for width in frame["images"])


def test_a_broken_picture_and_a_wide_page_are_noticed(show):
    frames, console = show('<svg><path d="M x"/></svg><div style="width: 500px">wide</div>')
    assert any("attribute d" in line for line in console)
    assert frames[1]["scroll_width"] > frames[1]["width"]
    assert frames[1]["pictures"][0][2] == 0
