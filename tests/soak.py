"""What is tried to lose or falsify data: kill -9, a full disk, flipped bits, hostile files, readers beside a writer.

    python -m tests.soak [--rounds 10] [--flips 500] [--seed 0]

Prints a table of what was tried, survived and lost, and exits with 1 where anything was lost. Survived is: every store
that is there is sound, the same command completes it to the same bytes, and damage is an error and never a value.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data import Store, open_store, write
from ecd_data.download.plan import plan_fetch
from ecd_data.store import StoreWriter, verify
from ecd_data.work.process_pool import LostJob, run_jobs
from tests import soak_hostile
from tests.conftest import smooth_density
from tests.data.bad_server import bad_server
from tests.data.download.conftest import chgcar, packed

ROOT = Path(__file__).resolve().parents[1]
SHAPE, CRYSTALS, FETCHED = (12, 10, 15), 12, 6
TRAINING = """task = "pbe"
model = "charge3net"
steps = 30
batch_size = 2
probes = 20
validate_every = 5
validation_probes = 50
validation_crystals = 2
threads = 1
[options]
mul = 4
lmax = 1
cutoff = 3.0
num_interactions = 1
"""


@dataclass
class Row:
    """What came of one kind of attempt; `losses` says of each loss how it was."""

    name: str
    tried: int = 0
    losses: list[str] = field(default_factory=list)

    def add(self, loss: str) -> None:
        """Count an attempt, lost where `loss` says how."""
        self.tried += 1
        if loss:
            self.losses.append(loss)


@dataclass(frozen=True)
class Verb:
    """A command that writes `dest`, from `before` where that has to be there, and what it wrote in comparable form."""

    name: str
    command: Callable[[Path], list[str]]
    state: Callable[[Path], Any]
    before: Path | None = None

    def run(self, dest: Path, **options: Any) -> subprocess.Popen[str]:
        """The command, begun."""
        whole = [sys.executable, "-m", "ecd_models.cli", self.name, *self.command(dest), "-q"]
        return subprocess.Popen(
            whole, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options
        )

    def start_from(self, dest: Path) -> Path:
        """`dest` as it is before the command."""
        if self.before is not None:
            shutil.copytree(self.before, dest)
        return dest


@contextmanager
def verbs(folder: Path) -> Iterator[list[Verb]]:
    """The verbs that write, with what they read in `folder`."""
    ids = [f"x{number}" for number in range(CRYSTALS)]
    (folder / "files").mkdir()
    for name, chosen in {"a": ids[:8], "b": ids[6:]}.items():
        with StoreWriter(folder / f"{name}.ecd") as writer:
            for id in chosen:
                writer.add(id, smooth_density(SHAPE, seed=int(id[1:])))
    for id in ids:
        write(folder / "files" / f"{id}_CHGCAR", smooth_density(SHAPE, seed=int(id[1:])))
    a, b, config = str(folder / "a.ecd"), str(folder / "b.ecd"), folder / "train.toml"
    config.write_text(TRAINING)
    with bad_server() as server:
        plan, body = plan_fetch("hmat_*", limit=FETCHED), packed(chgcar(open_store("hse")["LiH_rs"]))
        server.files = {f"/base/pbe/{id}.chgcar.tar.gz": body for id in plan.ids}
        mirror = ["hmat_*", "--mirror", server.url, "--limit", str(FETCHED), "--pause", "0.02", "--retries", "2"]
        yield [
            Verb("convert", lambda dest: [str(folder / "files"), str(dest)], contents),
            Verb("merge", lambda dest: [a, b, str(dest)], contents),
            Verb("subset", lambda dest: [a, str(dest), "--id", "x*"], contents),
            Verb("reencode", lambda dest: [a, str(dest), "--bound", "1e-3"], contents),
            Verb("probes", lambda dest: [str(dest)], probes, folder / "a.ecd"),
            Verb("fetch", lambda dest: [*mirror, str(dest)], contents),
            Verb("train", lambda dest: [str(config), "--out", str(dest)], weights),
        ]


def contents(dest: Path) -> dict[str, str]:
    """The hash of every crystal of a store that is sound."""
    report = verify(dest)
    assert report.ok, f"{report.bad or report.bad_parts}"
    return dict(zip(*(Store(dest).columns(n)[n].to_pylist() for n in ("id", "sha256")), strict=True))


def probes(dest: Path) -> dict[str, str]:
    """The hash of every crystal's extracted probes."""
    store = Store(dest)
    assert store.probe_reader.index is not None, "there is no extract"
    drawn = store.probes([id for id in store if id in store.probe_reader.index], 500)
    return {each.id: hashlib.sha256(each.values.tobytes()).hexdigest() for each in drawn}


def weights(dest: Path) -> dict[str, str]:
    """The hash of every tensor of the best model of a run."""
    from safetensors.numpy import load_file

    tensors = load_file(dest / "best.safetensors")
    return {name: hashlib.sha256(np.ascontiguousarray(tensors[name]).tobytes()).hexdigest() for name in tensors}


