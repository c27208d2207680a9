"""What mkdocs calls to make the pages of the notebooks: it runs them, so that a page shows what they print and draw."""

from __future__ import annotations

import base64
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "examples/notebooks"
LONGEST = 40  # lines of one output that a page shows
PATIENCE = 900  # seconds for one cell: a training takes a minute on a quiet core
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
state = {"run": True}


def on_startup(command: str, dirty: bool) -> None:
    """Run the notebooks for a site that is built; `mkdocs serve` makes the pages again after each change."""
    state["run"] = command == "build"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the notebooks with their pictures."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        page, pictures = show_notebook(run_notebook(notebook, path.name) if state["run"] else notebook, path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def run_notebook(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """The notebook with the outputs of its cells, which run in an empty folder.

    Raises
    ------
    PluginError : a cell fails, so that no site is built; or what runs notebooks is not installed.
    """
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise PluginError(f"the site runs {name}, which needs nbclient: pip install 'ecd-data[dev]'") from error
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    node = nbformat.reads(json.dumps(notebook), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(node, timeout=PATIENCE, resources={"metadata": {"path": folder}})
        try:
            client.execute()
        except nbclient.exceptions.CellExecutionError as error:
            raise PluginError(f"{name} does not run: {error}") from error
    return dict(node)


def show_notebook(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown: its texts, its code and what that printed in fences; and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            if (picture := output.get("data", {}).get("image/png")) is not None:
                name = f"{stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(picture)
                parts.append(f"![What the cell above draws]({name})")
            elif shown := read_text(output):
                parts.append(f"```text\n{shown}\n```")
    return "\n\n".join(parts), pictures


def read_text(output: dict[str, Any]) -> str:
    """What an output of a cell says on a page; "" for progress and log lines, which are on stderr."""
    if output.get("name") == "stderr":
        return ""
    found = output.get("text") or output.get("data", {}).get("text/plain", "")
    lines = TERMINAL_CODES.sub("", "".join(found)).strip("\n").splitlines()
    more = [f"... and {len(lines) - LONGEST} more lines"] if len(lines) > LONGEST else []
    return "\n".join(line.rsplit("\r", 1)[-1] for line in [*lines[:LONGEST], *more])
