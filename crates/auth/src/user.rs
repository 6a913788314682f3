//! One person who signs in.

use serde::{Deserialize, Serialize};

/// A user of this backend. What is kept is kept under the name, which may be given to another person later; `sub` tells
/// the two apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// What the user pool calls this one person, where that is known.
    pub sub: Option<String>,
}

impl User {
    /// A user of whom nothing is known but the name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), sub: None }
    }

    /// Returns true if what was kept for `sub` under the same name is another person's.
    pub(crate) fn is_another(&self, sub: Option<&str>) -> bool {
        self.sub.as_deref().zip(sub).is_some_and(|(own, kept)| own != kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_is_who_has_another_sub() {
        let check = |own: Option<&str>, kept: Option<&str>, expected: bool| {
            let user = User { sub: own.map(str::to_owned), ..User::named("alice") };
            assert_eq!(user.is_another(kept), expected, "{own:?} {kept:?}");
        };
        check(Some("1"), Some("2"), true);
        check(Some("1"), Some("1"), false);
        check(Some("1"), None, false);
        check(None, Some("1"), false);
    }
}
