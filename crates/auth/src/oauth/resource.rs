//! Resource identifiers (RFC 8707), without keys that stand in their queries.

use url::Url;

use crate::credential::may_be_secret;

/// `resource` without its query and fragment, where people put keys.
pub(crate) fn in_clear(resource: &str) -> String {
    resource.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// `resource` as the server's own document names it, without its query if a key may stand there: the resource is sent
/// to the authorization server. Other queries stay, since AgentCore's resources have one.
pub(super) fn without_keys(resource: String) -> String {
    let holds_key = Url::parse(&resource)
        .is_ok_and(|url| url.query_pairs().any(|(name, value)| may_be_secret(&name.to_lowercase(), &value)));
    if holds_key { in_clear(&resource) } else { resource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_stays_unless_a_key_may_stand_in_it() {
        let check = |resource: &str, expected: &str| assert_eq!(without_keys(resource.to_owned()), expected);
        check("https://a.example/mcp?qualifier=DEFAULT", "https://a.example/mcp?qualifier=DEFAULT");
        check("https://a.example/mcp?Api_Key=k", "https://a.example/mcp");
        check("https://a.example/mcp?v=a1b2c3d4e5f6", "https://a.example/mcp");
    }
}
