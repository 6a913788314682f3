//! A user of this backend.

use serde::{Deserialize, Serialize};

/// A user of this backend. Items are stored under the name, which may be given to another person later; `sub` tells the two
/// apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The person's id in the user pool, if it is known.
    pub sub: Option<String>,
}

impl User {
    /// Returns a user without a known `sub`.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), sub: None }
    }

    /// Returns true if an item stored with `sub` under the same name belongs to another person.
    pub(crate) fn is_another(&self, sub: Option<&str>) -> bool {
        self.sub.as_deref().zip(sub).is_some_and(|(own, stored)| own != stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_another_sub_is_another_person() {
        let check = |own: Option<&str>, stored: Option<&str>, expected: bool| {
            let user = User { sub: own.map(str::to_owned), ..User::named("alice") };
            assert_eq!(user.is_another(stored), expected, "{own:?} {stored:?}");
        };
        check(Some("1"), Some("2"), true);
        check(Some("1"), Some("1"), false);
        check(Some("1"), None, false);
        check(None, Some("1"), false);
    }
}
