"""Pictures that clients bring, decoded by a bounded child."""
