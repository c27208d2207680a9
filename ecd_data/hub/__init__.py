"""Export of a store for the Hugging Face Hub: Parquet files, a card and a Croissant description."""
