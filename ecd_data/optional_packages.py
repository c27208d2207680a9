"""The extras of this package (`pip install 'ecd-data[plot]'`) that install each optional package."""

from __future__ import annotations

from ecd_data.errors import MissingDependencyError

EXTRAS = {
    "torch": "models",
    "e3nn": "models",
    "safetensors": "models",
    "jinja2": "models",
    "matplotlib": "plot",
    "plotly": "view",
    "baderkit": "bader",
    "jobflow": "jobflow",
    "ase": "ase",
    "h5py": "hdf5",
    "isal": "fast",
    "numba": "fast",
    "s3fs": "s3",
    "tensorboard": "tensorboard",
    "dask": "cluster",
    "distributed": "cluster",
    "dask_jobqueue": "cluster",
    "smact": "dft",
    "triton": "gpu",
}


def missing_extra(error: ImportError) -> MissingDependencyError | None:
    """The error that names the extra to install; None where the missing package is not an optional one."""
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in EXTRAS:
        return None
    return MissingDependencyError(f"{package} is not installed: pip install 'ecd-data[{EXTRAS[package]}]' installs it")
