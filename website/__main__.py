"""Build the documentation site: python -m website [build/site].

The sources of the pages are collected in build/site-source: the repository's Markdown files with their links rewritten,
the notebooks, and pages generated from the zoo's index, the cards, the docstrings and the commands. Sphinx makes HTML
of them and executes the notebooks; then every link is checked. A warning of Sphinx or a broken link is an error.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from regzoo.errors import RegzooError
from regzoo.home import zoo_folder
from regzoo.zoo import catalogue
from website import reference
from website.catalogue import catalogue_page, entries, model_page, page_of
from website.links import problems, rewritten

_HERE = Path(__file__).parent
_GUIDE = ("using", "python", "kipoi", "scan", "alleles", "reports", "serve", "explain", "motifs", "training")
_INDEX = """
```{{toctree}}
:hidden:

catalogue
docs/models
```

```{{toctree}}
:hidden:
:caption: Guide

{guide}
```

```{{toctree}}
:hidden:
:caption: Reference

cli
api/index
docs/architecture
```

```{{toctree}}
:hidden:
:caption: Benchmarks

docs/benchmarks
benchmarks/README
benchmarks/results/index
```

```{{toctree}}
:hidden:
:caption: Project

CONTRIBUTING
CHANGELOG
```
"""


def collect(source: Path) -> None:
    """Write the sources of all pages.

    Parameters
    ----------
    source : pathlib.Path
        A folder; what it holds is removed.

    Raises
    ------
    RegzooError
        If a model cannot be described or a link leads nowhere.
    """
    root = zoo_folder()
    shutil.rmtree(source, ignore_errors=True)
    written = generated()
    written["benchmarks/results/index.md"] = _results_index(root)
    files: set[Path] = set()
    for path in _markdown(root):
        name = str(path.relative_to(root))
        text, linked = rewritten(path.read_text(encoding="utf-8"), path, root, _pages(root))
        written["index.md" if name == "README.md" else name] = text + _extra(root) if name == "README.md" else text
        files |= linked
    for name, text in written.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    files |= {*(root / "benchmarks" / "results").glob("*.json"), *(root / "docs" / "notebooks").glob("*.ipynb")}
    for path in files:
        copy = source / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def generated() -> dict[str, str]:
    """Pages made from the zoo, the docstrings and the commands: path in the site's source -> MyST source."""
    import regzoo

    models = entries()
    pages = {
        "catalogue.md": catalogue_page(models),
        "cli.md": reference.cli_page(),
        "api/index.md": reference.api_index(),
    }
    pages |= {f"{page_of(one.name)}.md": model_page(one, models) for one in models}
    return pages | {f"api/{name}.md": reference.api_page(name) for name in regzoo.__all__}


def _markdown(root: Path) -> list[Path]:
    others = ("README.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    return [*(root / name for name in others), *sorted((root / "docs").glob("*.md"))]


def _pages(root: Path) -> dict[Path, str]:
    """Files and folders of the repository that have a page, and the page's source."""
    pages = {path.resolve(): str(path.relative_to(root)) for path in _markdown(root)}
    pages[(root / "README.md").resolve()] = "index.md"
    pages[(root / "benchmarks" / "results").resolve()] = "benchmarks/results/index.md"
    pages |= {path.resolve(): str(path.relative_to(root)) for path in (root / "docs" / "notebooks").glob("*.ipynb")}
    for name, entry in catalogue().items():
        pages[(root / entry.get("recipe", f"models/{name}")).resolve()] = f"{page_of(name)}.md"
    return pages


def _extra(root: Path) -> str:
    """The navigation. A guide that is not in the order of `_GUIDE` comes last."""
    placed = {"models", "architecture", "benchmarks"}
    known = [path.stem for path in (root / "docs").glob("*.md") if path.stem not in placed]
    guide = [f"docs/{name}" for name in [*_GUIDE, *sorted(set(known) - set(_GUIDE))] if name in known]
    notebooks = [f"docs/notebooks/{path.stem}" for path in sorted((root / "docs" / "notebooks").glob("*.ipynb"))]
    return _INDEX.format(guide="\n".join([*guide, *notebooks]))


def _results_index(root: Path) -> str:
    names = sorted(path.name for path in (root / "benchmarks" / "results").glob("*.json"))
    lines = "\n".join(f"- [{name}]({name})" for name in names)
    return f"# Result files\n\nResults of `regzoo benchmark`: every element, interval and choice.\n\n{lines}\n"


def build(site: Path, execute: bool = True) -> list[str]:
    """Build the site.

    Parameters
    ----------
    site : pathlib.Path
        Folder of the site; what it holds is removed.
    execute : bool
        Execute the notebooks; otherwise they are shown with the outputs that they hold.

    Returns
    -------
    list of str
        Problems of the links.

    Raises
    ------
    RegzooError
        As of `collect`.
    subprocess.CalledProcessError
        If Sphinx fails or warns.
    """
    source = site.with_name(f"{site.name}-source")
    collect(source)
    shutil.rmtree(site, ignore_errors=True)
    options = ["-W", "--keep-going", "-q", "-c", str(_HERE), "-d", f"{site}-cache"]
    options += [] if execute else ["-D", "nb_execution_mode=off"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(site)], check=True)
    return problems(site)


def main() -> int:
    """Run from the command line; gives the exit status."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else zoo_folder() / "build" / "site")
    try:
        found = build(site)
    except RegzooError as error:
        found = [str(error)]
    except subprocess.CalledProcessError as error:
        found = [f"sphinx ended with status {error.returncode}; its messages are above"]
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"the site is in {site}; open {site / 'index.html'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
