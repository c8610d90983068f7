"""What stands beside a robust accuracy: other networks, corruptions, calibration, the class map."""
