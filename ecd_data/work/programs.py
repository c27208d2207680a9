"""Modules that run as programs, such as `python -m ecd_data.sample.recipe`: they end without a traceback of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ecd_data.errors import EcdError, UsageError

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended, as shells have it


def run_program(main: Callable[[], object]) -> None:
    """Run the main function of a module and exit: 1 after bad data, 2 after wrong usage, 130 after Ctrl-C."""
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; finished files are complete: run the same command again", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (EcdError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
