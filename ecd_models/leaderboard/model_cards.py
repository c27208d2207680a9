"""The figures on the card of a shipped model (NAME.md beside its checkpoint), made from its stored results."""

from __future__ import annotations

from ecd_data.markdown import make_markdown_table
from ecd_models.evaluation.results import Results
from ecd_models.leaderboard.shipped_models import BEYOND, ShippedModel, find_failures, rank_crystals
from ecd_models.leaderboard.shipped_table import PAIR_MODEL, describe_summary, name_part_with_count
from ecd_models.leaderboard.superposed_atoms import read_summary
from ecd_models.metrics import Summary
from ecd_models.report.result_tables import PART_TITLES

DIGITS = 3  # decimals of percentages: tables of all models have two


def make_card_figures(model: ShippedModel, pair_model: ShippedModel) -> list[str]:
    """The lines of the figures of a model: its errors, where it fails, and its file.

    Parameters
    ----------
    model : the model of the card.
    pair_model : the linear pair model, whose errors stand beside those of a network.
    """
    return [*_make_error_table(model, pair_model), "", *_list_failures(model), "", *_describe_file(model)]


def _make_error_table(model: ShippedModel, pair_model: ShippedModel) -> list[str]:
    """The table of the errors on each part, beside those of what is no network."""
    others = [] if model.name == pair_model.name else [f"`{PAIR_MODEL}`"]
    others += ["its atoms alone, superposed", "superposed atoms, fitted"]
    rows = []
    for part, results in model.results.items():
        worst = rank_crystals(results.crystals)[0]
        rows.append(
            [
                name_part_with_count(part, results.summary),
                describe_summary(results.summary, DIGITS),
                f"{worst.id} {worst.eps_mae_percent:.2f} %",
                *([] if model.name == pair_model.name else [_mean(pair_model.results[part].summary)]),
                _mean(results.superposed_atoms.summary) if results.superposed_atoms else "none",
                _mean(read_summary(results)),
                f"`{_name_command(results)}`",
            ]
        )
    return make_markdown_table(["eps_mae", "mean [95 %]", "worst crystal", *others, "command"], rows).splitlines()


def _mean(summary: Summary) -> str:
    return f"{summary.mean_percent:.{DIGITS}f} %"


def _name_command(results: Results) -> str:
    return f"ecd evaluate {results.task} --sample --part {results.part} -m {results.model}"


def _list_failures(model: ShippedModel) -> list[str]:
    """The table of the crystals on which a model fails, or the sentence that there are none."""
    failures = find_failures(model)
    if not failures:
        return [f"Where it fails: no crystal has more than {BEYOND:g} times the mean error of its part."]
    rows = [
        [
            one.crystal.id,
            f"{one.crystal.eps_mae_percent:.2f} %",
            PART_TITLES[one.part],
            f"{one.mean_percent:.2f} %",
        ]
        for one in failures
    ]
    head = [
        f"where it fails: more than {BEYOND:g} times the mean of its part",
        "eps_mae",
        "part",
        "mean of the part without such crystals",
    ]
    return make_markdown_table(head, rows).splitlines()


def _describe_file(model: ShippedModel) -> list[str]:
    size = f"{model.checkpoint.stat().st_size:,} bytes"
    rows = [["number of weights", f"{model.weights:,}"], ["size", size], ["SHA-256", model.sha256]]
    return make_markdown_table([f"`{model.checkpoint.name}`", ""], rows).splitlines()
