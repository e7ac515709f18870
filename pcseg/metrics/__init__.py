"""Measures of the field, each after its own script."""
