"""Training samples of models in closed form: whole densities, decoded once and kept as far as memory is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.store.probes.draw import Draw
from ecd_data.work.recent_cache import RecentCache
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.grid_batch import GridBatch, Shape
from ecd_models.training.magnetic_states import choose_state


class GridDataset(Dataset[GridBatch]):
    """The whole density of a material for any (epoch, id); the same in each epoch."""

    def __init__(
        self,
        load: Callable[[str], Density],
        cutoff: float,
        superpose: Callable[[Crystal, Shape], Floats] | None,
        cache: RecentCache,
        spin: bool,
    ) -> None:
        self.load, self.cutoff, self.superpose, self.cache, self.spin = load, cutoff, superpose, cache, spin

    def __getitem__(self, draw: Draw) -> GridBatch:
        id = draw[1]
        item: GridBatch | None = self.cache.get(id)
        if item is None:
            item = self._item(id, self.load(id))
            self.cache.put(id, item, _nbytes(item))
        return item

    def _item(self, id: str, rho: Density) -> GridBatch:
        """All grid points of a density, float32 to halve the memory."""
        target, moments = rho.values.ravel(), None
        if self.spin:
            moments, magnetization = choose_state(id, rho)
            target = np.stack([target, magnetization.ravel()], axis=1)
        baseline = None if self.superpose is None else self.superpose(rho.crystal, rho.shape)
        return GridBatch(
            atoms=make_item(Neighbors(rho.crystal, self.cutoff), rho.numbers, np.zeros((0, 3)), moments=moments),
            crystals=(rho.crystal,),
            shapes=(rho.shape,),
            target=torch.from_numpy(target.astype(np.float32)),
            baseline=None if baseline is None else torch.from_numpy(baseline.ravel().astype(np.float32)),
            mean=torch.tensor([float(rho.values.mean())]),
            functionals=(str(rho.meta.get("functional") or ""),),
        )


def _nbytes(item: GridBatch) -> int:
    return item.target.nbytes + (0 if item.baseline is None else item.baseline.nbytes)
