"""XSF: ends that repeat or not, spin channels, labels, and what other files of XCrySDen hold."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, convert, open_store, read, write
from ecd_data.errors import FormatError
from ecd_data.formats.units import BOHR
from tests.conftest import smooth_density
from tests.data.test_formats import close, xsf_text

BEGIN = "BEGIN_DATAGRID_3D_this"


def blob(shape, places, cell=(10.0, 10.0, 10.0), electrons=8.0, width=1.0, numbers=8, periodic=(1, 1, 1)) -> Density:
    """Gaussians in a box at fractional places, `electrons` in all; constant along an axis with 0 in periodic."""
    lattice = np.diag(cell)
    places = np.atleast_2d(places)
    axes = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    values = np.zeros(shape)
    for place in places:
        steps = [(x - p + 0.5) % 1 - 0.5 for x, p in zip(axes, place, strict=True)]
        distance = sum((s * length) ** 2 * on for s, length, on in zip(steps, cell, periodic, strict=True))
        values += np.exp(-distance / width**2)
    values *= electrons / (values.mean() * np.prod(cell))
    return Density(Crystal(lattice, np.broadcast_to(numbers, len(places)), places), values)


def write_xsf(path, rho, repeat, unit="e/bohr^3", print_as=repr, origin=(0.0, 0.0, 0.0)):
    values = np.pad(rho.values, (0, 1), mode="wrap") if repeat else rho.values
    values = values * BOHR**3 if unit == "e/bohr^3" else values
    rounded = np.array([float(print_as(x)) for x in values.ravel().tolist()]).reshape(values.shape)
    path.write_text(xsf_text(rho, np.array(origin), rounded))
    return path


BOXES = {
    "atom in the middle": blob((20, 20, 20), [0.5, 0.5, 0.5]),
    "few points": blob((10, 10, 10), [0.5, 0.5, 0.5]),
    "many points": blob((40, 36, 32), [0.5, 0.5, 0.5]),
    "atom at the corner": blob((24, 24, 24), [0.0, 0.0, 0.0]),
    "beside the middle": blob((24, 20, 22), [0.3, 0.6, 0.45]),
    "in the middle of the points": blob((20, 20, 20), [0.475, 0.475, 0.475]),
    "molecule": blob((24, 24, 24), [[0.45, 0.5, 0.5], [0.56, 0.5, 0.5]], numbers=7, electrons=10.0),
    "wire": blob((8, 24, 24), [0.5, 0.5, 0.5], cell=(4.0, 12.0, 12.0), width=1.5),
    "slab": blob((8, 10, 40), [[0.2, 0.5, 0.5], [0.7, 0.1, 0.45]], cell=(4.0, 5.0, 20.0), width=1.2, electrons=12.0),
    "crystal": blob((12, 12, 12), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]], cell=(4.0, 4.1, 4.2), electrons=12.0),
    "constant along an axis": blob((12, 14, 6), [0.4, 0.3, 0.5], periodic=(1, 1, 0)),
}


@pytest.mark.parametrize("unit", ["e/bohr^3", "e/Å^3"])
@pytest.mark.parametrize("print_as", [repr, "{:.5e}".format, "{:.7f}".format], ids=["all digits", "six", "fixed point"])
@pytest.mark.parametrize("repeat", [True, False], ids=["repeated", "all different"])
@pytest.mark.parametrize("name", BOXES)
def test_a_whole_count_tells_whether_the_ends_repeat(tmp_path, name, repeat, print_as, unit):
    rho = BOXES[name]
    again = read(write_xsf(tmp_path / "x.xsf", rho, repeat, unit, print_as))
    assert again.shape == rho.shape
    assert again.meta["unit"] == unit
    np.testing.assert_allclose(again.values, rho.values, atol=1e-5 if print_as != repr else 1e-12)


@pytest.mark.parametrize("name", ["atom in the middle", "beside the middle", "molecule", "slab", "crystal"])
@pytest.mark.parametrize("repeat", [True, False], ids=["repeated", "all different"])
def test_without_a_whole_count_planes_and_positions_tell(tmp_path, name, repeat):
    whole = BOXES[name]
    rho = Density(whole.crystal, whole.values * 0.971)
    again = read(write_xsf(tmp_path / "x.xsf", rho, repeat), unit="e/bohr^3")
    assert again.shape == rho.shape or "xsf-ends-guessed" in check(again).flags
    if name != "atom in the middle":
        close(again, rho)


def test_nothing_is_flagged_where_the_facts_agree(tmp_path):
    for name in ("atom in the middle", "molecule", "slab", "crystal"):
        for repeat in (True, False):
            assert check(read(write_xsf(tmp_path / "x.xsf", BOXES[name], repeat))).flags == (), (name, repeat)
    wrapped = Density(BOXES["crystal"].crystal, BOXES["crystal"].values * 0.971)
    assert check(read(write_xsf(tmp_path / "x.xsf", wrapped, True), unit="e/bohr^3")).flags == ("fractional-count",)


def test_what_no_fact_tells_is_flagged_and_logged(tmp_path, caplog):
    rho = blob((16, 16, 16), [0.5, 0.5, 0.5], electrons=7.43, width=0.6)
    rho = Density(Crystal(rho.lattice, [8, 8], [[0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]), rho.values)
    again = read(write_xsf(tmp_path / "x.xsf", rho, False, print_as="{:.5f}".format), unit="e/bohr^3")
    assert check(again).flags == ("xsf-ends-guessed", "fractional-count")
    assert "x.xsf" in caplog.text
    assert "times as many" in caplog.text
    assert "times as many" in check(again).notes["xsf-ends-guessed"]


def test_facts_that_contradict_each_other_are_flagged(tmp_path):
    rho = BOXES["crystal"]
    wrapped = np.pad(rho.values, (0, 1), mode="wrap")
    wrapped *= 12 / (wrapped.mean() * rho.crystal.volume)  # whole with the ends that repeat
    (tmp_path / "x.xsf").write_text(xsf_text(rho, np.zeros(3), wrapped))
    assert "xsf-ends-guessed" in check(read(tmp_path / "x.xsf", unit="e/A^3")).flags


def test_mirrored_grids_without_a_whole_count_are_flagged(tmp_path):
    rho = blob((12, 12, 12), [0.5, 0.5, 0.5], cell=(4.0, 4.0, 4.0), electrons=7.43)
    atoms = Crystal(rho.lattice, [8, 8], [[0.25, 0.25, 0.25], [0.75, 0.75, 0.75]])
    points = (np.arange(12) + 0.5) / 12
    values = 7.43 / 64 * (1 + 0.5 * sum(np.meshgrid(*[np.cos(2 * np.pi * points)] * 3)))  # between the points
    again = read(write_xsf(tmp_path / "x.xsf", Density(atoms, values), False), unit="e/A^3")
    assert "xsf-ends-guessed" in check(again).flags


def test_a_last_plane_that_repeats_the_first_in_part_is_damaged(tmp_path):
    rho = BOXES["crystal"]
    wrapped = np.pad(rho.values, (0, 1), mode="wrap")
    wrapped[-1, 3, 4] *= 1.5
    (tmp_path / "x.xsf").write_text(xsf_text(rho, np.zeros(3), wrapped))
    with pytest.raises(FormatError, match=r"x\.xsf is damaged or not periodic: 1 of the 169 last points along axis 1"):
        read(tmp_path / "x.xsf")


def two_grids(rho: Density, one: tuple[str, np.ndarray], two: tuple[str, np.ndarray]) -> str:
    texts = [
        xsf_text(rho, np.zeros(3), values).replace(BEGIN, f"BEGIN_DATAGRID_3D{label}") for label, values in (one, two)
    ]
    return texts[0] + texts[1][texts[1].index("BEGIN_BLOCK") :]


PAIRS = [
    ("_RHO:spin_1", "_RHO:spin_2"),
    ("_rho_up", "_rho_dn"),
    ("_alpha density", "_beta density"),
    ("_spinup", "_spindown"),
]
SUMS = [
    ("_total", "_diff"),
    ("_charge", "_magnetization"),
    ("_total_density", "_spin_density"),
    ("_up+down", "_up-down"),
]


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize(("labels", "summed"), [(p, False) for p in PAIRS] + [(p, True) for p in SUMS])
@pytest.mark.parametrize("turned", [False, True])
def test_spin_channels_become_density_and_magnetization(tmp_path, labels, summed, turned, repeat):
    rho = BOXES["beside the middle"]
    spin = 0.25 * rho.values
    channels = (rho.values, spin) if summed else ((rho.values + spin) / 2, (rho.values - spin) / 2)
    grids = [np.pad(c, (0, 1), mode="wrap") if repeat else c for c in channels]
    pairs = list(zip(labels, grids, strict=True))
    (tmp_path / "x.xsf").write_text(two_grids(rho, *(pairs[::-1] if turned else pairs)))
    again = read(tmp_path / "x.xsf")
    np.testing.assert_allclose(again.values, rho.values, atol=1e-12)
    np.testing.assert_allclose(again.magnetization, spin, atol=1e-12)


@pytest.mark.parametrize(
    "labels",
    [("_a", "_b"), ("", ""), ("_rho", "_rho"), ("_up", "_up"), ("_total", "_charge_diff"), ("_rho_up", "_potential")],
)
def test_other_grids_are_refused_by_name(tmp_path, labels):
    rho = BOXES["few points"]
    one, two = ((label, rho.values) for label in labels)
    (tmp_path / "x.xsf").write_text(two_grids(rho, one, two))
    with pytest.raises(FormatError, match=r"x\.xsf holds .*write the density alone"):
        read(tmp_path / "x.xsf")


@pytest.mark.parametrize(
    "label", ["_up", "_spin_density", "_ELF", "_total potential", "_spin_2", "_density difference"]
)
def test_a_grid_that_is_no_density_by_its_name_is_refused(tmp_path, label):
    text = xsf_text(BOXES["few points"], np.zeros(3), BOXES["few points"].values)
    (tmp_path / "x.xsf").write_text(text.replace(BEGIN, "DATAGRID_3D" + label))
    with pytest.raises(FormatError, match=r"x\.xsf holds"):
        read(tmp_path / "x.xsf")


def test_channels_that_may_be_something_else_are_flagged(tmp_path):
    rho = BOXES["beside the middle"]
    spin = rho.values * np.sign(np.arange(24) - 12)[:, None, None]
    (tmp_path / "x.xsf").write_text(two_grids(rho, ("_spin_1", rho.values), ("_spin_2", spin)))
    assert "spin-guessed" in check(read(tmp_path / "x.xsf", unit="e/A^3")).flags
    alone = xsf_text(rho, np.zeros(3), rho.values).replace(BEGIN, "DATAGRID_3D_RHO:spin_1")
    (tmp_path / "y.xsf").write_text(alone)
    assert "spin-guessed" in check(read(tmp_path / "y.xsf")).flags


def test_flags_of_guesses_reach_the_store(tmp_path):
    rho = blob((16, 16, 16), [[0.5] * 3, [0.4] * 3, [0.45] * 3, [0.55] * 3], electrons=44.05, numbers=79)
    convert(write_xsf(tmp_path / "au.xsf", rho, True, "e/Å^3"), tmp_path / "x.ecd")
    store = open_store(tmp_path / "x.ecd")
    assert "unit-guessed" in store.index["flags"][0]
    assert "unit-guessed" in check(store["au"]).flags
    assert "xsf-ends-guessed" not in store.index["flags"][0]
    assert "297." in check(store["au"]).notes["unit-guessed"]


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [("Fe1 Fe2 O_s", (26, 26, 8)), ("D T H1.33", (1, 1, 1)), ("Mn-up 25 O*", (25, 25, 8)), ("MG1 O_h Oup", (12, 8, 8))],
)
def test_labels_of_atoms_are_elements(tmp_path, labels, numbers):
    rho = smooth_density()
    text = xsf_text(rho, np.zeros(3), np.pad(rho.values, (0, 1), mode="wrap"))
    for old, new in zip(("Mg ", "O ", "O "), labels.split(), strict=True):
        text = text.replace(f"\n {old}", f"\n  {new} ", 1)
    (tmp_path / "x.xsf").write_text(text)
    assert tuple(read(tmp_path / "x.xsf").numbers) == numbers


@pytest.mark.parametrize("label", ["Qq", "Cup", "119", "Bq", "-1"])
def test_labels_that_are_no_element_are_refused(tmp_path, label):
    rho = smooth_density()
    text = xsf_text(rho, np.zeros(3), np.pad(rho.values, (0, 1), mode="wrap"))
    (tmp_path / "x.xsf").write_text(text.replace("\n Mg ", f"\n {label} ", 1))
    with pytest.raises(FormatError, match=r"x\.xsf"):
        read(tmp_path / "x.xsf")


def test_several_structures_are_refused_and_comments_of_any_encoding_are_not(tmp_path):
    rho = BOXES["crystal"]
    text = xsf_text(rho, np.zeros(3), rho.values)
    (tmp_path / "x.xsf").write_bytes(text.encode().replace(b"# made here", b"# d=2 \xc5 \xff"))
    close(read(tmp_path / "x.xsf", unit="e/A^3"), rho)
    atoms = text[text.index("PRIMCOORD") : text.index("BEGIN_BLOCK")]
    (tmp_path / "x.xsf").write_text(text.replace("BEGIN_BLOCK", f"{atoms}BEGIN_BLOCK", 1))
    with pytest.raises(FormatError, match="several structures"):
        read(tmp_path / "x.xsf")


def test_shifted_origins_are_undone_before_positions_are_compared(tmp_path):
    for repeat in (True, False):
        rho = BOXES["beside the middle"]
        path = write_xsf(tmp_path / "x.xsf", rho, repeat, origin=(1.0, 0.5, -2.0))
        close(read(path), rho, 1e-8)


def test_the_cases_of_others(shared):
    cases = shared / "cases" / "files"
    if not cases.is_dir():
        pytest.skip("../shared has no cases")
    box = read(cases / "xsf_box_without_repeats" / "box.xsf")
    assert box.shape == (10, 10, 10)
    assert box.nelect == pytest.approx(8, abs=1e-3)
    assert np.unravel_index(box.values.argmax(), box.shape) == (5, 5, 5)
    spin = read(cases / "xsf_two_spin_grids" / "spin.xsf")
    assert spin.nelect == pytest.approx(8, abs=1e-3)
    assert spin.magnetization is not None
    assert spin.magnetization.mean() > 0
    assert read(cases / "qe_labels_in_xsf" / "fe1_fe2.xsf").crystal.symbols == ["Fe", "Fe"]


def test_more_atoms_than_stated_are_refused(tmp_path):
    text = write_xsf(tmp_path / "x.xsf", BOXES["molecule"], True).read_text()
    (tmp_path / "x.xsf").write_text(text.replace("\n2 1\n", "\n1 1\n").replace("\n 2 1\n", "\n 1 1\n"))
    assert (tmp_path / "x.xsf").read_text() != text
    with pytest.raises(FormatError, match="states 1 atoms and lists more"):
        read(tmp_path / "x.xsf")


@pytest.mark.parametrize(
    "label", ["v_h", "v_hartree", "Vxc", "v_bare", "wfc", "psi", "tau", "kinetic", "laplacian_rho"]
)
def test_labels_of_other_quantities_are_refused(tmp_path, label):
    path = write_xsf(tmp_path / "x.xsf", BOXES["molecule"], True)
    before = path.read_text()
    path.write_text(
        re.sub(r"^(BEGIN_)?DATAGRID_3D\S*", f"BEGIN_DATAGRID_3D_{label}", before, count=1, flags=re.MULTILINE)
    )
    with pytest.raises(FormatError, match="write the density alone"):
        read(path)


CHANNELS = {
    "up": ["up", "rho_up", "MgO_up", "densityUp", "SpinUp", "rhoup", "spin_1", "density (up)", "alpha", "up_2"],
    "no channel": ["density_up_to_date", "up-to-date charge", "rho_up_sampled", "upsampled_rho", "down_to_1e-6_charge"],
    "unclear": ["scaled_up", "density_cleaned_up", "alpha-quartz_density", "beta_tin", "made up", "set_down"],
}


@pytest.mark.parametrize(("kind", "label"), [(kind, label) for kind, labels in CHANNELS.items() for label in labels])
def test_a_label_is_a_spin_channel_by_whole_words_that_mean_one(tmp_path, kind, label):
    rho = smooth_density((6, 6, 6))
    text = xsf_text(rho, np.zeros(3), np.pad(rho.values, (0, 1), mode="wrap"))
    path = tmp_path / "x.xsf"
    path.write_text(re.sub(r"DATAGRID_3D_this", f"DATAGRID_3D_{label}", text))
    if kind == "up":
        if label == "spin_1":
            assert "spin-guessed" in check(read(path)).flags
            return
        with pytest.raises(FormatError, match="holds only the grid"):
            read(path)
        return
    assert ("spin-guessed" in check(read(path)).flags) == (kind == "unclear")


def test_carriage_returns_alone_end_lines(tmp_path):
    rho = smooth_density((6, 7, 8))
    text = xsf_text(rho, np.zeros(3), np.pad(rho.values, (0, 1), mode="wrap"))
    (tmp_path / "x.xsf").write_text(text)
    (tmp_path / "cr.xsf").write_bytes(text.encode().replace(b"\n", b"\r"))
    np.testing.assert_array_equal(read(tmp_path / "cr.xsf").values, read(tmp_path / "x.xsf").values)
    for name in ("a_CHGCAR", "a.cube"):
        write(tmp_path / name, rho)
        data = (tmp_path / name).read_bytes()
        (tmp_path / f"cr_{name}").write_bytes(data.replace(b"\n", b"\r"))
        np.testing.assert_array_equal(read(tmp_path / f"cr_{name}").values, read(tmp_path / name).values)
