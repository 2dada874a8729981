"""Completion for shells: a few lines for each of them, which ask this program for the words that may stand there.

Asked anew at each Tab, which takes a tenth of a second, a shell knows what this version knows, and nothing has to be
generated again after an update. Everything is read from the parser.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

from ordersys.console import output
from ordersys.grpc_client import outcome
from ordersys.grpc_client.parser import ClientParser

# Bash cuts words at = and :, too, and replaces the last part; `typed_words` puts together what it has cut.
_SCRIPTS: Mapping[str, str] = {
    "bash": """\
_ordersys() {
    local IFS=$'\\n'
    COMPREPLY=($(ordersys completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _ordersys ordersys
""",
    "zsh": """\
_ordersys() {
    local -a candidates
    candidates=(${(f)"$(ordersys completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#candidates} )); then compadd -- $candidates; else _files; fi
}
compdef _ordersys ordersys
""",
    "fish": """\
function __ordersys_words
    set -l words (commandline -opc)
    ordersys completion words -- $words[2..] (commandline -ct) 2>/dev/null
end
complete -c ordersys -a '(__ordersys_words)'
""",
}


def show_script(shell: str) -> int:
    """Prints what `shell` is to evaluate."""
    output.write(_SCRIPTS[shell])
    return outcome.DONE


def show_words(parser: ClientParser, typed: Sequence[str]) -> int:
    """Prints the words that may stand in the place of the last one of `typed`, a line each."""
    for word in candidates(parser, typed_words(typed[1:] if typed[:1] == ["--"] else typed)):
        output.line(word)
    return outcome.DONE


def candidates(parser: ClientParser, typed: Sequence[str]) -> Sequence[str]:
    """The words that may stand in the place of the last one, whose beginning it is; none where only a value may."""
    *before, last = typed or [""]
    command, operands = _position(parser, before)
    current: argparse.ArgumentParser = parser.commands[command] if command else parser
    waiting = _flag(current, before[-1]) if before else None
    flag, equals, value = last.partition("=")
    if waiting is not None and waiting.nargs is None:
        return _beginning(_choices(waiting), last)
    if equals and flag.startswith("--"):  # the shell replaces what stands behind the sign
        return _beginning(_choices(_flag(current, flag)), value)
    if last.startswith("-"):
        return _beginning((f for f in current._option_string_actions if f.startswith("--")), last)
    return _beginning(parser.commands if not command else _operand(current, operands), last)


def _position(parser: ClientParser, words: Sequence[str]) -> tuple[str, int]:
    """The command that was typed, empty before it was, and how many operands stand behind it."""
    command, operands, is_value = "", 0, False
    for word in words:
        current = parser.commands[command] if command else parser
        flag = _flag(current, word)
        if is_value:
            is_value = False
        elif word.startswith("-"):
            is_value = flag is not None and flag.nargs is None
        elif command:
            operands += 1
        elif word in parser.commands:
            command = word
    return command, operands


def _flag(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    return parser._option_string_actions.get(word)


def _operand(parser: argparse.ArgumentParser, index: int) -> Iterator[str]:
    """The choices for the operand at `index`; the last one may be repeated."""
    positionals = [action for action in parser._actions if not action.option_strings]
    if positionals:
        yield from _choices(positionals[min(index, len(positionals) - 1)])


def _choices(action: argparse.Action | None) -> Iterator[str]:
    if action is not None and action.choices is not None:
        yield from (str(choice) for choice in action.choices if choice != "words")


def _beginning(words: "Iterator[str] | Mapping[str, object]", start: str) -> Sequence[str]:
    return [word for word in words if word.startswith(start)]


def typed_words(words: Sequence[str]) -> Sequence[str]:
    """The words as the shell would hand them over: `--output`, `=`, `js` are one, `-o js` are two."""
    joined: list[str] = []
    for word in words:
        if joined and (word == "=" or (joined[-1].endswith("=") and joined[-1].startswith("--"))):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
