"""The network under study: wrapping it, loading it, and the networks that come built in."""
