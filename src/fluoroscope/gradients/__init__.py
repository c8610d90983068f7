"""Derivatives of a decision with respect to the pixels, by backpropagation and by differences."""
