"""The subcommands of `pcseg`: each module adds its arguments to a parser, and imports what it needs when it runs."""
