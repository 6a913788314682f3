//! Questions to the user at a terminal, and credentials from files, standard input or hidden input.

use std::{
    io::{IsTerminal, Read, Write, stdin, stdout},
    path::Path,
};

use anyhow::{Context, bail};
use secrecy::SecretString;

/// Reads a credential from a file (`-` is standard input); without a file asks the user for it, with hidden input.
///
/// # Errors
/// The file cannot be read, the credential is empty, or there is no terminal to ask at; the message then names `flag`.
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

/// Asks the user for an optional credential, with hidden input. Returns `None` if the answer is empty or there is no
/// terminal.
pub(crate) fn optional_secret(what: &str) -> anyhow::Result<Option<SecretString>> {
    if !is_at_terminal() {
        return Ok(None);
    }
    let answer = rpassword::prompt_password(format!("{what} (not shown): "))?;
    Ok(Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty()).map(Into::into))
}

/// Asks a question on standard error and returns true if the answer is yes. Returns false at once if standard input is not
/// a terminal. Reads on a separate thread, so that Ctrl-C can end the process meanwhile.
pub(crate) async fn yes(question: String) -> bool {
    if !is_at_terminal() {
        return false;
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        eprint!("{question} [y/N] ");
        let read = stdin().read_line(&mut line);
        // Sending fails if the caller no longer waits.
        let _ = answer.send(read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes"));
    });
    answered.await.unwrap_or(false)
}

/// Returns true if standard input is a terminal.
pub(crate) fn is_at_terminal() -> bool {
    stdin().is_terminal()
}

/// Asks a question and returns the answer; `None` if it is empty or there is no terminal.
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
