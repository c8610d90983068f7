"""Examples made on one network that fool another."""
