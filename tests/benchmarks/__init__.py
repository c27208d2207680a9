"""Tests of the scripts in benchmarks/ that measure the models."""
