"""Commands of `python -m training` and `kipoi test`, run in this process."""

import logging

from kipoi.cli.main import cli_test, logger
from typer.testing import CliRunner

from training.__main__ import app


def train(*arguments):
    """Standard output of `python -m training ARGUMENTS`."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def passes_kipoi_test(folder, caplog):
    """Whether `kipoi test FOLDER --source dir` finds the expected predictions."""
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger.name):
            cli_test("test", [str(folder), "--source", "dir"])
    finally:
        logger.removeHandler(caplog.handler)
    return "All predictions match" in caplog.text
