"""pybedtools for kipoi-veff: sorting, compressing and indexing a BED without the bedtools binary."""

import atexit
import os
import shutil
import tempfile

import pybedtools
import pysam

from regzoo.sequence.files import open_bytes


def folder_until_exit():
    """A temporary folder that is removed at the end of the program."""
    folder = tempfile.mkdtemp(prefix="regzoo-tabix-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class BedTool(pybedtools.BedTool):
    """A BedTool whose `tabix` works with pysam, on a copy in a temporary place."""

    def tabix(self, **_):
        """A bgzipped and tabixed copy, sorted by position."""
        with open_bytes(self.fn) as handle:
            lines = [
                line for line in handle.read().decode().splitlines() if line and not line.startswith(("#", "track"))
            ]
        lines.sort(key=lambda line: (line.split("\t")[0], int(line.split("\t")[1])))
        path = os.path.join(folder_until_exit(), "regions.bed")
        with open(path, "w") as out:
            out.writelines(f"{line}\n" for line in lines)
        pysam.tabix_compress(path, path + ".gz", force=True)
        pysam.tabix_index(path + ".gz", preset="bed", force=True)
        return BedTool(path + ".gz")


def __getattr__(name):
    return getattr(pybedtools, name)
