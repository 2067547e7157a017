"""The command line as its users have it, in this process."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from ase_dkl.cli import app


class Command:
    """A command.

    Args:
        words: that it begins with, such as "eos".
    """

    def __init__(self, *words: str) -> None:
        self.words = words

    def run(self, *arguments: object) -> Result:
        """What it does."""
        return CliRunner().invoke(app, [*self.words, *(str(argument) for argument in arguments)])

    def succeed(self, *arguments: object) -> Result:
        """What it does where nothing is wrong."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result

    def numbers(self, *arguments: object) -> Any:
        """What --json leaves on stdout, all of it."""
        return json.loads(self.succeed(*arguments, "--json").stdout)
