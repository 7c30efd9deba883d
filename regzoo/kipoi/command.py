"""The `kipoi` command: Kipoi's own, with kipoi_veff back among its plugins and errors without a traceback."""

import functools
import logging
import logging.config
import sys
import unittest.mock

import yaml

from regzoo.errors import RegzooError


def main(argv=None):
    """Run a kipoi command.

    Parameters
    ----------
    argv : list of str, optional
        Without the program's name; sys.argv without it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(arguments)
    except RegzooError as error:
        sys.exit(f"error: {error}")
    except yaml.YAMLError as error:
        sys.exit(f"error: Kipoi's configuration or a model's YAML is not valid: {error}")


def _run(arguments):
    import regzoo.kipoi  # noqa: F401 - mends Kipoi before its command is loaded

    if arguments[:1] == ["veff"]:
        import kipoi_veff.cli

        logging.basicConfig(level=logging.WARNING)
        kipoi_veff.cli.cli_main("veff", arguments[1:])
        return
    if arguments[:1] == ["predict"] and _writes_bed(arguments) and not {"-m", "--keep_metadata"} & set(arguments):
        arguments.append("--keep_metadata")  # the BED writer takes the intervals from the metadata
    if arguments[:1] == ["ls"] and not any(a.split("=")[0] in ("--source", "-h", "--help") for a in arguments):
        try:
            _kipoi(arguments)
        except Exception as error:  # of git, of the network or of a half-made copy: Kipoi does not say which
            message = f"{type(error).__name__}: {error}"
            print(
                f"kipoi ls: the source 'kipoi' could not be downloaded or is incomplete ({message}). "
                "Check the network, or "
                "choose a source with --source. These are the models of 'regzoo':",
                file=sys.stderr,
            )
            _kipoi([*arguments, "--source", "regzoo"])
        return
    _kipoi(arguments)


def _kipoi(arguments):
    # Importing Kipoi's command configures logging, which would silence every logger that is there.
    keep = functools.partial(logging.config.fileConfig, disable_existing_loggers=False)
    with unittest.mock.patch("logging.config.fileConfig", keep):
        import kipoi.__main__

    sys.argv = ["kipoi", *arguments]
    kipoi.__main__.main()


def _writes_bed(arguments):
    """Whether a file after -o or --output ends in .bed."""
    reading = False
    for argument in arguments:
        reading = argument in ("-o", "--output") or (reading and not argument.startswith("-"))
        if reading and argument.endswith(".bed"):
            return True
    return False


if __name__ == "__main__":
    main()
