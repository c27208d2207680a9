"""The tests. Worker processes of pytest-xdist compute with one thread each, as do the programs that they start."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports NumPy or torch: there is a worker for every core
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
