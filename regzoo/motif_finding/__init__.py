"""Motifs that a model has learned, and what they do to its predictions."""
