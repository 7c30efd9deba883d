"""What `regzoo ls` prints: the models of the zoo in lines that fit a terminal, and their targets."""

import textwrap

from regzoo.zoo import catalogue, model_folder, read_targets, zoo_folder

_NARROW = 30  # letters that a title needs to stand in its model's line


def model_lines(width=None):
    """A line for each model of the zoo.

    Parameters
    ----------
    width : int, optional
        Letters of a line. A title that is longer is cut, and where there is no room for it stands in a line of its own;
        without `width` nothing is cut.

    Returns
    -------
    list of str
    """
    rows = [("model", "status", "length", "targets", "parameters", "title")]
    for name, entry in catalogue().items():
        numbers = (f"{entry[key]:,}" for key in ("input_length", "targets", "parameters"))
        rows.append((name, entry["status"], *numbers, entry["title"]))
    widths = [max(map(len, column)) for column in zip(*rows)][:-1]
    lines = []
    for name, status, *numbers, title in rows:
        cells = [name.ljust(widths[0]), status.ljust(widths[1])]
        cells += [number.rjust(size) for number, size in zip(numbers, widths[2:])]
        line = "  ".join(cells)
        room = None if width is None else width - len(line) - 2
        if room is None or room >= _NARROW:
            lines.append(f"{line}  {_cut(title, room)}".rstrip())
        else:
            lines += [_cut(line, width).rstrip(), "    " + _cut(title, width - 4)]
    return lines


def _cut(text, width):
    return text if width is None or len(text) <= width else text[: max(0, width - 1)] + "…"


def target_lines(name=None, width=None):
    """Names of the targets of one model, a line each, or of every model that has its files here.

    Parameters
    ----------
    name : str, optional
        GROUP/MODEL, or a model directory.
    width : int, optional
        Letters of a line, in which the targets of every model are wrapped; without it each target has a line of its own.

    Returns
    -------
    list of str

    Raises
    ------
    regzoo.errors.ModelError
        If there is no such model, or it is a recipe, which has no targets file yet.
    """
    if name is not None:
        return read_targets(model_folder(name) / "targets.txt")
    lines = []
    for model in catalogue():
        path = zoo_folder() / "models" / model / "targets.txt"
        if path.is_file():
            targets = read_targets(path)
            if width is None:
                lines += [f"{model}\t{target}" for target in targets]
            else:
                shown = ", ".join(targets[:20]) + (f", … ({len(targets):,} targets)" if len(targets) > 20 else "")
                lines += [model, *textwrap.wrap(shown, width, initial_indent="    ", subsequent_indent="    ")]
    return lines
