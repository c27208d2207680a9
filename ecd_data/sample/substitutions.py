"""New crystals from known structure types: other elements on the sites, volumes predicted from bond lengths.

The types are those of AFLOW (Mehl et al., Comput. Mater. Sci. 136, S1 (2017)) that pymatgen ships, and the volumes
those of its DLSVolumePredictor (Chu et al., Comput. Mater. Sci. 146, 184 (2018)).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING

from ecd_data.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Structure types by class, as "<formula of the prototype> <AFLOW label>", with at most 8 atoms in the primitive cell
TYPES = {
    "layered": [
        "CdI2 AB2_hP3_164_a_d", "BiI3 AB3_hR8_148_c_f", "AlCl3 AB3_mC16_12_g_ij", "PbClF ABC_tP6_129_c_a_c",
        "PbO AB_tP4_129_a_c", "Bi2Te3 A2B3_hR5_166_c_ac", "NaCrS2 ABC2_hR4_166_a_b_c", "ZrCuSiAs ABCD_tP8_129_c_b_a_c",
        "HgBr2 A2B_oC12_36_2a_a", "MoS2 AB2_hP6_194_c_f", "LiBC ABC_hP6_194_c_d_a", "PI2 A2B_aP6_2_2i_i",
        "BN AB_hP4_194_c_d", "SiS2 A2B_oI12_72_j_a", "CaCuO2 ABC2_tP4_123_d_a_f",
    ],
    "low symmetry": [
        "CuO AB_mC8_15_c_e", "FeS2 AB2_oP6_58_a_g", "CaCl2 AB2_oP6_58_a_g", "HgS AB_hP6_154_a_b", "PtS AB_tP4_131_c_e",
        "NiAs AB_hP4_194_c_a", "NiS AB_hR6_160_b_b", "NbP AB_tI8_141_a_b", "CuTe AB_oP4_59_a_b", "TlF AB_oF8_69_a_b",
        "Te2Au AB2_mC6_12_a_i", "Al2CdS4 A2BC4_tI14_82_bc_a_g", "FeCu2SnS4 A2BC4D_tI16_121_d_a_i_b",
        "BPO4 AB4C_tI12_82_c_g_a", "Li3N A3B_hP4_191_bc_a", "AlF3 AB3_hR8_155_c_de", "TlF AB_oP8_57_d_d",
        "TlSe AB_tI16_140_ab_h", "BeO AB_tP8_136_g_f", "Na3As AB3_hP8_194_c_bf", "GaAs AB_oI4_44_a_b",
        "CdTe AB_oP2_25_b_a", "ZrPbO3 A3BC_tP5_99_bc_a_b", "La2CuO4 AB2C4_tI14_139_a_e_ce",
        "SrCuO2 AB2C_oC16_63_c_2c_c", "CeNiC2 A2BC_oC8_38_e_a_b", "ReSi2 AB2_oI6_71_a_i", "ZrSi2 A2B_oC12_63_2c_c",
        "TiO2 A2B_tP6_136_f_a", "WC AB_hP2_187_d_a",
    ],
    "intermetallic": [
        "Si2Mo AB2_tI6_139_a_e", "Cu3Au AB3_cP4_221_a_c", "CuAu AB_tP2_123_a_d", "NaTl AB_cF16_227_a_b",
        "MnAlCu2 AB2C_cF16_225_a_c_b", "MgAgAs ABC_cF12_216_b_c_a", "CdAu AB_oP4_51_e_f", "TiAl3 A3B_tI8_139_bd_a",
        "Cr3Si A3B_cP8_223_c_a", "CaCu5 AB5_hP6_191_a_cg", "MgCu2 A2B_cF24_227_d_a", "Cu2Sb A2B_tP6_129_ac_c",
        "TiCu AB_tP4_129_c_c", "Ni4Mo AB4_tI10_87_a_h", "BaAl4 A4B_tI10_139_de_a", "MoPt2 AB2_oI6_71_a_g",
        "Ti3Cu AB3_tP4_123_a_ce", "CoSn AB_hP6_191_f_ad", "InNi2 AB2_hP6_194_c_ad", "CaIn2 AB2_hP6_194_b_f",
        "Al2Cu A2B_tI12_140_h_a", "CuPt AB_hR2_166_a_b", "Al3Ni2 A3B2_hP5_164_ad_d", "CrB AB_oC8_63_c_c",
        "TiNi AB_mP4_11_e_e", "VIr AB_oC8_65_j_g", "AlB2 AB2_hP3_191_a_d", "BaSbPt ABC_hP3_187_a_d_f",
    ],
}  # fmt: skip
# The names that the sample has for some of these types
TYPE_NAMES = {
    "AB2_hP3_164_a_d": "CdI2",
    "AB2_hP6_194_c_f": "2H",
    "A2B_tP6_136_f_a": "rutile",
    "ABC_cF12_216_b_c_a": "hh",
    "AB_hP4_194_c_d": "hBN",
}
LONGEST_BOND = 6.0  # Å; within it every crystal has its shortest distance
USUAL_DISTANCES = 0.8, 1.35  # shortest distance of atoms in a crystal, in units of the sum of their covalent radii
CLEAR_DIFFERENCE = 0.3  # of Pauling electronegativities; above it one site counts as the more negative one
D_ROWS = (
    ("Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"),
    ("Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd"),
    ("La", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg"),
)
# A metal takes the place of a metal and a nonmetal that of a nonmetal; hydrides have the structures of halides
MAIN_GROUPS = (
    ("Li", "Na", "K", "Rb", "Cs"),
    ("Be", "Mg", "Ca", "Sr", "Ba"),
    ("B",),
    ("Al", "Ga", "In", "Tl"),
    ("C",),
    ("Si", "Ge", "Sn", "Pb"),
    ("N", "P"),
    ("P", "As", "Sb", "Bi"),
    ("O", "S", "Se", "Te", "Po"),
    ("H", "F", "Cl", "Br", "I"),
)
RARE_EARTHS = ("Sc", "Y", "La", "Lu")  # also in place of lanthanides, which PseudoDojo lacks


@dataclass(frozen=True)
class Candidate:
    """A crystal with the class and the structure type that it was made from; its volume is that of the prototype."""

    kind: str
    prototype: str
    crystal: Crystal


@cache
def load_prototypes() -> dict[str, Structure]:
    """The primitive cells of `TYPES` by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    wanted = {name for names in TYPES.values() for name in names}
    found: dict[str, Structure] = {}
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        name = f"{structure.composition.reduced_formula} {entry['tags']['aflow']}"
        if name in wanted and name not in found:
            found[name] = structure.get_primitive_structure()
    return found


