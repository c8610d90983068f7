"""Class activation maps: what a layer of the network is active at, weighed by what counts."""
