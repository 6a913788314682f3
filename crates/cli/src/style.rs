//! The colours of the command line's output. `anstream` removes them if the output is not a terminal, if the terminal has
//! no colours, and if `NO_COLOR` is set.

use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

/// A step that succeeded.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// A step or command that failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// A warning.
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
/// Names and headings.
pub(crate) const STRONG: Style = Style::new().bold();
/// Secondary text.
pub(crate) const QUIET: Style = Style::new().dimmed();

/// Returns a text in a style. Width and alignment of the format apply to the text alone.
pub(crate) fn styled<T: Display>(style: Style, text: T) -> Styled<T> {
    Styled { style, text }
}

/// A text in a style, made by [`styled`].
pub(crate) struct Styled<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.style.fmt(f)?;
        self.text.fmt(f)?;
        write!(f, "{:#}", self.style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_the_texts() {
        assert_eq!(format!("{:<4}|", styled(GOOD, "ok")), "\u{1b}[32mok  \u{1b}[0m|");
    }
}
