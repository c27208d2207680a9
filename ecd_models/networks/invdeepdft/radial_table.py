"""The filters of invDeepDFT's messages to probes, as a table for the kernels of processors and of GPUs."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ecd_data.crystal import Floats
from ecd_models.kernels.radial import RadialTable, tabulate
from ecd_models.networks.invdeepdft.model import InvDeepDFT, radial_functions


def radial_table(network: InvDeepDFT, **options: Any) -> RadialTable:
    """The filters of all layers, layer by layer; options: those of `tabulate`."""
    perceptrons = [copy.deepcopy(message.msg_function_edge).cpu().double() for message in network.probe_model.messages]

    @torch.no_grad()
    def functions(r: Floats) -> Floats:
        gaussians, envelope = radial_functions(torch.from_numpy(r), network.config)
        return torch.cat([perceptron(gaussians) * envelope for perceptron in perceptrons], dim=1).numpy()

    return tabulate(functions, network.cutoff, **options)
