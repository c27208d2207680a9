"""The estimate of a dry run: how many files a fetch would download, and the sizes of the files and of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecd_data.arguments import whole_number
from ecd_data.download.http_answers import TransferError
from ecd_data.download.journal import Journal
from ecd_data.download.plan import FetchPlan, plan_fetch
from ecd_data.download.transfer import Connection, Patience, RequestGate
from ecd_data.io.network import is_offline
from ecd_data.store import Store
from ecd_data.store.index import INDEX
from ecd_data.store.writer import StoreWriter

SIZE_REQUESTS = 8  # a dry run asks the server for the sizes of so many files
MIN_OWN_CRYSTALS = 10  # from so many crystals on, the store's own ratio of sizes is the better estimate
# Mean number of grid values of a crystal. HSE and MP: counted from the lists of the release; the others: from its
# "approximately 10TB" of text at 18.2 bytes a value.
VALUES_PER_CRYSTAL = {"hse": 856_000, "mp": 1_800_000, "pbe": 3_700_000, "ood": 3_700_000}
# Bytes for one grid value, measured with `benchmarks/codec.py` and `ecd info`. In CHGCAR.gz: the mean of five VASP
# files. In a store at a bound of 1e-5: the mean of those five files, whose crystals have 16 to 48 symmetry operations,
# and the mean of 16 cells of the embedded sample without symmetry. The release lies between, so the estimate is the
# geometric mean. Bytes grow as the bound to the power of -0.4. The metadata of a crystal, with the augmentation of ten
# atoms at 0.35 kB each, are added.
GZIP_BYTES = 5.3
BYTES_SYMMETRIC, BYTES_ASYMMETRIC, MEASURED_BOUND, BOUND_POWER = 0.0024, 0.094, 1e-5, 0.4
CRYSTAL_BYTES = 6500.0
REAL_BYTES_SHARE = 0.5  # bytes in a store of the real-space pipeline for each byte of transfer


@dataclass(frozen=True)
class Preview:
    """The estimate that `ecd fetch --dry-run` prints.

    Attributes
    ----------
    set : the set of the release.
    wanted, there : how many crystals were asked for, and how many of them the store has already.
    transfer, store : estimated bytes of the other crystals, as downloads and in the store.
    least, most : bytes in the store if all of them had high symmetry, or none.
    basis : where the sizes come from.
    url : the URL of the first file; None if nothing is to be fetched.
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
            limits = f" ({_format_bytes(self.least)} to {_format_bytes(self.most)})" if self.least < self.most else ""
            lines.append(
                f"{missing:,} files to fetch: some {_format_bytes(self.transfer)} to transfer, "
                f"{_format_bytes(self.store)}{limits} in the store"
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
    """The Preview of a `fetch` with the same arguments; it writes nothing and asks for at most eight sizes.

    Raises the errors of `fetch` for arguments that it would refuse.
    """
    plan = plan_fetch(what, part=part, set=set, limit=limit, mirror=mirror)
    StoreWriter.refuse_arguments(dest, bound, pipeline)
    whole_number(seed, "the seed (--seed)", 0)
    journal = Journal(Path(dest))
    journal.refuse_other_set(plan.set)
    lengths = _stored_sizes(Store(dest)) if (Path(dest) / INDEX).exists() else {}
    missing = [id for id in plan.ids if id not in lengths]
    sizes, basis = _request_sizes(plan, missing, patience or Patience(stall=10.0), seed)
    mean = float(np.mean(sizes)) if sizes else VALUES_PER_CRYSTAL[plan.set] * GZIP_BYTES
    transfer = sum(sizes) if len(sizes) == len(missing) else mean * len(missing)
    least, store, most = _estimate_store_bytes(transfer, len(missing), journal, lengths, bound, pipeline)
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


def _stored_sizes(store: Store) -> dict[str, int]:
    return dict(zip(store.ids, store.index["length"].tolist(), strict=True))


def _request_sizes(plan: FetchPlan, missing: list[str], patience: Patience, seed: int) -> tuple[list[int], str]:
    """The sizes in bytes of some files, drawn at random, and a phrase that says where they come from."""
    if is_offline():
        return [], "from the release as a whole, since no server is asked offline"
    drawn = np.random.default_rng(seed).permutation(len(missing))[:SIZE_REQUESTS]
    connection = Connection(patience, RequestGate(), seed, lambda count: None)
    stated: list[int] = []
    try:
        for number in drawn:
            size = connection.request_size(plan.url(missing[number]))
            stated += [] if size is None else [size]
    except TransferError as error:
        stated = []
        return stated, f"from the release as a whole, since the server does not state any ({error})"
    finally:
        connection.close()
    if not stated:
        return stated, "from the release as a whole, since the server does not state any"
    whole = len(stated) == len(missing)
    return stated, f"as the server states, of {'all' if whole else f'{len(stated)} files drawn at random'}"


def _estimate_store_bytes(
    transfer: float, crystals: int, journal: Journal, lengths: dict[str, int], bound: float, pipeline: str
) -> tuple[float, float, float]:
    """Bytes in a store for so many bytes of transfer: least, likely, most.

    The ratio is that of this store so far if it has enough crystals, else the measured one.
    """
    pairs = [(e.size, lengths[e.id]) for e in journal.entries.values() if e.size and e.id in lengths]
    if len(pairs) >= MIN_OWN_CRYSTALS or pipeline == "real":
        share = (
            sum(stored for _, stored in pairs) / sum(size for size, _ in pairs)
            if len(pairs) >= MIN_OWN_CRYSTALS
            else REAL_BYTES_SHARE
        )
        return (share * transfer,) * 3
    scaled = transfer / GZIP_BYTES * (MEASURED_BOUND / bound) ** BOUND_POWER
    least, most = (scaled * per_value + CRYSTAL_BYTES * crystals for per_value in (BYTES_SYMMETRIC, BYTES_ASYMMETRIC))
    return least, scaled * (BYTES_SYMMETRIC * BYTES_ASYMMETRIC) ** 0.5 + CRYSTAL_BYTES * crystals, most


def _format_bytes(count: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
