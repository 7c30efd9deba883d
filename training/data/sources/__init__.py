"""Formats of a recipe's data."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from training.data.sources.base import SPLITS, Holdout, Piece, Source, data_root, find_files
from training.data.sources.built import BuiltData
from training.data.sources.coordinates import CoordinatesData
from training.data.sources.deepsea import DeepseaData
from training.data.sources.files import FilesData, GueData
from training.data.sources.griesemer import GriesemerData
from training.data.sources.label_strings import LabelStringsData
from training.data.sources.peak_fasta import PeakFastaData
from training.data.sources.satmut import SatmutData
from training.data.sources.variants import VariantsData


def _format(value: Any):
    return value.get("format", "gue") if isinstance(value, dict) else getattr(value, "format", None)


Data = Annotated[
    Annotated[GueData, Tag("gue")]
    | Annotated[BuiltData, Tag("built")]
    | Annotated[FilesData, Tag("files")]
    | Annotated[GriesemerData, Tag("griesemer")]
    | Annotated[DeepseaData, Tag("deepsea")]
    | Annotated[CoordinatesData, Tag("coordinates")]
    | Annotated[PeakFastaData, Tag("peak_fasta")]
    | Annotated[LabelStringsData, Tag("label_strings")]
    | Annotated[VariantsData, Tag("variants")]
    | Annotated[SatmutData, Tag("satmut")],
    Discriminator(_format),
]

__all__ = ["SPLITS", "Data", "Holdout", "Piece", "Source", "data_root", "find_files"]
