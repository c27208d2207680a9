"""The options that `ecd scf run`, `gaps` and `energies` share: crystals, densities to start from, pw.x, the output."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ecd_models.cli.dft import Pseudo, Pwx
from ecd_models.cli.options import Data, Quiet, Sample, change_options, model_option, writable
from ecd_models.cli.scf_reports import show_crystals

Crystals = Annotated[
    list[str],
    typer.Argument(help="Structure files, folders of them, JSON of records; or one task, configuration or store."),
]
Models = Annotated[
    list[str] | None, model_option("Checkpoint or name of a model whose prediction is used; repeatable.")
]
Densities = Annotated[
    list[Path] | None, typer.Option("--density", help="Density file of one crystal to compute from; repeatable.")
]
Part = Annotated[str | None, typer.Option(help="Part of the task or store to take crystals from; default: test.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Take only this crystal of the task or store; repeatable.")]
Limit = Annotated[int | None, typer.Option(help="Largest number of crystals.")]
KSpacing = Annotated[float, typer.Option(help="Spacing of k points in 2 pi / Å for structure files.")]
Allow = Annotated[
    bool, typer.Option("--allow-valence-mismatch", help="Use a model even if its valences are not those of the run.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="JSON file with every value.", callback=writable)]
Work = Annotated[
    Path | None, typer.Option(help="Folder that keeps the files of pw.x, so that a second call continues.")
]
OWN_BEFORE = "allow_valence_mismatch"  # the options of a verb alone stand before this one in its help


@dataclass(frozen=True)
class ScfOptions:
    """What the shared options of the three verbs say."""

    crystals: Crystals
    models: Models = None
    densities: Densities = None
    part: Part = None
    ids: Ids = None
    data: Data = None
    sample: Sample = False
    limit: Limit = None
    kspacing: KSpacing = 0.04
    allow_valence_mismatch: Allow = False
    output: Output = None
    work: Work = None
    pwx: Pwx = None
    pseudo: Pseudo = None
    quiet: Quiet = False

    @property
    def choice(self) -> dict[str, Any]:
        """The arguments of `make_scf_jobs` beside the crystals."""
        choice = {"part": self.part, "ids": self.ids, "data_dir": self.data, "sample": self.sample}
        return {**choice, "limit": self.limit, "kspacing": self.kspacing}

    def show(self, run: Callable[..., Any], jobs: list[Any], **settings: Any) -> Any:
        """The report of `run_starts`, `run_gaps` or `run_energies`, with progress and failures on the terminal."""
        engine: Any = {"pwx": self.pwx, "pseudo": self.pseudo, "work": self.work}
        return show_crystals(run, jobs, self.make_starts(), self.quiet, **settings, **engine)

    def make_starts(self) -> dict[str, Any]:
        """The starts by name: predictions of models, and density files."""
        from ecd_models import load_model
        from ecd_models.scf.starts import file_start, model_start

        allow = self.allow_valence_mismatch
        starts: dict[str, Any] = {name: model_start(name, load_model(name), allow=allow) for name in self.models or []}
        return starts | {str(path): file_start(path) for path in self.densities or []}


def takes_scf_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the shared options beside its own; it gets them together, as its first argument."""
    own = list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    shared = list(inspect.signature(ScfOptions, eval_str=True).parameters.values())
    place = [option.name for option in shared].index(OWN_BEFORE)

    def run(**values: Any) -> None:
        verb(ScfOptions(**{option.name: values.pop(option.name) for option in shared}), **values)

    return change_options(verb, run, [*shared[:place], *own, *shared[place:]])
