"""Python, the packages that ecd needs, its optional extras, and what is compiled. No package is imported."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

from ecd_data import __version__
from ecd_models.installation.finding import Finding

DISTRIBUTION = "ecd-data"
GIVES = {  # what each extra of pyproject.toml is good for
    "ase": "ASE atoms, and structure files that only ASE reads",
    "bader": "Bader charges; it needs pandas below 3, so an environment of its own",
    "cluster": "conversion and DFT on a Dask cluster",
    "dft": "the charge filter of `ecd dft select`",
    "fast": "compiled kernels for predictions, fast reading of .gz",
    "gpu": "Triton kernels for predictions on a GPU",
    "hdf5": "VASP's vaspwave.h5 and other HDF5 files",
    "jobflow": "a job that predicts a density in workflows",
    "models": "networks: train, predict, evaluate",
    "plot": "pictures: `ecd plot`",
    "s3": "stores at s3:// addresses",
    "tensorboard": "TensorBoard logs of trainings",
    "view": "pages that show a density in a browser: `ecd view`",
}
FOR_DEVELOPERS = ("all", "bench", "dev", "docs")  # extras that a user does not miss


def examine_python() -> Iterator[Finding]:
    """The versions of ecd and Python, and where ecd lies."""
    import ecd_data

    where = Path(ecd_data.__file__).resolve().parent.parent
    yield Finding("ecd", "ok", f"{__version__} in {where}")
    yield Finding("Python", "ok", f"{platform.python_version()} ({sys.executable}), {platform.platform(terse=True)}")
    if sys.maxsize <= 2**32:
        yield Finding("Python", "warning", "a 32-bit Python reads no large file", "install a 64-bit Python")


def examine_packages() -> Iterator[Finding]:
    """The packages that ecd needs in any case, then one line for each extra."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
        extras = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            "packages",
            "warning",
            f"{DISTRIBUTION} is not installed in this Python, so versions cannot be compared",
            "pip install '.[all]' in the folder of the project installs it",
        )
        return
    needed = [Requirement(line) for line in lines]
    yield _judge_required([one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})])
    for extra in sorted(set(extras) - set(FOR_DEVELOPERS)):
        yield _judge_extra(extra, [one for one in needed if one.marker and one.marker.evaluate({"extra": extra})])


def _judge_required(needed: list[Requirement]) -> Finding:
    wrong = [text for one in needed if (text := _find_fault(one))]
    if wrong:
        return Finding("packages", "fault", "; ".join(wrong), "pip install --upgrade ecd-data mends it")
    return Finding("packages", "ok", ", ".join(f"{one.name} {metadata.version(one.name)}" for one in needed))


def _judge_extra(extra: str, needed: list[Requirement]) -> Finding:
    needed = [one for one in needed if one.name != DISTRIBUTION]
    gives = GIVES.get(extra, "see pyproject.toml")
    absent = [one.name for one in needed if not _is_installed(one.name)]
    remedy = f"pip install 'ecd-data[{extra}]' gives {gives}"
    if absent:
        return Finding(f"extra {extra}", "absent", f"without {', '.join(absent)}", remedy)
    if wrong := [text for one in needed if (text := _find_fault(one))]:
        return Finding(f"extra {extra}", "warning", "; ".join(wrong), f"pip install --upgrade 'ecd-data[{extra}]'")
    versions = ", ".join(f"{one.name} {metadata.version(one.name)}" for one in needed)
    return Finding(f"extra {extra}", "ok", f"{versions or 'nothing to install here'}, for {gives}")


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _find_fault(needed: Requirement) -> str:
    """What is wrong with an installed package, else an empty text."""
    if not _is_installed(needed.name):
        return f"{needed.name} is not installed"
    version = metadata.version(needed.name)
    try:
        fits = needed.specifier.contains(version, prereleases=True)
    except (InvalidVersion, TypeError):  # a damaged installation states no version
        return f"{needed.name} states no version"
    return "" if fits else f"{needed.name} {version} is there, {needed.specifier} is needed"


def examine_compiled() -> Iterator[Finding]:
    """The compiled reader of density files and the compiled kernels of the networks."""
    from ecd_data.formats.numbers import load_library

    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if load_library() is not None:
        yield Finding("compiled reader", "ok", "density files are read by the compiled library")
    else:
        first = "" if compiler else "install a C compiler (Debian: apt install gcc), then "
        yield Finding(
            "compiled reader",
            "warning",
            "large CHGCARs are read about ten times more slowly, by numpy",
            f"{first}pip install --force-reinstall --no-deps '.' in the project compiles it",
        )
    yield Finding("C compiler", "ok" if compiler else "absent", compiler or "none; only an installation needs one")
    if not _is_installed("numba"):
        text = "predictions on a processor take much longer"
        yield Finding("compiled kernels", "absent", text, "pip install 'ecd-data[fast]' gives them")
    else:
        yield Finding("compiled kernels", "ok", f"numba {metadata.version('numba')} compiles them at the first use")


# What reading metadata, damaged ones too, and loading the library may raise; ImportError where a package is missing
ERRORS = (OSError, InvalidRequirement, ImportError, ValueError, KeyError)
