"""Verbs that compute densities with Quantum ESPRESSO or GPAW, and write inputs for VASP."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Dask, writable
from ecd_models.cli.terminal import print, print_lines

Pwx = Annotated[Path | None, typer.Option(help="The pw.x program; default: ECD_PWX, else the PATH.")]
Pseudo = Annotated[
    Path | None,
    typer.Option(help="Folder of the pseudopotentials (SYMBOL.upf, with gpaw SYMBOL.PBE.gz); default: the cache."),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", help="Program: espresso, or gpaw (PBE only) of the Python in ECD_GPAW_PYTHON, else of this one."
    ),
]
Processes = Annotated[int, typer.Option("--processes", "-p", help="Number of calculations that run at the same time.")]
KSpacing = Annotated[
    float,
    typer.Option(
        help="Spacing of k points in 2 pi / Å for crystals without a mesh; 0.04 is tried where this does not converge."
    ),
]
Spin = Annotated[
    bool | None,
    typer.Option(
        "--spin/--no-spin",
        help="Compute all crystals with or without spin; default: with spin where V, Cr, Mn, Fe, Co, Ni or"
        " lanthanides may have open shells, and for O2.",
    ),
]
Smearing = Annotated[
    bool | None,
    typer.Option(
        "--smearing/--no-smearing",
        help="Smear the occupations of all crystals or of none; default: of all that are not records.",
    ),
]
HubbardU = Annotated[
    str | None, typer.Option("--u", help="Hubbard U in eV by element for PBE: Fe=4.6,Zn=7.5, or a JSON file.")
]
Work = Annotated[
    Path | None, typer.Option(help="Folder that keeps all files; by default OUTPUT.work, for failed runs alone.")
]


def setup(engine: EngineName = "espresso", pwx: Pwx = None, pseudo: Pseudo = None) -> None:
    """Find Quantum ESPRESSO and download pseudopotentials into the cache; or find GPAW and its PAW setups."""
    from ecd_data.dft import setup

    print_lines(setup(pwx, pseudo, engine))


def relax(
    crystals: Annotated[
        list[Path], typer.Argument(help="Structure files, folders, JSON of records; last the JSON file to write.")
    ],
    kspacing: KSpacing = 0.02,
    spin: Spin = None,
    smearing: Smearing = None,
    u: HubbardU = None,
    processes: Processes = 1,
    dask: Dask = None,
    engine: EngineName = "espresso",
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    work: Work = None,
) -> None:
    """Relax cells and atoms with PBE and write a JSON of crystals for `ecd dft run`; a second call continues."""
    from ecd_data.dft import relax
    from ecd_data.dft.open_shells import load_hubbard_u
    from ecd_data.work.process_pool import connect_cluster

    if len(crystals) < 2 or crystals[-1].suffix != ".json":
        raise UsageError(
            "ecd dft relax wants structures and, last, the JSON to write: ecd dft relax Si.cif relaxed.json"
        )
    writable(crystals[-1].absolute())
    table = None if u is None else load_hubbard_u(u)
    with connect_cluster(dask, processes) as cluster:
        report = relax(
            crystals[:-1],
            crystals[-1],
            kspacing=kspacing,
            spin=spin,
            smearing=smearing,
            hubbard_u=table,
            processes=processes,
            cluster=cluster,
            pwx=pwx,
            pseudo=pseudo,
            work=work,
            engine=engine,
        )
    _exit_with_report(crystals[-1], report)


def run(
    crystals: Annotated[
        list[Path], typer.Argument(help="Structure files, folders, JSON of records; last the store to write.")
    ],
    functional: Annotated[str, typer.Option("--functional", "-f", help="Functional: pbe or hse.")] = "pbe",
    steps: Annotated[
        str | None,
        typer.Option(
            help="Steps instead of --functional: relax, static, hse, nscf; static,hse make a folder of two stores."
        ),
    ] = None,
    kspacing: KSpacing = 0.02,
    spin: Spin = None,
    smearing: Smearing = None,
    u: HubbardU = None,
    forces: Annotated[bool, typer.Option(help="Compute forces and stress as well.")] = True,
    restart: Annotated[
        bool, typer.Option(help="Also count the steps of a calculation that starts from the converged density.")
    ] = False,
    processes: Processes = 1,
    dask: Dask = None,
    engine: EngineName = "espresso",
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    work: Work = None,
) -> None:
    """Compute the densities of crystals and write them to a store; a second call continues."""
    from ecd_data.dft import run
    from ecd_data.dft.open_shells import load_hubbard_u
    from ecd_data.work.process_pool import connect_cluster

    if len(crystals) < 2:
        raise UsageError("ecd dft run wants structure files and, last, the store to write: ecd dft run Si.cif my.ecd")
    table = None if u is None else load_hubbard_u(u)
    with connect_cluster(dask, processes) as cluster:
        report = run(
            crystals[:-1],
            crystals[-1],
            functional,
            steps=None if steps is None else [step.strip() for step in steps.split(",")],
            kspacing=kspacing,
            spin=spin,
            smearing=smearing,
            hubbard_u=table,
            forces=forces,
            restart=restart,
            processes=processes,
            cluster=cluster,
            pwx=pwx,
            pseudo=pseudo,
            work=work,
            engine=engine,
        )
    _exit_with_report(crystals[-1], report)


def _exit_with_report(output: Path, report: object) -> None:
    failures: dict[str, str] = getattr(report, "failures", {})
    print(f"{output}: {report}")
    raise typer.Exit(1 if failures else 0)


def select(
    sources: Annotated[list[Path], typer.Argument(help="Structure files such as CIF and POSCAR, or folders of them.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="JSON file for the chosen crystals, for `ecd dft run`.", callback=writable),
    ],
    max_elements: Annotated[int, typer.Option(help="Largest number of elements in a crystal.")] = 10,
    neutral: Annotated[
        bool, typer.Option(help="Keep only crystals that SMACT's oxidation states can make neutral.")
    ] = True,
    alloys: Annotated[bool, typer.Option(help="Exempt crystals of metals alone from --neutral.")] = False,
    symmetric: Annotated[bool, typer.Option(help="Drop crystals of the space group P1.")] = True,
    unique: Annotated[bool, typer.Option(help="Keep only one of equal structures.")] = True,
    energies: Annotated[
        Path | None, typer.Option(help="Formation energies in eV/atom (JSON or CSV), to keep the lowest.")
    ] = None,
    most: Annotated[int | None, typer.Option(help="Largest number of crystals to keep.")] = None,
    subset: Annotated[
        int | None,
        typer.Option(help="Number of crystals to choose from these for HSE06, distributed like all of them."),
    ] = None,
) -> None:
    """Choose structures by the filters of the paper, and a subset for HSE06 that is distributed like all of them."""
    from ecd_data.dft.representative_subset import choose_representative
    from ecd_data.dft.selection import load_formation_energies, select_crystals
    from ecd_data.formats.structure_files import read_structures

    formation_energies = None if energies is None else load_formation_energies(energies)
    structures = read_structures(sources)
    for reason in structures.failed.values():
        print(f"left out: {reason}", file=sys.stderr)
    chosen = select_crystals(
        structures.crystals,
        max_elements=max_elements,
        neutral=neutral,
        alloys=alloys,
        symmetric=symmetric,
        unique=unique,
        formation_energies=formation_energies,
        most=most,
    )
    for id, reason in chosen.dropped.items():
        print(f"left out: {id}: {reason}", file=sys.stderr)
    kept = chosen.kept
    if subset is not None:
        representatives = choose_representative({id: structures.crystals[id] for id in kept}, subset)
        kept = [id for id in kept if id in set(representatives.ids)]
        print_lines(representatives)
    records = {id: structures.crystals[id].to_record() for id in kept}
    output.write_text(json.dumps(records, indent=1) + "\n")
    counts = "".join(f", {count} {kind}" for kind, count in chosen.counts().items())
    print(f"{output}: {len(kept)} of {len(structures.crystals)} crystals{counts}")


def formation(
    stores: Annotated[
        list[Path], typer.Argument(help="Stores written by `ecd dft run`; they may hold the elements too.")
    ],
    references: Annotated[
        list[Path] | None,
        typer.Option(help="Further stores with the elements, computed with the same settings; repeatable."),
    ] = None,
    functional: Annotated[str, typer.Option(help="Functional in the stores: PBE, PBE+U or HSE06.")] = "PBE",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV file to write, for `ecd dft select --energies`.")
    ] = None,
) -> None:
    """Print formation energies in eV/atom relative to the lowest phases of the elements; stderr names those without."""
    from ecd_data import open_store
    from ecd_data.dft import formation as energies_of

    computed = [open_store(path) for path in stores]
    elements = energies_of.elemental_energies([*computed, *map(open_store, references or [])], functional)
    energies: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for store in computed:
        found = energies_of.formation_energies(store, elements, functional)
        if twice := sorted(energies.keys() & found.keys()):
            raise UsageError(f"two of the stores have a crystal {twice[0]!r}: give them one by one")
        energies |= found
        left_out |= energies_of.explain_missing_energies(store, elements, functional)
    if not energies:
        raise UsageError(
            f"no crystal has all its elements among {', '.join(sorted(elements)) or 'none'} with {functional}:"
            " compute them alike and give their store with --references"
        )
    for id, reason in left_out.items():
        print(f"left out: {id}: {reason}", file=sys.stderr)
    if output is None:
        print_lines("\n".join(f"{id}\t{energy:.4f}" for id, energy in energies.items()))
    else:
        energies_of.write_formation_energies(energies, output)
        print(f"{output}: {len(energies)} formation energies, {len(left_out)} crystals left out")


def vasp_inputs(
    sources: Annotated[
        list[Path], typer.Argument(help="Structure files, folders, JSON of records; last the folder to write.")
    ],
    step: Annotated[
        list[str] | None, typer.Option(help="Step to write inputs for: relax, static or hse; repeatable; default: all.")
    ] = None,
    spacing: Annotated[
        float, typer.Option(help="Spacing of k points in 2 pi / Å; try 0.04 where 0.02 does not converge.")
    ] = 0.02,
    hse_spacing: Annotated[
        float, typer.Option(help="Spacing of k points for HSE06 in 2 pi / Å; the release has 0.03 to 0.04.")
    ] = 0.03,
    u: Annotated[
        str | None, typer.Option("--u", help="Hubbard U in eV by element: Fe=4.6,Zn=7.5, a JSON file, or none.")
    ] = None,
    spin: Annotated[
        bool | None,
        typer.Option(
            help="Compute all crystals with or without spin; default: with spin where d or f shells may be open."
        ),
    ] = None,
) -> None:
    """Write VASP inputs with the settings of the ECD release: relaxation, static PBE (+U), HSE06."""
    from ecd_data.dft.open_shells import load_hubbard_u
    from ecd_data.dft.settings import make_usable_jobs
    from ecd_data.dft.vasp_inputs import STEPS, write_vasp_inputs

    if len(sources) < 2:
        raise UsageError("ecd dft vasp-inputs wants structures and, last, the folder to write: Si.cif vasp")
    for value in (spacing, hse_spacing):
        if not 0 < value < 1:
            raise UsageError(f"a k spacing lies between 0 and 1, such as 0.02, not {value}")
    jobs, failed = make_usable_jobs(sources[:-1], "pbe")
    crystals = {job.id: job.crystal for job in jobs}
    table = None if u is None else load_hubbard_u(u)
    written = write_vasp_inputs(
        crystals,
        sources[-1],
        tuple(step or STEPS),
        spacing=spacing,
        hse_spacing=hse_spacing,
        hubbard_u=table,
        spin=spin,
    )
    for reason in failed.values():
        print(f"left out: {reason}", file=sys.stderr)
    print(f"{sources[-1]}: {len(written)} runs of {len(crystals)} crystals; ORDER.txt in each tells their order")
    raise typer.Exit(1 if failed else 0)
