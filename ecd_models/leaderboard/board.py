"""The leaderboard: the entries of the package, and their tables, one for each task and part of some data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.release.data_origin import RELEASE, SAMPLE
from ecd_data.release.tasks import find_task
from ecd_models.evaluation.results import Results
from ecd_models.leaderboard.checks import read_checked
from ecd_models.leaderboard.entry import Entry, Reported
from ecd_models.leaderboard.superposed_atoms import read_summary
from ecd_models.report.page import (
    Card,
    Cell,
    Section,
    Table,
    mark_least,
    number,
    over_compounds,
    over_crystals,
    render_page,
    text,
)

ENTRIES = Path(__file__).parent / "entries"
COLUMNS = ("model", "mean over crystals %", "mean over compounds %", "median %", "p90 %", "p99 %", "from")
COLUMNS_OF_MODELS = (
    *("model", "idea", "weights", "code licence", "weights licence", "trained on"),
    *("hardware", "memory GB", "points / s"),
)
SAMPLE_TEXT = "Small crystals of Quantum ESPRESSO, for models of its densities."
LEAD = (
    "Measured rows come from results files of `ecd evaluate` that are stored with their hashes; reported rows repeat a "
    "publication. The mean that ranks is over crystals; intervals are 95 %, bootstrapped by compound.",
)
HOW = (
    "An entry is one YAML file with results, and adding one needs no code: `ecd evaluate TASK -m MODEL -o r.json`, "
    "then `ecd submit r.json -o mine.yaml`, fill in what it names, `ecd submit mine.yaml`, and open a pull request.",
)


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard: an entry with one of its results or reported numbers."""

    entry: Entry
    results: Results | None = None
    reported: Reported | None = None

    @property
    def board(self) -> tuple[str, str]:
        """The data of the row ("release", "sample" or "other"), and the name of its board."""
        if self.results is not None:
            return self.results.data_origin, f"{self.results.task} {self.results.part}"
        assert self.reported is not None
        task = self.reported.task
        return (RELEASE, f"{find_task(task).name} test") if task else ("other", self.reported.tested_on)

    @property
    def error(self) -> float:
        """The mean error in percent; infinite where a publication gives none."""
        if self.results is not None:
            return self.results.summary.mean_percent
        error = None if self.reported is None else self.reported.eps_mae_percent
        return float("inf") if error is None else error


