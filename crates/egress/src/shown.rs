//! Texts that others choose, made safe to show.

use std::fmt;

/// Maximum length of such a text where it is shown, in characters.
const SHOWN: usize = 300;

/// A text of a server or authorization server. `Display` cuts it and removes control characters. The value holds the whole
/// text, so that a secret in it is found even if the cut falls into the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// Wraps a text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the whole text, for comparing it and for removing secrets from it.
    pub fn whole(&self) -> &str {
        &self.0
    }
}

/// Returns true if a character is printable: not a control, format, line separator or paragraph separator character
/// (Unicode's categories Cc, Cf, Zl and Zp).
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
        let fit = |c: char| if is_printable(c) { c } else { ' ' };
        f.write_str(&self.0.chars().take(SHOWN).map(fit).collect::<String>())?;
        if self.0.chars().nth(SHOWN).is_some() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_cut_and_steers_nothing() {
        assert_eq!(Shown::new("a\u{1b}[2J\nb\u{202e}c\u{200b}d").to_string(), "a [2J b c d");
        let long = Shown::new(&"ä".repeat(301));
        assert_eq!(long.to_string(), format!("{}…", "ä".repeat(300)));
        assert_eq!(long.whole().chars().count(), 301);
    }
}
