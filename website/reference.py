"""The reference: a page for each public name of regzoo, and one for the commands."""

import inspect
import re
import typing
from typing import Any

import typer
from numpydoc.docscrape import NumpyDocString

import regzoo
from regzoo.cli import app
from website.text import escaped, fenced, prose, raw, render

_TABLES = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")
_TYPES = {int: "integer", float: "number"}


def summary(item: Any) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(item) or "").partition("\n\n")[0].split())


def api_index() -> str:
    """MyST source of the overview of the Python API."""
    names = [name for name in regzoo.__all__ if not inspect.isclass(getattr(regzoo, name))]
    classes = [name for name in regzoo.__all__ if name not in names]
    errors = [name for name in classes if issubclass(getattr(regzoo, name), Exception)]
    groups = [("Functions", names), ("Classes", [name for name in classes if name not in errors]), ("Errors", errors)]
    parts = ["# Python API\n", "All public names of `regzoo`. [The Python API](../docs/python.md) introduces them.\n"]
    for title, group in groups:
        rows = [f"| [`regzoo.{name}`]({name}.md) | {escaped(summary(getattr(regzoo, name)))} |\n" for name in group]
        parts.append(f"## {title}\n\n| name | |\n|---|---|\n{''.join(rows)}")
    entries = "\n".join(name for _, group in groups for name in group)
    return "\n".join([*parts, f"```{{toctree}}\n:hidden:\n\n{entries}\n```\n"])


def api_page(name: str) -> str:
    """MyST source of the page of a public name.

    Parameters
    ----------
    name : str
        One of `regzoo.__all__`.

    Returns
    -------
    str
    """
    item = getattr(regzoo, name)
    parts = [f"# regzoo\\.{escaped(name)}\n", described(item, f"regzoo.{name}")]
    if inspect.isclass(item):
        for member, value in vars(item).items():
            function = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if member.startswith("_") or not inspect.isfunction(function):
                continue
            parts.append(f"## {escaped(member)}\n")
            shown = None if isinstance(value, property) else f"{name}.{member}"
            parts.append(described(function, shown, f"{member} : {_annotation(function)}", level=3))
    return "\n".join(parts)


def described(item: Any, call: str | None, without_call: str = "", level: int = 2) -> str:
    """Signature and docstring of a function or class.

    Parameters
    ----------
    item : function or class
    call : str or None
        Name to show with the signature; None for a property.
    without_call : str
        Shown for a property.
    level : int
        Of the headings.

    Returns
    -------
    str
        MyST source.
    """
    text = NumpyDocString(inspect.getdoc(item) or "")
    parts = [fenced("python", signature(item, call) if call else without_call)]
    paragraphs = [*text["Summary"], "", *text["Extended Summary"]]
    parts.append(raw(_linked(prose("\n".join(paragraphs)))))
    for section in _TABLES:
        if text[section]:
            rows = [(one.name, one.type, prose("\n".join(one.desc))) for one in text[section]]
            parts.append(raw(_linked(render("parameters.html", title=section, level=level, rows=rows))))
    for section in ("Notes", "References"):
        if text[section]:
            parts.append(raw(f"<h{level}>{section}</h{level}>{prose(chr(10).join(text[section]))}"))
    if text["Examples"]:
        code = "\n".join(re.sub(r"\s*# doctest: \+SKIP", "", line) for line in text["Examples"])
        parts.append(f"{raw(f'<h{level}>Examples</h{level}>')}\n{fenced('python', code)}")
    return "\n".join(parts)


def signature(item: Any, call: str) -> str:
    """A call with parameters and defaults, one parameter a line where it is long. Types are in the table."""
    try:
        found = inspect.signature(item).parameters.values()
    except ValueError:  # an exception without a constructor of its own
        return f"{call}(message)"
    shown, starred = [], False
    for one in found:
        if one.name.startswith("_") or one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        starred |= one.kind is one.VAR_POSITIONAL
        shown.append(str(one.replace(annotation=one.empty)))
    line = f"{call}({', '.join(shown)})"
    return line if len(line) <= 88 else f"{call}(\n" + "".join(f"    {part},\n" for part in shown) + ")"


def _annotation(function: Any) -> str:
    found = inspect.signature(function).return_annotation
    return "" if found is inspect.Signature.empty else getattr(found, "__name__", str(found))


def _linked(html: str) -> str:
    """HTML with links from names of the public API to their pages."""

    def link(match):
        name = match[1].removeprefix("regzoo.")
        return f'<a href="{name}.html">{match[0]}</a>' if name in regzoo.__all__ else match[0]

    return re.sub(r"<code>((?:regzoo\.)?[A-Za-z_]+)</code>", link, html)


def commands() -> dict[str, Any]:
    """The commands of `regzoo`: name -> click command, in the order of `regzoo --help`."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def cli_page() -> str:
    """MyST source of the reference of the command line."""
    root = typer.main.get_command(app)
    context = root.make_context("regzoo", [], resilient_parsing=True)
    parts = ["# Command line\n", "[Using the zoo](docs/using.md) explains formats and definitions.\n"]
    parts += ["## regzoo\n", raw(prose(root.help or "")), raw(_options(root, context))]
    for name, command in commands().items():
        own = command.make_context(name, [], parent=context, resilient_parsing=True)
        parts += [f"## regzoo {escaped(name)}\n", _help(command), raw(_options(command, own))]
    return "\n".join(parts)


def _help(command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    shown = raw(prose(text))
    return f"{shown}\n{fenced('bash', example.strip())}" if example else shown


def _options(command: Any, context: Any) -> str:
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    rows = []
    for one in command.get_params(context):
        if getattr(one, "hidden", False):
            continue
        argument = one.param_type_name == "argument"
        names = [one.name.upper()] if argument else [*one.opts, *one.secondary_opts]
        rows.append((names, _values(one, hints.get(one.name)), getattr(one, "help", None) or "", _default(one)))
    return render("options.html", rows=rows, title=f"Arguments and options of {context.command_path}")


def _values(one: Any, annotation: Any) -> str:
    """What an option takes; nothing for a flag."""
    if getattr(one, "is_flag", False):
        return ""
    inner = typing.get_args(annotation) or (annotation,)  # of list[int] or str | None
    kind = next((label for type_, label in _TYPES.items() if type_ in inner), "text")
    return f"{kind}, repeated" if getattr(one, "multiple", False) or one.nargs == -1 else kind


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if one.default in (None, (), [], False) or callable(one.default):
        return ""
    return str(one.default)
