"""Data files of the suites: where each one comes from, and its digest."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.sequence.fasta import fasta_records
from regzoo.sequence.files import open_bytes


class Source(NamedTuple):
    """Digest and origin of a data file.

    Attributes
    ----------
    sha256 : str
        Of the content, decompressed if the file is gzipped.
    origin : str
    """

    sha256: str
    origin: str


_GUE = "GUE benchmark (Zhou et al. 2023), {}; github.com/MAGICS-LAB/DNABERT_2"
_LENTI = "lentiMPRA (Agarwal et al. 2025), copy in github.com/autosome-imtf/MPRA-MNIST"
_SATMUT = "saturation mutagenesis (Kircher et al. 2019), github.com/kircherlab/MPRA_SaturationMutagenesis"

_MPRAU = "MPRAu (Griesemer et al. 2021), ENCODE and github.com/vagarwal87/saluki_paper"
_CLIP = "CLIP sites (iONMF, Strazar et al. 2016), files of iDeepS (Pan et al. 2018)"

#: Path in the data folder -> source.
FILES = {
    "variants/dsqtl_lcl_degner2012_hg18.tsv.gz": Source(
        "de9641437a9e2eb438078de0730cbaf6f78a21515f3703587f99f52b1fad0863",
        "DNase QTLs (Degner et al. 2012), copy in github.com/zeyang-shen/maggie",
    ),
    "variants/dsqtl_benchmark_lee2015.tsv.gz": Source(
        "f8a080e9da040afe70c34d9d3b9ffd316356b1a35bf2343080532bcaaf3971e3",
        "supplementary table of deltaSVM (Lee et al. 2015)",
    ),
    "variants/cagi4_eqtl_mpra_train.tsv.gz": Source(
        "d1bcc5d99b258e34b83f461581301090c203f3661f8a97ad562f3df016af3a47",
        "CAGI4 eQTL challenge, training part (Tewhey et al. 2016)",
    ),
    "variants/asv_chromatin_udacha_hg38.tsv.gz": Source(
        "b710f19ac04775581cc9c7bc2b13d9bc6210ce1a0be95205999a3ab59519eea7",
        "allele-specific chromatin accessibility in UDACHA, udacha.autosome.org",
    ),
    "variants/asb_codebook_hg38.tsv.gz": Source(
        "1bdb13323151f4400e12f0991a539006768b7a3bad8cc37092eb022a6532eb6f",
        "allele-specific binding in the Codebook data, github.com/autosome-ru",
    ),
    "mpra_satmut/effects.tsv.gz": Source("60f6ed0e2a7450df4aea2943e19f9e025e44d56393e0e3cf0e65cea6c734c701", _SATMUT),
    "mpra_satmut/elements.fa": Source("bb79c6b6349c285d7cec53d08eb00d1f4c38d7cf74e4325905ae69dc64d04b86", _SATMUT),
    "lentimpra/HepG2_test.tsv.gz": Source("b594bd28823f98e2b8ccfa4b4f8f4abe77adb1b8af65b21caafc900e0181c920", _LENTI),
    "lentimpra/WTC11_val.tsv.gz": Source("a8824271b92c773ec72ccb107051b39cba5997d8eb1824cb01e8e9e302641873", _LENTI),
    "mpra_sharpr/regions_295bp_hg19.tsv.gz": Source(
        "069c701ba67b3c0f425a14409fcf79d8c7437cabf09e23c2d20c0b19208268f8",
        "Sharpr-MPRA (Ernst et al. 2016), GEO GSE71279",
    ),
    "gue/tf/0/train.csv.gz": Source(
        "930080e019fb92961cbd71998839466c2fc4c34da8fc174999a2ed04ef46822f", _GUE.format("tf/0/train")
    ),
    "gue/tf/0/test.csv.gz": Source(
        "d29934d0df424a91ef70f6a62671d9d1c4661b485d7010983b49c8bcfba6aeab", _GUE.format("tf/0/test")
    ),
    "gue/tf/1/train.csv.gz": Source(
        "29dc3c962cc4e4d7161238bb4d0b84583f7794b246a622f81bf30e83e3ae8685", _GUE.format("tf/1/train")
    ),
    "gue/tf/1/test.csv.gz": Source(
        "8995d9d9176d56aa6e3a7014dfcf61ad45bc25a59fba1faca9864250ce42008a", _GUE.format("tf/1/test")
    ),
    "gue/tf/2/train.csv.gz": Source(
        "7f7483c2179242b6f42dd3578640e1496478e56e627e8fabd2ac79e088b1cbaa", _GUE.format("tf/2/train")
    ),
    "gue/tf/2/dev.csv.gz": Source(
        "002168deb50cebb8dc94a9268e220d0ffa49068e4d9ae28b5873b74ba287c4a1", _GUE.format("tf/2/dev")
    ),
    "gue/tf/3/train.csv.gz": Source(
        "c4191038363919af593d4f68428e00e6320e3a35902575f1c5c0828954e25a88", _GUE.format("tf/3/train")
    ),
    "gue/tf/3/dev.csv.gz": Source(
        "b878776f73bd503a371d1d8c0a77058da409ff3f3799901e017f764b07a0d0ef", _GUE.format("tf/3/dev")
    ),
    "gue/tf/4/train.csv.gz": Source(
        "7b43fcec55a8ae0f44e826566be776984c37200a175c684ec2e68650aebd483c", _GUE.format("tf/4/train")
    ),
    "gue/tf/4/dev.csv.gz": Source(
        "4a18b9d9a6a4f77f6978d251b784ab554c127aca89c9fdb4546d81c20a47c436", _GUE.format("tf/4/dev")
    ),
    "gue/prom/prom_core_all/train.csv.gz": Source(
        "a36e0bbf2b59e01479bb904534d310041b493fec9221ccd74b518893d74054ed", _GUE.format("prom/prom_core_all/train")
    ),
    "gue/prom/prom_core_all/test.csv.gz": Source(
        "b1babbb52abd0fb5328eccc4ce8ab60d0a58d28bdc88c30f8e2140cf1684ce0c", _GUE.format("prom/prom_core_all/test")
    ),
    "gue/prom/prom_core_tata/train.csv.gz": Source(
        "6ff19d1296628f1ff30f663f154596aeda27e2c48b8d8c35926029a33c64d3fb", _GUE.format("prom/prom_core_tata/train")
    ),
    "gue/prom/prom_core_tata/dev.csv.gz": Source(
        "dcacb3b86726376899ad4023339ccaae04a9150f41c34268b4ab38e447316a70", _GUE.format("prom/prom_core_tata/dev")
    ),
    "gue/prom/prom_300_all/dev.csv.gz": Source(
        "e972638bba9bdf3d9d9f2fb94801892655c91d8cea0bf13545a9361bc183a6fc", _GUE.format("prom/prom_300_all/dev")
    ),
    "gue/prom/prom_300_all/test.csv.gz": Source(
        "11a08b94f7e416a7e608812b74f8b5d3af4c09a6c95e996661903470ff9cc418", _GUE.format("prom/prom_300_all/test")
    ),
    "gue/prom/prom_300_tata/train.csv.gz": Source(
        "d0dd45bad89aee2564b8831d38a393989942d79b673203e7eb50e19ec8e6242e", _GUE.format("prom/prom_300_tata/train")
    ),
    "gue/prom/prom_300_tata/test.csv.gz": Source(
        "30432e9845277559043c2bb3bfed37b9bc7efc15748880f3adeeaddc16b76deb", _GUE.format("prom/prom_300_tata/test")
    ),
    "enhancers_promoters/human_enhancers_cohn_test.tsv.gz": Source(
        "c39788d2e485cf91194852b5e3a4b5338572624bb27733003776315dd6b9dffc",
        "Genomic Benchmarks (Gresova et al. 2023), human_enhancers_cohn, test; "
        "github.com/ML-Bioinfo-CEITEC/genomic_benchmarks",
    ),
    "utr3/mpra_griesemer/fastUTR_mpra.txt.gz": Source(
        "75310afba760619fe9659d4c2d52c6d7412d04aee8d23cce1e5493b2e5c642f8",
        _MPRAU,
    ),
    "utr3/mpra_griesemer/ENCFF770UJN.fasta.gz": Source(
        "0c4306ed6cdcd761869b97981b2e5a9a99240b1e77c2c913e35fff0c05f1ff56",
        _MPRAU,
    ),
    "utr3/mpra_griesemer/ENCFF090JTW.fasta.gz": Source(
        "c229ef7f1ad2e270e26f3bedbc94901324d1003ddb371eb8d3b5f70f8e53bb06",
        _MPRAU,
    ),
    "utr3/mpra_siegel/fastUTR_mpra.txt.gz": Source(
        "0ad6734c55abf8ad04263e9e1213ec8d39a8f57b0848eed23f188ac127c83799",
        "reporters with AU-rich elements (Siegel et al. 2022), copy in github.com/vagarwal87/saluki_paper",
    ),
    "utr3/half_life/all_HLs_human.txt.gz": Source(
        "a7bc8fbe4978c34ecf2a89a3bd14c68bf6b6d792c35ad54ea927745799e42e31",
        "mRNA half-lives of 39 studies (Agarwal & Kelley 2022), github.com/vagarwal87/saluki_paper",
    ),
    "utr3/rbp/ELAVL1_train.fa.gz": Source(
        "e442914d737ebb7bb9e5d1ccb8b613c61c5e4fe6d7b11ce6946052da702c8d17",
        _CLIP,
    ),
    "utr3/rbp/ELAVL1_test.fa.gz": Source(
        "f9eb4acf0aecc7fc0231f0783b28a849087a343548b8520f1bb103aaacd96d82",
        _CLIP,
    ),
    "utr3/rbp/FUS_train.fa.gz": Source(
        "c7bec7c94fedc640e115a278e6c4ef40ac0bccaec95b55eaa239bcac4218ba4b",
        _CLIP,
    ),
    "utr3/rbp/FUS_test.fa.gz": Source(
        "204930bac01233fe388ca0b60a7e4d028511c29723c4c420a130d75536d2e014",
        _CLIP,
    ),
    "utr3/rbp/HNRNPC_train.fa.gz": Source(
        "e3cc6ef7f2d53a3f0ca6cf232fca40755348705b4c4bdfd8897ecbecfa618e2d",
        _CLIP,
    ),
    "utr3/rbp/HNRNPC_test.fa.gz": Source(
        "9d0e73f91550138c11d95a794bdc82c7048038d29d8c35878373a75f10546d60",
        _CLIP,
    ),
    "utr3/rbp/IGF2BP123_train.fa.gz": Source(
        "63498a9b3c493cf8f482830cbbce7b801eee247c67dcd575a46776b1958d7315",
        _CLIP,
    ),
    "utr3/rbp/IGF2BP123_test.fa.gz": Source(
        "c0897b23f0d887c27c965faf3a8c18bdf18d7a68acef0ed5fdc83bebcdab53f5",
        _CLIP,
    ),
    "utr3/rbp/PUM2_train.fa.gz": Source(
        "092379150d2f0f9faa4f1ce4e24baf7142960d7e15052d9ed68e7365dab089ad",
        _CLIP,
    ),
    "utr3/rbp/PUM2_test.fa.gz": Source(
        "2e875db99b0d78e6e4af32d7787fea09adf0b2d14da89c2ae03c6d9b7374aef5",
        _CLIP,
    ),
    "utr3/rbp/QKI_train.fa.gz": Source(
        "b2a975b6ea3c711c4ec8aa95e7eebb4c37ace962d2517d8c48579f7a856f4124",
        _CLIP,
    ),
    "utr3/rbp/QKI_test.fa.gz": Source(
        "25cea4f457700faac9f8dad412edca8f5e4c458c12c48a8894c10656677ac7a8",
        _CLIP,
    ),
}


class DataFolder:
    """A folder with the data files of the suites.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        By default the environment variable REGZOO_DATA.

    Attributes
    ----------
    used : dict of str to str
        Path in the folder -> sha256, of the files that were read.

    Raises
    ------
    InputError
        If no folder is given, or it does not exist.
    """

    def __init__(self, folder: str | Path | None = None):
        given = folder or os.environ.get("REGZOO_DATA")
        if not given:
            raise InputError("the suite needs a folder with its data files; give it as data (--data) or in REGZOO_DATA")
        self.folder, self.used = Path(given), {}  # type: tuple[Path, dict[str, str]]
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; expected the folder with the suite's data files")

    def path(self, name: str) -> Path:
        """Path of a file, after its digest was checked.

        Parameters
        ----------
        name : str
            A key of `FILES`.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        InputError
            If the file is missing, cannot be read, or has another digest.
        """
        self._content(name)
        return self.folder / name

    def own_file(self, name: str) -> bytes:
        """Decompressed content of a file that is not one of `FILES`. Its digest is recorded in `used`.

        Parameters
        ----------
        name : str
            Path in the folder.

        Returns
        -------
        bytes

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        content, self.used[name] = self._read(name, "expected a plain or gzipped file")
        return content

    def fasta(self, name: str) -> list[tuple[str, np.ndarray]]:
        """Headers and base codes of a FASTA file.

        Parameters
        ----------
        name : str
            A key of `FILES`.

        Returns
        -------
        list of (str, numpy.ndarray of uint8)

        Raises
        ------
        InputError
            See `path`.
        """
        return list(zip(*fasta_records(self._content(name).decode(), self.folder / name)))

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A table, comma-separated if its name says .csv and otherwise tab-separated.

        Parameters
        ----------
        name : str
            A key of `FILES`.
        columns : sequence of str, optional
            Names of the columns of a table without header.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        InputError
            See `path`.
        """
        separator = "," if ".csv" in name else "\t"
        content = io.BytesIO(self._content(name))
        header = "infer" if columns is None else None
        return pd.read_csv(content, sep=separator, header=header, names=columns, dtype={"Chrom": str, "chr": str})

    def _content(self, name):
        path, (digest, origin) = self.folder / name, FILES[name]
        expected = f"expected {origin}; sha256 of the decompressed content {digest}"
        if not path.is_file():
            raise InputError(f"{path}: missing; {expected}")
        content, found = self._read(name, expected)
        if found != digest:
            raise InputError(f"{path}: has sha256 {found} (decompressed); {expected}")
        self.used[name] = found
        return content

    def _read(self, name, expected):
        """Decompressed content of a file, and its sha256."""
        path = self.folder / name
        try:
            with open_bytes(path) as source:
                content = source.read()
        except (OSError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: cannot read this file ({error}); {expected}") from error
        return content, hashlib.sha256(content).hexdigest()
