"""What a fetch would bring: how many files, their sizes as far as they can be known, the size of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecd_data.download.http_answers import TransferError
from ecd_data.download.journal import Journal
from ecd_data.download.plan import Plan, plan_fetch
from ecd_data.download.transfer import Connection, Courtesy, Patience
from ecd_data.store import Store
from ecd_data.store.index import INDEX

ASKED = 8  # files whose sizes a dry run asks the server for
OWN = 10  # crystals in a store from which its own ratio is the better estimate
# Values of a grid that a crystal has on average: HSE and MP counted from the lists of the release, the others from its
# "approximately 10TB" of text at 18.2 bytes a value.
VALUES = {"hse": 856_000, "mp": 1_800_000, "pbe": 3_700_000, "ood": 3_700_000}
# Bytes that `benchmarks/codec.py` and `ecd info` measure. A value in CHGCAR.gz: mean of five VASP files. In a store at
# 1e-5: the mean of those five, whose crystals have 16 to 48 operations, and of 16 cells of the embedded sample that
# have none; a release is between, and the geometric mean is what is told. They grow as the bound to the power of -0.4.
# A crystal's metadata, and the augmentation of ten atoms at 0.35 kB each, come on top.
GZIP_BYTES = 5.3
SYMMETRIC, WITHOUT, AT, POWER = 0.0024, 0.094, 1e-5, 0.4
CRYSTAL_BYTES = 6500.0
REAL_SHARE = 0.5  # of the transfer, for the real-space pipeline


@dataclass(frozen=True)
class Preview:
    """What `ecd fetch --dry-run` prints.

    wanted: crystals meant; there: of them in the store; transfer and store: estimated bytes of the others; least, most:
    of the store, if all of them were symmetric, or none; basis: what sizes rest on; url: of the first file.
    """

    set: str
    wanted: int
    there: int
    transfer: float
    store: float
    least: float
    most: float
    basis: str
    url: str | None

    def __str__(self) -> str:
        missing = self.wanted - self.there
        lines = [f"{self.wanted:,} crystals of the set {self.set}, {self.there:,} in the store already"]
        if missing:
            between = f" ({_size(self.least)} to {_size(self.most)})" if self.least < self.most else ""
            lines.append(
                f"{missing:,} files to fetch: some {_size(self.transfer)} to transfer, {_size(self.store)}{between} "
                "in the store"
            )
            lines += [f"sizes: {self.basis}", f"first: {self.url}"]
        return "\n".join(lines)


def preview_fetch(
    what: str | Sequence[str],
    dest: str | Path,
    *,
    part: str | None = None,
    set: str | None = None,
    limit: int | None = None,
    bound: float = 1e-5,
    pipeline: str = "fourier",
    mirror: str | None = None,
    patience: Patience | None = None,
    seed: int = 0,
) -> Preview:
    """The Preview of a fetch with the same arguments; nothing is written, and at most eight sizes are asked for."""
    plan = plan_fetch(what, part=part, set=set, limit=limit, mirror=mirror)
    lengths = _lengths(Store(dest)) if (Path(dest) / INDEX).exists() else {}
    missing = [id for id in plan.ids if id not in lengths]
    sizes, basis = _asked(plan, missing, patience or Patience(stall=10.0), seed)
    mean = float(np.mean(sizes)) if sizes else VALUES[plan.set] * GZIP_BYTES
    transfer = sum(sizes) if len(sizes) == len(missing) else mean * len(missing)
    least, store, most = _stored(transfer, len(missing), Journal(Path(dest)), lengths, bound, pipeline)
    return Preview(
        set=plan.set,
        wanted=len(plan.ids),
        there=len(plan.ids) - len(missing),
        transfer=transfer,
        store=store,
        least=least,
        most=most,
        basis=basis,
        url=plan.url(missing[0]) if missing else None,
    )


def _lengths(store: Store) -> dict[str, int]:
    return dict(zip(store.ids, store.index["length"].tolist(), strict=True))


def _asked(plan: Plan, missing: list[str], patience: Patience, seed: int) -> tuple[list[int], str]:
    """The sizes of some files, drawn at random, and the sentence that says where sizes come from."""
    drawn = np.random.default_rng(seed).permutation(len(missing))[:ASKED]
    connection = Connection(patience, Courtesy(), seed, lambda count: None)
    stated: list[int] = []
    try:
        for place in drawn:
            size = connection.head(plan.url(missing[place]))
            stated += [] if size is None else [size]
    except TransferError as error:
        stated = []
        return stated, f"from the release as a whole, since the server does not tell ({error})"
    finally:
        connection.close()
    if not stated:
        return stated, "from the release as a whole, since the server does not tell"
    whole = len(stated) == len(missing)
    return stated, f"as the server states, of {'all' if whole else f'{len(stated)} files drawn at random'}"


def _stored(
    transfer: float, crystals: int, journal: Journal, lengths: dict[str, int], bound: float, pipeline: str
) -> tuple[float, float, float]:
    """Bytes in a store of what is transferred: least, likely, most; as this store needed so far, else as measured."""
    pairs = [(e.size, lengths[e.id]) for e in journal.entries.values() if e.size and e.id in lengths]
    if len(pairs) >= OWN or pipeline == "real":
        share = sum(stored for _, stored in pairs) / sum(size for size, _ in pairs) if len(pairs) >= OWN else REAL_SHARE
        return (share * transfer,) * 3
    scaled = transfer / GZIP_BYTES * (AT / bound) ** POWER
    least, most = (scaled * per_value + CRYSTAL_BYTES * crystals for per_value in (SYMMETRIC, WITHOUT))
    return least, scaled * (SYMMETRIC * WITHOUT) ** 0.5 + CRYSTAL_BYTES * crystals, most


def _size(count: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
