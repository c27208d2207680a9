"""datasets.load_dataset("ecd", ...) works whatever is imported first."""

import subprocess
import sys

import pytest

from tests.data.hf.conftest import run

datasets = pytest.importorskip("datasets")


def test_other_datasets_are_untouched(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    rows = datasets.load_dataset("csv", data_files=str(tmp_path / "rows.csv"), split="train")
    assert rows["a"][:] == [1]


@pytest.mark.parametrize(
    "imports",
    ["import ecd_data, datasets", "from datasets import load_dataset; import ecd_data"],
)
def test_whichever_is_imported_first(imports, tmp_path, root):
    code = f"{imports}; import datasets; print(len(datasets.load_dataset('ecd', 'hse', split='train')))"
    assert run(code, tmp_path, root) == "7"


def test_importing_is_cheap(tmp_path, root):
    code = "import sys, ecd_data; print([m for m in ('datasets', 'torch', 'pymatgen', 'pandas') if m in sys.modules])"
    assert run(code, tmp_path, root) == "[]"


@pytest.mark.parametrize("module", ["density_feature", "builder", "torch_batches", "load_dataset_hook"])
@pytest.mark.parametrize("before", ["", "datasets"])
def test_modules_import_in_any_order(module, before):
    """Each alone in a new interpreter, before `datasets` and after it."""
    names = {
        "density_feature": "DensityFeature, ProbesFeature",
        "builder": "load_dataset",
        "torch_batches": "register_collate",
        "load_dataset_hook": "install",
    }
    code = (
        (f"import {before}\n" if before else "")
        + f"from ecd_data.hf.{module} import {names[module]}\n"
        + "import datasets\nfrom datasets.features.features import _FEATURE_TYPES\n"
        + "assert {'EcdDensity', 'EcdProbes'} <= set(_FEATURE_TYPES)\n"
        + "assert len(datasets.load_dataset('ecd', 'hse', split='test', streaming=True).features) > 5\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
