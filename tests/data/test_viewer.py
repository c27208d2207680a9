"""Pages in a browser: they hold what the densities hold, need no network, and run nothing that a name says."""

from __future__ import annotations

import base64
import html
import json
import re
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.comparison import DifferentCrystalsError
from ecd_data.errors import EcdError, MissingDependencyError, UsageError
from tests.chromium import needs_chromium, open_page
from tests.conftest import smooth_density

pytest.importorskip("plotly")
from ecd_data.viewer import fields, view

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"&amp;</title>"
LATTICE = np.array([[5.0, 0.0, 0.0], [2.4, 4.1, 0.0], [-1.3, 1.7, 6.2]])  # angles far from 90 degrees
WIDTH = 0.5  # Å, of the Gaussians


def density_of_gaussians(shape=(40, 36, 48)) -> Density:
    """Gaussians on two atoms of a triclinic cell, in e/Å^3; the second has half of the height of the first."""
    crystal = Crystal(LATTICE, np.array([12, 8]), np.array([[0.2, 0.3, 0.1], [0.7, 0.55, 0.65]]))
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)
    values = np.zeros(shape)
    for height, position in zip((2.0, 1.0), crystal.frac_coords, strict=True):
        for image in np.ndindex(3, 3, 3):
            distance = (points - position - (np.array(image) - 1)) @ LATTICE
            values += height * np.exp(-(distance**2).sum(-1) / (2 * WIDTH**2))
    return Density(crystal, values)


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def decode(field: dict, shape: list[int]) -> np.ndarray:
    raw = np.frombuffer(zlib.decompress(base64.b64decode(field["bytes"])), np.uint8).reshape(2, -1).astype(float)
    codes = raw[0] + 256 * raw[1]
    bent = field["low"] + codes * (field["high"] - field["low"]) / 65535
    return (field["scale"] * np.sinh(bent)).reshape(shape)


@pytest.mark.parametrize("factor", [1.0, 1e-9, 1e6])
def test_the_values_of_a_page_are_those_of_the_density(factor):
    rho = smooth_density((12, 10, 15), spin=True)
    rho = replace(rho, values=factor * (rho.values + 50 * (rho.values > rho.values.max() * 0.95)))
    data = data_of(view(rho).html)
    assert [field["name"] for field in data["fields"]] == ["density", "magnetization"]
    found = decode(data["fields"][0], data["shape"])
    assert np.abs(found / rho.values - 1).max() < 2e-4
    spin = decode(data["fields"][1], data["shape"])
    assert np.abs(spin - rho.magnetization).max() < 2e-4 * np.abs(rho.magnetization).max()
    assert np.allclose(data["fields"][0]["averages"]["b"], rho.values.mean(axis=(0, 2)))


def test_small_values_of_a_slab_keep_their_digits():
    heights = np.arange(60) / 60
    profile = np.where(heights < 0.6, 1 + 0.5 * np.cos(40 * heights), 10 ** (-12 * (heights - 0.6)))  # down to 1e-5
    rho = replace(smooth_density((4, 4, 60)), values=np.broadcast_to(profile, (4, 4, 60)))
    for sign in (1, np.sign(np.sin(70 * heights) + 0.01)):
        data = data_of(view(replace(rho, values=sign * rho.values)).html)
        found = decode(data["fields"][0], data["shape"])
        assert np.abs(found / (sign * rho.values) - 1).max() < 3e-4


def test_a_page_of_two_has_their_difference_and_the_error_map():
    rho = smooth_density()
    guess = replace(rho, values=rho.values + 1e-3 * np.cos(np.arange(rho.values.size)).reshape(rho.shape))
    page = view(guess, rho, names=("guess", "truth"))
    data = data_of(page.html)
    assert [field["role"] for field in data["fields"]] == ["density", "density", "difference", "error"]
    assert data["firstField"] == 2
    found = decode(data["fields"][2], data["shape"])
    assert np.abs(found - (guess.values - rho.values)).max() < 1e-6
    assert "bytes" not in data["fields"][3]
    assert "eps_mae" in page.html


