"""Compiles ecd_data/formats/numbers.c where there is a C compiler; without one numpy does the work, more slowly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("ecd_data/formats/numbers.c")
LIBRARY = SOURCE.with_name("libnumbers.so")
BITS_64 = sys.maxsize > 2**32


class CompiledNumbers(BuildHookInterface):
    """Puts the library beside its source and, of a wheel, into it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        if self.target_name != "wheel":
            return
        library = Path(self.root) / LIBRARY
        library.unlink(missing_ok=True)
        if not build(Path(self.root) / SOURCE, library):
            self.app.display_warning("numbers.c was not compiled (no C compiler?): files are read more slowly")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(str(LIBRARY))


def build(source: Path, library: Path) -> bool:
    """Whether the compiler made the library."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None or not BITS_64:
        return False
    command = [*compiler.split(), "-O3", "-shared", "-fPIC", "-o", str(library), str(source)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        library.unlink(missing_ok=True)
        return False
    return True
