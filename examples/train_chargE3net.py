"""Train ChargE3Net on the embedded PBE densities, then measure its error on crystals it never saw.

python examples/train_chargE3net.py [--config FILE.toml] [--out DIR] [--steps N] [--limit N]
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from ecd_data import open_store, write
from ecd_data.plots.picture import plot_slices
from ecd_models import evaluate, predict, train
from ecd_models.training.config import load_config
from ecd_models.training.progress_display import evaluation_progress, training_progress

parser = argparse.ArgumentParser()
parser.add_argument("--config", default=Path(__file__).with_name("chargE3net_sample.toml"))
parser.add_argument("--out", help="folder of the run")
parser.add_argument("--steps", type=int, help="fewer or more training steps")
parser.add_argument("--limit", type=int, help="largest number of crystals to evaluate of each test part")
options = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(message)s")

config = load_config(options.config)
config = replace(config, out=options.out or config.out, steps=options.steps or config.steps)
with training_progress(config.steps) as report:
    result = train(config, report)
print(f"\nbest validation eps_mae {100 * result.best_error:.2f} %, checkpoint {result.best}, log {result.log}")

out = Path(config.out)
for part in ("test_compositions", "test_geometries"):
    with evaluation_progress() as report:
        evaluation = evaluate(result.model, config.task, part=part, limit=options.limit, report=report)
    evaluation.save(out / f"{part}.json")
    print(f"\n{part}: eps_mae on full grids")
    print(f"  superposed atoms   {evaluation.atom_summary}")
    print(f"  {config.model:<18} {evaluation.summary}")

worst = max(evaluation.errors, key=lambda id: evaluation.errors[id])
rho = open_store(config.task)[worst]
guess = predict(result.model, rho.crystal, shape=rho.shape)
write(out / f"CHGCAR_{worst}.gz", guess)
plot_slices(rho, guess, out / f"{worst}.png", f"{worst}, the worst of the unseen geometries")
print(f"\npicture {out / f'{worst}.png'}, density {out / f'CHGCAR_{worst}.gz'}, errors by crystal {out}/test_*.json")
