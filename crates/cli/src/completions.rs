//! `mcp-agents completions`: prints the completion script of a shell.

use std::{io::stdout, process::ExitCode};

use clap::{Args, Command};
use clap_complete::Shell;

/// Prints the completion script of a shell.
///
/// For bash: `mcp-agents completions bash > ~/.local/share/bash-completion/completions/mcp-agents`. For zsh: into a
/// file `_mcp-agents` in a folder of $fpath. For fish: `~/.config/fish/completions/mcp-agents.fish`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The shell.
    shell: Shell,
}

/// Prints the script for `command`, the whole command line.
pub(crate) fn run(options: &Options, mut command: Command) -> ExitCode {
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut stdout());
    ExitCode::SUCCESS
}
