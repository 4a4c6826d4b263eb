"""Measures every figure that this product promises, each beside a baseline of the same run."""
