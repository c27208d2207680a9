"""Pages in a real Chromium without a window: what a script in them finds, and what the console says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecd_models.report.chromium import find_chromium

CHROMIUM = find_chromium()
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")
OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking"]
OPTIONS = [
    "--headless=new",
    "--no-first-run",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    *OFFLINE,
]
HARMLESS = "willReadFrequently"  # advice on speed that plotly's own drawing causes
SCRIPT = """
<script>
(async () => {
  const out = document.createElement("pre");
  out.id = "answer";
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const settle = () => pause(60);
  const waits = () => document.body.dataset.ready !== "yes" && document.getElementById("fault")?.hidden;
  for (let n = 0; n < 600 && waits(); n++) await pause(50);
  const change = (id, value, event = "change") => {
    const target = document.getElementById(id);
    if (target.type === "checkbox") target.checked = value; else target.value = value;
    target.dispatchEvent(new Event(event));
    return settle();
  };
  let answer;
  try { answer = await (async () => { %s })(); } catch (error) { answer = { error: String(error) }; }
  out.textContent = JSON.stringify(answer ?? null);
  document.body.append(out);
})();
</script>
</body>
"""


@dataclass(frozen=True)
class Visit:
    """What one visit of a page gave: the answer of the script, the lines of the console, the document at the end."""

    answer: Any
    console: list[str]
    document: str


def open_page(page: Path, script: str = "return null", *, webgl: bool = True, width: int = 600) -> Visit:
    """A Visit of a page with a script at its end, which may call `change(id, value)` and returns its answer."""
    assert CHROMIUM is not None
    copy = page.with_name(f"{page.stem}-visit.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", SCRIPT % script), encoding="utf-8")
    options = [
        *OPTIONS,
        f"--window-size={width},500",
        *([] if webgl else ["--disable-3d-apis"]),
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    if os.getuid() == 0:
        options.append("--no-sandbox")
    options += ["--virtual-time-budget=60000", "--enable-logging=stderr", "--dump-dom", copy.resolve().as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=180)
    lines = [line for line in done.stderr.splitlines() if ":CONSOLE" in line and HARMLESS not in line]
    found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page never answered: {done.stderr[-2000:]}"
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Visit(json.loads(text), lines, done.stdout)
