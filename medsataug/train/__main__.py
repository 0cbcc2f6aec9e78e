"""``python -m medsataug.train``: the command by itself."""

import typer

from medsataug import cli
from medsataug.train.command import command

if __name__ == "__main__":
    cli.app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    cli.app.command()(command)
    cli.main()
