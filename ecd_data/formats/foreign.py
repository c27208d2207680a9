"""Explanations for files that are not read: what such a file is, and how to get a readable density from it."""

from __future__ import annotations

import os
import re

from ecd_data.io.compression import ENDINGS

READABLE = (
    "CHGCAR, CHG, AECCAR, PARCHG, vaspwave.h5, cube, XSF, Quantum ESPRESSO's charge-density, .gpw, pymatgen's JSON"
)
VASP_NAME = re.compile(r"chgcar|aeccar|parchg|(?<![a-z])chg(?![a-z])", re.IGNORECASE)
FLOAT = rb"[ \t]*[-+]?[\d.]+(?:[EeDd][-+]?\d+)?"
CHGCAR_HEADER = re.compile(  # a comment, one to three scale factors, three lattice vectors
    rb"[^\n\0]*\n(?:%s){1,3}[ \t]*\r?\n(?:(?:%s){3}[^\n]*\n){3}" % (FLOAT, FLOAT)
)
ARRAY_REMEDY = "give the crystal with it: ecd_data.write('x.cube', Density(crystal, values))"
BAND_ENERGIES = "band energies, not a density", "give the CHGCAR, cube or XSF of the density"
# What each kind of file is, and what to do with it.
EXPLANATIONS = {
    "bxsf": ("a BXSF, band energies for a Fermi surface and no density", "give the XSF or cube of the density"),
    "den_fmt": ("CASTEP's .den_fmt, which is not read", "convert it to a cube or XSF with c2x"),
    "castep": ("a binary file of CASTEP, which is not read", "convert it to a cube or XSF with c2x"),
    "filplot": (
        "the filplot of pp.x, its own intermediate file, which is not read",
        "let pp.x turn it into a cube (&PLOT with output_format=6) or an XSF (5)",
    ),
    "siesta": (
        "a grid of SIESTA (.RHO and the like), which is not read",
        "convert it to a cube or XSF with sisl, or with SIESTA's g2c_ng or rho2xsf",
    ),
    "abinit": ("a binary file of Abinit (_DEN), which is not read", "convert it to a cube or XSF with Abinit's cut3d"),
    "netcdf": (
        "a netCDF file, as SIESTA and Abinit write them, which is not read",
        "convert it to a cube or XSF with sisl (SIESTA) or cut3d (Abinit)",
    ),
    "grd": ("a .grd of DMol3, which has no atoms and is not read", "convert it to a cube, for instance with Multiwfn"),
    "npy": ("an array of NumPy (.npy, .npz) without a crystal", ARRAY_REMEDY),
    "pickle": ("a pickle of Python, which is not opened since it can run any code", ARRAY_REMEDY),
    "torch": ("a file of PyTorch, not a density", "give a density file"),
    "zip": ("a zip archive", "unpack it, or pack its files with tar"),
    "archive": ("a .7z or .rar archive", "unpack it, or pack its files with tar"),
    "list": ("a JSON list, not one density", "write each of its entries into a file of its own"),
    "bands": BAND_ENERGIES,
    "html": ("a web page, perhaps that of a failed download", "download the file itself"),
    "xml": ("an XML file without a density", "give the density of the run: CHGCAR, or charge-density.dat beside it"),
    "picture": ("a picture or document, not a density", "give a density file"),
    "structure": ("a structure without a density", "give the density file of the run"),
    "vasp": ("a file of VASP without a density", "give the CHGCAR of the run"),
}
# The pattern with which the content of each kind of file begins; the first one that matches counts.
CONTENT_MARKS = (
    ("bxsf", rb"(?:\s*#[^\n]*\n)*\s*(?:BEGIN_INFO|BEGIN_BLOCK_BANDGRID_3D)\b"),
    ("den_fmt", rb"\s*BEGIN header\b"),
    ("castep", rb".{4}(?:CASTEP_BIN|BEGIN_PARAMETERS_DUMP)"),
    ("filplot", rb"[^\n\0]*\n(?:[ \t]*\d+){8}[ \t]*\r?\n[ \t]*-?\d+(?:[ \t]+[-+.\dEe]+){6}[ \t]*\r?\n"),
    ("siesta", rb"\x48\0\0\0.{72}\x48\0\0\0\x10\0\0\0|\0\0\0\x48.{72}\0\0\0\x48\0\0\0\x10"),
    ("abinit", rb"(?:[\x0e\x10]\0\0\0|\0\0\0[\x0e\x10])\d+\.\d+"),
    ("netcdf", rb"CDF[\x01\x02\x05]"),
    ("grd", rb"[^\n\0]*\n[ \t]*\([ \t]*1[pP]?,?[^\n]*\)[ \t]*\r?\n"),
    ("npy", rb"\x93NUMPY|PK\x03\x04.{26}[^\0/]*\.npy"),
    ("pickle", rb"\x80[\x02-\x05]"),
    ("torch", rb"PK\x03\x04.{26}[^\0]{0,200}?/?data\.pkl"),
    ("zip", rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"),
    ("archive", rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"),
    ("list", rb"\s*\[\s*(?:[\[{\"]|\])"),
    (
        "bands",
        rb"\s*PROCAR (?:lm|new)|\s*&plot\s+nbnd|\s*Number of k-points\s+\d"
        rb"|(?:[ \t]*-?\d+){4}\s*\n[^\n]*\n[^\n]*\n\s*CAR\s*\n",
    ),
    ("html", rb"\s*(?:<!doctype html|<html|<head)"),
    ("xml", rb"\s*<\?xml"),
    ("picture", rb"%PDF-|\x89PNG|\xff\xd8\xff|GIF8"),
)
# The pattern that the name of each kind of file contains; the first one that matches counts.
NAME_MARKS = (
    ("bxsf", r"\.bxsf$"),
    ("den_fmt", r"\.(den|pot|chdiff)_fmt$"),
    ("castep", r"\.(check|castep_bin|castep)$"),
    ("filplot", r"filplot|\.pp$"),
    ("siesta", r"\.(RHO|DRHO|RHOINIT|TOCH|BADER|LDOS|VH|VT|VNA|RHOXC)$|\.grid\.nc$"),
    ("abinit", r"_DEN$|_DEN\.nc$"),
    ("netcdf", r"\.(nc|nc4|cdf|etsf)$"),
    ("grd", r"\.grd$"),
    ("npy", r"\.np[yz]$"),
    ("pickle", r"\.(pkl|pickle|joblib)$"),
    ("torch", r"\.(pt|pth|ckpt|safetensors)$"),
    ("zip", r"\.zip$"),
    ("archive", r"\.(7z|rar)$"),
    ("list", r"\.jsonl$"),
    ("bands", r"\.(bands|band|frmsf)$|(?:^|[._-])(EIGENVAL|PROCAR|DOSCAR)(?:[._-]|$)|^bands\.(dat|out)"),
    ("structure", r"\.(cif|xyz|extxyz|res|pdb|traj|poscar)$|(?:^|[._-])(POSCAR|CONTCAR|XDATCAR)(?:[._-]|$)"),
    ("vasp", r"(?:^|[._-])(OUTCAR|WAVECAR|WAVEDER|INCAR|KPOINTS|POTCAR|OSZICAR|IBZKPT|vasprun)(?:[._-]|$)"),
    ("html", r"\.html?$"),
    ("picture", r"\.(pdf|png|jpe?g|gif)$"),
)


def explain_foreign_content(head: bytes) -> str | None:
    """What a file with these first bytes is, and what to do with it; None where it may be a density."""
    if CHGCAR_HEADER.match(head):  # the comment of a CHGCAR may look like a mark
        return None
    return next((_explain(key) for key, mark in CONTENT_MARKS if re.match(mark, head, re.DOTALL | re.IGNORECASE)), None)


def explain_foreign_name(name: str) -> str | None:
    """What an unreadable file with this name is, and what to do with it; None where the name does not tell."""
    bare = os.path.basename(name)
    while bare.lower().endswith(ENDINGS):
        bare = bare[: bare.rfind(".")]
    return next((_explain(key) for key, mark in NAME_MARKS if re.search(mark, bare, re.IGNORECASE)), None)


def explain_unknown_file(head: bytes, name: str) -> str | None:
    """A sentence for a file of an unknown format; None where its name or header says that it is a (damaged) CHGCAR."""
    if VASP_NAME.search(os.path.basename(name)) or CHGCAR_HEADER.match(head):
        return None
    remedy = "convert it to one of them, or copy it again if it is one"
    return f"is of none of the formats that are read ({READABLE}): {remedy}"


def _explain(key: str) -> str:
    what, remedy = EXPLANATIONS[key]
    return f"is {what}: {remedy}"