def try_verb(verb: Verb, folder: Path, rng: np.random.Generator, rounds: int) -> tuple[Row, Row]:
    """What came of killing a command at random moments, and of a disk that takes no more."""
    killed, full = Row(f"{verb.name}, kill -9"), Row(f"{verb.name}, full disk")
    whole = verb.start_from(folder / f"{verb.name}-whole")
    began = time.monotonic()
    output, _ = (process := verb.run(whole)).communicate()
    seconds = time.monotonic() - began
    assert process.returncode == 0, f"{verb.name} does not run: {output}"
    due = verb.state(whole)
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    for number in range(rounds):
        dest = verb.start_from(folder / f"{verb.name}-killed-{number}")
        process = verb.run(dest)
        time.sleep(seconds * rng.uniform(0.3, 1.0))
        process.kill()
        process.communicate()
        killed.add(completed(verb, dest, due))
        dest = verb.start_from(folder / f"{verb.name}-full-{number}")
        most = int(largest * rng.uniform(0.05, 0.95))
        process = verb.run(dest, preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
        output, _ = process.communicate()
        said = "a traceback" if "Traceback" in output else ""
        said = said or ("it ended well with half a disk" if process.returncode == 0 else "")
        full.add(said or completed(verb, dest, due))
    return killed, full


def completed(verb: Verb, dest: Path, due: Any) -> str:
    """How something was lost, where the same command does not complete what an interruption left."""
    try:
        if (dest / "index.parquet").exists():
            there = contents(dest)
            if verb.state is contents and not there.items() <= due.items():
                return "the store that was left has other crystals"
        output, _ = (process := verb.run(dest)).communicate(timeout=300)
        if process.returncode != 0:
            return f"the same command ends with {process.returncode}: {output.strip()[-200:]}"
        return "" if verb.state(dest) == due else "what the same command completed differs"
    except Exception as error:  # whatever it is, it is a loss
        return f"{type(error).__name__}: {str(error)[:200]}"


def try_hostile(name: str, jobs: list[Any], attempt: Callable[[Any], str]) -> Row:
    """What came of hostile files, each read in a process that may die of it."""
    row = Row(name)
    for _, loss in run_jobs(attempt, jobs, workers=2):
        row.add("it ends the process" if isinstance(loss, LostJob) else loss)
    return row


def try_readers(folder: Path, rounds: int) -> Row:
    """Eight readers, four forked and four spawned, of stores that another process writes."""
    row = Row("8 readers, fork and spawn, beside a writer")
    for number in range(max(1, rounds // 4)):
        path = soak_hostile.small_store(folder / f"read-{number}.ecd")
        open_store(path).ids  # noqa: B018 - what is open before a fork must serve after it
        done = multiprocessing.get_context("spawn").Event()
        writer = multiprocessing.get_context("spawn").Process(target=soak_hostile.write_on, args=(str(path), done))
        writer.start()
        contexts = [multiprocessing.get_context(kind) for kind in ("fork", "spawn")]
        pools = [context.Pool(4) for context in contexts]
        found = [pool.map_async(soak_hostile.read_all, [str(path)] * 4, chunksize=1) for pool in pools]
        for results in found:
            try:
                for loss in results.get(timeout=300):
                    row.add(loss)
            except Exception as error:
                row.add(f"{type(error).__name__}: {error}")
        done.set()
        writer.join()
        for pool in pools:
            pool.terminate()
    return row


def soak(seed: int = 0, rounds: int = 10, flips: int = 500) -> Iterator[Row]:
    """All attempts: `rounds` kills and full disks of each verb, `flips` flipped bits and as many hostile files."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(prefix="ecd-soak-") as temporary:
        folder = Path(temporary)
        with verbs(folder) as found:
            for verb in found:
                yield from try_verb(verb, folder, rng, rounds)
        path = str(soak_hostile.small_store(folder / "hostile.ecd"))
        seeds = [(path, int(each)) for each in rng.integers(0, 2**31, flips)]
        yield try_hostile("flipped bits in parts", seeds, soak_hostile.flip_part)
        yield try_hostile("flipped bits in the index", seeds[: flips // 5], soak_hostile.flip_index)
        stated = [(path, number) for number in range(len(soak_hostile.ROWS))]
        yield try_hostile("hostile rows of the index", stated, soak_hostile.hostile_row)
        yield try_hostile("hostile payloads with the right hash", seeds, soak_hostile.hostile_payload)
        yield try_readers(folder, rounds)


def main() -> int:
    """1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="kills and full disks of each verb")
    parser.add_argument("--flips", type=int, default=500, help="flipped bits, and as many hostile files")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, places and bits")
    options = parser.parse_args()
    print(f"{'':44}{'tried':>7}{'survived':>10}{'lost':>6}")
    lost = 0
    for row in soak(options.seed, options.rounds, options.flips):
        print(f"{row.name:44}{row.tried:7}{row.tried - len(row.losses):10}{len(row.losses):6}", flush=True)
        for loss in dict.fromkeys(row.losses):
            print(f"    {loss}", flush=True)
        lost += len(row.losses)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
