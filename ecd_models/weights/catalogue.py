"""The models with names: the checkpoints of this package, and the table of published networks.

The table has the repository at a commit, path, hash, licence and training data of each.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from ecd_data.crystal import SYMBOLS
from ecd_data.errors import UsageError
from ecd_models.atoms.valences import TrainingValences

PRETRAINED = Path(__file__).parents[1] / "pretrained"
TABLE = Path(__file__).with_name("catalogue.toml")
SERVER = "https://raw.githubusercontent.com"
MIRROR = "ECD_MODELS_MIRROR"  # environment variable: a URL in place of SERVER, where GitHub cannot be reached


@dataclass(frozen=True)
class PublishedWeights:
    """A file of weights in a public repository.

    blob: the git hash of its content. elements: those of the training data, None if the authors do not list them.
    """

    name: str
    repository: str
    commit: str
    path: str
    blob: str
    licence: str
    functional: str
    trained_on: str
    elements: tuple[str, ...] | None = None

    @property
    def url(self) -> str:
        """The URL of the file; $ECD_MODELS_MIRROR replaces the server.

        Raises UsageError if the mirror is no web address.
        """
        server = os.environ.get(MIRROR) or SERVER
        if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).netloc:
            raise UsageError(f"${MIRROR} is {server!r}: give a URL that begins with https:// or http://")
        return "/".join([server.rstrip("/"), self.repository, self.commit, self.path])

    @property
    def source(self) -> str:
        """The repository, commit and path as text."""
        return f"github.com/{self.repository} @ {self.commit[:12]}, {self.path}"

    @property
    def training_valences(self) -> TrainingValences:
        """The code and the elements of the training data; the authors do not state the electrons of each element."""
        return TrainingValences({}, self.elements or tuple(SYMBOLS[1:]), "VASP", "PAW", self.functional)


def shipped_checkpoints(folder: Path = PRETRAINED) -> dict[str, Path]:
    """The checkpoints of this package, or those in another folder, by name."""
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


@cache
def published_weights() -> dict[str, PublishedWeights]:
    """The published networks by name."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    networks = {}
    for name, record in table["models"].items():
        repository = table["repositories"][record.pop("of")]
        elements = record.pop("elements", None)
        networks[name] = PublishedWeights(
            name=name, **repository, **record, elements=tuple(elements) if elements else None
        )
    return networks