def test_the_first_isosurface_is_of_a_field_that_has_one():
    rho = smooth_density(spin=True)
    only_spin = replace(rho, values=0 * rho.values)
    assert data_of(view(only_spin).html)["firstField"] == 1
    assert data_of(view(rho).html)["firstField"] == 0
    assert data_of(view(rho, rho).html)["firstField"] == 0  # their difference is zero


@pytest.mark.parametrize("shape", [(7, 7, 7), (256, 256, 256), (2000, 1, 3), (1, 1, 10**7), (100, 300, 500)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_grid_of_a_page_is_limited(shape, count):
    chosen = fields.choose_shape(shape, count)
    assert np.prod(chosen, dtype=float) * count <= fields.MAX_VALUES
    assert all(1 <= few <= many for few, many in zip(chosen, shape, strict=True))
    assert fields.choose_shape((128, 128, 128), 1) == (128, 128, 128)


def test_a_page_says_that_it_has_a_coarser_grid(monkeypatch):
    rho = density_of_gaussians((24, 24, 30))
    monkeypatch.setattr(fields, "MAX_FIELD_VALUES", 12 * 12 * 15)
    page = view(rho)
    shape = tuple(data_of(page.html)["shape"])
    assert shape == (12, 12, 15)
    assert "24x24x30 points is too large" in page.notes[0]
    assert "show 12x12x15 points" in page.notes[0]
    found = decode(data_of(page.html)["fields"][0], list(shape))
    assert found.mean() == pytest.approx(rho.values.mean(), rel=1e-4)  # the electron count stays
    assert f"instead of {rho.values.min():.4g} to {rho.values.max():.4g}" in page.notes[0]


def test_a_page_loads_nothing():
    page = view(smooth_density()).html
    assert "default-src 'none'" in page
    own = page.replace(__import__("plotly").offline.get_plotlyjs(), "")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", own)
    assert len(own) < 200_000


def test_names_are_escaped():
    rho = smooth_density()
    page = view(rho, replace(rho, values=2 * rho.values), title=HOSTILE, names=(HOSTILE, "truth")).html
    assert html.escape(HOSTILE) in page
    assert "<script>window.hacked" not in page
    assert "<img" not in page.partition('<script type="application/json"')[0]


def test_a_notebook_shows_the_page_in_a_frame():
    page = view(smooth_density(), title="x")
    frame = page._repr_html_()
    srcdoc = re.search(r'srcdoc="([^"]*)"', frame)
    assert srcdoc
    assert html.unescape(srcdoc[1]) == page.html
    assert repr(page).startswith("View('x'")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(bad):
    rho = smooth_density()
    values = rho.values.copy()
    values[0, 0, 0] = bad
    with pytest.raises(EcdError, match="1 of 1800 values are not finite"):
        view(replace(rho, values=values))
    with pytest.raises(EcdError, match="truth: 1 of"):
        view(rho, replace(rho, values=values), names=("guess", "truth"))


def test_wrong_arguments_are_refused(tmp_path):
    rho = smooth_density()
    with pytest.raises(DifferentCrystalsError):
        view(rho, density_of_gaussians((4, 4, 4)))
    for arguments in ((rho.values,), (rho, "MgO_rs")):
        with pytest.raises(UsageError, match="shows a Density"):
            view(*arguments)
    for names in ("ab", ("a",), ("a", 1), ("a", "a")):
        with pytest.raises(UsageError, match="names"):
            view(rho, rho, names=names)
    with pytest.raises(UsageError, match=r"\.html"):
        view(rho).save(tmp_path / "page.png")


def test_without_plotly_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"ecd-data\[view\]"):
        view(smooth_density())


SURFACE = """
const view = ecdView, trace = surfaceTrace(view.fields[0], view, 0.4, "#000");
const spheres = atomsOfCell(view).map((atom) => atom.place);
const [axis, n] = [view.planeAxis, view.planeIndex];
const frame = planeFrame(view), plane = planeValues(view.fields[0].values, view.shape, axis, n);
const atom = atomsNearPlane(frame, view)[0], pixel = frame.toPixels(...atom.place);
const image = document.querySelector("canvas.plane").getContext("2d");
const brightness = (x, y) => image.getImageData(x, y, 1, 1).data.slice(0, 3).reduce((sum, c) => sum + c, 0);
return {
  points: Array.from(trace.x, (x, k) => [x, trace.y[k], trace.z[k]]),
  triangles: [trace.i, trace.j, trace.k],
  spheres, place: atom.place, back: frame.toFractions(...pixel),
  near: brightness(pixel[0] + 10, pixel[1]), far: brightness(pixel[0] + 45, pixel[1]),
  drawn: document.querySelector("#scene canvas") !== null, title: document.title,
};
"""


@needs_chromium
def test_isosurfaces_surround_the_atoms_of_a_triclinic_cell(tmp_path):
    rho = density_of_gaussians()
    visit = open_page(view(rho, title=HOSTILE).save(tmp_path / "page.html"), SURFACE)
    found = visit.answer
    assert visit.console == []
    assert found["drawn"]
    assert found["title"] == HOSTILE
    points, spheres = np.array(found["points"]), np.array(found["spheres"])
    assert np.allclose(spheres, rho.frac_coords @ LATTICE)
    images = np.array(list(np.ndindex(3, 3, 3))) - 1
    distances = np.stack([np.linalg.norm(points - s - image @ LATTICE, axis=1) for s in spheres for image in images])
    nearest = distances.argmin(axis=0) // 27
    radii = [WIDTH * np.sqrt(2 * np.log(height / 0.4)) for height in (2.0, 1.0)]
    assert np.abs(distances.min(axis=0) - np.array(radii)[nearest]).max() < 0.03
    assert set(nearest) == {0, 1}
    triangles = np.array(found["triangles"])
    assert 0 <= triangles.min() < triangles.max() < len(points)
    assert found["back"] == pytest.approx(found["place"])
    assert found["near"] > found["far"] + 50  # the bright colours lie around the mark of the atom


CONTROLS = """
const view = ecdView, seen = {};
for (const field of [1, 2, 3, 4, 0]) await change("solid-field", field);
await change("levels", "0.3, 0.6");
seen.levels = [...view.levels];
await change("levels", "much");
seen.wrong = document.getElementById("levels").classList.contains("wrong");
await change("level", 500, "input");
await change("levels", "999");
seen.note = document.getElementById("solid-note").textContent;
await change("show-plane", false);  // the scene then stays as it is while the plane moves
for (const axis of "abc") await change("plane-axis", axis);
await change("plane-index", 3, "input");
for (const scale of ["log", "linear"]) await change("plane-scale", scale);
await change("plane-cells", 3);
for (const kind of ["a", "b", "c", "line"]) await change("curve-kind", kind);
await change("from", "0 0 0");
await change("to", "1, 0.5, 0.25");
await change("labels", true);
await change("opacity", 90, "input");
seen.line = lineCurves(view).curves;
seen.length = lineCurves(view).x.at(-1);
seen.hacked = window.hacked;
seen.names = view.fields.map((field) => field.name);
seen.captions = [...document.querySelectorAll("figcaption")].map((caption) => caption.textContent);
seen.legend = [...document.querySelectorAll("#curves .legendtext")].map((text) => text.textContent);
seen.buttons = [...document.querySelectorAll(".modebar-btn")].map((button) => button.dataset.title);
seen.fault = document.getElementById("fault").textContent;
return seen;
"""


@needs_chromium
def test_every_control_works_and_no_name_runs(tmp_path):
    rho = smooth_density((24, 20, 30), spin=True)
    other = replace(rho, values=1.1 * rho.values, magnetization=0.9 * rho.magnetization)
    visit = open_page(view(rho, other, title=HOSTILE, names=(HOSTILE, "truth")).save(tmp_path / "x.html"), CONTROLS)
    seen = visit.answer
    assert visit.console == []
    assert seen["fault"] == ""
    assert seen.get("hacked") is None
    assert "Download plot as a PNG" in seen["buttons"]
    assert not [title for title in seen["buttons"] if "Share" in title or "loud" in title]  # they would send the data
    assert (seen["levels"], seen["wrong"]) == ([0.3, 0.6], True)
    assert "No isosurface at 999" in seen["note"]
    assert len(seen["names"]) == len(seen["captions"]) == 7
    assert all(caption.startswith(name) for name, caption in zip(seen["names"], seen["captions"], strict=True))
    end = np.array([1, 0.5, 0.25])
    exact = rho.at(np.linspace(0, 1, 401)[:, None] * end)
    assert np.abs(np.array(seen["line"][0]) - exact).max() < 1e-2 * rho.values.max()
    assert seen["length"] == pytest.approx(np.linalg.norm(end @ rho.lattice))
    assert np.allclose(seen["line"][2], np.subtract(seen["line"][0], seen["line"][1]), atol=1e-3)


@needs_chromium
def test_without_webgl_the_planes_and_curves_are_drawn(tmp_path):
    page = view(smooth_density()).save(tmp_path / "page.html")
    script = """return {
      sentence: document.getElementById("no-webgl").textContent,
      planes: document.querySelectorAll("canvas.plane").length,
      curves: document.querySelectorAll("#curves .scatterlayer path").length };"""
    visit = open_page(page, script, webgl=False)
    assert visit.console == []
    assert "no WebGL" in visit.answer["sentence"]
    assert visit.answer["planes"] == 1
    assert visit.answer["curves"] > 0


UNUSUAL = {
    "zero everywhere": Density(Crystal(np.eye(3), [1], [[0, 0, 0]]), np.zeros((4, 4, 4))),
    "no atoms": Density(Crystal(np.eye(3), [], np.zeros((0, 3))), np.ones((4, 3, 2))),
    "a flat grid": Density(Crystal(LATTICE, [0], [[0.5, 2.5, -1]]), np.arange(1.0, 5).reshape(1, 4, 1)),
    "negative": Density(Crystal(LATTICE, [8], [[0, 0, 0]]), -1 - np.arange(64.0).reshape(4, 4, 4)),
    "non-collinear": Density(
        Crystal(LATTICE, [8], [[0, 0, 0]]), np.ones((3, 3, 3)), np.arange(81.0).reshape(3, 3, 3, 3)
    ),
}


@needs_chromium
def test_unusual_densities_have_pages(tmp_path):
    """One visit for all: each page stands in a frame of its own, as in a notebook."""
    frames = "".join(view(rho, title=name)._repr_html_() for name, rho in UNUSUAL.items())
    (tmp_path / "all.html").write_text(f"<!doctype html><body><p id=fault></p>{frames}</body>", encoding="utf-8")
    script = """
    const frames = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument);
    return frames.map((inner) => {
      const { surfaceTraces, ecdView } = inner.defaultView;
      const drawn = surfaceTraces(ecdView.fields[0], ecdView).map((trace) => trace.x.every(Number.isFinite));
      return [inner.body.dataset.ready, inner.getElementById("fault").textContent, drawn.every(Boolean)];
    });
    """
    wait = """
    const ends = (inner) => inner?.body?.dataset.ready === "yes" || inner?.getElementById("fault")?.hidden === false;
    const waits = () => ![...document.querySelectorAll("iframe")].every((frame) => ends(frame.contentDocument));
    for (let n = 0; n < 100 && waits(); n++) await pause(100);
    """
    visit = open_page(tmp_path / "all.html", wait + script, webgl=False)
    assert visit.console == []
    assert visit.answer == [["yes", "", True]] * len(UNUSUAL)
