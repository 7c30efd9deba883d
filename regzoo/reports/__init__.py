"""Reports: one self-contained HTML file with figures and tables, which opens without a network."""
