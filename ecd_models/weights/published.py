"""The table of published networks: repository at a commit, path, hash, licence and training data of each."""

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

TABLE = Path(__file__).with_name("published.toml")
SERVER = "https://raw.githubusercontent.com"
MIRROR = "ECD_MODELS_MIRROR"  # a base URL in place of SERVER, for whoever cannot reach GitHub


@dataclass(frozen=True)
class PublishedWeights:
    """A file of weights in a public repository.

    blob: the git hash of its content; elements: of the training data, None where nobody lists them.
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
        """Where the file is served; $ECD_MODELS_MIRROR replaces the server.

        Raises UsageError where the mirror is no web address.
        """
        server = os.environ.get(MIRROR) or SERVER
        if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).netloc:
            raise UsageError(f"${MIRROR} is {server!r}: give a URL that begins with https:// or http://")
        return "/".join([server.rstrip("/"), self.repository, self.commit, self.path])

    @property
    def source(self) -> str:
        """Repository, commit and path in words."""
        return f"github.com/{self.repository} @ {self.commit[:12]}, {self.path}"

    @property
    def training_valences(self) -> TrainingValences:
        """Whose densities trained the network; how many electrons each element had, the authors do not say."""
        return TrainingValences({}, self.elements or tuple(SYMBOLS[1:]), "VASP", "PAW", self.functional)


@cache
def published_weights() -> dict[str, PublishedWeights]:
    """The published networks by name."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    found = {}
    for name, record in table["models"].items():
        home = table["repositories"][record.pop("of")]
        elements = record.pop("elements", None)
        found[name] = PublishedWeights(name=name, **home, **record, elements=tuple(elements) if elements else None)
    return found
