"""The error of a model on the crystals of a task or a store, and what trained the model."""
