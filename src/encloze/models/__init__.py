"""Models that are trained: bi-encoders, cross-encoders and classifiers, with their heads and layers."""
