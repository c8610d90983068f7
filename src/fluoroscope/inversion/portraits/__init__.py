"""Pictures made by following a network's gradient: how they are held, seen, judged and moved."""
