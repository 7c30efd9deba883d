"""pyranges for kipoiseq, imported when it is first used.

kipoiseq imports pyranges with its first module, but only its GTF and VCF matching use it. `SeqIntervalDl` thus works
where pyranges cannot be installed.
"""


def __getattr__(name):
    import pyranges

    return getattr(pyranges, name)
