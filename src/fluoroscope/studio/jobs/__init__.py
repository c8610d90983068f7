"""Work that a client asked for: a fair queue, workers, and what each job has told so far."""
