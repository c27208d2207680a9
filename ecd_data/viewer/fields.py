"""The fields that a page shows, on a grid that a browser can draw, and their bytes in the page.

A page holds at most MAX_VALUES numbers. A field with more is shortened by the Fourier truncation of
`Density.resample`, which keeps the electron count and lowers narrow peaks; the page says so with numbers.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecd_data.averages import planar_average
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError
from ecd_data.fourier import Shape, resample

MAX_FIELD_VALUES = 128**3  # of one field: a browser finds an isosurface among them in well below a second
MAX_VALUES = 2 * 128**3  # of all fields of a page: two bytes each make a page of at most about 16 MB
CODES = 65535  # a value takes 16 bits
SCALE = 1e-6  # of the largest value: smaller ones are rounded to multiples of about 4e-10 of it
SIGNED_SHARE = 1e-2  # of the largest value: larger negative values make a field signed, smaller ones are noise


@dataclass(frozen=True, eq=False)
class Field:
    """A real field on the grid of a cell, as a page shows it.

    Attributes
    ----------
    name : what the page calls it, such as "density" or "MgO - reference".
    values [a, b, c] : on the full grid, in e/Å^3.
    role : "density", "difference", "error" or "magnetization", which decides colours and axes.
    size_of : of an error map, the number of the page's field whose absolute values it shows; None of other fields.
    """

    name: str
    values: Floats
    role: str
    size_of: int | None = None

    @property
    def signed(self) -> bool:
        """Whether the field has both signs, so that its colours are symmetric about zero."""
        if self.role == "error":
            return False
        return self.role != "density" or float(self.values.min()) < -SIGNED_SHARE * float(np.abs(self.values).max())


def choose_fields(rho: Density, name: str = "density") -> list[Field]:
    """The fields of one density: itself and its magnetization, of which a non-collinear one has three components."""
    role = "difference" if rho.meta.get("kind") == "difference" else "density"
    return [Field(name, rho.values, role), *_choose_spin_fields(rho.magnetization, name)]


def compare_fields(a: Density, b: Density, difference: Density, names: tuple[str, str]) -> list[Field]:
    """The fields of two densities on one grid and their difference a - b, with those of the magnetizations."""
    gap = f"{names[0]} − {names[1]}"
    fields = [Field(names[0], a.values, "density"), Field(names[1], b.values, "density")]
    fields += [Field(gap, difference.values, "difference")]
    fields += [Field(f"error map |{gap}|", np.abs(difference.values), "error", size_of=2)]
    for rho, name in ((a, names[0]), (b, names[1]), (difference, gap)):
        fields += _choose_spin_fields(rho.magnetization, name)
    return fields


def _choose_spin_fields(magnetization: Floats | None, name: str) -> Iterator[Field]:
    if magnetization is None:
        return
    label = "magnetization" if name == "density" else f"{name}: magnetization"
    if magnetization.ndim == 3:
        yield Field(label, magnetization, "magnetization")
        return
    for component, values in zip("xyz", magnetization, strict=True):
        yield Field(f"{label} {component}", values, "magnetization")


def refuse_not_finite(fields: list[Field]) -> None:
    """Raise EcdError if a field has a value that is not a finite number."""
    for field in fields:
        if wrong := int(np.count_nonzero(~np.isfinite(field.values))):
            raise EcdError(
                f"{field.name}: {wrong} of {field.values.size} values are not finite numbers, so they cannot be shown: "
                "`ecd check FILE` says more; make the file again"
            )


def choose_shape(shape: Shape, count: int) -> Shape:
    """The grid of a page that shows `count` fields of a grid [shape]: the same, or one with fewer points."""
    limit = min(MAX_FIELD_VALUES, MAX_VALUES // count)
    points = list(shape)
    factor = min(1.0, (limit / np.prod(points, dtype=float)) ** (1 / 3))
    points = [max(1, int(n * factor)) for n in points]
    while np.prod(points, dtype=float) > limit:  # an axis of one point cannot get shorter: the longest one does
        longest = int(np.argmax(points))
        points[longest] = int(points[longest] * limit / np.prod(points, dtype=float))
    return points[0], points[1], points[2]


def encode_field(field: Field, rho: Density, shape: Shape) -> dict[str, Any]:
    """A field as the page's script reads it: numbers about it, its bytes on the page's grid, and planar averages.

    An error map brings no bytes, since the page takes the absolute values of the difference that it has.
    """
    values = field.values if shape == field.values.shape else resample(field.values, shape)
    if field.size_of is not None:
        values = np.abs(values)  # Fourier truncation makes slightly negative values of a field that is zero somewhere
    return {
        "name": field.name,
        "role": field.role,
        "signed": field.signed,
        "full": [float(field.values.min()), float(field.values.max())],
        "page": [float(values.min()), float(values.max())],
        "averages": {axis: planar_average(Density(rho.crystal, field.values), axis).values.tolist() for axis in "abc"},
        **({"sizeOf": field.size_of} if field.size_of is not None else _encode_values(values)),
    }


def _encode_values(values: Floats) -> dict[str, Any]:
    """The values as 16-bit codes in base64, and what turns the codes into values.

    A value v is rounded to one of 65536 codes that are evenly spaced in asinh(v / scale), where `scale` is a millionth
    of the largest |v|: so small values keep their digits beside high peaks, in a vacuum as well.
    """
    scale = SCALE * float(np.abs(values).max()) or 1.0
    bent = np.arcsinh(values / scale)
    low, high = float(bent.min()), float(bent.max())
    codes = np.round((bent - low) * (CODES / (high - low))) if high > low else np.zeros(values.shape)
    raw = codes.astype("<u2").reshape(-1).view(np.uint8).reshape(-1, 2)
    packed = zlib.compress(np.ascontiguousarray(raw.T).tobytes(), 6)  # low bytes, then high ones, which repeat
    return {"scale": scale, "low": low, "high": high, "bytes": base64.b64encode(packed).decode()}
