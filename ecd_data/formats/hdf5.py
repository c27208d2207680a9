"""HDF5 files in memory. A dataset is read only where its stated size fits the file, since a header may be damaged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.errors import FormatError, MissingDependencyError
from ecd_data.io.file_bytes import Text

MAGIC = b"\x89HDF\r\n\x1a\n"
EXPANSION = 64  # a dataset with more bytes for each byte of its file is refused, compressed or not


class Hdf5:
    """The datasets and attributes of an open file of `size` bytes; `name` is what errors call it."""

    def __init__(self, file: Any, size: int, name: str) -> None:
        self.file, self.size, self.name = file, size, name

    def __contains__(self, path: str) -> bool:
        return path in self.file

    def read_array(self, path: str, kind: str = "fiu") -> NDArray[Any]:
        """All values of a dataset [its shape].

        Raises
        ------
        FormatError : it is missing, of another kind than `kind` (numpy's letters), or impossibly large.
        """
        dataset = self.file.get(path)
        shape, dtype = getattr(dataset, "shape", None), getattr(dataset, "dtype", None)
        if shape is None or dtype is None or dtype.kind not in kind:
            raise FormatError(f"{self.name} has no usable dataset {path}: it is cut or of another program")
        count = 1
        for n in shape:
            count *= int(n)
        if count * dtype.itemsize > EXPANSION * self.size:
            raise FormatError(f"{self.name} states an impossible {path} {shape}: it is damaged")
        return np.asarray(dataset[()])

    def read_scalar(self, path: str, kind: str = "fiu") -> Any:
        """The only value of a dataset of any shape; FormatError where it has more than one."""
        values = self.read_array(path, kind)
        if values.size != 1:
            raise FormatError(f"{self.name} has {values.size} values in {path} where one is due: it is damaged")
        return values.item()

    def read_attribute(self, name: str) -> Any:
        """The value of an attribute of the file, a str for text; None where there is none."""
        value = self.file.attrs.get(name)
        return value.decode() if isinstance(value, bytes) else value


@contextmanager
def open_hdf5(data: Text, name: str) -> Iterator[Hdf5]:
    """The content of an HDF5 file, open for reading inside the block.

    Raises
    ------
    FormatError : it is damaged.
    MissingDependencyError : h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(f"{name} is HDF5: pip install 'ecd-data[hdf5]' to read it") from error
    try:
        with h5py.File(io.BytesIO(data[:]), "r") as file:
            yield Hdf5(file, len(data), name)
    except FormatError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise FormatError(f"{name} is damaged or cut HDF5 ({reason}): copy or download it again") from error
