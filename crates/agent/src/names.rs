//! Tool names that a model may see, and the way back.
//!
//! Bedrock takes `[a-zA-Z0-9_-]{1,64}` and refuses a whole call for one name that is not; MCP servers
//! name tools as they like. A name that fits stays as it is; another is made to fit and, so that two
//! never become one, ends in a digest of itself. The same names give the same result in every run.

use std::collections::HashMap;

/// Bedrock's limit on a tool's name, in characters.
const MAX_NAME: usize = 64;

/// The names of one run.
#[derive(Debug, Default)]
pub(crate) struct ToolNames {
    original_of: HashMap<String, String>,
}

impl ToolNames {
    /// A name for the model, from now on standing for `original`; `None` if it stands for one already,
    /// which happens when a server lists a tool twice.
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

    /// The tool that a model means by a name; `None` for a name that it made up.
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
    fn names_that_fit_stay_and_others_are_made_to_fit() {
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
        fn any_names_fit_are_told_apart_and_lead_back(
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
    fn names_lead_back_and_made_up_ones_do_not() {
        let mut names = ToolNames::default();
        let name = names.assign("files.read").unwrap();
        assert_eq!(names.original(&name), Some("files.read"));
        assert_eq!(names.original("files_write"), None);
        assert_eq!(names.assign("files.read"), None, "listed twice");
        assert_eq!(names.original(&name), Some("files.read"));
    }
}
