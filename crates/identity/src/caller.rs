//! The caller, taken from an identity that a gateway or AppSync has verified, and what the caller may do.

use auth::User;
use serde_json::Value;

/// Who of a Cognito pool's groups may list agents and run jobs.
const GROUPS: [&str; 3] = ["Admin", "Author", "Viewer"];

/// A signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is: jobs and sign-ins are kept under the name.
    pub user: User,
    groups: Vec<String>,
}

impl Caller {
    /// The user of a resolver's `identity`: `{username, sub, claims}`; `None` if it names nobody.
    pub fn of_resolver(identity: &Value) -> Option<Self> {
        let sub = text(&identity["sub"]).or_else(|| text(&identity["claims"]["sub"]));
        let name = text(&identity["username"]).or_else(|| sub.clone())?;
        Some(Self { user: User { name, sub }, groups: groups(&identity["claims"]) })
    }

    /// The user of a verified token's claims; an ID token calls the user name `cognito:username`.
    pub fn of_claims(claims: &Value) -> Option<Self> {
        let names = ["username", "cognito:username", "sub"];
        let name = names.iter().find_map(|name| text(&claims[*name]))?;
        Some(Self { user: User { name, sub: text(&claims["sub"]) }, groups: groups(claims) })
    }

    /// Whether the user may do for everybody what others do for themselves.
    pub fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| group == "Admin")
    }

    /// Whether the user may list agents and run jobs.
    pub fn may_use_agents(&self) -> bool {
        self.groups.iter().any(|group| GROUPS.contains(&group.as_str()))
    }
}

/// Whether the groups in a resolver's `identity` may list agents, whoever it is.
pub fn may_list(identity: &Value) -> bool {
    groups(&identity["claims"]).iter().any(|group| GROUPS.contains(&group.as_str()))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The user's groups: AppSync gives a list, API Gateway's authorizers a text (`[Admin Viewer]`). Any other text is
/// one name, in which Cognito allows commas, quotes and brackets, but no spaces.
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
    fn the_user_name_comes_before_the_subject() {
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
    fn groups_are_read_as_each_gateway_gives_them() {
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
