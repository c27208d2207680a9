"""Logs of a run: a CSV file and, on request, TensorBoard's. Continuing a run drops the rows after its last state."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ecd_data.errors import MissingDependencyError

COLUMNS = ("step", "lr", "train_loss", "train_error_percent", "validation_error_percent", "seconds")
FORMATS = ("", ".6g", ".6g", ".4f", ".4f", ".1f")


class CsvLog:
    """log.csv, which has one row for each validation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resume(self, step: int) -> None:
        """Drop the rows after `step`, which a killed run left and which will be written again; at step 0 all rows."""
        if step == 0:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            rows = list(csv.reader(self.path.read_text().splitlines()))
            with open(self.path, "w", newline="") as file:
                csv.writer(file).writerows(rows[:1] + [row for row in rows[1:] if int(row[0]) <= step])

    def add(self, *values: float) -> None:
        """Append a row with a value for each of the COLUMNS."""
        new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow(format(value, spec) for value, spec in zip(values, FORMATS, strict=True))


class TensorBoardLog:
    """The same figures for `tensorboard --logdir`; raises MissingDependencyError if TensorBoard is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "tensorboard = true needs TensorBoard: pip install 'ecd-data[tensorboard]', or set it to false "
                "(log.csv is written anyway)"
            ) from error
        self._folder, self._type = folder, SummaryWriter
        self._writer: Any = None

    def resume(self, step: int) -> None:
        """Hide the values that were logged after `step`."""
        self._writer = self._type(str(self._folder), purge_step=step + 1 if step else None)

    def add(self, *values: float) -> None:
        """Log a value for each of the COLUMNS."""
        step, *rest = values
        for name, value in zip(COLUMNS[1:], rest, strict=True):
            self._writer.add_scalar(name, value, int(step))
        self._writer.flush()
