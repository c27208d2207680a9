"""A folder from which pw.x starts a self-consistent run with a density: its input, the density and provenance."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ecd_data
from ecd_data.density import Density
from ecd_data.io.file_bytes import hash_file
from ecd_models.scf.electrons import scale_to_electrons
from ecd_models.scf.espresso_pseudos import choose_folder
from ecd_models.scf.espresso_start import PwRun, StartDensity
from ecd_models.scf.vasp_restart import Restart, refuse_full

INPUT, RECORD = "pw.in", "restart.json"
NOT_CHECKED = (
    "the pseudopotentials were not found: whether they are norm-conserving, as they must be, and how many electrons"
    " they have was not checked"
)


def write_espresso_restart(run: PwRun, start: StartDensity, folder: str | Path) -> Restart:
    """Write pw.in, PREFIX.save/charge-density.dat and restart.json, with which pw.x starts from a density.

    Where h5py is installed, charge-density.hdf5 is written too, for a pw.x that was built with HDF5.

    Parameters
    ----------
    run : the run.
    start : the density, on any grid that holds the plane waves of the run; it is scaled to the electrons of the run.
    folder : the folder to write.

    Raises
    ------
    UsageError : the electrons are over 10 % away from those of the density, its grid is too coarse, or the folder has
        such files already.
    """
    folder = Path(folder)
    refuse_written(run, folder)
    scaled, factor = scale_to_electrons(start.rho, run.electrons, run.electrons_from)
    run.waves.coefficients(scaled.values)  # refuses a coarse grid before files are written
    warnings = [*start.warnings, *([NOT_CHECKED] if run.pseudos is None else [])]
    if run.input.namelists.word("electrons", "startingwfc") == "file":
        warnings.append("startingwfc = 'file', and no wavefunctions lie in the folder: pw.x makes them of atoms")
    channels = {**start.channels, **({"occupations of U": "reference"} if run.occupations else {})}
    effect = _describe_effect(folder, channels, run.input.iterates_geometry)
    provenance: dict[str, Any] = {
        "ecd": ecd_data.__version__,
        "density": dict(start.source),
        "input": str(run.input.path),
        "grid": list(scaled.shape),
        "electrons": {
            "written": run.electrons,
            "before": start.rho.nelect,
            "factor": factor,
            "from": run.electrons_from,
        },
        "channels": channels,
        "reference": None if run.reference is None else str(run.reference),
        "pseudopotentials": _list_pseudopotentials(run),
        "waves": {"count": len(run.waves.miller), "ecutrho_Ry": run.input.ecutrho, "gamma_only": run.waves.gamma_only},
        "pwx_will": effect,
        "warnings": warnings,
        "doubts": list(start.doubts),
    }
    _write_files(folder, run, scaled, provenance)
    told = [*warnings, *(f"this start may not pay: {doubt}" for doubt in start.doubts)]
    return Restart(folder, effect, tuple(told), provenance)


def refuse_written(run: PwRun, folder: Path) -> None:
    """Raises UsageError if a folder has files of the start of a run already, or is a file."""
    refuse_full(folder, (f"{run.input.prefix}.save", INPUT, RECORD))


def _describe_effect(folder: Path, channels: dict[str, str | None], moves: bool) -> str:
    """What pw.x will do with the density, in one sentence; moves: whether it moves atoms."""
    spin = " and its magnetization" if channels["magnetization"] else ""
    first = "first self-consistency (no later one)" if moves else "self-consistency"
    return (
        f"pw.x -i {INPUT}, run in {folder}, will read the density{spin} (it prints 'The initial density is read from"
        f" file') and start the {first} from it; if it prints 'Cannot read rho', it did not"
    )


def _list_pseudopotentials(run: PwRun) -> dict[str, Any] | None:
    if run.pseudos is None:
        return None
    return {
        label: {"file": str(one.path), "valence": one.valence, "sha256": one.sha256}
        for label, one in run.pseudos.of_label.items()
    }


def _write_files(folder: Path, run: PwRun, rho: Density, provenance: dict[str, Any]) -> None:
    save = f"{run.input.prefix}.save"
    text = run.input.start_from_file(choose_folder(run.input, run.pseudos))
    (folder / save).mkdir(parents=True, exist_ok=True)
    names = [INPUT, f"{save}/charge-density.dat"]
    (folder / INPUT).write_bytes(text.encode("utf-8", "surrogateescape"))
    run.waves.write(folder / names[1], rho.values, rho.magnetization)
    if find_spec("h5py") is not None:
        names.append(f"{save}/charge-density.hdf5")
        run.waves.write_hdf5(folder / names[2], rho.values, rho.magnetization)
    for path in run.occupations:
        shutil.copyfile(path, folder / save / path.name)
        names.append(f"{save}/{path.name}")
    hashes = {name: hash_file(folder / name) for name in names}
    (folder / RECORD).write_text(json.dumps({**provenance, "sha256": hashes}, indent=2) + "\n")
