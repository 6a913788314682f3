//! Texts that somebody else chose, made fit to be shown.

use std::fmt;

/// How much of a text that somebody else chose is shown.
const SHOWN: usize = 300;

/// A text that somebody else chose, cut and without what could steer a terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// `text`, made fit to be shown.
    pub fn new(text: &str) -> Self {
        let fit = |c: char| if is_printable(c) { c } else { ' ' };
        let mut shown: String = text.chars().take(SHOWN).map(fit).collect();
        if text.chars().count() > SHOWN {
            shown.push('…');
        }
        Self(shown)
    }

    /// As it may be shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character is seen and does nothing else: it steers no terminal, breaks no line, turns no
/// direction, hides nothing (Unicode's categories Cc, Cf, Zl and Zp).
pub fn is_printable(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'..='\u{e007f}');
    !c.is_control() && !hidden
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
