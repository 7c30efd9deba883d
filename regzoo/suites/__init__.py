"""Suites of `regzoo.benchmark`: published data sets, each with a fixed protocol."""
