"""Errors of models on the crystals of a task or store, with several seeds, and as tables."""
