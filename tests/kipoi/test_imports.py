"""What importing the bridge loads, and how the packages written for older libraries see those libraries."""

import json
import subprocess
import sys

import numpy as np
import pytest

import regzoo.kipoi  # noqa: F401 - before kipoi_veff
from regzoo.kipoi import old_collections, old_intervaltree, old_numpy, old_pkg_resources

BLOCKED = """
import json, sys
for name in ("pkg_resources", "pyranges", "ncls", "sorted_nearest"):
    sys.modules[name] = None  # `import name` raises ImportError
import regzoo.kipoi
at_import = [name for name in ("torch", "kipoi_veff", "kipoi_interpret", "kipoiseq") if name in sys.modules]
import kipoi, kipoi.__main__
at_command = [name for name in ("torch", "kipoi_veff", "kipoi_interpret") if name in sys.modules]
import kipoi_veff
from kipoiseq.dataloaders import SeqIntervalDl
import kipoi_conda
print(json.dumps([at_import, at_command, kipoi_veff.score_variants.__module__, SeqIntervalDl.__name__,
                  kipoi_conda.is_installed("numpy>=1"), kipoi_conda.is_installed("numpy<1")]))
"""


def test_imports_are_lazy_and_need_neither_pkg_resources_nor_pyranges():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True)
    at_import, at_command, *others = json.loads(done.stdout.splitlines()[-1])
    assert at_import == at_command == []
    assert others == ["regzoo.kipoi.veff", "SeqIntervalDl", True, False]


def test_numpy_itself_is_left_alone():
    import kipoi_veff.snv_predict

    assert kipoi_veff.snv_predict.np is old_numpy
    for name in ("in1d", "stack", "vstack", "asarray"):  # numpy 2.2, on Python 3.10, still has an in1d
        assert getattr(np, name, None) is not getattr(old_numpy, name)
    assert not hasattr(np, "string_")


def test_old_numpy_names():
    assert old_numpy.in1d([[1, 2], [3, 4]], [2, 3]).tolist() == [False, True, True, False]
    assert old_numpy.in1d([None, 1], None).tolist() == [True, False]
    assert old_numpy.stack(x for x in ([1, 2], [3, 4])).shape == (2, 2)
    assert old_numpy.int is int and old_numpy.float64 is np.float64


def test_old_collections_has_both_names():
    assert isinstance({}, old_collections.Mapping) and old_collections.OrderedDict is not None
    with pytest.raises(AttributeError):
        old_collections.NoSuchName  # noqa: B018


def ranges(*bounds):
    return {
        f"r{i}": {"chr": ["chr1"], "start": [start], "end": [end], "strand": ["*"]}
        for i, (start, end) in enumerate(bounds)
    }


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(0, 10), (10, 20)], [(0, 20)]),  # touching: joined by intervaltree 2, kept apart by intervaltree 3
        ([(0, 10), (5, 20)], [(0, 20)]),
        ([(0, 10), (11, 20)], [(0, 10), (11, 20)]),
    ],
)
def test_merge_intervals_joins_ranges_that_touch(bounds, expected):
    from kipoi_veff import mutation_map, snv_predict

    for module in (snv_predict, mutation_map):
        merged, keys = module.merge_intervals(ranges(*bounds))
        assert sorted(zip(merged["start"], merged["end"])) == expected
        assert sorted(sum(keys, [])) == ["r0", "r1"]
    assert old_intervaltree.Interval(0, 1).begin == 0


def test_package_versions_without_pkg_resources():
    assert old_pkg_resources.get_package_version("numpy") == np.__version__
    assert old_pkg_resources.get_package_version("no-such-package") is None
    assert old_pkg_resources.compatible_versions("1.10", ">=1.9")
    with pytest.raises(ValueError):
        old_pkg_resources.compatible_versions("1", "about 1")
