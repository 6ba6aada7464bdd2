"""The command line: a file for each command, which is imported when the command runs."""

from __future__ import annotations

import importlib

import click

import gbtune

__all__ = ["main"]

# Command -> what runs it ("module:function" in this folder), what it does in a line (its docstring's first sentence).
_COMMANDS = {
    "promote": ("promote:promote_command", "Compare a version of the registered model NAME with its champion."),
    "rollback": (
        "rollback:rollback_command",
        "Make the version of NAME that was champion before the present one champion again.",
    ),
    "spaces": ("spaces:spaces_group", "List, show, compare and check search spaces."),
    "sync": ("sync:sync_command", "Write to MLflow what it lacks of STUDY, a study's name or its folder."),
    "ui": ("ui:ui_command", "Look at STUDY in MLflow's UI."),
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is asked for: optuna and pandas take a second, ``--help`` must not."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"gbtune.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup)
@click.version_option(gbtune.__version__, prog_name="gbtune")
def main() -> None:
    """Tune gradient boosting with Optuna, and keep every trial in MLflow."""
