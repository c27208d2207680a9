"""Long work: the process pool, the progress display, interrupts, and programs that run as child processes."""
