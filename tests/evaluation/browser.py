"""Opens a page in headless Chromium, once in a frame of each width, and says what a reader would meet."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROBE = """
<body>
%s
<script>
const texts = [];
window.addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, window_ = frame.contentWindow;
    const sizes = [...page.querySelectorAll("body *")].filter(node => !node.closest("svg") &&
      [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()) &&
      node.getClientRects().length).map(node => parseFloat(window_.getComputedStyle(node).fontSize));
    const scales = [...page.querySelectorAll("svg[role=img]")].map(svg => {
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      return Math.min(...[...svg.querySelectorAll("text")].map(text =>
        parseFloat(window_.getComputedStyle(text).fontSize) * scale));
    });
    return {
      width: frame.clientWidth,
      scroll_width: page.documentElement.scrollWidth,
      least_font: Math.min(...sizes),
      body_font: parseFloat(window_.getComputedStyle(page.body).fontSize),
      least_figure_font: Math.min(...scales),
      requests: window_.performance.getEntriesByType("resource").map(entry => entry.name)
        .filter(name => !name.startsWith("data:")),
    };
  });
  document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
});
</script>
"""


def missing() -> str:
    """The reason why no page can be opened; empty if a browser is installed."""
    return "" if _path() else f"no Chromium: none of {', '.join(NAMES)} is installed"


def _path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def look(page: Path, widths: tuple[int, ...]) -> tuple[list[dict], list[str]]:
    """(what each frame shows, messages on the console)"""
    frames = "".join(
        f'<iframe src="{page.as_uri()}" width="{width}" height="900" frameborder="0"></iframe>' for width in widths
    )
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.html"
        probe.write_text(PROBE % frames)
        browser = _path()
        assert browser is not None
        done = subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--disable-component-update", "--allow-file-access-from-files", "--enable-logging=stderr",
                f"--user-data-dir={folder}/profile", "--window-size=1400,1000", "--virtual-time-budget=10000",
                "--dump-dom", probe.as_uri(),
            ],
            capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
    match = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert match is not None, done.stdout[-2000:]
    return json.loads(html.unescape(match[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]
