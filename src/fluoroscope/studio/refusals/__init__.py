"""Refusals in one sentence each, with a status."""
