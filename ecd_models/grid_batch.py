"""What a network in closed form is trained on: whole densities of several crystals, in place of probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_models.batch import ProbeBatch, collate

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class GridBatch:
    """All grid points of one or more crystals, one crystal after another; p of them in total.

    atoms: the crystals' atoms and edges, without probes; crystals and shapes: of each grid; target [p]: reference
    density in e/Å^3, or [p, 2] with the magnetization; baseline [p]: density of superposed atoms in e/Å^3; mean
    [crystals]: mean density in e/Å^3; functionals: of each crystal's reference, "" where it is not recorded; empty
    where no network asks for them.
    """

    atoms: ProbeBatch
    crystals: tuple[Crystal, ...]
    shapes: tuple[Shape, ...]
    target: Tensor
    baseline: Tensor | None
    mean: Tensor
    functionals: tuple[str, ...] = ()

    @property
    def n_crystals(self) -> int:
        return len(self.crystals)

    @property
    def n_edges(self) -> int:
        return self.atoms.n_edges

    @property
    def sizes(self) -> list[int]:
        """Grid points of each crystal."""
        return [int(np.prod(shape)) for shape in self.shapes]

    def weigh(self, values: Tensor) -> Tensor:
        """The values at the points [p] or [p, 2] divided by the points of their crystal: a sum is that of means."""
        return torch.cat([part / len(part) for part in values.split(self.sizes)])

    def divide_by_mean(self, values: Tensor) -> Tensor:
        """The values at the points [p] or [p, 2] divided by the mean density of their crystal."""
        return torch.cat([part / mean for part, mean in zip(values.split(self.sizes), self.mean, strict=True)])

    def root_mean_squares(self, values: Tensor) -> Tensor:
        """The root of the mean square of the values at the points [p] or [p, 2] of each crystal [crystals]."""
        least = torch.finfo(values.dtype).tiny  # a root has no slope at 0
        return torch.stack([(part.square().mean() + least).sqrt() for part in values.split(self.sizes)])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> GridBatch:
        """The same batch on `device`, its vectors and densities as `dtype`."""
        moved = {name: getattr(self, name).to(device=device, dtype=dtype) for name in ("target", "mean")}
        baseline = None if self.baseline is None else self.baseline.to(device=device, dtype=dtype)
        return replace(self, atoms=self.atoms.to(device, dtype), baseline=baseline, **moved)


def collate_grids(items: Sequence[GridBatch]) -> GridBatch:
    """One batch of all items; the baseline is kept where every item has it."""
    baselines = [item.baseline for item in items if item.baseline is not None]
    return GridBatch(
        atoms=collate([item.atoms for item in items]),
        crystals=tuple(crystal for item in items for crystal in item.crystals),
        shapes=tuple(shape for item in items for shape in item.shapes),
        target=torch.cat([item.target for item in items]),
        baseline=torch.cat(baselines) if len(baselines) == len(items) else None,
        mean=torch.cat([item.mean for item in items]),
        functionals=tuple(name for item in items for name in item.functionals),
    )
