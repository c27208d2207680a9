"""A folder from which VASP starts a self-consistent run with a density: POSCAR, INCAR, CHGCAR and provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ecd_data
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.formats import write
from ecd_data.formats.run_files import group_species
from ecd_data.formats.vasp import chgcar
from ecd_data.formats.vasp.occupancies import copy_augmentation
from ecd_data.io.density_names import PREDICTED_BY
from ecd_data.io.file_bytes import hash_file
from ecd_data.vasp_grid import is_taken
from ecd_models.scf.electrons import scale_to_electrons
from ecd_models.scf.incar import find_conflicts, has_spin, is_noncollinear, make_restart_tags, write_incar
from ecd_models.scf.potentials import (
    Potentials,
    compare_positions,
    compare_potentials,
    compare_species,
    refuse_other_potcar,
)

FILES = ("POSCAR", "INCAR", "CHGCAR", "restart.json")


@dataclass(frozen=True)
class Restart:
    """The folder that was written, what the code will do with it in one sentence, warnings, and the provenance."""

    folder: Path
    effect: str
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_restart(
    rho: Density,
    folder: str | Path,
    *,
    potentials: Potentials | None = None,
    reference: Density | None = None,
    incar: Mapping[str, Any] | None = None,
    nelect: float | None = None,
    source: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> Restart:
    """Write POSCAR, INCAR, CHGCAR and restart.json, with which VASP starts from a density.

    Parameters
    ----------
    rho : the density, on the grid that VASP shall take; it is scaled to the electrons of the run.
    folder : the folder to write.
    potentials : the POTCAR of the run. Its species must be those of the crystal, in their order.
    reference : a CHGCAR of the same atoms and POTCAR, as `read_run` reads it, whose PAW occupancies are written as
        well.
    incar : the tags of the run, see `read_incar`, to which those of the restart are added.
    nelect : electrons of the run, by default those of INCAR, of the potentials or of the reference.
    source : where the density comes from, for restart.json.
    warnings : what is known of the density, to which the warnings of the restart are added.

    Raises
    ------
    UsageError : the reference has another POTCAR or other atoms, the POTCAR has other elements, the electrons are not
        known or over 10 % away from those of the density, or the folder has such files already.
    """
    folder, own = Path(folder), dict(incar or {})
    refuse_full(folder, FILES)
    if potentials is not None:
        compare_species(rho, potentials)
        refuse_other_potcar(rho, potentials, "the density")
    rho, spin_warnings = _drop_spin(rho, own)
    due, origin = _find_electrons(rho, own, potentials, reference, nelect)
    scaled, factor = scale_to_electrons(rho, due, origin)
    warnings = [*warnings, *spin_warnings, *find_conflicts(own, scaled), *_check_grid(scaled)]
    same_potcar = None
    if reference is not None:
        same_potcar = compare_potentials(reference, potentials, warnings)
        compare_positions(scaled, reference, warnings)
        scaled = copy_augmentation(scaled, reference)
    added = make_restart_tags(scaled, own)
    tags = {**own, **added}
    effect = _describe_effect(scaled, tags)
    provenance = {
        "ecd": ecd_data.__version__,
        "density": dict(source or {}),
        "grid": list(scaled.shape),
        "electrons": {"written": due, "before": rho.nelect, "factor": factor, "from": origin},
        "channels": _list_channels(rho, scaled, reference, tags),
        "reference": None if reference is None else reference.meta.get("source"),
        "reference_has_the_same_potcar": same_potcar,
        "potcar": None if potentials is None else list(potentials.titles),
        "incar_added": added,
        "vasp_will": effect,
        "warnings": warnings,
    }
    _write_files(folder, scaled, tags, provenance)
    return Restart(folder, effect, tuple(warnings), provenance)


def refuse_full(folder: Path, files: Sequence[str]) -> None:
    """Raises UsageError if `folder` is a file or has one of the files to write."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder")
    if present := [name for name in files if (folder / name).exists()]:
        raise UsageError(f"{folder} has {', '.join(present)} already: name another folder, or move them away")


