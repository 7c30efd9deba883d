"""Importing packages that were written for old libraries: their `import numpy` is read as `regzoo.kipoi.old_numpy`."""

import ast
import sys
import warnings
from importlib.machinery import PathFinder, SourceFileLoader

_PACKAGES = ("kipoi_veff", "deepdish", "descartes")
_STAND_INS = {"numpy": "regzoo.kipoi.old_numpy", "pybedtools": "regzoo.kipoi.old_pybedtools"}


class _Rewrite(ast.NodeTransformer):
    """`import numpy as np` -> `import regzoo.kipoi.old_numpy as np`; `from numpy import x` likewise."""

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name in _STAND_INS:
                alias.name, alias.asname = _STAND_INS[alias.name], alias.asname or alias.name
        return node

    def visit_ImportFrom(self, node):
        if not node.level:
            node.module = _STAND_INS.get(node.module, node.module)
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname):
        # Not through the byte-code cache: it holds the module as others would import it.
        path = self.get_filename(fullname)
        tree = _Rewrite().visit(ast.parse(self.get_data(path), path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # `is` with a literal, in the plugin's plots
            return compile(tree, path, "exec", dont_inherit=True)


class _Finder:
    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname.partition(".")[0] not in _PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Use the stand-in for the old packages that are imported from now on, and for them alone."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
