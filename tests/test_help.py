"""Every command's help: plain defaults on every option, for people and for the reference that is made from it."""

from collections.abc import Iterator

import click

from orchestrator.cli.main import COMMANDS, cli


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli, info_name="orchestrator", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command


def test_every_option_shows_its_default_and_says_what_it_does() -> None:
    for name, command in commands():
        context = click.Context(command, info_name=name)
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            record = option.get_help_record(context)
            assert record is not None
            assert (option.help or "").endswith((".", '".')), f"{name} {record[0]}"
            off_unless_given = option.is_flag and not option.secondary_opts
            assert off_unless_given or "default: " in record[1], f"{name} {record[0]}"
