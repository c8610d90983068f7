"""Odd networks and odd data sets, as strangers have them, and what must come of each pair."""
