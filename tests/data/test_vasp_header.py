"""Headers of CHGCARs as other programs write them: labels, comments in any encoding, elements named elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, convert, open_store, read, write
from ecd_data.errors import FormatError
from ecd_data.formats import find_renderer, read_run
from tests.conftest import smooth_density
from tests.data.test_fuzz import OUTCAR
from tests.data.test_run_files import potcar, vasprun

CUBIC = Crystal(np.eye(3) * 4.0, [12, 8, 8], [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.5, 0.5]])
RHO = Density(CUBIC, smooth_density((4, 3, 5)).values)


def chgcar(comment: bytes = b"test", species: str = "Mg O\n1 2", rho: Density = RHO) -> bytes:
    """A CHGCAR of three atoms with another first line and other lines of elements and counts."""
    lines = find_renderer("CHGCAR")(rho).split(b"\n")
    return b"\n".join([comment, *lines[1:5], species.encode(), *lines[7:]])


@pytest.mark.parametrize(
    ("label", "number"),
    [("D", 1), ("T", 1), ("H1.33", 1), ("H.66", 1), ("Fe1", 26), ("O_s", 8), ("Ti_sv/1a2b3c", 22), ("Zr_sv_GW", 40)],
)
def test_labels_name_their_element(tmp_path, label, number):
    (tmp_path / "CHGCAR").write_bytes(chgcar(species=f"{label} O\n1 2"))
    rho = read(tmp_path / "CHGCAR")
    assert rho.numbers.tolist() == [number, 8, 8]
    assert "no-elements" not in check(rho).flags


@pytest.mark.parametrize("label", ["Zz", "Qx1", "Bq", "1O"])
def test_labels_of_no_element_are_named(tmp_path, label):
    (tmp_path / "CHGCAR").write_bytes(chgcar(species=f"O {label}\n1 2"))
    with pytest.raises(FormatError, match=label):
        read(tmp_path / "CHGCAR")


COMMENTS = {
    "latin-1": "d = 2.1 Å, ß".encode("latin-1"),
    "gbk": "水分子 a\u3000b".encode("gbk"),
    "shift-jis": "酸化マグネシウム".encode("shift-jis"),
    "utf-8": "MgO, a = 4 Å, β".encode(),
    "utf-8, cut at 40 bytes": ("氧化镁" * 9).encode()[:40],
    "all bytes": bytes(set(range(1, 256)) - set(b"\t\n\v\f\r ")),
}


@pytest.mark.parametrize("file", ["CHGCAR", "x.cube"])
@pytest.mark.parametrize("encoding", COMMENTS)
def test_comments_in_any_encoding_are_read_and_written_back(tmp_path, file, encoding):
    comment = COMMENTS[encoding]
    write(tmp_path / file, RHO)
    body = (tmp_path / file).read_bytes().split(b"\n", 1)[1]
    (tmp_path / file).write_bytes(comment + b"\n" + body)
    rho = read(tmp_path / file)
    rho.meta["comment"].encode()  # it can be printed and stored
    write(tmp_path / f"again_{file}", rho)
    assert (tmp_path / f"again_{file}").read_bytes().split(b"\n", 1)[0].rstrip(b" ") == comment
    convert([tmp_path / file], tmp_path / "x.ecd")
    (id,) = open_store(tmp_path / "x.ecd").ids
    write(tmp_path / f"stored_{file}", open_store(tmp_path / "x.ecd")[id])
    assert (tmp_path / f"stored_{file}").read_bytes().split(b"\n", 1)[0].rstrip(b" ") == comment


@pytest.mark.parametrize("comment", ["two\nlines", "a\r\nb", "\ud800 alone", "\n", "Å" * 60])
def test_any_comment_makes_one_line(tmp_path, comment):
    for encoding in ({}, {"comment_encoding": "latin-1"}, {"comment_encoding": "no such"}):
        write(tmp_path / "CHGCAR", Density(CUBIC, RHO.values, meta={"comment": comment, **encoding}))
        assert read(tmp_path / "CHGCAR").numbers.tolist() == [12, 8, 8]


@pytest.mark.parametrize(
    ("comment", "species", "numbers"),
    [
        (b"Mg O", "1 2", [12, 8, 8]),
        (b"   Mg   O  \r", "1 2", [12, 8, 8]),
        (b"Mg_pv O_s", "1 2", [12, 8, 8]),
        (b"D O", "2 1", [1, 1, 8]),
        (b"Fe", "3", [26, 26, 26]),
    ],
)
def test_a_first_line_of_elements_names_them(tmp_path, comment, species, numbers):
    (tmp_path / "CHGCAR").write_bytes(chgcar(comment, species))
    rho = read(tmp_path / "CHGCAR")
    assert rho.numbers.tolist() == numbers
    assert rho.meta["elements_from"] == "the first line"


@pytest.mark.parametrize(
    ("comment", "species"),
    [
        (b"MgO", "3"),
        (b"T", "3"),
        (b"Mg", "1 2"),
        (b"Mg O static", "1 2"),
        (b"B1 O", "1 2"),
        (b"mg o", "1 2"),
        (b"X O", "1 2"),
        (b"Mg 0", "1 2"),
        (b"", "1 2"),
    ],
)
def test_another_first_line_names_no_elements(tmp_path, comment, species):
    (tmp_path / "CHGCAR").write_bytes(chgcar(comment, species))
    rho = read(tmp_path / "CHGCAR")
    assert rho.numbers.tolist() == [0, 0, 0]
    assert "no-elements" in check(rho).flags
    write(tmp_path / "again", rho, format="chgcar")
    again = read(tmp_path / "again")
    assert again.meta["type_counts"] == rho.meta["type_counts"]


def run_files(*species: tuple[str, float], counts: str = "1 2") -> dict[str, str]:
    titles = "\n".join(f"   TITEL  = PAW_PBE {label} 08Apr2002" for label, _ in species)
    outcar = OUTCAR.replace("   TITEL  = PAW_PBE O 08Apr2002", titles)
    return {
        "POTCAR": potcar(*species),
        "OUTCAR": outcar.replace("ions per type =               2", f"ions per type = {counts}"),
    }


@pytest.mark.parametrize("name", ["POTCAR", "OUTCAR"])
def test_run_files_beside_name_the_elements(tmp_path, name):
    (tmp_path / "CHGCAR").write_bytes(chgcar(b"static run", "1 2"))
    assert not read(tmp_path / "CHGCAR").numbers.any()
    (tmp_path / name).write_text(run_files(("Mg_pv", 8), ("O", 6))[name])
    for rho in (read(tmp_path / "CHGCAR"), read_run(tmp_path / "CHGCAR")):
        assert rho.numbers.tolist() == [12, 8, 8]
        assert rho.meta["elements_from"] == name
    assert read_run(tmp_path / "CHGCAR").meta["settings"]["potcar"][0].startswith("PAW_PBE Mg_pv")
    write(tmp_path / "again_CHGCAR", rho)
    assert read(tmp_path / "again_CHGCAR").numbers.tolist() == [12, 8, 8]


def test_a_vasprun_beside_names_the_elements(tmp_path):
    crystal = Crystal((1 - np.eye(3)) * 2.2414140010214743, [0, 0], [[0.75] * 3, [0.0] * 3])
    rho = Density(crystal, np.full((4, 4, 4), 0.2), meta={"type_counts": [1, 1]})
    write(tmp_path / "CHGCAR", rho)
    (tmp_path / "vasprun.xml").write_text(vasprun())
    assert read(tmp_path / "CHGCAR").numbers.tolist() == [8, 30]


@pytest.mark.parametrize(
    ("name", "species", "counts"),
    [
        ("POTCAR", [("Mg", 2)], "3"),
        ("POTCAR", [("Mg", 2), ("O", 6), ("H", 1)], "1 1 1"),
        ("POTCAR", [("Zz", 2), ("O", 6)], "1 2"),
        ("OUTCAR", [("Mg", 2), ("O", 6)], "2 1"),
    ],
)
def test_run_files_of_other_atoms_name_nothing(tmp_path, name, species, counts):
    (tmp_path / "CHGCAR").write_bytes(chgcar(b"static run", "1 2"))
    (tmp_path / name).write_text(run_files(*species, counts=counts)[name])
    assert read(tmp_path / "CHGCAR").numbers.tolist() == [0, 0, 0]


def test_a_potcar_that_contradicts_the_first_line_is_not_used(tmp_path):
    (tmp_path / "CHGCAR").write_bytes(chgcar(b"Mg O", "1 2"))
    (tmp_path / "POTCAR").write_text(potcar(("Ca", 2), ("S", 6)))
    rho = read_run(tmp_path / "CHGCAR")
    assert rho.numbers.tolist() == [12, 8, 8]
    assert "POTCAR" in rho.meta["provenance"]["not_used"]


@pytest.mark.parametrize(
    ("file", "formula"),
    [
        ("vasp4_header_elements/vasp4_CHGCAR", "MgO"),
        ("vasp4_header_elements/jdftx_CHGCAR", "MgO"),
        ("labels_isotopes_pseudohydrogen/D_CHGCAR", "HO"),
        ("labels_isotopes_pseudohydrogen/Fe1_CHGCAR", "Fe2"),
        ("labels_isotopes_pseudohydrogen/D.json", "HO"),
        ("comment_not_utf8/latin1_CHGCAR", "MgO"),
        ("comment_not_utf8/latin1.cube", "MgO"),
    ],
)
def test_cases_are_read(shared, tmp_path, file, formula):
    path = shared / "cases" / "files" / file
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rho = read(path)
    assert rho.crystal.formula == formula
    assert rho.nelect == pytest.approx(8, abs=1e-4)
    write(tmp_path / path.name, rho, format="cube" if path.suffix == ".cube" else "chgcar")
    if path.suffix != ".json":
        first = path.read_bytes().split(b"\n", 1)[0].strip()
        assert (tmp_path / path.name).read_bytes().startswith(first)
