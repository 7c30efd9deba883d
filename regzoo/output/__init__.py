"""Outputs: files that are replaced whole or not at all, and tables in several formats."""
