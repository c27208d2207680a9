"""Conversion by several processes or a Dask cluster gives the same store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from ecd_data import convert
from ecd_data.errors import UsageError
from tests.data.conversion.conftest import bytes_of


def test_the_store_does_not_depend_on_the_number_of_workers(many, tmp_path, monkeypatch):
    """Bytes and order included, with a bad file among the good and parts that fill up."""
    monkeypatch.setattr("ecd_data.store.writer.PART_SIZE", 10)
    (many / "05b_CHGCAR").write_text("bad")
    one, three = convert(many, tmp_path / "1.ecd"), convert(many, tmp_path / "3.ecd", workers=3)
    assert list(one.failed) == list(three.failed) == [str(many / "05b_CHGCAR")]
    assert one.added == three.added
    assert bytes_of(tmp_path / "1.ecd") == bytes_of(tmp_path / "3.ecd")


def test_the_store_does_not_depend_on_a_dask_cluster(files, tmp_path, monkeypatch):
    pytest.importorskip("dask.distributed", reason="pip install 'ecd-data[cluster]'")
    from ecd_data.work.process_pool import connect_cluster

    monkeypatch.chdir(files)
    convert(".", tmp_path / "1.ecd")
    with connect_cluster("local", 1) as cluster:
        report = convert(".", tmp_path / "dask.ecd", cluster=cluster)
    assert len(report.added) == 4
    assert bytes_of(tmp_path / "1.ecd") == bytes_of(tmp_path / "dask.ecd")


def test_no_scheduler_is_one_sentence():
    pytest.importorskip("dask.distributed", reason="pip install 'ecd-data[cluster]'")
    from ecd_data.work.process_pool import connect_cluster

    with pytest.raises(UsageError, match="no Dask scheduler answers at nonsense"), connect_cluster("nonsense", 1):
        pass


def test_a_job_that_ends_its_process_is_lost_alone():
    from ecd_data.work.process_pool import LostJob, run_jobs

    jobs = ["0", "1", "__import__('os').kill(__import__('os').getpid(), 9)", "3"]  # as the system kills for memory
    results = list(run_jobs(eval, jobs, workers=2))
    assert [job for job, _ in results] == jobs
    assert [r for _, r in results if not isinstance(r, LostJob)] == [0, 1, 3]
    assert isinstance(results[2][1], LostJob)


def _evaluate(text: str):
    return eval(text)


def end_process_once_told(told: str) -> None:
    while not os.path.exists(told):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)  # as the system kills for memory


def test_a_process_that_ends_while_a_result_is_used_loses_its_job_alone(tmp_path):
    from ecd_data.work.process_pool import LostJob, run_jobs

    told = tmp_path / "told"
    jobs = ["0", f"end_process_once_told({str(told)!r})", *map(str, range(2, 20))]
    results = []
    for _, result in run_jobs(_evaluate, jobs, workers=2):
        results.append(result)
        if len(results) == 1:
            told.touch()
            while multiprocessing.active_children():
                time.sleep(0.01)
    assert isinstance(results.pop(1), LostJob)
    assert results == [0, *range(2, 20)]


def test_what_is_under_way_does_not_grow_with_the_number_of_jobs():
    from concurrent.futures import ThreadPoolExecutor

    from ecd_data.work.process_pool import run_in_order

    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with ThreadPoolExecutor(2) as threads:
        results = run_in_order(lambda: threads, float, endless(), 5, lambda: False)
        for number in range(1, 50):
            assert next(results) == (number, number)
            assert taken <= number + 5
        results.close()


@pytest.mark.parametrize("guard", ["", 'if __name__ == "__main__":\n    '])
def test_a_script_that_workers_would_run_again_is_refused(files, tmp_path, guard):
    script = tmp_path / "mine.py"
    script.write_text(f"import ecd_data\n{guard}print(ecd_data.convert({str(files)!r}, 'new.ecd', workers=2).failed)\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "new.ecd").exists() == bool(guard)
    last = (done.stdout + done.stderr).splitlines()[-1]
    assert ("{}" if guard else "mine.py has no `if __name__") in last
    assert "RuntimeError" not in done.stderr
