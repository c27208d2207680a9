"""The documentation site: links, pages made from other files, docstrings, a build that loads nothing from afar."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'ecd-data[docs]'")
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[1]


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = load("site_pages")
forms = load("docstring_forms")
notebooks = load("notebook_pages")


def adapt(text: str, source: str, page: str) -> str:
    return pages.adapt(text, source, page, {path: name for name, path in pages.FROM_OUTSIDE.items()})


@pytest.mark.parametrize(
    ("link", "source", "page", "shown"),
    [
        ("[tasks](tasks.md#leakage)", "docs/faq.md", "faq.md", "[tasks](tasks.md#leakage)"),
        ("[tasks](docs/tasks.md)", "README.md", "index.md", "[tasks](tasks.md)"),
        ("![a](docs/AlN.png)", "README.md", "index.md", "![a](AlN.png)"),
        ("[card](../dataset_card.md)", "docs/faq.md", "faq.md", "[card](project/dataset_card.md)"),
        ("[a](docs/add_a_model.md)", "dataset_card.md", "project/dataset_card.md", "[a](../add_a_model.md)"),
        ("[web](https://a.b/c.md)", "docs/faq.md", "faq.md", "[web](https://a.b/c.md)"),
        ("[here](#leakage)", "docs/faq.md", "faq.md", "[here](#leakage)"),
        ("[lost](nowhere.md)", "docs/faq.md", "faq.md", "[lost](nowhere.md)"),
        ("[lost](../nowhere.py)", "docs/faq.md", "faq.md", "[lost](../nowhere.py)"),
    ],
)
def test_links_lead_to_pages_of_the_site(link, source, page, shown):
    assert adapt(link, source, page) == shown


@pytest.mark.parametrize(
    ("link", "without", "with_url"),
    [
        ("[`make.py`](../make.py)", "`make.py`", "[`make.py`](https://a.b/ecd/blob/main/make.py)"),
        (
            "[recipe](../make.py#L3)",
            "recipe (`make.py`)",
            "[recipe](https://a.b/ecd/blob/main/make.py#L3)",
        ),
        ("[all](../examples)", "all (`examples`)", "[all](https://a.b/ecd/tree/main/examples)"),
    ],
)
def test_files_outside_the_site_are_on_the_web_or_shown_as_paths(link, without, with_url, monkeypatch):
    for url, shown in ((None, without), ("https://a.b/ecd", with_url)):
        monkeypatch.setattr(pages, "find_repository", lambda url=url: url)
        assert adapt(link, "docs/faq.md", "faq.md") == shown


def test_a_list_after_a_line_of_text_stays_a_list():
    assert adapt("Text\n- one\n- two\n  more\n", "docs/faq.md", "faq.md") == "Text\n\n- one\n- two\n  more\n"
    assert adapt("**Text**\n1. one\n", "docs/faq.md", "faq.md") == "**Text**\n\n1. one\n"
    assert adapt("# Title\n1. one\n", "docs/faq.md", "faq.md") == "# Title\n1. one\n"


def test_the_navigation_has_what_exists_and_all_of_it():
    config = type("Config", (), {"nav": [{"A": "tasks.md"}, {"B": [{"C": "no_such_page.md"}]}, {"API": "api/"}]})()
    nav = pages.on_config(config).nav
    assert nav[0] == {"A": "tasks.md"}
    assert "no_such_page" not in json.dumps(nav)
    assert nav[1] == {"API": ["api/ecd_data.md", "api/ecd_models.md"]}
    assert "faq.md" in nav[-1]["More"]
    assert "tasks.md" not in nav[-1]["More"]


def test_the_api_has_what_the_packages_export():
    import ecd_data

    assert set(pages.read_exports("ecd_data")) == set(ecd_data.__all__)
    assert "::: ecd_models.checkpoint.load_model" in pages.make_api_page("ecd_models")


def test_a_notebook_becomes_a_page():
    cells = [{"cell_type": "markdown", "source": ["# A\n", "b"]}, {"cell_type": "code", "source": ["x = 1"]}]
    assert notebooks.show_notebook({"cells": cells}, "n") == ("# A\nb\n\n```python\nx = 1\n```", {})


def test_a_page_shows_what_a_notebook_printed_and_drew():
    outputs = [
        {"output_type": "stream", "name": "stderr", "text": ["progress\n"]},
        {"output_type": "stream", "name": "stdout", "text": ["\x1b[31m1\x1b[0m\n", "2\n"]},
        {"output_type": "display_data", "data": {"image/png": "YWJj", "text/plain": ["<Figure>"]}},
        {"output_type": "execute_result", "data": {"text/plain": [f"{k}\n" for k in range(100)]}},
    ]
    page, pictures = notebooks.show_notebook({"cells": [{"cell_type": "code", "source": [], "outputs": outputs}]}, "n")
    assert "```text\n1\n2\n```" in page
    assert "progress" not in page
    assert "<Figure>" not in page
    assert pictures == {"n_1.png": b"abc"}
    assert "![What the cell above draws](n_1.png)" in page
    assert page.endswith("39\n... and 60 more lines\n```")


def test_a_notebook_that_fails_builds_no_site():
    pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'ecd-data[dev]'")
    cell = {"cell_type": "code", "source": "1 / 0", "metadata": {}, "outputs": [], "execution_count": None}
    with pytest.raises(PluginError, match=r"(?s)broken\.ipynb does not run.*ZeroDivisionError"):
        notebooks.run_notebook({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}, "broken.ipynb")


def test_both_forms_of_docstrings_put_sentences_below_names():
    text = "First.\n\nParameters\n----------\na : the first.\nb, c : two, and\n    more.\n\nRaises\n------\nE : why.\n"
    shown = forms.put_sentences_below(text)
    assert "a\n    the first.\nb, c\n    two, and\n    more." in shown
    assert "E\n    why." in shown
    assert forms.put_sentences_below(shown) == shown


class Resources(HTMLParser):
    """Collects what a page loads, which is what its links lead to only on a click."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(values.get("src") or "")
        elif tag == "link" and values.get("rel") != "canonical":
            self.found.append(values.get("href") or "")


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_the_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ROOT / ".ci/mkdocs.yml"]
    done = subprocess.run([*command, "--site-dir", tmp_path / "site"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    assert built >= {f"{path.stem}.html" for path in ROOT.glob("docs/*.md")}
    assert built >= {"index.html", "api/ecd_data.html", "api/ecd_models.html", "project/changelog.html"}
    assert built >= {f"notebooks/{path.stem}.html" for path in ROOT.glob("examples/notebooks/*.ipynb")}
    assert "<img" in (tmp_path / "site/notebooks/1_look_at_a_density.html").read_text(encoding="utf-8")
    for name in built:
        parser = Resources()
        parser.feed((tmp_path / "site" / name).read_text(encoding="utf-8"))
        assert [target for target in parser.found if re.match(r"(https?:)?//", target)] == [], name
    style = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site/assets").rglob("*.css"))
    assert not re.search(r"url\([\"']?(https?:)?//", style)
