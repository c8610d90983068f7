"""Towards success along the gradient, within a given distance."""