def list_substitutes(symbol: str) -> tuple[str, ...]:
    """The elements that may take the place of one: its group, in the d block the next ones too, or rare earths."""
    for row in D_ROWS:
        if symbol in row:
            column = row.index(symbol)
            near = range(max(0, column - 1), min(len(row), column + 2))
            lutetium = ("Lu",) if 0 in near else ()
            return tuple(other[i] for i in near for other in D_ROWS) + lutetium
    groups = [other for group in MAIN_GROUPS if symbol in group for other in group]
    return tuple(dict.fromkeys(groups)) or RARE_EARTHS


def keeps_polarity(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether elements that replace others have electronegativities in the same order, as far as it was clear."""
    from pymatgen.core import Element

    old, new = ([Element(symbol).X for symbol in symbols] for symbols in (before, after))
    pairs = combinations(range(len(old)), 2)
    return all(abs(old[i] - old[j]) < CLEAR_DIFFERENCE or (old[i] - old[j]) * (new[i] - new[j]) > 0 for i, j in pairs)


def make_candidates() -> Iterator[Candidate]:
    """Every substitution of elements into every type, as a Candidate; all sites of an element get the same one.

    The order of electronegativities stays, so that anions take the sites of anions.
    """
    for kind, names in TYPES.items():
        for name in names:
            structure = load_prototypes()[name]
            symbols = list(dict.fromkeys(site.specie.symbol for site in structure))
            for chosen in product(*map(list_substitutes, symbols)):
                if len(set(chosen)) == len(chosen) and keeps_polarity(symbols, chosen):
                    replaced = structure.copy()
                    replaced.replace_species(dict(zip(symbols, chosen, strict=True)))
                    yield Candidate(kind, name, Crystal.from_pymatgen(replaced))


def predict_volume(crystal: Crystal) -> Crystal | None:
    """The crystal scaled to the volume that the data-mined bond lengths predict; None if they cannot."""
    from pymatgen.analysis.structure_prediction.volume_predictor import DLSVolumePredictor

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scaled = DLSVolumePredictor().get_predicted_structure(crystal.to_pymatgen())
    except (ValueError, KeyError, TypeError):
        return None
    return Crystal(scaled.lattice.matrix.round(8), crystal.numbers, crystal.frac_coords.round(8))


def has_usual_distances(crystal: Crystal) -> bool:
    """Whether the shortest bond is neither very short nor very long, measured by covalent radii.

    One predicted volume cannot suit all bonds of a structure type; this leaves out the crystals that it suits badly.
    """
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    radius = CovalentRadius.radius
    first, second, _, distances = crystal.to_pymatgen().get_neighbor_list(r=LONGEST_BOND)
    symbols = crystal.symbols
    ratios = [
        distance / (radius[symbols[i]] + radius[symbols[j]])
        for i, j, distance in zip(first, second, distances, strict=True)
    ]
    low, high = USUAL_DISTANCES
    return bool(ratios) and low <= min(ratios) <= high