def read_board(folder: Path = ENTRIES) -> list[Row]:
    """The rows of all entries in a folder.

    Raises
    ------
    UsageError : the folder has no entries.
    EcdError : an entry has a fault, or two are of models of one name.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise UsageError(f"{folder} has no entries: name a folder of YAML files")
    rows: list[Row] = []
    for path in paths:
        entry, results = read_checked(path)
        if any(row.entry.model == entry.model for row in rows):
            raise EcdError(f"{path}: another entry is of a model {entry.model} too: give this one a name of its own")
        rows += [Row(entry, results=one) for one in results]
        rows += [Row(entry, reported=one) for one in entry.reported]
    return rows


def make_tables(rows: Sequence[Row], origin: str) -> list[Table]:
    """The tables of one kind of data: "release", "sample" or "other"; each is ranked by the mean error."""
    boards: dict[str, list[Row]] = {}
    for row in rows:
        kind, name = row.board
        if kind == origin:
            boards.setdefault(name, []).append(row)
    tables = []
    for name, members in sorted(boards.items()):
        ranked = sorted(members, key=lambda row: (row.error, row.entry.model))
        counts = {
            f"{r.results.crystals_judged} crystals, {r.results.summary.compounds} compounds"
            for r in ranked
            if r.results
        }
        cells: list[Sequence[Cell]] = [*mark_least(map(_make_row, ranked), (1,))]
        cells += _make_atom_row(ranked)
        tables.append(Table(name, COLUMNS, cells, sorted(counts)))
    return tables


def _make_atom_row(rows: Sequence[Row]) -> list[list[Cell]]:
    """The row of fitted superposed atoms on the part of some rows, where their errors are stored for these data."""
    measured = next((row.results for row in rows if row.results is not None), None)
    if measured is None or measured.data_origin != SAMPLE:
        return []
    try:
        summary = read_summary(measured)
    except FormatError:  # results of other crystals than the whole part
        return []
    tail = [number(value) for value in (summary.median_percent, summary.p90_percent, summary.p99_percent)]
    name = text("superposed atoms, fitted", "detail")
    return [[name, over_crystals(summary), over_compounds(summary), *tail, text("measured, no network")]]


def _make_row(row: Row) -> list[Cell]:
    if row.results is not None:
        summary = row.results.summary
        tail = [number(value) for value in (summary.median_percent, summary.p90_percent, summary.p99_percent)]
        name = text(row.entry.model)
        return [name, over_crystals(summary), over_compounds(summary), *tail, text("measured", "", row.entry.idea)]
    one = row.reported
    assert one is not None
    mean = Cell(one.stated or "–", None, "", "reported")
    if one.eps_mae_percent is not None:
        spread = "" if one.spread_percent is None else f" ± {one.spread_percent:g}"
        mean = Cell(f"{one.eps_mae_percent:.3f}{spread}", one.eps_mae_percent, "", "reported")
    source = f"reported: {one.source}" + ("" if one.read else " (second hand)")
    tail = [number(value, 3, "reported") for value in (one.median_percent, one.p90_percent, one.p99_percent)]
    return [text(row.entry.model, "reported"), mean, Cell("–"), *tail, text(source, "reported")]


def make_model_table(rows: Sequence[Row]) -> Table:
    """The models of all entries with their licences and hardware."""
    cells = []
    for entry in {row.entry.model: row.entry for row in rows}.values():
        checkpoint = entry.checkpoint
        hint = f"training: {entry.hardware.training}"
        cells.append(
            [
                text(entry.model, "reported" if entry.kind == "reported" else ""),
                text(entry.idea),
                number(entry.weights, 0),
                text(entry.code.licence),
                text(checkpoint.licence if checkpoint else "–", "", checkpoint.sha256 if checkpoint else ""),
                text(entry.training.data),
                text(entry.hardware.prediction, "", hint),
                number(entry.hardware.memory_GB, 2),
                number(entry.hardware.points_per_second, 0),
            ]
        )
    noted = {row.entry.model: row.entry.notes for row in rows if row.entry.notes}
    return Table("Models", COLUMNS_OF_MODELS, cells, [f"{model}: {note}" for model, note in noted.items()])


def render_board(rows: Sequence[Row]) -> str:
    """The leaderboard as one HTML page."""
    measured = {row.entry.model for row in rows if row.results is not None}
    reported = {row.entry.model for row in rows} - measured
    sections = [
        Section("ECD release", "release", ("The benchmark's own test lists.",), make_tables(rows, RELEASE)),
        Section("Embedded sample", "sample", (SAMPLE_TEXT,), make_tables(rows, SAMPLE)),
        Section("Other data", "other", ("Test sets of publications, which differ.",), make_tables(rows, "other")),
        Section("Models", "models", (), [make_model_table(rows)]),
        Section("Add a model", "add", HOW),
    ]
    cards = [Card(str(len(measured)), "models measured"), Card(str(len(reported)), "models reported")]
    return render_page("Leaderboard of electron densities", LEAD, cards, sections, "Made with `ecd leaderboard`.")


def render_board_as_markdown(rows: Sequence[Row]) -> str:
    """The tables of the leaderboard as Markdown."""
    titles = {RELEASE: "ECD release", SAMPLE: "Embedded sample", "other": "Other data"}
    parts = [
        f"## {titles[origin]}\n\n" + "\n\n".join(map(_as_markdown, tables))
        for origin in titles
        if (tables := make_tables(rows, origin))
    ]
    return "\n\n".join([*parts, _as_markdown(make_model_table(rows))]) + "\n"


def _as_markdown(table: Table) -> str:
    def write(words: Sequence[str]) -> str:
        return (
            "| " + " | ".join(word.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for word in words) + " |"
        )

    rows = [write([cell.text for cell in row]) for row in table.rows]
    head = [write(table.columns), "|" + "---|" * len(table.columns)]
    return "\n".join([f"### {table.title}", "", *head, *rows, *([""] if table.notes else []), *table.notes])
