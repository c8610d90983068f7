"""Searches over images: one file for each family, each only its mathematics."""
