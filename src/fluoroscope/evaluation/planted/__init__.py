"""Planted examples: whether a plan finds what is known to be there."""
