"""The files that arguments of fetch mean."""

from __future__ import annotations

import pytest

from ecd_data.download.plan import plan_fetch
from ecd_data.errors import UnknownIdError, UsageError


@pytest.mark.parametrize(
    ("what", "options", "set", "number", "url"),
    [
        ("ecd_hse", {}, "hse", 7147, "https://matgen.nscc-gz.cn/chgcar/download/hse/cod-1000051-K1N1O3.chgcar.tar.gz"),
        ("ECD-PBE-id", {"part": "test"}, "pbe", 2000, "https://matgen.nscc-gz.cn/chgcar/download/pbe/"),
        ("ood", {}, "ood", 1996, "https://matgen.nscc-gz.cn/chgcar/download/gnome/00139449c9.chgcar.gz"),
        ("ecd_mp", {}, "mp", 2000, "https://materialsproject-parsed.s3.amazonaws.com/chgcars/mp-1001023.json.gz"),
        ("mp", {}, "mp", 122_689, "https://materialsproject-parsed.s3.amazonaws.com/chgcars/"),
        ("mp-1001023", {}, "mp", 1, "https://materialsproject-parsed.s3.amazonaws.com/chgcars/mp-1001023.json.gz"),
        (["hse", "cod-10*"], {"limit": 7}, "hse", 7, "https://matgen.nscc-gz.cn/chgcar/download/hse/cod-10"),
        ("hmat_*", {"mirror": "http://m.org/x/"}, "pbe", 64_024, "http://m.org/x/pbe/hmat_"),
        ("ood", {"mirror": "http://m.org/?f={id}"}, "ood", 1996, "http://m.org/?f=00139449c9"),
        ("ecd_hse_strict", {"part": "train"}, "hse", 5647 - 808, "https://matgen"),
        ("icsd-237213-Li2H4N2.CHGCAR.gz", {}, "pbe", 1, "https://matgen.nscc-gz.cn/chgcar/download/pbe/icsd-2372"),
        ("icsd-237213-Li2H4N2.chgcar.tar.gz", {}, "pbe", 1, "https://matgen.nscc-gz.cn/chgcar/download/pbe/icsd-2372"),
    ],
)
def test_what_is_meant(what, options, set, number, url):
    plan = plan_fetch(what, **options)
    assert (plan.set, len(plan.ids)) == (set, number)
    assert plan.url(plan.ids[0]).startswith(url)
    assert plan.functional == ("HSE06" if set == "hse" else "PBE")


def test_the_mirror_of_the_environment(monkeypatch):
    monkeypatch.setenv("ECD_MIRROR", "http://here:1/m")
    assert plan_fetch("mp-1001023").url("mp-1001023") == "http://here:1/m/chgcars/mp-1001023.json.gz"


@pytest.mark.parametrize(
    ("what", "options", "word"),
    [
        ("icsd-159373-Mg1O2", {"set": "hse"}, "icsd-159373-Mg1O1"),
        ("ecd_hsee", {"set": "hse"}, "near: ecd_hse"),
        (["hse", "icsd-1"], {}, "nor an id of hse"),
        ("zz*", {}, "matches no id"),
        (["pbe", "hse"], {}, "different sets"),
        ("icsd-159373-Mg1O1", {}, "say which, as in --set pbe"),
        ("exp", {}, "embedded sample"),
        ("ood", {"part": "train"}, "no part 'train'"),
        ("ood", {"part": "tests"}, "the parts are"),
        ("ood", {"mirror": "ftp://x"}, "no URL of a mirror"),
        ("ood", {"limit": 0}, "positive"),
        ("ecd_hse", {"set": "pbe"}, "not pbe"),
        ([], {}, "name what to fetch"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(what, options, word):
    with pytest.raises((UsageError, UnknownIdError), match=word) as error:
        plan_fetch(what, **options)
    assert "\n" not in str(error.value)
