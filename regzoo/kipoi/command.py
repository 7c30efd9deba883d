"""The `kipoi` command: Kipoi's own, with the plugins kipoi_veff and kipoi_interpret, and errors without a traceback."""

import functools
import importlib
import importlib.util
import logging
import logging.config
import re
import sys
import traceback
import unittest.mock

import yaml

from regzoo.errors import InputError, RegzooError


def main(argv: list[str] | None = None) -> None:
    """Run a kipoi command. Errors in the input are printed and end the program with status 1.

    Parameters
    ----------
    argv : list of str, optional
        Arguments without the program's name; those of `sys.argv` by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(arguments)
    except RegzooError as error:
        sys.exit(f"error: {error}")
    except yaml.YAMLError as error:
        sys.exit(f"error: Kipoi's configuration, a model's YAML or an argument is not valid YAML: {error}")
    except Exception as error:
        if not _refused_by_kipoi(error):
            raise
        hint = ""
        if isinstance(error, TypeError):
            hint = "; `kipoi info MODEL` lists the arguments of --dataloader_args"
        sys.exit(f"error: {str(error) or type(error).__name__}{hint}")


def _refused_by_kipoi(error):
    """Whether Kipoi or a plugin refused the input, for which they raise a ValueError or a plain Exception."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames[-1].f_globals.get("__name__", "").startswith("kipoi"):
        return False
    if isinstance(error, TypeError):
        # A dataloader that is called with the arguments of --dataloader_args.
        return re.search(r"missing \d+ required|unexpected keyword argument", str(error)) is not None
    return type(error) in (Exception, ValueError)


def _run(arguments):
    import regzoo.kipoi  # noqa: F401 - patches Kipoi before its command is imported

    if arguments[:1] in (["veff"], ["interpret"]):
        _plugin(arguments[0], arguments[1:])
        return
    if arguments[:1] == ["predict"] and _writes_bed(arguments) and not {"-m", "--keep_metadata"} & set(arguments):
        arguments.append("--keep_metadata")  # the BED writer takes the intervals from the metadata
    if arguments[:1] == ["ls"] and not any(a.split("=")[0] in ("--source", "-h", "--help") for a in arguments):
        try:
            _kipoi(arguments)
        except Exception as error:  # from git, the network or an incomplete clone; Kipoi has no exception of its own
            message = f"{type(error).__name__}: {error}"
            print(
                f"kipoi ls: the source 'kipoi' could not be downloaded or is incomplete ({message}). Check the "
                "network, or choose a source with --source. These are the models of 'regzoo':",
                file=sys.stderr,
            )
            _kipoi([*arguments, "--source", "regzoo"])
        return
    _kipoi(arguments)


def _plugin(command, arguments):
    if importlib.util.find_spec(f"kipoi_{command}") is None:
        raise InputError(f"`kipoi {command}` needs the package kipoi_{command}; install regzoo with `make env`")
    logging.basicConfig(level=logging.WARNING)  # the plugins report some errors through logging alone
    importlib.import_module(f"kipoi_{command}.cli").cli_main(command, arguments)


def _kipoi(arguments):
    # Kipoi's command configures logging when it is imported, which would disable every existing logger.
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