def _drop_spin(rho: Density, tags: Mapping[str, Any]) -> tuple[Density, list[str]]:
    """The density without its magnetization if the run of an INCAR has none, and the warning of that."""
    if rho.magnetization is None or not tags:
        return rho, []
    if rho.magnetization.ndim == 4 and not is_noncollinear(tags):
        raise UsageError("the density is non-collinear and the INCAR is not: set LNONCOLLINEAR = .TRUE. there")
    if has_spin(tags):
        return rho, []
    warning = "the INCAR has no ISPIN = 2: the magnetization of the density was left out"
    return replace(rho, magnetization=None, augmentation=None), [warning]


def _find_electrons(
    rho: Density,
    tags: Mapping[str, Any],
    potentials: Potentials | None,
    reference: Density | None,
    nelect: float | None,
) -> tuple[float, str]:
    """The number of electrons of the run, and where it comes from."""
    if nelect is not None:
        return nelect, "given"
    if "NELECT" in tags:
        return float(tags["NELECT"]), "NELECT in INCAR"
    if potentials is not None:
        groups = group_species(rho)
        if len(groups) != len(potentials.zval):
            raise UsageError(f"{potentials.path} has two potentials of one element: give the electrons with --nelect")
        return float(sum(n * z for (_, n), z in zip(groups, potentials.zval, strict=True))), potentials.path
    if reference is not None:
        recorded = reference.meta.get("settings", {}).get("nelect")
        return float(recorded or reference.nelect), "the reference"
    raise UsageError(
        "the number of electrons of the run is not known: give its POTCAR (--potcar), a reference CHGCAR (--reference),"
        " or --nelect"
    )


def _check_grid(rho: Density) -> list[str]:
    """A warning if VASP takes no grid of this shape."""
    if is_taken(rho.shape):
        return []
    grid = "x".join(map(str, rho.shape))
    return [f"VASP takes no grid of {grid} points (even numbers with factors 2, 3, 5, 7) and will refuse the CHGCAR"]


def _describe_effect(rho: Density, tags: Mapping[str, Any]) -> str:
    """What VASP will do with the density, in one sentence."""
    if rho.augmentation is None:
        return (
            "VASP will not start from this density: CHGCAR has no PAW occupancies, so it warns 'PAW occupancies are"
            " missing on CHGCAR' and makes a density of its own; give one of the same atoms and POTCAR (--reference)"
        )
    spin = "its magnetization" if rho.magnetization is not None else ""
    if not spin and has_spin(tags):
        spin = "moments of superposed atoms (MAGMOM)"
    grid = "x".join(map(str, rho.shape))
    read = f"VASP will read CHGCAR (ICHARG = 1) on its {grid} grid and start the self-consistency from it"
    return f"{read}, with {spin}" if spin else read


def _list_channels(
    before: Density, written: Density, reference: Density | None, tags: Mapping[str, Any]
) -> dict[str, str | None]:
    """The origin of each part of the start."""
    grid = find_origin(before)
    spin = grid if written.magnetization is not None else "atomic (MAGMOM)" if has_spin(tags) else None
    augmentation = None if reference is None or written.augmentation is None else find_origin(reference)
    return {"density": grid, "magnetization": spin, "augmentation": augmentation}


def find_origin(rho: Density) -> str:
    """Whether a density is "predicted", "converged", "not converged", or "not known"."""
    if str(rho.meta.get("comment", "")).startswith(PREDICTED_BY):
        return "predicted"
    provenance = rho.meta.get("provenance", {})
    converged = provenance.get("converged", provenance.get("convergence", {}).get("converged"))
    return "not known" if converged is None else "converged" if converged else "not converged"


def _write_files(folder: Path, rho: Density, tags: Mapping[str, Any], provenance: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header, _, _ = chgcar.render_header(rho).rpartition(b"\n \n")
    (folder / "POSCAR").write_bytes(header + b"\n")
    write_incar(folder / "INCAR", tags)
    write(folder / "CHGCAR", rho)
    hashes = {name: hash_file(folder / name) for name in FILES[:-1]}
    (folder / "restart.json").write_text(json.dumps({**provenance, "sha256": hashes}, indent=2) + "\n")
