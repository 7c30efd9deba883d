"""The documentation site. `python -m website` builds it into build/site; see `website.__main__`."""
