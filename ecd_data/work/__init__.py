"""Long work: one process pool, one progress display, interrupts, child processes."""
