"""The networks give what the published code gives: outputs that it computed, kept here with the weights it had.

Each file of `reference/` holds random weights in the published layout, the published code's input batch of a primitive
cell of MgO with 30 probe points, and its outputs in double precision. Embeddings of other elements and weights that no
output depends on are zero, so that the files are small.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecd_models.checkpoint import export_published, load_published
from tests.models.test_charge3net import published_batch

FILES = sorted((Path(__file__).parent / "reference").glob("*.npz"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_outputs_are_those_of_the_published_code(file: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(file))
    weights = {name[7:]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith("weight.")}
    torch.save({"model": weights}, tmp_path / "published.pt")
    network = load_published(tmp_path / "published.pt").requires_grad_(False)
    expected = arrays["output_f64"]
    scale = np.abs(expected).max()
    single = network(published_batch(arrays, torch.float32)).numpy()
    double = network.double()(published_batch(arrays, torch.float64)).numpy()
    assert np.abs(double - expected).max() < 1e-6 * scale
    assert np.abs(single - expected).max() < 1e-5 * scale


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_weights_come_back_in_the_published_layout(file: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(file))
    weights = {name[7:]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith("weight.")}
    torch.save({"model": weights}, tmp_path / "published.pt")
    export_published(load_published(tmp_path / "published.pt"), tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)["model"]
    assert set(again) == set(weights)
    for name, value in weights.items():
        torch.testing.assert_close(again[name], value, msg=name)


def test_all_four_networks_are_compared() -> None:
    assert len(FILES) == 4
