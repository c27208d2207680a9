"""Published networks by name: where their files lie, the cache they are fetched into, and the list of all models."""
