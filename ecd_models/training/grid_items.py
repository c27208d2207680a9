"""Training samples of models in closed form: whole densities, decoded once and kept as far as memory is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from ecd_data.density import Density
from ecd_data.work.recent_cache import RecentCache
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.grid_batch import GridBatch
from ecd_models.training.probe_batches import Draw, generator


class GridDataset(Dataset[GridBatch]):
    """The whole density of a material for any (epoch, id); in each epoch the same but for the seed of noise."""

    def __init__(
        self,
        load: Callable[[str], Density],
        cutoff: float,
        seed: int,
        atoms: SuperposedAtoms | None,
        cache: RecentCache,
    ) -> None:
        self.load, self.cutoff, self.seed, self.atoms, self.cache = load, cutoff, seed, atoms, cache

    def __getitem__(self, draw: Draw) -> GridBatch:
        epoch, id = draw
        item: GridBatch | None = self.cache.get(id)
        if item is None:
            item = self._item(self.load(id))
            self.cache.put(id, item, _nbytes(item))
        return replace(item, seed=int(generator(self.seed, epoch, id).integers(2**63)))

    def _item(self, rho: Density) -> GridBatch:
        """All grid points of a density, float32 to halve the memory."""
        baseline = None if self.atoms is None else self.atoms(rho.crystal, rho.shape).values
        return GridBatch(
            atoms=make_item(Neighbors(rho.crystal, self.cutoff), rho.numbers, np.zeros((0, 3))),
            crystals=(rho.crystal,),
            shapes=(rho.shape,),
            target=torch.from_numpy(rho.values.ravel().astype(np.float32)),
            baseline=None if baseline is None else torch.from_numpy(baseline.ravel().astype(np.float32)),
            mean=torch.tensor([float(rho.values.mean())]),
        )


def _nbytes(item: GridBatch) -> int:
    return item.target.nbytes + (0 if item.baseline is None else item.baseline.nbytes)
