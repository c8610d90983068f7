"""Labelled images from every source."""
