"""Import hook for packages that were written for older libraries.

In these packages, and nowhere else, `import numpy` imports `regzoo.kipoi.old_numpy`, and so on. The libraries
themselves are not changed.
"""

import ast
import importlib
import sys
import unittest.mock
import warnings
from importlib.machinery import PathFinder, SourceFileLoader

# Package or module -> the libraries that it imports in an old form.
_OLD_LIBRARIES = {
    "kipoi.__main__": ("pkg_resources",),
    "kipoi_veff": ("numpy", "pybedtools", "pkg_resources", "intervaltree"),
    "kipoi_interpret": ("collections",),
    "kipoiseq": ("pyranges",),
    "deepdish": ("numpy",),
    "descartes": ("numpy",),
}
# Package -> the module that patches it once it is imported.
_PATCHES = {"kipoi_veff": "regzoo.kipoi.veff", "kipoi_interpret": "regzoo.kipoi.interpret"}


def _old_libraries(module):
    return _OLD_LIBRARIES.get(module) or _OLD_LIBRARIES.get(module.partition(".")[0], ())


class _Rewrite(ast.NodeTransformer):
    """`import numpy as np` -> `import regzoo.kipoi.old_numpy as np`; `from numpy import x` likewise."""

    def __init__(self, libraries):
        self.replacements = {name: f"regzoo.kipoi.old_{name}" for name in libraries}

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name in self.replacements:
                alias.name, alias.asname = self.replacements[alias.name], alias.asname or alias.name
        return node

    def visit_ImportFrom(self, node):
        if not node.level:
            node.module = self.replacements.get(node.module, node.module)
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname):
        # The byte-code cache holds the unchanged module, so it is neither read nor written.
        path = self.get_filename(fullname)
        tree = _Rewrite(_old_libraries(fullname)).visit(ast.parse(self.get_data(path), path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # `is` with a literal, in kipoi_veff's plots
            return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module):
        name = module.__name__
        if name not in _PATCHES:
            super().exec_module(module)
            return
        # kipoi_veff configures logging when it is imported, which would disable every existing logger.
        with unittest.mock.patch("logging.config.fileConfig"):
            super().exec_module(module)
        importlib.import_module(_PATCHES[name])


class _Finder:
    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if not _old_libraries(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Install the import hook, and warn of packages that were imported before it."""
    for name in _PATCHES:
        if name in sys.modules and not isinstance(sys.modules[name].__loader__, _Loader):
            warnings.warn(f"import regzoo.kipoi before {name}, or {name} fails on this numpy", stacklevel=3)
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
