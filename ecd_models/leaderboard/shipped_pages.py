"""All pages with figures of the shipped models, written again from their checkpoints and stored results.

`python -m ecd_models.leaderboard.shipped_pages` writes the tables in README.md and docs/results.md, the figures on the
models' cards and in their entries of the leaderboard, and docs/leaderboard.html; it leaves current pages alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_data.work.programs import run_program
from ecd_models.leaderboard.board import ENTRIES, read_board, render_board
from ecd_models.leaderboard.entry import read_entry
from ecd_models.leaderboard.entry_figures import write_figures
from ecd_models.leaderboard.marked_blocks import fill_block
from ecd_models.leaderboard.model_cards import make_card_figures
from ecd_models.leaderboard.shipped_models import ShippedModel, read_shipped_models
from ecd_models.leaderboard.shipped_table import (
    PAIR_MODEL,
    make_difference_table,
    make_failure_table,
    make_table,
    read_summaries,
)

ROOT = Path(__file__).parents[2]  # of a clone
BOARD = ROOT / "docs" / "leaderboard.html"


def make_pages(models: Sequence[ShippedModel], root: Path = ROOT) -> dict[Path, str]:
    """The whole text of each page by its file.

    Parameters
    ----------
    models : the shipped models, see `read_shipped_models`.
    root : the folder of README.md and docs/.

    Raises
    ------
    UsageError : a page or an entry is missing, or a page has no marks for a block.
    FormatError : an entry names other files.
    """
    summaries = read_summaries(models)
    pages = {
        root / "README.md": {"table of the shipped models": make_table(summaries, intervals=False)},
        root / "docs" / "results.md": {
            "table of the shipped models": make_table(summaries, intervals=True),
            "differences to the pair model": make_difference_table(models),
            "failures of the shipped models": make_failure_table(models),
        },
    }
    pair_model = next(model for model in models if model.name == PAIR_MODEL)
    for model in models:
        pages[model.checkpoint.with_suffix(".md")] = {"figures of the model": make_card_figures(model, pair_model)}
    texts = {page: _fill_page(page, blocks) for page, blocks in pages.items()}
    return texts | {ENTRIES / f"{model.name}.yaml": _fill_entry(model) for model in models}


def _fill_page(page: Path, blocks: dict[str, list[str]]) -> str:
    text = _read(page)
    for name, lines in blocks.items():
        text = fill_block(text, name, lines, page)
    return text


def _fill_entry(model: ShippedModel) -> str:
    path = ENTRIES / f"{model.name}.yaml"
    text = _read(path)
    read_entry(path)  # a fault of the schema is named before any figure is written
    return write_figures(text, model.checkpoint, list(model.files.values()), list(model.results.values()))


def _read(page: Path) -> str:
    if not page.is_file():
        raise UsageError(f"{page} does not exist: write it by hand first, and run this in a clone of the repository")
    return page.read_bytes().decode()


def write_pages() -> list[Path]:
    """The files whose figures changed, which it writes; the board comes last, since it is made from the entries."""
    changed = [page for page, text in make_pages(read_shipped_models()).items() if _write(page, text)]
    return changed + [BOARD] * _write(BOARD, render_board(read_board()))


def _write(page: Path, text: str) -> bool:
    """Whether the file had another text, which is then written."""
    content = text.encode()
    if page.is_file() and page.read_bytes() == content:
        return False
    with write_whole(page) as temporary:
        temporary.write_bytes(content)
    return True


def main() -> None:
    """Write the pages and name those that changed."""
    changed = write_pages()
    print("\n".join(f"wrote {page}" for page in changed) or "all pages have the figures of the stored results")


if __name__ == "__main__":
    run_program(main)
