"""What DeepDFT multiplies its messages to probes by, as a table for the kernels of processors and of GPUs."""

from __future__ import annotations

from typing import Any

import torch

from ecd_data.crystal import Floats
from ecd_models.kernels.radial import RadialTable, tabulate
from ecd_models.networks.deepdft.model import SHORTEST, DeepDFT, radial_functions


@torch.no_grad()
def radial_table(network: DeepDFT, **options: Any) -> RadialTable:
    """The factors of all layers, for vectors, along the direction, for scalars; options: those of `tabulate`."""
    config = network.config
    rows = torch.cat([layer.filters().double().cpu() for layer in network.probe_model.message_layers], dim=1)

    @torch.no_grad()
    def functions(r: Floats) -> Floats:
        distances = torch.from_numpy(r).clamp(min=SHORTEST)
        return (radial_functions(distances, config.distance_embedding_size, config.cutoff) @ rows).numpy()

    return tabulate(functions, config.cutoff, **options)
