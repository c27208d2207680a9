"""What mkdocs calls to make the site: pages from files outside docs/, the API pages, the navigation, and links."""

from __future__ import annotations

import ast
import json
import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
FROM_OUTSIDE = {  # pages of the site, and the files of the repository that they show
    "index.md": "README.md",
    "project/dataset_card.md": "dataset_card.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/recipes.md": "examples/recipes/README.md",
    "project/ecd_data.md": "ecd_data/README.md",
    "project/ecd_models.md": "ecd_models/README.md",
}
NOTEBOOKS = "examples/notebooks"
FURTHER_MODULES = {  # of the API, beside what the two packages export
    "ecd_data": ["ecd_data.errors", "ecd_data.fourier", "ecd_data.symmetry", "ecd_data.checks.report"],
    "ecd_models": ["ecd_models.metrics", "ecd_models.batch", "ecd_models.graph", "ecd_models.training.config"],
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LIST_AFTER_TEXT = re.compile(r"^(?!#|\||>|\s|[-*+] |\d+\. )(.+)\n(?=(?:[-*]|\d+\.) )", re.MULTILINE)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def on_config(config: Any) -> Any:
    """Resolve the navigation: leave out pages that do not exist, and name those that nothing names."""
    config.nav = _keep_existing([_fill(item) for item in config.nav])
    named = set(re.findall(r"[\w/-]+\.md", json.dumps(config.nav)))
    others = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    if others:
        config.nav.append({"More": others})
    return config


def _fill(item: dict[str, Any]) -> dict[str, Any]:
    """An item of the navigation with the pages that are made from other files in place of a folder."""
    (title, target), *_ = item.items()
    if target == "api/":
        target = [f"api/{name}.md" for name in FURTHER_MODULES]
    elif target == "notebooks/":
        target = list(_notebook_pages())
    elif target == "project/":
        target = [page for page in FROM_OUTSIDE if page.startswith("project/")]
    return {title: target}


def _keep_existing(items: list[Any]) -> list[Any]:
    kept = []
    for item in items:
        if isinstance(item, str):
            kept += [item] if _exists(item) else []
            continue
        (title, target), *_ = item.items()
        if isinstance(target, list):
            below = _keep_existing(target)
            kept += [{title: below}] if below else []
        elif _exists(target):
            kept.append(item)
    return kept


def _exists(page: str) -> bool:
    made = page.startswith("api/") or page in _notebook_pages()
    return made or (ROOT / FROM_OUTSIDE.get(page, f"docs/{page}")).exists()


def _notebook_pages() -> dict[str, str]:
    """The pages that notebook_pages.py makes from notebooks, and the notebooks."""
    found = sorted((ROOT / NOTEBOOKS).glob("*.ipynb"))
    return {f"notebooks/{path.stem}.md": f"{NOTEBOOKS}/{path.name}" for path in found}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from other files."""
    for page, source in FROM_OUTSIDE.items():
        text = FRONT_MATTER.sub("", (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    for page, source in find_html_files().items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    search = Path(__file__).with_name("search_from_disk.js").read_text(encoding="utf-8")
    files.append(File.generated(config, "assets/iframe-worker.js", content=search))
    for package in FURTHER_MODULES:
        files.append(File.generated(config, f"api/{package}.md", content=make_api_page(package)))
    return files


def find_html_files() -> dict[str, str]:
    """Where the HTML files of docs/ stand on the site: apart, since report.md is built to report.html too."""
    return {f"files/{path.name}": f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.html"))}


def make_api_page(package: str) -> str:
    """The API page of a package: what it exports, from the docstrings, then whole modules."""
    lines = [f"# {package}", "", f"`from {package} import ...` gives these names.", ""]
    for name, module in sorted(read_exports(package).items()):
        lines += [f"::: {module}.{name}", ""]
    for module in FURTHER_MODULES[package]:
        options = ["    options:", "        show_root_full_path: true", "        show_root_toc_entry: true"]
        lines += [f"::: {module}", *options, ""]
    return "\n".join(lines)


def read_exports(package: str) -> dict[str, str]:
    """The public names of a package and their modules, read without importing it."""
    for node in ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES":
            return dict(ast.literal_eval(node.value))
    raise ValueError(f"{package}/__init__.py has no _MODULES")


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """The text of a page with its links adapted to the site, and a blank line before lists, which GitHub needs not."""
    source = find_source(page.file.src_uri)
    made = {**FROM_OUTSIDE, **_notebook_pages(), **find_html_files()}
    pages = {path: name for name, path in made.items()}
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [adapt(markdown[end : fence.start()], source, page.file.src_uri, pages), fence[0]]
        end = fence.end()
    return "".join([*parts, adapt(markdown[end:], source, page.file.src_uri, pages)])


def find_source(page: str) -> str:
    """The file of the repository that a page of the site shows."""
    return FROM_OUTSIDE.get(page) or _notebook_pages().get(page) or f"docs/{page}"


def adapt(text: str, source: str, page: str, pages: dict[str, str]) -> str:
    """A text outside fences with links that lead somewhere on the site.

    Parameters
    ----------
    text : the Markdown.
    source : the file that it comes from, relative to the repository.
    page : the page of the site that shows it.
    pages : the pages of the site by the files outside docs/ that they show.
    """
    text = LIST_AFTER_TEXT.sub(r"\1\n\n", text)
    return LINK.sub(lambda match: adapt_link(match, source, page, pages), text)


def adapt_link(match: re.Match[str], source: str, page: str, pages: dict[str, str]) -> str:
    """A link of a page: to a page of the site, to the repository on the web, or the path as code."""
    mark, text, target = match.groups()
    path, hash, anchor = target.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", target):
        return match[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    on_site = pages.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
    if on_site is not None:
        return f"{mark}[{text}]({posixpath.relpath(on_site, posixpath.dirname(page) or '.')}{hash}{anchor})"
    if path.startswith("..") or not (ROOT / path).exists():
        return match[0]  # mkdocs says that it leads nowhere, and the build fails
    if (repository := find_repository()) is not None:
        return f"[{text}]({repository}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}{hash}{anchor})"
    shown = text.strip("`")
    return f"`{path}`" if shown == path else f"{text} (`{path}`)"


def find_repository() -> str | None:
    """The URL of the repository in pyproject.toml; None where it names none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    urls = {name.lower(): url for name, url in project.get("urls", {}).items()}
    found = next((urls[name] for name in ("repository", "source", "homepage") if name in urls), None)
    return found.rstrip("/") if found else None
