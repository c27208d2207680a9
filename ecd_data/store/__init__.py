"""The store: many densities in a few immutable ZIP parts of Zarr arrays and one Parquet index."""

from ecd_data.store.conversion import convert
from ecd_data.store.parts import read_density
from ecd_data.store.reader import Store
from ecd_data.store.roots import open_store
from ecd_data.store.writer import StoreWriter

__all__ = ["Store", "StoreWriter", "convert", "open_store", "read_density"]
