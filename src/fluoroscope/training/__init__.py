"""Fitting networks to labelled images."""
