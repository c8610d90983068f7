"""Detecting adversarial pictures by what a layer says beside the decision, and evading that."""
