"""The whole report on an installation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from ecd_models.installation import packages, programs, storage
from ecd_models.installation.finding import Finding, run_probe

Probe = Callable[[], Iterator[Finding]]
PROBES: dict[str, tuple[Probe, tuple[type[Exception], ...]]] = {
    "Python": (packages.examine_python, packages.ERRORS),
    "packages": (packages.examine_packages, packages.ERRORS),
    "compiled code": (packages.examine_compiled, packages.ERRORS),
    "GPU": (programs.examine_gpu, programs.ERRORS),
    "Quantum ESPRESSO": (programs.examine_espresso, programs.ERRORS),
    "GPAW": (programs.examine_gpaw, programs.ERRORS),
    "data": (storage.examine_data, storage.ERRORS),
    "models": (storage.examine_models, storage.ERRORS),
    "network": (storage.examine_network, storage.ERRORS),
    "disk": (storage.examine_disk, storage.ERRORS),
    "processors": (storage.examine_processors, storage.ERRORS),
}


@dataclass(frozen=True)
class InstallationReport:
    """What is installed, in the order in which `ecd doctor` prints it."""

    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing is broken that ecd cannot work without; optional parts may be absent."""
        return all(finding.state != "fault" for finding in self.findings)

    def __str__(self) -> str:
        count = {state: sum(one.state == state for one in self.findings) for state in ("fault", "warning", "absent")}
        ending = f"{count['fault']} faults, {count['warning']} warnings, {count['absent']} optional parts absent"
        return "\n".join([*map(str, self.findings), ending])

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps({"ok": self.ok, "findings": [one.to_dict() for one in self.findings]}, indent=2)


def examine_installation() -> InstallationReport:
    """A report on this installation: versions, extras, compiled code, GPU, DFT programs, data, caches, disk, threads.

    Nothing is changed or downloaded, and no network is used unless ECD_ROOT is a URL.
    """
    findings = [run_probe(name, probe, errors) for name, (probe, errors) in PROBES.items()]
    return InstallationReport(list(chain.from_iterable(findings)))
