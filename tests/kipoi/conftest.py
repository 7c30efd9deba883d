"""The `kipoi` command in this process."""

import pytest

from regzoo.kipoi import command


@pytest.fixture
def kipoi_command(monkeypatch, capsys):
    """Runs a kipoi command, which has to succeed; gives what it wrote to standard output and error."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["kipoi"])
        capsys.readouterr()
        command.main([str(argument) for argument in arguments])
        return capsys.readouterr()

    return call
