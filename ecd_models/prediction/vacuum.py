"""Whether a cell has vacuum around what it holds: slabs, wires, and molecules or clusters in boxes are no bulk.

Atoms are linked where the gap between their covalent spheres is narrow. A cell is bulk where linked atoms go on along
three directions, as in crystals, layered and molecular crystals and open frameworks, whatever fills their pores. In a
slab they go on along two, in a wire along one, in a molecule along none, however the cell is oriented. Along an axis
where the crystal is not periodic, nothing goes on.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ecd_data.crystal import Crystal
from ecd_models.graph import Indices, Neighbors
from ecd_models.networks.elements import column, require_properties

# Å between covalent spheres: layers and molecules of crystals are nearer, and slabs and molecules in boxes are farther
WIDEST_GAP = 3.5


def has_vacuum(crystal: Crystal) -> bool:
    """Whether a cell is no bulk: its linked atoms go on along fewer than three directions.

    Raises
    ------
    UsageError : an element has no covalent radius in the table.
    """
    src, dst, cells = _link_atoms(crystal)
    count = len(crystal)
    _, one = np.unique(src * count + dst, return_index=True)  # a link of each pair; sums of doubles would be none
    links = coo_array((one + 1, (src[one], dst[one])), shape=(count, count)).tocsr()
    _, part = connected_components(links, directed=False)
    home = _unwrap(links, part, cells)
    translations = home[src] + cells - home[dst]
    return all(_count_directions(translations[part[src] == number]) < 3 for number in np.unique(part))


def _link_atoms(crystal: Crystal) -> tuple[Indices, Indices, Indices]:
    """Two linked atoms [e] and [e], and the cell of the second [e, 3] where the first is in the home cell."""
    require_properties(crystal.numbers)
    radius = column("covalent_radius")[crystal.numbers]
    home = crystal.wrap_atoms()  # as the neighbours are
    edges = Neighbors(home, 2 * float(radius.max(initial=1.0)) + WIDEST_GAP).atoms()
    near = np.linalg.norm(edges.vec, axis=1) - radius[edges.src] - radius[edges.dst] < WIDEST_GAP
    src, dst, vectors = edges.src[near], edges.dst[near], edges.vec[near]
    steps = np.linalg.solve(home.lattice.T, vectors.T).T - (home.frac_coords[dst] - home.frac_coords[src])
    return src, dst, np.rint(steps).astype(np.int64)


def _unwrap(links: csr_array, part: Indices, cells: Indices) -> Indices:
    """The cell [n, 3] of each atom in which a walk along links meets it first, from one atom of its part."""
    home = np.zeros((links.shape[0], 3), dtype=np.int64)
    for first in np.unique(part, return_index=True)[1]:
        order, before = breadth_first_order(links, first)
        for atom in order[1:]:
            home[atom] = home[before[atom]] + cells[links[before[atom], atom] - 1]
    return home


def _count_directions(translations: Indices) -> int:
    """The number of independent ones among translations [t, 3]."""
    different = np.unique(translations, axis=0)
    return int(np.linalg.matrix_rank(different)) if len(different) else 0
