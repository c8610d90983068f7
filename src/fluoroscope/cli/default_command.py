"""A command with words of its own, such as ``list``, that is a command without them, too."""

from typing import Any

from typer.core import TyperGroup

from fluoroscope.cli.options import Command


class WithDefault(TyperGroup):
    """A group whose command of the group's own name is called where no other is named.

    ``fluoroscope attribute -m …`` calls ``attribute``, ``fluoroscope attribute list`` calls
    ``list``; the help page is that of ``attribute``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and not args[0].startswith("-")
        return super().parse_args(ctx, args if named else [str(self.name), *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == self.name else name, command, rest


class Default(Command):
    """That command; its help names the words, too."""

    def get_usage(self, ctx: Any) -> str:
        """The line that says how it is called."""
        others = [name for name in ctx.parent.command.commands if name != ctx.command.name]
        return f"{super().get_usage(ctx).replace('  ', ' ')} | {' | '.join(others)}"
