"""Class-specific gates: filters that are taught to serve few classes, and what they are judged by.

From "Training Interpretable Convolutional Neural Networks by Differentiating Class-specific
Filters" (Liang et al. 2020, 2007.08194).
"""
