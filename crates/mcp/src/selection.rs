//! The selection of a server's tools that an entry offers, by its allow list and its deny list.
//!
//! Built by `secret` from an entry; applied to lists by [`crate::Session`] and [`crate::ToolCache`], and checked before
//! each call.

use glob::Pattern;

use crate::{tool_list::ToolList, tool_names::ToolNames};

/// The tools that an entry offers: those that the allow list names (all, if there is no allow list) and the deny list
/// does not name. Names are matched by globs: `*`, `?`, `[a-z]`. The default offers all tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolSelection {
    allow: Option<Vec<Pattern>>,
    deny: Vec<Pattern>,
}

/// The error for a text that is not a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a glob: write names with *, ? and [a-z]")]
pub struct GlobError;

impl ToolSelection {
    /// Parses the globs of both lists; without `allow` every tool is allowed.
    ///
    /// # Errors
    /// [`GlobError`].
    pub fn new(allow: Option<&[String]>, deny: &[String]) -> Result<Self, GlobError> {
        let patterns = |globs: &[String]| -> Result<Vec<Pattern>, GlobError> {
            globs.iter().map(|glob| Pattern::new(glob).map_err(|_| GlobError)).collect()
        };
        Ok(Self { allow: allow.map(patterns).transpose()?, deny: patterns(deny)? })
    }

    /// Returns true if the tool is offered.
    pub fn offers(&self, name: &str) -> bool {
        let named = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        self.allow.as_deref().is_none_or(named) && !named(&self.deny)
    }

    /// Returns true if every tool is offered.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Removes the tools that are not offered.
    pub(crate) fn filter_list(&self, mut list: ToolList) -> ToolList {
        list.tools.retain(|tool| self.offers(&tool.name));
        list
    }

    /// Removes the names of the tools that are not offered.
    pub(crate) fn filter_names(&self, mut tools: ToolNames) -> ToolNames {
        tools.names.retain(|name| self.offers(name));
        tools
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: Option<&[&str]>, deny: &[&str], offered: &[&str], withheld: &[&str]) {
        let texts = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        let selection = ToolSelection::new(allow.map(texts).as_deref(), &texts(deny)).unwrap();
        assert!(offered.iter().all(|name| selection.offers(name)), "{allow:?} {deny:?}");
        assert!(!withheld.iter().any(|name| selection.offers(name)), "{allow:?} {deny:?}");
    }

    #[test]
    fn deny_overrides_allow_and_without_lists_all_tools_are_offered() {
        check(None, &[], &["read_file", "delete_file"], &[]);
        check(Some(&["read_*", "list"]), &[], &["read_file", "list"], &["delete_file", "list_all"]);
        check(None, &["delete_*"], &["read_file"], &["delete_file"]);
        check(Some(&["*_file"]), &["delete_?ile"], &["read_file"], &["delete_file", "x"]);
        check(Some(&[]), &[], &[], &["read_file"]);
        assert_eq!(ToolSelection::new(Some(&["[".to_owned()]), &[]), Err(GlobError));
    }
}
