//! Which of a server's tools are offered.

use glob::Pattern;

use crate::{known_tools::KnownTools, tool_list::ToolList};

/// Which of a server's tools are offered: all, or those that an allow list names and a deny list does
/// not. Names are matched by globs: `*`, `?`, `[a-z]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolSelection {
    allow: Option<Vec<Pattern>>,
    deny: Vec<Pattern>,
}

/// A text that is no glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a glob: write names with *, ? and [a-z]")]
pub struct GlobError;

impl ToolSelection {
    /// What `allow` names (everything, if there is no such list) but for what `deny` names.
    ///
    /// # Errors
    /// [`GlobError`].
    pub fn new(allow: Option<&[String]>, deny: &[String]) -> Result<Self, GlobError> {
        let patterns = |globs: &[String]| -> Result<Vec<Pattern>, GlobError> {
            globs.iter().map(|glob| Pattern::new(glob).map_err(|_| GlobError)).collect()
        };
        Ok(Self { allow: allow.map(patterns).transpose()?, deny: patterns(deny)? })
    }

    /// Whether a tool is offered.
    pub fn offers(&self, name: &str) -> bool {
        let named = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        self.allow.as_deref().is_none_or(named) && !named(&self.deny)
    }

    /// Whether every tool is offered.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// What is offered of a list.
    pub(crate) fn of(&self, mut list: ToolList) -> ToolList {
        list.tools.retain(|tool| self.offers(&tool.name));
        list
    }

    /// What is offered of what is known.
    pub(crate) fn of_known(&self, mut known: KnownTools) -> KnownTools {
        known.names.retain(|name| self.offers(name));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: Option<&[&str]>, deny: &[&str], offered: &[&str], kept_back: &[&str]) {
        let texts = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        let selection = ToolSelection::new(allow.map(texts).as_deref(), &texts(deny)).unwrap();
        assert!(offered.iter().all(|name| selection.offers(name)), "{allow:?} {deny:?}");
        assert!(!kept_back.iter().any(|name| selection.offers(name)), "{allow:?} {deny:?}");
    }

    #[test]
    fn deny_goes_before_allow_and_no_list_offers_all() {
        check(None, &[], &["read_file", "delete_file"], &[]);
        check(Some(&["read_*", "list"]), &[], &["read_file", "list"], &["delete_file", "list_all"]);
        check(None, &["delete_*"], &["read_file"], &["delete_file"]);
        check(Some(&["*_file"]), &["delete_?ile"], &["read_file"], &["delete_file", "x"]);
        check(Some(&[]), &[], &[], &["read_file"]);
        assert_eq!(ToolSelection::new(Some(&["[".to_owned()]), &[]), Err(GlobError));
    }
}
