"""pybedtools for kipoi_veff: a BED file is sorted, compressed and indexed without the bedtools program."""

import atexit
import os
import shutil
import tempfile

import pybedtools
import pysam

from regzoo.sequence.files import open_bytes


def folder_until_exit() -> str:
    """A temporary folder that is removed when the program ends."""
    folder = tempfile.mkdtemp(prefix="regzoo-tabix-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class BedTool(pybedtools.BedTool):
    """A BedTool whose `tabix` uses pysam."""

    def tabix(self, **_) -> "BedTool":
        """A bgzipped and tabixed copy in a temporary folder, sorted by position."""
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
