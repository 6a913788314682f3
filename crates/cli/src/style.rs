//! Colours of what the command line says. `anstream` leaves them out where the output is no terminal, where the terminal
//! has none, and where `NO_COLOR` is set.

use std::fmt::{self, Display};

use anstyle::{AnsiColor, Style};

/// What worked.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is odd, and works all the same.
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
/// What a reader looks for first.
pub(crate) const STRONG: Style = Style::new().bold();
/// What goes beside the matter.
pub(crate) const QUIET: Style = Style::new().dimmed();

/// A text in a style. Width and alignment of the format apply to the text alone.
pub(crate) fn styled<T: Display>(style: Style, text: T) -> Styled<T> {
    Styled { style, text }
}

/// See [`styled`].
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
