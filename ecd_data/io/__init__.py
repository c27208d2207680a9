"""Bytes from disks, archives and the web: compression, archives, locations, byte ranges, locks."""
