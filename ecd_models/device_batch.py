"""A batch arranged for a GPU: one buffer with all indices, which can be padded to sizes that recur.

The first atom, probe and pair are dummies, to which all padding belongs. They send nothing to the others, and the first
probe has weight 0 in the loss. So padding changes neither losses nor gradients, and steps of the same sizes can run as
one recorded graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecd_models.batch import ProbeBatch
from ecd_models.kernels.groups import Groups

PAIRS, BLOCKS = "pairs", "blocks"  # the arrangements of edges, of which each network wants one
# The number of sizes to pad to between one power of two and the next. A recorded graph serves one combination of sizes,
# so a training should have few of them: edges, which cost the most time, are padded by a quarter at most, atoms and
# pairs by half. The number of probes hardly varies.
PARTS = {"probes": 32, "atoms": 2, "pairs": 2, "edges": 4, "blocks": 4}
ALIGNMENT = 16  # bytes: arrays in the buffer start at multiples of it, which kernels load fastest
SPECIES = 119  # atomic numbers 0..118
Array = NDArray[Any]


class PairedEdges(NamedTuple):
    """e edges in q pairs of one sender and one receiver each, ordered by receiver.

    vec : vectors in Å [e, 3].
    pair : the edges of each pair.
    senders, receivers : the pairs of each sender and receiver.
    """

    vec: Tensor
    pair: Groups
    senders: Groups
    receivers: Groups


class ReceivedEdges(NamedTuple):
    """Edges ordered by receiver: vectors in Å [e, 3], and the edges of each sender and receiver."""

    vec: Tensor
    senders: Groups
    receivers: Groups


class SentBlocks(NamedTuple):
    """Edges in blocks of `size` edges of one sender.

    vec : vectors in Å [e, 3].
    senders, receivers : the blocks of each sender, and the edges of each receiver.
    """

    size: int
    vec: Tensor
    senders: Groups
    receivers: Groups


class Field(NamedTuple):
    """An array in the buffer: its length is the size named `along` plus `more`; `row` is the shape of a row."""

    name: str
    dtype: torch.dtype
    along: str
    more: int
    row: tuple[int, ...]


Sizes = dict[str, int]  # numbers of atoms, probes, edges, pairs or blocks, by name


@dataclass(frozen=True, eq=False)
class DeviceBatch:
    """The input of a network on a GPU, see `ProbeBatch`.

    numbers, target, baseline : as in ProbeBatch, with dummies and padding.
    elements : the atoms of each element.
    atoms, probes : the edges to atoms and to probes, in the arrangement of the network.
    inverse_mean : 1 / mean density of the crystal of each probe, in Å^3 [p]; 0 for padding.
    weight : what each probe counts in sums over probes; 0 for padding [p].
    """

    numbers: Tensor
    elements: Groups
    atoms: Any
    probes: Any
    target: Tensor | None
    baseline: Tensor | None
    inverse_mean: Tensor | None
    weight: Tensor

    def weigh(self, values: Tensor) -> Tensor:
        """The values at the probes times their weights [p] or [p, 2]."""
        return values * (self.weight if values.ndim == 1 else self.weight[:, None])

    def divide_by_mean(self, values: Tensor) -> Tensor:
        """The values at the probes divided by the mean density of their crystal [p] or [p, 2]."""
        assert self.inverse_mean is not None, "a relative loss needs the mean density of each crystal"
        return values * (self.inverse_mean if values.ndim == 1 else self.inverse_mean[:, None])

    @property
    def n_atoms(self) -> int:
        return self.numbers.shape[0]

    @property
    def n_probes(self) -> int:
        return self.weight.shape[0]


@dataclass(frozen=True, eq=False)
class BatchBuffer:
    """An arranged batch in one buffer of bytes, which one copy brings to a device.

    buffer : the bytes.
    fields : the arrays in it.
    sizes : the numbers of atoms, probes, edges, pairs or blocks.
    kind : the arrangement of the edges.
    block : the size of the blocks of `SentBlocks`.
    """

    buffer: Tensor
    fields: tuple[Field, ...]
    sizes: Sizes
    kind: str
    block: int

    @property
    def layout(self) -> tuple[Any, ...]:
        """A key that is equal for batches whose arrays are at the same positions of their buffers."""
        return self.fields, self.kind, self.block, tuple(self.sizes.values())

    def to(self, device: torch.device | str) -> BatchBuffer:
        """The batch on a device; from pinned memory the copy does not block."""
        return replace(self, buffer=self.buffer.to(device, non_blocking=True))

    def pin_memory(self) -> BatchBuffer:
        """The batch in pinned memory; torch's DataLoader calls it."""
        return replace(self, buffer=self.buffer.pin_memory())

    def pad(self, sizes: Sizes) -> BatchBuffer:
        """The batch padded to `sizes`, in pinned memory if this one is."""
        buffer = torch.empty(_lay_out(self.fields, sizes)[1], dtype=torch.uint8, pin_memory=self.buffer.is_pinned())
        padded = replace(self, buffer=buffer, sizes=sizes)
        arrays = padded.arrays()
        for name, array in self.arrays().items():
            values, count = arrays[name].numpy(), len(array)
            values[:count] = array.numpy()
            values[count:] = values[count - 1] if name.endswith(".starts") else 0
        return padded

    def arrays(self) -> dict[str, Tensor]:
        """The arrays by name, which are views of the buffer."""
        views = {}
        for field, (start, shape) in zip(self.fields, _lay_out(self.fields, self.sizes)[0], strict=True):
            count = int(np.prod(shape)) * field.dtype.itemsize
            views[field.name] = self.buffer[start : start + count].view(field.dtype).view(shape)
        return views

    def unpack(self) -> DeviceBatch:
        """The batch, whose tensors are views of the buffer."""
        arrays = self.arrays()

        def groups(name: str) -> Groups:
            return Groups(arrays[f"{name}.index"], arrays[f"{name}.starts"], arrays.get(f"{name}.order"))

        def edges(of: str) -> PairedEdges | ReceivedEdges | SentBlocks:
            both = arrays[f"{of}.vec"], groups(f"{of}.senders"), groups(f"{of}.receivers")
            if self.kind == PAIRS:
                return PairedEdges(both[0], groups(f"{of}.pair"), *both[1:])
            return ReceivedEdges(*both) if of == "atoms" else SentBlocks(self.block, *both)

        elements = groups("elements")
        return DeviceBatch(
            numbers=elements.index,
            elements=elements,
            atoms=edges("atoms"),
            probes=edges("probes"),
            target=arrays.get("target"),
            baseline=arrays.get("baseline"),
            inverse_mean=arrays.get("inverse_mean"),
            weight=arrays["weight"],
        )


