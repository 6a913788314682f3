//! The caller: the user of a verified identity, with groups and tenants. Verifies nothing itself.

use auth::User;
use serde_json::Value;

use crate::tenant::{Tenant, Tenants};

/// The groups of the user pool whose members may list agents and run jobs.
const GROUPS: [&str; 3] = ["Admin", "Author", "Viewer"];

/// A signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user. Jobs and sign-ins are stored under the user's name.
    pub user: User,
    groups: Vec<String>,
}

impl Caller {
    /// Returns the user of a resolver's `identity`: `{username, sub, claims}`. Returns `None` if the identity names no
    /// user.
    pub fn of_resolver(identity: &Value) -> Option<Self> {
        let sub = text(&identity["sub"]).or_else(|| text(&identity["claims"]["sub"]));
        let name = text(&identity["username"]).or_else(|| sub.clone())?;
        Some(Self { user: User { name, sub }, groups: groups(&identity["claims"]) })
    }

    /// Returns the user of a verified token's claims. An access token has the name in `username`, an ID token in
    /// `cognito:username`. Returns `None` if the claims name no user.
    pub fn of_claims(claims: &Value) -> Option<Self> {
        let names = ["username", "cognito:username", "sub"];
        let name = names.iter().find_map(|name| text(&claims[*name]))?;
        Some(Self { user: User { name, sub: text(&claims["sub"]) }, groups: groups(claims) })
    }

    /// Returns true if the user is an administrator, who may change sign-ins of all users.
    pub fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| group == "Admin")
    }

    /// Returns the tenants of the user; `default` is the tenant of users in no tenant's group.
    pub(crate) fn tenants(&self, default: &Tenant) -> Tenants {
        Tenants::of_groups(self.groups.iter().map(String::as_str), default)
    }

    /// Returns true if the user may list agents and run jobs.
    pub fn may_use_agents(&self) -> bool {
        has_member_group(&self.groups)
    }
}

/// Returns true if the groups in a resolver's `identity` may list agents, also if the identity names no user.
pub fn may_list(identity: &Value) -> bool {
    has_member_group(&groups(&identity["claims"]))
}

fn has_member_group(groups: &[String]) -> bool {
    groups.iter().any(|group| GROUPS.contains(&group.as_str()))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Reads the user's groups. AppSync gives a list, API Gateway's authorizers give a text such as `[Admin Viewer]`. Any
/// other text is split at spaces only, because Cognito allows commas, quotes and brackets in a group's name, but no
/// spaces.
fn groups(claims: &Value) -> Vec<String> {
    match &claims["cognito:groups"] {
        Value::Array(groups) => groups.iter().filter_map(text).collect(),
        Value::String(text) => {
            let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            list.unwrap_or(text).split(' ').filter(|group| !group.is_empty()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_user_name_is_used_before_the_sub() {
        let id = |caller: Option<Caller>| caller.map(|caller| caller.user.name);
        let both = json!({"username": "alice", "sub": "s-1"});
        assert_eq!(id(Caller::of_resolver(&both)).as_deref(), Some("alice"));
        assert_eq!(id(Caller::of_claims(&both)).as_deref(), Some("alice"));
        assert_eq!(
            id(Caller::of_claims(&json!({"cognito:username": "alice", "sub": "s-1"}))).as_deref(),
            Some("alice")
        );
        assert_eq!(id(Caller::of_resolver(&json!({"sub": "s-1"}))).as_deref(), Some("s-1"));
        let sub = |caller: Option<Caller>| caller.and_then(|caller| caller.user.sub);
        assert_eq!(sub(Caller::of_resolver(&both)).as_deref(), Some("s-1"));
        assert_eq!(sub(Caller::of_claims(&both)).as_deref(), Some("s-1"));
        assert_eq!(id(Caller::of_resolver(&json!({"username": ""}))), None);
        assert_eq!(id(Caller::of_claims(&json!(null))), None);
    }

    #[test]
    fn groups_are_read_from_a_list_and_from_a_text() {
        let check = |given: Value, may: bool| {
            assert_eq!(may_list(&json!({"claims": {"cognito:groups": given}})), may, "{given}");
        };
        check(json!(["Viewer"]), true);
        check(json!("[Guest Author]"), true);
        check(json!("Admin"), true);
        check(json!("[Guests,Admin x]"), false);
        check(json!("Admin,Guest"), false);
        check(json!("[[Admin]]"), false);
        check(json!("\"Admin\""), false);
        check(json!("Administrators"), false);
        check(json!(null), false);
    }
}
