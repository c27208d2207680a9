"""Train on probes that are read from a URL while training, 800 bytes a crystal and step.

python examples/stream_from_url.py [URL] [--steps N] [--batch-size N] [--workers N] [--ids FILE]

URL is a store with an extract (`ecd probes my.ecd`, then copy the folder my.ecd): http(s)://, s3:// or any other that
fsspec knows. Without one, crystals of the embedded sample are served from this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
from pathlib import Path

import torch
from aiohttp import web

from ecd_data import open_store
from ecd_data.store import StoreWriter
from ecd_data.store.probes.extract import extract_probes
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.training.probe_stream import ProbeStream


def sample_on_this_machine(folder: Path, crystals: int) -> str:
    """The URL of a store of the sample's first crystals with its extract, served until the program ends."""
    sample = open_store("pbe")
    with StoreWriter(folder / "sample.ecd") as writer:
        for id in sample.ids[:crystals]:
            writer.add(id, sample[id])
    extract_probes(folder / "sample.ecd")
    ready, address = threading.Event(), []

    async def serve() -> None:
        app = web.Application()
        app.router.add_static("/", folder)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.append(f"http://127.0.0.1:{runner.addresses[0][1]}/sample.ecd")
        ready.set()
        await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    ready.wait()
    return address[0]


def train(url: str, ids: list[str] | None, steps: int, batch_size: int, workers: int) -> None:
    """Some steps of Adam on batches from the URL; what is printed at the end would let the stream go on."""
    torch.manual_seed(0)
    model = DensityModel(build_model("charge3net", mul=24, lmax=2, num_interactions=2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    stream = ProbeStream(url, ids, cutoff=model.network.cutoff, batch_size=batch_size, seed=0)
    print(f"{url}: {len(stream.ids)} crystals")
    for step, batch in enumerate(stream.batches(workers), 1):
        assert batch.target is not None
        loss = (model(batch) - batch.target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        error = loss.item() / batch.target.abs().mean().item()
        print(f"step {step}: {batch.n_crystals} crystals, {batch.n_probes} probes, error {100 * error:.1f} %")
        if step == steps:
            break
    print(f"to go on from here: {stream.state_dict()}")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2, help="processes that read and build graphs")
    parser.add_argument("--ids", type=Path, help="file with the ids to train on, one a line; default all")
    parser.add_argument("--crystals", type=int, default=24, help="crystals of the sample, without a URL")
    options = parser.parse_args()
    ids = options.ids.read_text().split() if options.ids else None
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or sample_on_this_machine(Path(folder), options.crystals)
        train(url, ids, options.steps, options.batch_size, options.workers)


if __name__ == "__main__":
    main()
