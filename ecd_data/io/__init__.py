"""Reading and writing bytes: compression, archives, paths and URLs, byte ranges, atomic writes, locks, file names."""
