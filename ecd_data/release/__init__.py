"""What the ECD release is and how to get it: splits, leakage, fetching, the `datasets` builder."""
