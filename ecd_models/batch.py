"""The input of a network: several crystals with their probes in flat arrays, without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ecd_data.errors import UsageError
from ecd_models.graph import Neighbors

_FLOATS = ("atom_vec", "probe_vec", "target", "baseline", "mean", "weight", "moments")
_INDICES = ("numbers", "atom_src", "atom_dst", "probe_src", "probe_dst", "atom_crystal", "probe_crystal")


@dataclass(frozen=True, eq=False)
class ProbeBatch:
    """n atoms and p probes of one or more crystals.

    numbers : atomic numbers [n].
    atom_src, atom_dst : the sending and the receiving atom of each edge between atoms [e].
    probe_src, probe_dst : the sending atom and the receiving probe of each edge to a probe [f].
    atom_vec, probe_vec : vectors from the sending atom's image to the receiver in Å [e, 3] and [f, 3].
    atom_crystal, probe_crystal : the crystal of each atom [n] and of each probe [p].
    target : the reference density in e/Å^3 [p], or [p, 2] with the magnetization.
    baseline : the density of superposed atoms in e/Å^3 [p].
    mean : the mean density of each crystal in e/Å^3 [crystals].
    weight : what each probe counts in sums over probes [p]; without it each counts 1.
    moments : the initial moment of each atom in Bohr magnetons [n]; without them the ferromagnetic state is meant.
    """

    numbers: Tensor
    atom_src: Tensor
    atom_dst: Tensor
    atom_vec: Tensor
    probe_src: Tensor
    probe_dst: Tensor
    probe_vec: Tensor
    atom_crystal: Tensor
    probe_crystal: Tensor
    target: Tensor | None = None
    baseline: Tensor | None = None
    mean: Tensor | None = None
    weight: Tensor | None = None
    moments: Tensor | None = None
    n_crystals: int = 1

    @property
    def n_edges(self) -> int:
        return self.atom_src.shape[0] + self.probe_src.shape[0]

    @property
    def n_atoms(self) -> int:
        return self.numbers.shape[0]

    @property
    def n_probes(self) -> int:
        return self.probe_crystal.shape[0]

    def weigh(self, values: Tensor) -> Tensor:
        """The values at the probes times their weights [p] or [p, 2]."""
        if self.weight is None:
            return values
        return values * (self.weight if values.ndim == 1 else self.weight[:, None])

    def divide_by_mean(self, values: Tensor) -> Tensor:
        """The values at the probes divided by the mean density of their crystal [p] or [p, 2].

        Raises
        ------
        UsageError : the batch has no mean densities.
        """
        if self.mean is None:
            raise UsageError("a relative loss needs the mean density of each crystal: make_item(..., mean=...)")
        mean = self.mean[self.probe_crystal]
        return values / (mean if values.ndim == 1 else mean[:, None])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ProbeBatch:
        """The batch on `device`, with vectors and densities of type `dtype`."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device=device) for name in _INDICES}
        for name in _FLOATS:
            value = getattr(self, name)
            moved[name] = None if value is None else value.to(device=device, dtype=dtype)
        return replace(self, **moved)

    def pin_memory(self) -> ProbeBatch:
        """The batch in pinned memory; torch's DataLoader calls it."""
        names = [name for name in (*_FLOATS, *_INDICES) if getattr(self, name) is not None]
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})