def _lay_out(fields: tuple[Field, ...], sizes: Sizes) -> tuple[list[tuple[int, tuple[int, ...]]], int]:
    """The position and the shape of each array, and the bytes of all arrays."""
    positions, start = [], 0
    for field in fields:
        shape = (sizes.get(field.along, 0) + field.more, *field.row)
        positions.append((start, shape))
        start += -(-int(np.prod(shape)) * field.dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return positions, start


def next_size(count: int, parts: int) -> int:
    """The next size above a count, of the powers of two and `parts` - 1 sizes between each two of them."""
    step = max(1, (1 << count.bit_length()) // (2 * parts))
    return (count // step + 1) * step


class _Edges:
    """The edges of a batch to its atoms or probes, ordered by receiver, then by sender, with indices from 1."""

    def __init__(self, src: Tensor, dst: Tensor, vec: Tensor) -> None:
        s, d, v = src.numpy() + 1, dst.numpy() + 1, vec.numpy()
        key = d * (int(s.max(initial=0)) + 1) + s
        if (key[1:] < key[:-1]).any():
            order = np.argsort(key, kind="stable")
            s, d, v, key = s[order], d[order], v[order], key[order]
        self.src, self.dst, self.vec = s, d, v
        self.first = np.flatnonzero(np.diff(key, prepend=-1))


class _Packer:
    """Collects the arrays of a buffer and the sizes that determine their lengths."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = dict(sizes)
        self.arrays: list[Array] = []
        self.fields: list[Field] = []

    def add(self, name: str, array: Array, along: str) -> None:
        """Add an array whose length is determined by the size `along`, "" for a fixed length."""
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        self.arrays.append(array)
        self.fields.append(Field(name, dtype, along, len(array) - self.sizes.get(along, 0), array.shape[1:]))

    def add_groups(
        self, name: str, index: Array, rows: str, groups: str, fixed: int = 0, real: Array | None = None
    ) -> None:
        """Add the arrays of `Groups`.

        name : of the groups.
        index : the group of each row.
        rows, groups : the names of the sizes that count rows and groups.
        fixed : the number of groups, if it is the same for all batches.
        real : the rows ordered by group, if they are not in this order already; without padding.
        """
        chosen = index if real is None else index[real]
        count = fixed or self.sizes[groups]
        starts = np.zeros(count + 1, np.int32)
        np.cumsum(np.bincount(chosen, minlength=count), out=starts[1:])
        self.add(f"{name}.index", index.astype(np.int32), rows)
        self.add(f"{name}.starts", starts, "" if fixed else groups)
        if real is not None:
            order = np.zeros(len(index), np.int32)
            order[: len(real)] = real
            self.add(f"{name}.order", order, rows)

    def build_buffer(self, kind: str, block: int) -> BatchBuffer:
        """The buffer with all arrays, one after the other."""
        _, total = _lay_out(tuple(self.fields), self.sizes)
        batch = BatchBuffer(torch.empty(total, dtype=torch.uint8), tuple(self.fields), self.sizes, kind, block)
        for view, array in zip(batch.arrays().values(), self.arrays, strict=True):
            view.numpy()[...] = array
        return batch


def pack(batch: ProbeBatch, kind: str) -> BatchBuffer:
    """The batch in one buffer, its edges arranged as `kind`, PAIRS or BLOCKS, says."""
    packer = _Packer(atoms=batch.n_atoms + 1, probes=batch.n_probes + 1)
    numbers = _add_dummy(batch.numbers.numpy())
    packer.add_groups("elements", numbers, "atoms", "", SPECIES, np.argsort(numbers, kind="stable"))
    atoms = _Edges(batch.atom_src, batch.atom_dst, batch.atom_vec)
    probes = _Edges(batch.probe_src, batch.probe_dst, batch.probe_vec)
    block = 0
    if kind == PAIRS:
        _add_pairs(packer, "atoms", atoms)
        _add_pairs(packer, "probes", probes)
    else:
        block = _choose_block_size(len(probes.src), batch.n_atoms)
        _add_received(packer, "atoms", atoms)
        _add_blocks(packer, "probes", probes, block)
    weight = np.ones(batch.n_probes, probes.vec.dtype) if batch.weight is None else batch.weight.numpy()
    packer.add("weight", _add_dummy(weight), "probes")
    inverse_mean = None if batch.mean is None else 1 / batch.mean[batch.probe_crystal]
    for name, value in (("target", batch.target), ("baseline", batch.baseline), ("inverse_mean", inverse_mean)):
        if value is not None:
            packer.add(name, _add_dummy(value.numpy()), "probes")
    return packer.build_buffer(kind, block)


def _choose_block_size(edges: int, atoms: int) -> int:
    """The number of edges in a block: about an eighth of those that an atom sends, 16 to 128."""
    return 1 << min(max((edges // (8 * max(atoms, 1))).bit_length() - 1, 4), 7)


def _add_dummy(values: Array) -> Array:
    """The values [n, ...] with a zero before them, for the dummy [1 + n, ...]."""
    return np.concatenate([np.zeros_like(values, shape=(1, *values.shape[1:])), values])


def _sort_rows(index: Array) -> Array:
    """The rows in the order of their groups; numpy sorts 16-bit numbers, if they suffice, several times as fast."""
    return np.argsort(index.astype(np.uint16) if index.max(initial=0) < 1 << 16 else index, kind="stable")


def _add_pairs(packer: _Packer, of: str, edges: _Edges) -> None:
    """Add the arrays of `PairedEdges`."""
    packer.sizes |= {f"{of}.edges": len(edges.src), f"{of}.pairs": len(edges.first) + 1}
    new = np.zeros(len(edges.src), np.int32)
    new[edges.first] = 1
    src, dst = (_add_dummy(values[edges.first]) for values in (edges.src, edges.dst))
    packer.add(f"{of}.vec", edges.vec, f"{of}.edges")
    packer.add_groups(f"{of}.pair", np.cumsum(new), f"{of}.edges", f"{of}.pairs")
    packer.add_groups(f"{of}.senders", src, f"{of}.pairs", "atoms", real=_sort_rows(src))
    packer.add_groups(f"{of}.receivers", dst, f"{of}.pairs", of)


def _add_received(packer: _Packer, of: str, edges: _Edges) -> None:
    """Add the arrays of `ReceivedEdges`."""
    packer.sizes[f"{of}.edges"] = len(edges.src)
    packer.add(f"{of}.vec", edges.vec, f"{of}.edges")
    packer.add_groups(f"{of}.senders", edges.src, f"{of}.edges", "atoms", real=_sort_rows(edges.src))
    packer.add_groups(f"{of}.receivers", edges.dst, f"{of}.edges", of)


def _add_blocks(packer: _Packer, of: str, edges: _Edges, size: int) -> None:
    """Add the arrays of `SentBlocks`; the padding of a block goes to the dummy probe."""
    order = _sort_rows(edges.src)
    degrees = np.bincount(edges.src, minlength=packer.sizes["atoms"])
    per_sender = -(-degrees // size)
    starts = (np.cumsum(per_sender) - per_sender) * size - (np.cumsum(degrees) - degrees)
    rows = np.arange(len(order)) + np.repeat(starts, degrees)
    blocks = int(per_sender.sum())
    receiver, vec = np.zeros(blocks * size, np.int64), np.zeros((blocks * size, 3), edges.vec.dtype)
    receiver[rows], vec[rows] = edges.dst[order], edges.vec[order]
    packer.sizes |= {f"{of}.blocks": blocks, f"{of}.edges": blocks * size}
    packer.add(f"{of}.vec", vec, f"{of}.edges")
    packer.add_groups(f"{of}.senders", np.repeat(np.arange(len(degrees)), per_sender), f"{of}.blocks", "atoms")
    by_receiver = _sort_rows(receiver)
    real = by_receiver[np.searchsorted(receiver[by_receiver], 1) :]
    packer.add_groups(f"{of}.receivers", receiver, f"{of}.edges", of, real=real)


def common_sizes(batch: BatchBuffer) -> Sizes:
    """The sizes to pad a batch to, which it shares with batches of about its size.

    They follow from the batch alone. Sums over arrays of other lengths may be rounded differently, and the result of a
    continued run must not depend on the batches before its interruption.
    """
    sizes = {name: next_size(size, PARTS[name.rpartition(".")[2]]) for name, size in batch.sizes.items()}
    if batch.block:
        sizes["probes.edges"] = sizes["probes.blocks"] * batch.block
    return sizes


def pack_passes(
    split: Callable[[Sequence[ProbeBatch]], list[ProbeBatch]], kind: str | None, items: Sequence[ProbeBatch]
) -> list[ProbeBatch | BatchBuffer]:
    """The passes that `split` makes of the items, in the arrangement `kind`; None leaves them as they are."""
    return [batch if kind is None else pack(batch, kind) for batch in split(items)]
