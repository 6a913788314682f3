//! Tenants: which ones a user belongs to, and which one a request is about.
//!
//! A tenant is a pair of Cognito groups, so that tokens carry it: `org/{org}` for its members, `org/{org}/admin` for
//! its administrators. A user in no such group is a member of the default tenant, and so is every user of the group `Admin`.

use std::{collections::BTreeSet, str::FromStr};

/// The prefix of the groups that make tenants.
const GROUP_PREFIX: &str = "org/";
/// The suffix of the group of a tenant's administrators, who are members too.
const ADMINS: &str = "/admin";
/// The group of the stack's administrators.
const STACK_ADMINS: &str = "Admin";

/// The name of a tenant: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(String);

/// The text is not the name of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the name of a tenant: use 1 to 63 of a to z, 0 to 9 and -, with no - at the beginning")]
pub struct TenantNameError;

/// The reason why a request is about no tenant of its caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The caller belongs to several tenants, and the request names none.
    #[error("you belong to several tenants ({}): name one of them as org", names(.0))]
    Needed(Vec<Tenant>),
    /// The caller does not belong to the tenant.
    #[error("there is no such tenant")]
    Unknown,
}

/// The tenants of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenants {
    default: Tenant,
    memberships: BTreeSet<Tenant>,
}

impl Tenant {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    /// The tenant of a stack that configures none.
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl FromStr for Tenant {
    type Err = TenantNameError;

    fn from_str(text: &str) -> Result<Self, TenantNameError> {
        let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = text.as_bytes().first().is_some_and(is_alphanumeric);
        let is_name = text.bytes().all(|byte| is_alphanumeric(&byte) || byte == b'-');
        if begins_well && is_name && text.len() <= 63 {
            Ok(Self(text.to_owned()))
        } else {
            Err(TenantNameError)
        }
    }
}

impl Tenants {
    /// Returns the tenants of a user with these groups. Groups with the prefix that name no tenant are ignored.
    pub(crate) fn of_groups<'a>(groups: impl Iterator<Item = &'a str>, default: &Tenant) -> Self {
        let mut memberships = BTreeSet::new();
        for group in groups {
            if group == STACK_ADMINS {
                memberships.insert(default.clone());
            }
            let name = group.strip_prefix(GROUP_PREFIX).map(|name| name.strip_suffix(ADMINS).unwrap_or(name));
            memberships.extend(name.and_then(|name| name.parse().ok()));
        }
        if memberships.is_empty() {
            memberships.insert(default.clone());
        }
        Self { default: default.clone(), memberships }
    }

    /// Returns true if the user belongs to the tenant.
    fn has(&self, tenant: &Tenant) -> bool {
        self.memberships.contains(tenant)
    }

    /// Returns the tenant that a request is about: the one that it names; without a name the user's only one, else the
    /// default one if the user belongs to it.
    ///
    /// # Errors
    /// [`TenantError::Unknown`] for a tenant that the user does not belong to, whatever its name;
    /// [`TenantError::Needed`] if the request has to name one.
    pub(crate) fn choose(&self, named: Option<&str>) -> Result<&Tenant, TenantError> {
        let mut names = self.memberships.iter();
        match named {
            Some(name) => names.find(|tenant| tenant.as_str() == name).ok_or(TenantError::Unknown),
            None => match (names.next(), names.next()) {
                (Some(only), None) => Ok(only),
                _ if self.has(&self.default) => Ok(&self.default),
                _ => Err(TenantError::Needed(self.memberships.iter().cloned().collect())),
            },
        }
    }
}

fn names(tenants: &[Tenant]) -> String {
    tenants.iter().map(Tenant::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(groups: &[&str]) -> Tenants {
        Tenants::of_groups(groups.iter().copied(), &Tenant::default())
    }

    fn check(groups: &[&str], named: Option<&str>, expected: Result<&str, TenantError>) {
        let tenants = tenants(groups);
        assert_eq!(tenants.choose(named).map(Tenant::as_str), expected, "{groups:?} {named:?}");
    }

    #[test]
    fn a_name_has_lower_case_letters_digits_and_dashes() {
        for good in ["a", "0", "acme-inc", &"a".repeat(63)] {
            assert_eq!(good.parse::<Tenant>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "Acme", "a_b", "a/b", "a b", "\u{e4}", &"a".repeat(64)] {
            assert_eq!(bad.parse::<Tenant>(), Err(TenantNameError), "{bad}");
        }
    }

    #[test]
    fn groups_make_members() {
        let has = |groups: &[&str], name: &str| tenants(groups).has(&name.parse().unwrap());
        assert!(has(&["org/acme"], "acme"));
        assert!(has(&["org/acme/admin"], "acme"));
        assert!(has(&["Admin"], "main"));
        assert!(has(&["Admin", "org/acme"], "main"), "the stack's administrators have the default tenant");
        assert!(has(&["Admin", "org/acme"], "acme"));
        assert!(!has(&["org/acme/admin"], "main"));
        assert!(!has(&["org/acme"], "main"));
        assert!(has(&["Viewer", "org/Bad Name", "org/"], "main"));
    }

    #[test]
    fn a_request_is_about_the_tenant_that_it_names_or_the_only_one() {
        let needed = |names: &[&str]| {
            Err(TenantError::Needed(names.iter().map(|name| name.parse().unwrap()).collect()))
        };
        check(&["Viewer"], None, Ok("main"));
        check(&["org/acme"], None, Ok("acme"));
        check(&["org/acme", "org/globex"], Some("globex"), Ok("globex"));
        check(&["org/acme", "org/globex"], None, needed(&["acme", "globex"]));
        check(&["org/acme", "org/main"], None, Ok("main"));
        check(&["org/acme"], Some("main"), Err(TenantError::Unknown));
        check(&["org/acme"], Some("No Name"), Err(TenantError::Unknown));
    }
}