def make_item(
    neighbors: Neighbors,
    numbers: ArrayLike,
    frac_points: ArrayLike,
    target: ArrayLike | None = None,
    baseline: ArrayLike | None = None,
    dtype: torch.dtype = torch.float32,
    mean: float | None = None,
    weight: ArrayLike | None = None,
    moments: ArrayLike | None = None,
) -> ProbeBatch:
    """The batch of one crystal and its probes.

    Parameters
    ----------
    neighbors : the atoms of the crystal and their images.
    numbers : atomic numbers [n].
    frac_points : fractional coordinates of the probes [p, 3].
    target : the reference density in e/Å^3 [p], or [p, 2] with the magnetization.
    baseline : the density of superposed atoms in e/Å^3 [p].
    dtype : the type of vectors and densities.
    mean : the mean density of the crystal in e/Å^3.
    weight : what each probe counts in sums over probes [p], 1 if left out.
    moments : the initial moment of each atom in Bohr magnetons [n].
    """
    points = np.asarray(frac_points, dtype=np.float64).reshape(-1, 3)
    atoms, probes = neighbors.atoms(), neighbors.probes(points)

    def floats(values: ArrayLike | None) -> Tensor | None:
        if values is None:
            return None
        tensor = torch.as_tensor(np.array(values), dtype=dtype)
        return tensor if tensor.shape == (len(points), 2) else tensor.reshape(-1)

    z = torch.as_tensor(np.array(numbers), dtype=torch.int64)
    return ProbeBatch(
        numbers=z,
        atom_src=torch.from_numpy(atoms.src),
        atom_dst=torch.from_numpy(atoms.dst),
        atom_vec=torch.from_numpy(atoms.vec).to(dtype),
        probe_src=torch.from_numpy(probes.src),
        probe_dst=torch.from_numpy(probes.dst),
        probe_vec=torch.from_numpy(probes.vec).to(dtype),
        atom_crystal=torch.zeros(len(z), dtype=torch.int64),
        probe_crystal=torch.zeros(len(points), dtype=torch.int64),
        target=floats(target),
        baseline=floats(baseline),
        mean=None if mean is None else torch.tensor([mean], dtype=dtype),
        weight=floats(weight),
        moments=None if moments is None else torch.as_tensor(np.array(moments), dtype=dtype),
    )


def collate(items: Sequence[ProbeBatch]) -> ProbeBatch:
    """One batch of all items; it has targets, baselines, means and weights if every item has them."""

    def concatenate(name: str, counts: Sequence[int] | None = None) -> Tensor:
        parts = [getattr(item, name) for item in items]
        if counts is not None:  # indices of an item start after those of the items before it
            starts = [sum(counts[:k]) for k in range(len(counts))]
            parts = [part + start for part, start in zip(parts, starts, strict=True)]
        return torch.cat(parts)

    def concatenate_if_all(name: str) -> Tensor | None:
        return None if any(getattr(item, name) is None for item in items) else concatenate(name)

    def concatenate_moments() -> Tensor | None:
        if all(item.moments is None for item in items):
            return None
        ones = [torch.ones_like(item.numbers, dtype=item.atom_vec.dtype) for item in items]  # the ferromagnetic state
        pairs = zip(items, ones, strict=True)
        return torch.cat([one if item.moments is None else item.moments for item, one in pairs])

    atoms = [item.n_atoms for item in items]
    probes = [item.n_probes for item in items]
    crystals = [item.n_crystals for item in items]
    return ProbeBatch(
        numbers=concatenate("numbers"),
        atom_src=concatenate("atom_src", atoms),
        atom_dst=concatenate("atom_dst", atoms),
        atom_vec=concatenate("atom_vec"),
        probe_src=concatenate("probe_src", atoms),
        probe_dst=concatenate("probe_dst", probes),
        probe_vec=concatenate("probe_vec"),
        atom_crystal=concatenate("atom_crystal", crystals),
        probe_crystal=concatenate("probe_crystal", crystals),
        target=concatenate_if_all("target"),
        baseline=concatenate_if_all("baseline"),
        mean=concatenate_if_all("mean"),
        weight=concatenate_if_all("weight"),
        moments=concatenate_moments(),
        n_crystals=sum(crystals),
    )


def split_into_passes(
    items: Sequence[Any], crystals: int, max_edges: int = 0, join: Callable[[Sequence[Any]], Any] = collate
) -> list[Any]:
    """Batches of the items in their order, each with at most `crystals` items and `max_edges` edges.

    0 edges mean no bound. An item with more edges is a batch of its own. join makes a batch of items; the default is
    for `ProbeBatch`.
    """
    groups: list[list[Any]] = []
    edges = 0
    for item in items:
        edges += item.n_edges
        full = not groups or len(groups[-1]) == crystals or (max_edges and edges > max_edges)
        if full:
            groups.append([])
            edges = item.n_edges
        groups[-1].append(item)
    return [join(group) for group in groups]
