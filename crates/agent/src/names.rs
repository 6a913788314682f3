//! Tool names for the model, and the original names that they stand for.
//!
//! Bedrock accepts names of the form `[a-zA-Z0-9_-]{1,64}` and refuses a whole request for one other name. MCP servers
//! name tools as they like. A name that fits is not changed. Any other name is changed to fit and ends in a digest of
//! the original, so that two tools never get the same name. The same original gives the same name in every run.

use std::collections::HashMap;

/// Bedrock's limit on a tool's name, in characters.
const MAX_NAME: usize = 64;

/// The names of one run.
#[derive(Debug, Default)]
pub(crate) struct ToolNames {
    original_of: HashMap<String, String>,
}

impl ToolNames {
    /// Returns the name for the model that stands for `original` from now on. Returns `None` if the name already stands
    /// for a tool, because the server lists a tool twice.
    pub(crate) fn assign(&mut self, original: &str) -> Option<String> {
        let name = model_name(original);
        match self.original_of.insert(name.clone(), original.to_owned()) {
            None => Some(name),
            Some(first) => {
                self.original_of.insert(name, first);
                None
            }
        }
    }

    /// Returns the original name of the tool that a model calls by `name`; `None` if no tool has that name.
    pub(crate) fn original(&self, name: &str) -> Option<&str> {
        self.original_of.get(name).map(String::as_str)
    }
}

fn model_name(original: &str) -> String {
    mcp::fit_name(original, MAX_NAME, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: &str, expected: &str) {
        assert_eq!(model_name(original), expected);
    }

    #[test]
    fn names_that_fit_are_not_changed_and_others_are_made_to_fit() {
        check("get_weather-2", "get_weather-2");
        check("files.read", "files_read-1fd0376a62");
        check(&"x".repeat(64), &"x".repeat(64));
        for odd in ["", "ü", "a/b", "a b", &"y".repeat(300), "日本語"] {
            let name = model_name(odd);
            assert!((1..=64).contains(&name.len()), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{name}");
        }
        assert_ne!(model_name("a.b"), model_name("a/b"));
    }

    proptest::proptest! {
        #[test]
        fn any_names_fit_differ_and_lead_back_to_the_original(
            originals in proptest::collection::hash_set(".{0,100}", 0..40),
        ) {
            let mut names = ToolNames::default();
            let mut given = std::collections::HashSet::new();
            for original in &originals {
                let name = names.assign(original).expect("all differ");
                assert!((1..=64).contains(&name.len()));
                assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
                assert_eq!(name, model_name(original), "the same in every run");
                assert!(given.insert(name));
            }
            for original in &originals {
                assert_eq!(names.original(&model_name(original)), Some(original.as_str()));
            }
        }
    }

    #[test]
    fn an_assigned_name_leads_back_to_the_original_and_any_other_to_none() {
        let mut names = ToolNames::default();
        let name = names.assign("files.read").unwrap();
        assert_eq!(names.original(&name), Some("files.read"));
        assert_eq!(names.original("files_write"), None);
        assert_eq!(names.assign("files.read"), None, "listed twice");
        assert_eq!(names.original(&name), Some("files.read"));
    }
}
