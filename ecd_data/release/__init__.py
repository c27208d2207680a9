"""What the ECD release holds: its tasks and splits, leakage between them, and copies of a part of a store."""
