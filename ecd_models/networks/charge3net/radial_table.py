"""The radial functions of the messages that probes receive, as a table for the kernels of processors and of GPUs."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ecd_data.crystal import Floats
from ecd_models.kernels.radial import RadialTable, tabulate


def radial_table(network: Any, **options: Any) -> RadialTable:
    """The radial functions of all layers of a ChargE3Net, layer by layer; options: those of `tabulate`."""
    basis = copy.deepcopy(network.basis).cpu().double()
    perceptrons = [copy.deepcopy(layer.radial).cpu().double() for layer in network.decoder.layers]

    @torch.no_grad()
    def functions(r: Floats) -> Floats:
        values = basis(torch.from_numpy(r))
        return torch.cat([perceptron(values) for perceptron in perceptrons], dim=1).numpy()

    return tabulate(functions, network.cutoff, **options)
