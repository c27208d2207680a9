"""What DeepDFT multiplies its messages to probes by, as a table for the kernels of processors and of GPUs."""

from __future__ import annotations

from typing import Any

import torch

from ecd_data.crystal import Floats
from ecd_models.kernels.radial import RadialTable, tabulate
from ecd_models.networks.deepdft.model import SHORTEST, DeepDFT, direction_divisor, radial_functions


@torch.no_grad()
def radial_table(network: DeepDFT, **options: Any) -> RadialTable:
    """The factors of all layers, for vectors, along the direction, for scalars; options: those of `tabulate`."""
    config = network.config
    rows = torch.cat([layer.filters().double().cpu() for layer in network.probe_model.message_layers], dim=1)

    @torch.no_grad()
    def functions(r: Floats) -> Floats:
        distances = torch.from_numpy(r).clamp(min=SHORTEST)
        values = radial_functions(distances, config.distance_embedding_size, config.cutoff) @ rows
        length = distances / direction_divisor(distances, config)  # of the direction, which kernels take as 1
        values.unflatten(1, (config.num_interactions, 3, -1))[:, :, 1] *= length[:, None, None]
        return values.numpy()

    return tabulate(functions, config.cutoff, **options)
