"""How robust a network is on a whole data set: plans of attacks, runs on disk, verdicts."""
