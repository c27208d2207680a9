"""The files about the project that other programs read: CITATION.cff and the metadata of the dataset card."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import DatasetCard

import ecd_data

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"}  # that the Hub knows


def test_the_citation_has_what_its_format_requires_and_our_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == ecd_data.__version__
    assert citation["license"] == "MIT"
    assert all({"name"} == one.keys() or {"given-names", "family-names"} <= one.keys() for one in citation["authors"])


def test_the_citation_is_that_of_the_paper(shared):
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys()
    first_line = (shared / "paper.txt").read_text(encoding="utf-8").splitlines()[0]
    assert paper["title"].upper() == first_line.strip()


def test_the_dataset_card_is_valid_for_the_hub():
    card = DatasetCard.load(ROOT / "dataset_card.md")
    data = card.data.to_dict()
    assert data["license"] == "other"  # then the Hub wants to know which
    assert data["license_name"] == data["license_name"].lower().replace(" ", "-")
    assert set(data["size_categories"]) <= SIZES
    assert all(isinstance(tag, str) for tag in data["tags"])
    assert yaml.safe_load(card.data.to_yaml()) == data
    assert card.text.lstrip().startswith("# ECD")
