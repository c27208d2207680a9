"""The ECD release from its web servers: planned, downloaded, decoded and stored; a second call continues."""
