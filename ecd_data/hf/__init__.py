"""The data as Hugging Face `datasets`: the builder behind `load_dataset`, the density column, the rows of a split."""
