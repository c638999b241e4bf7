from importlib import import_module
from inspect import getdoc

import pytest
import typer

from reward_finetuning.pipelines.cli.group import COMMANDS, imported


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_has_the_first_sentence_of_each_commands_help(name):
    place, sentence = COMMANDS[name]
    module, _, attribute = place.partition(":")
    target = getattr(import_module(f"reward_finetuning.pipelines.cli.{module}"), attribute)

    text = target.info.help if isinstance(target, typer.Typer) else getdoc(target).split("\n\n")[0]

    assert sentence == " ".join(text.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_name_it_is_listed_under(name):
    assert imported(name).name == name
