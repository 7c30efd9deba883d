"""Predictions of a model along a genome, as tracks and called elements."""
