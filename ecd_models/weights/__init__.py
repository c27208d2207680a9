"""Published networks by name: the table of their files, and the cache that these are downloaded to."""
