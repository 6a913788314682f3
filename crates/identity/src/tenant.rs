//! Tenants: which ones a user belongs to, and which one a request is about.
//!
//! A tenant is a pair of Cognito groups, so that tokens carry it: `org/{org}` has its members, `org/{org}/admin` its
//! administrators. A user in no such group is a member of the default tenant, whose administrators are the group `Admin`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The prefix of the groups that make tenants.
const GROUP_PREFIX: &str = "org/";
/// The group of the stack's administrators.
const STACK_ADMINS: &str = "Admin";

/// The name of a tenant: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// The reason why a request names no tenant of its caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The text is not the name of a tenant.
    #[error("is not the name of a tenant: use 1 to 63 of a to z, 0 to 9 and -, with no - at the beginning")]
    Name,
    /// The caller belongs to several tenants, and the request names none.
    #[error("you belong to several tenants ({}): name one of them as org", names(.0))]
    Needed(Vec<Tenant>),
    /// The caller does not belong to the tenant.
    #[error("there is no such tenant")]
    Unknown,
}

/// The tenants of one user, and whether the user administers each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenants {
    default: Tenant,
    /// True for a tenant that the user administers.
    memberships: BTreeMap<Tenant, bool>,
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
    type Err = TenantError;

    fn from_str(text: &str) -> Result<Self, TenantError> {
        let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = text.as_bytes().first().is_some_and(is_alphanumeric);
        let is_name = text.bytes().all(|byte| is_alphanumeric(&byte) || byte == b'-');
        if begins_well && is_name && text.len() <= 63 {
            Ok(Self(text.to_owned()))
        } else {
            Err(TenantError::Name)
        }
    }
}

impl TryFrom<String> for Tenant {
    type Error = TenantError;

    fn try_from(text: String) -> Result<Self, TenantError> {
        text.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tenants {
    /// Returns the tenants of a user with these groups. Groups with the prefix that name no tenant are ignored.
    pub fn of_groups<'a>(groups: impl Iterator<Item = &'a str>, default: &Tenant) -> Self {
        let mut memberships = BTreeMap::new();
        let mut is_stack_admin = false;
        for group in groups {
            is_stack_admin |= group == STACK_ADMINS;
            let Some(name) = group.strip_prefix(GROUP_PREFIX) else { continue };
            let (name, is_admin) = match name.strip_suffix("/admin") {
                Some(name) => (name, true),
                None => (name, false),
            };
            if let Ok(tenant) = name.parse() {
                *memberships.entry(tenant).or_insert(false) |= is_admin;
            }
        }
        if memberships.is_empty() {
            memberships.insert(default.clone(), false);
        }
        if is_stack_admin {
            memberships.insert(default.clone(), true);
        }
        Self { default: default.clone(), memberships }
    }

    /// Returns true if the user belongs to the tenant.
    pub fn has(&self, tenant: &Tenant) -> bool {
        self.memberships.contains_key(tenant)
    }

    /// Returns true if the user administers the tenant.
    pub fn administers(&self, tenant: &Tenant) -> bool {
        self.memberships.get(tenant).copied().unwrap_or(false)
    }

    /// Returns the tenant that a request is about: the one that it names; without a name the user's only one, else the
    /// default one if the user belongs to it.
    ///
    /// # Errors
    /// [`TenantError::Unknown`] for a tenant that the user does not belong to, whatever its name;
    /// [`TenantError::Needed`] if the request has to name one.
    pub fn choose(&self, named: Option<&str>) -> Result<&Tenant, TenantError> {
        let mut names = self.memberships.keys();
        match named {
            Some(name) => names.find(|tenant| tenant.as_str() == name).ok_or(TenantError::Unknown),
            None => match (names.next(), names.next()) {
                (Some(only), None) => Ok(only),
                _ if self.has(&self.default) => Ok(&self.default),
                _ => Err(TenantError::Needed(self.memberships.keys().cloned().collect())),
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
            assert_eq!(good.parse::<Tenant>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "Acme", "a_b", "a/b", "a b", "\u{e4}", &"a".repeat(64)] {
            assert_eq!(bad.parse::<Tenant>(), Err(TenantError::Name), "{bad}");
        }
    }

    #[test]
    fn groups_make_members_and_administrators() {
        let administers = |groups: &[&str], name: &str| tenants(groups).administers(&name.parse().unwrap());
        assert!(!administers(&["org/acme"], "acme"));
        assert!(administers(&["org/acme/admin"], "acme"));
        assert!(administers(&["org/acme/admin", "org/acme"], "acme"));
        assert!(administers(&["Admin"], "main"));
        assert!(
            administers(&["Admin", "org/acme"], "main"),
            "the stack's administrators have the default tenant"
        );
        assert!(!administers(&["Admin", "org/acme"], "acme"));
        assert!(!administers(&["org/acme/admin"], "main"));
        assert!(!tenants(&["org/acme"]).has(&Tenant::default()));
        assert!(tenants(&["Viewer", "org/Bad Name", "org/"]).has(&Tenant::default()));
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
