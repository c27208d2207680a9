"""Labels of atoms: the element is found behind what programs add to a symbol, and nothing is guessed."""

from __future__ import annotations

import pytest

from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.formats.labels import element_of_label

LABELS = {
    "H": "D T D1 d H1.33 H.75 H_h h",
    "Fe": "Fe FE fe Fe1 Fe_pv Fe-up Fe2+ Fe:d Fe_sv_GW Feu FeA Fe(1)",
    "O": "O_s O1 O* O2- Oup Odown Oa OW",
    "Ti": "Ti_sv/1a2b3c Ti.1 TI2",
    "Ho": "Ho HO Ho_3",
    "Cd": "Cd CD Cd1",
    "X": "X X1",
}


@pytest.mark.parametrize(("symbol", "labels"), LABELS.items())
def test_the_symbol_before_what_is_added_counts(symbol, labels):
    assert [element_of_label(label) for label in labels.split()] == [ATOMIC_NUMBERS[symbol]] * len(labels.split())


@pytest.mark.parametrize("label", ["", " ", "1", "26Fe", "Qq", "Bq", "Va", "Vac", "Da", "Atom", "Cup", "Ndn", "*"])
def test_what_names_no_element_or_two_is_an_error(label):
    with pytest.raises(ValueError, match="names no element"):
        element_of_label(label)


def test_every_symbol_is_itself():
    assert {s: element_of_label(s) for s in ATOMIC_NUMBERS} == ATOMIC_NUMBERS
