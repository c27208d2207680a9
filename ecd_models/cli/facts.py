"""What `ecd info` says about a density, a store or the output of a VASP run, as lines and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from ecd_data.checks.report import Report

if TYPE_CHECKING:
    from ecd_data.density import Density
    from ecd_data.store.reader import Store

IDS_IN_LINE = 8  # of a store that are printed; the JSON has all


def format_report(report: Report) -> str:
    """The problems of a density, or "ok", then its flags."""
    return ("; ".join(report.problems) or "ok") + (f" ({', '.join(report.flags)})" if report.flags else "")


@dataclass(frozen=True)
class RunFacts:
    """What an OUTCAR or vasprun.xml says about its run."""

    name: str
    values: dict[str, Any]

    def lines(self) -> list[str]:
        """What is printed."""
        return [f"{key}: {json.dumps(value)}" for key, value in self.values.items()]

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"kind": "run", "name": self.name, "run": self.values}


@dataclass(frozen=True)
class DensityFacts:
    """A density and the verdict on it."""

    name: str
    density: Density
    report: Report

    @staticmethod
    def of(name: str, density: Density) -> DensityFacts:
        """The facts of a density of this name."""
        from ecd_data.checks import check

        return DensityFacts(name, density, check(density))

    def lines(self) -> list[str]:
        """What is printed; a name may hold any character."""
        rho = self.density
        lines = [f"{self.name}: {rho!r}"]
        lines += ["lattice (Å): " + "; ".join(" ".join(f"{x:.4f}" for x in row) for row in rho.lattice)]
        lines += [f"electrons {rho.nelect:.6f}, density {rho.values.min():.4g} to {rho.values.max():.4g} e/Å^3"]
        lines += [] if rho.moment is None else [f"moment {rho.moment} Bohr magnetons"]
        lines += [f"{key}: {json.dumps(value)}" for key, value in rho.meta.items()]
        return [*lines, f"check: {format_report(self.report)}"]

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON; lengths in Å, densities in e/Å^3, moments in Bohr magnetons."""
        rho = self.density
        return {
            "kind": "density",
            "name": self.name,
            "formula": rho.crystal.formula,
            "natoms": len(rho.crystal),
            "shape": list(rho.shape),
            "nelect": rho.nelect,
            "density_range": [float(rho.values.min()), float(rho.values.max())],
            "moment": rho.moment,
            "lattice": rho.lattice.tolist(),
            "meta": dict(rho.meta),
            "check": self.report.as_dict(),
        }


@dataclass(frozen=True)
class StoreFacts:
    """A store: its crystals, functionals, forms of storage and grids."""

    root: str
    ids: list[str]
    bytes: int
    functionals: dict[str, int]
    pipelines: dict[str, int]
    points: list[int]

    @staticmethod
    def of(store: Store) -> StoreFacts:
        """The facts of a store."""
        index = store.columns("length", "functional", "pipeline", "shape").to_pydict()
        functionals, pipelines = (
            dict(Counter(name or "unknown" for name in index[column])) for column in ("functional", "pipeline")
        )
        points = [prod(shape) for shape in index["shape"]]
        return StoreFacts(str(store.root), store.ids, sum(index["length"]), functionals, pipelines, points)

    def lines(self) -> list[str]:
        """What is printed."""
        size = f"{self.bytes / 1e6:.2f} MB" if self.bytes >= 1e5 else f"{self.bytes / 1e3:.1f} kB"
        lines = [f"{self.root}: {len(self.ids)} crystals, {size}"]
        if not self.ids:
            return lines
        for name, counts in (("functional", self.functionals), ("pipeline", self.pipelines)):
            lines += [f"{name}: " + ", ".join(f"{key} {count}" for key, count in Counter(counts).most_common())]
        points = self.points
        lines += [f"grid points: {min(points):,} to {max(points):,} a crystal, {sum(points):,} in all"]
        more = ", ..." if len(self.ids) > IDS_IN_LINE else ""
        return [*lines, "ids: " + ", ".join(self.ids[:IDS_IN_LINE]) + more]

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON, with all ids."""
        points = self.points or [0]
        return {
            "kind": "store",
            "root": self.root,
            "crystals": len(self.ids),
            "bytes": self.bytes,
            "functional": self.functionals,
            "pipeline": self.pipelines,
            "grid_points": {"smallest": min(points), "largest": max(points), "sum": sum(points)},
            "ids": self.ids,
        }
