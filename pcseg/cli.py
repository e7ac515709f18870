"""The command `pcseg`: parses the arguments of a subcommand before numpy and torch are imported, then runs it."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

import pcseg
from pcseg.data.reader_options import as_flags

# Modules of pcseg.commands. "prepare scans" is the module prepare_scans, a member of the group prepare.
COMMANDS = (
    *("predict", "show", "export", "prepare s3dis", "prepare scannet", "prepare scans", "synth"),
    *("train", "test", "evaluate", "plot", "sweep", "bench", "warm-up"),
)
GROUPS = {"prepare": "Convert raw datasets or labeled scans to processed rooms."}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command line. It ends the process with the exit code of `run_tool` unless the command succeeds.

    Args:
        argv: words after `pcseg`; None for those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    words = re.sub("\0--up\0(?=-[xyz]\\b)", "\0--up=", "\0".join(words)).split("\0")  # argparse takes -y for an option
    parsers = make_parsers()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parsers[""])
    count = next((num for num in (2, 1) if " ".join(words[:num]) in COMMANDS), 0)
    if count == 0:
        shell = parsers[""].parse_args(words).print_completion
        run_tool(lambda: _print_completion(shell))
        return
    name = " ".join(words[:count])
    # Options may stand between positional arguments, which subparsers do not allow.
    args = parsers[name].parse_intermixed_args(words[count:])
    args.command_line = ["pcseg", *words]
    run_tool(lambda: _module(name).run(args))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, since the usage of some commands fills a screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def make_parsers() -> Mapping[str, argparse.ArgumentParser]:
    """The parser of each subcommand by its name, and of `pcseg` itself by an empty name."""
    text = "Instance segmentation of indoor point clouds: raw rooms in, objects out."
    top = _Parser("pcseg", description=text, epilog="pcseg COMMAND --help shows the options of each.")
    top.add_argument("--version", action="version", version=f"pcseg {pcseg.__version__}")
    top.add_argument(
        "--print-completion", choices=("bash", "zsh", "fish"), help="print the script that completes words in a shell"
    )
    parsers = {"": top}
    places = {"": top.add_subparsers(metavar="COMMAND", title="commands")}
    for name in COMMANDS:
        group, _, own = name.rpartition(" ")
        if group not in places:
            parser = places[""].add_parser(group, help=GROUPS[group], description=GROUPS[group])
            places[group] = parser.add_subparsers(metavar="KIND", title="kinds", required=True)
        module = _module(name)
        summary, _, details = (module.__doc__ or "").partition("\n\n")
        parsers[name] = places[group].add_parser(
            own, help=summary, description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(parsers[name])
    return parsers


def _module(name: str) -> ModuleType:
    return import_module(f"pcseg.commands.{name.replace(' ', '_').replace('-', '_')}")


def run_tool(call: Callable[[], object]) -> None:
    """Runs a command and ends the process with its exit code unless it succeeds.

    2: invalid input or usage, with a one-line message on stderr. 1: internal error, with a traceback. 141: the reader
    of the output has left. The log of pcseg goes to stderr.

    Args:
        call: the command.
    """
    log, terminal = logging.getLogger("pcseg"), logging.StreamHandler()
    log.setLevel(logging.INFO)
    terminal.setFormatter(_Flags())
    log.addHandler(terminal)
    try:
        call()
    except BrokenPipeError:  # the reader of the output, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, OSError) as error:
        message = str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            message = f"{error.filename}: this folder, or one above it, is a file"
        print(f"error: {as_flags(message)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        log.removeHandler(terminal)


class _Flags(logging.Formatter):
    """Spells options as flags."""

    def format(self, record: logging.LogRecord) -> str:
        return as_flags(super().format(record))


def _print_completion(shell: str) -> None:
    try:
        import argcomplete
    except ImportError as error:
        raise ValueError("completion needs the package argcomplete: pip install 'pcseg[completion]'") from error
    print(argcomplete.shellcode(["pcseg"], shell=shell))
