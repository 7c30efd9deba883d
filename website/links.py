"""Links: of the repository's Markdown files in the site's source, and of the built pages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from regzoo.errors import InputError

_LINK = re.compile(r"(?<!\\)(\]\()([^)\s]+)(\))")
_LOADS = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}


def rewritten(text: str, path: Path, root: Path, pages: dict[Path, str]) -> tuple[str, set[Path]]:
    """Markdown of the repository with links that hold on the site.

    Parameters
    ----------
    text : str
        The file's Markdown.
    path : pathlib.Path
        The file.
    root : pathlib.Path
        The repository.
    pages : dict of pathlib.Path to str
        Files and folders that have a page, and the page's path in the site's source.

    Returns
    -------
    text : str
    files : set of pathlib.Path
        Other files that are linked to; they are copied to the site.

    Raises
    ------
    InputError
        If a link leads to nothing in the repository.
    """
    files: set[Path] = set()
    depth = "../" * (len(path.relative_to(root).parts) - 1)

    def replaced(match):
        target, hash_, anchor = match[2].partition("#")
        if not target or urlsplit(match[2]).scheme:
            return match[0]
        found = (path.parent / target).resolve()
        if found in pages:
            return f"{match[1]}{depth}{pages[found]}{hash_}{anchor}{match[3]}"
        if not found.is_file() or not found.is_relative_to(root.resolve()):
            raise InputError(f"{path}: the link {match[2]} leads to no file of the repository that has a page")
        files.add(found)
        return match[0]

    blocks = re.split(r"(^```.*?^```\s*?$)", text, flags=re.M | re.S)  # code is left as it is
    return "".join(part if i % 2 else _LINK.sub(replaced, part) for i, part in enumerate(blocks)), files


class _Page(HTMLParser):
    """Identifiers, links and loaded files of a page."""

    def __init__(self):
        super().__init__()
        self.identifiers, self.links, self.loads = set(), [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.identifiers |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in _LOADS and found.get(_LOADS[tag]):
            self.loads.append(found[_LOADS[tag]])


def problems(folder: Path) -> list[str]:
    """What is wrong with the links of built pages.

    Parameters
    ----------
    folder : pathlib.Path
        The site.

    Returns
    -------
    list of str
        Links that lead nowhere or are not relative, and files that are loaded from elsewhere.
    """
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path.resolve()] = page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder.resolve())
        for link in page.loads:
            if urlsplit(link).scheme not in ("", "data") or urlsplit(link).netloc:
                found.append(f"{where}: loads {link} from elsewhere")
        for link in [*page.links, *page.loads]:
            found += [f"{where}: {link}: {why}" for why in _broken(link, path, pages)]
    return found


def _broken(link, path, pages):
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return
    if parts.path.startswith("/"):
        yield "not relative"
        return
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        yield "no such file"
    elif target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].identifiers:
        yield "no such anchor"
