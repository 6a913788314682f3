//! Asking at the terminal, and reading what is not to stand on a command line.

use std::{
    io::{IsTerminal, Read, Write, stdin, stdout},
    path::Path,
};

use anyhow::{Context, bail};
use secrecy::SecretString;

/// A secret: from a file (`-` for standard input), else asked for without showing it. `flag` is named
/// where nobody is there to answer.
pub(crate) fn secret(file: Option<&Path>, what: &str, flag: &str) -> anyhow::Result<SecretString> {
    let text = match file {
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            stdin().read_to_string(&mut text).context("standard input cannot be read")?;
            text
        }
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?
        }
        None if is_at_terminal() => rpassword::prompt_password(format!("{what} (not shown): "))?,
        None => bail!("{what} is needed: give {flag} FILE, or - to read it from standard input"),
    };
    match text.trim() {
        "" => bail!("{what} is empty"),
        text => Ok(text.into()),
    }
}

/// A secret that there may not be: asked for without showing it; `None` if it is left empty or nobody is there
/// to answer.
pub(crate) fn optional_secret(what: &str) -> anyhow::Result<Option<SecretString>> {
    if !is_at_terminal() {
        return Ok(None);
    }
    let answer = rpassword::prompt_password(format!("{what} (not shown): "))?;
    Ok(Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty()).map(Into::into))
}

/// Asks on standard error, and returns true if the answer is yes. Returns false at once if standard input is no
/// terminal. Waits on a thread of its own: a caller that stops waiting, on Ctrl-C, can end the process.
pub(crate) async fn yes(question: String) -> bool {
    if !is_at_terminal() {
        return false;
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        eprint!("{question} [y/N] ");
        let read = stdin().read_line(&mut line);
        // The caller may have stopped waiting.
        let _ = answer.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    answered.await.unwrap_or(false)
}

/// Whether somebody is there to answer.
pub(crate) fn is_at_terminal() -> bool {
    stdin().is_terminal()
}

/// A line; `None` if it is left empty or nobody is there to answer.
pub(crate) fn line(question: &str) -> anyhow::Result<Option<String>> {
    if !is_at_terminal() {
        return Ok(None);
    }
    print!("{question}: ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty()))
}
