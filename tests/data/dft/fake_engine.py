"""An engine that computes nothing, for tests of the flow from crystals to densities."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.dft.engine import NotConvergedError, Result, RunError, Step

AT_REST = 5.0  # Å: the cell without pressure


SHAPE = (6, 6, 6)


class Fake:
    """An engine whose cells come to rest at 5 Å, halving the distance with each relaxation; it counts its runs."""

    name = "fake"

    def __init__(self, diverges: Callable[[Step], bool] = lambda step: False) -> None:
        self.diverges, self.runs = diverges, Counter()
        self.dies: str | None = None

    def input_text(self, step: Step) -> str:
        return f"{step.kind} {json.dumps(step.crystal.to_record())} {step.settings}"

    def is_finished(self, step: Step, text: str, folder: Path) -> bool:
        if not (folder / "in").is_file() or (folder / "in").read_text() != text:
            return False
        if (folder / "diverged").exists():
            raise NotConvergedError(f"{step.id}: no")
        return (folder / "done").exists()

    def run(self, step: Step, text: str, folder: Path) -> None:
        assert step.start is None or (step.start / "done").exists()
        self.runs[step.kind] += 1
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "in").write_text(text)
        if self.dies == step.kind:
            raise RunError(f"{step.id}: killed")
        if self.diverges(step):
            (folder / "diverged").touch()
            raise NotConvergedError(f"{step.id}: no")
        (folder / "done").touch()

    def read(self, step: Step, folder: Path) -> Result:
        properties = {"cpu_seconds": 1.0, "gap_eV": 1.0, "gap_direct_eV": 1.0, "scf_steps": 9.0}
        crystal, ended = step.crystal, {}
        if step.kind == "relax":
            a = (crystal.lattice[0, 0] + AT_REST) / 2
            a = AT_REST if abs(a - AT_REST) < 0.1 else a
            crystal = Crystal(np.eye(3) * a, crystal.numbers, crystal.frac_coords)
            properties["pressure_GPa"] = 10 * (AT_REST - a)
            ended = {"relaxed": True, "relax_steps": 3}
        if step.kind == "restart":
            properties |= {"scf_steps": 1.0, "pressure_GPa": 0.5}
        if step.kind == "bands":
            properties["gap_eV"] = 0.1 * step.settings.kmesh[0]
        return Result(crystal, SHAPE, "1.0", properties, {}, ended)

    def density(self, folder: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, None]:
        lattice = json.loads((folder / "in").read_text().split(" ", 1)[1].rsplit(" Settings", 1)[0])["lattice"]
        return np.full(shape, 8 / abs(np.linalg.det(lattice))), None

    def datasets(self, crystal: Crystal) -> dict[str, dict[str, str]]:
        return {}

    def nelect(self, crystal: Crystal) -> float:
        return 8.0

    def stop(self) -> None:
        pass
