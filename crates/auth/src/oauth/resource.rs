//! Resource identifiers (RFC 8707), without the keys that people put into the query of a URL.

use url::Url;

use crate::credential::may_be_secret;

/// Returns `resource` without its query and fragment, which may have a key.
pub(crate) fn without_query(resource: &str) -> String {
    resource.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// Returns the `resource` of a server's metadata, without its query if that may have a key: the resource is sent to the
/// authorization server. Other queries stay, since the resources of AgentCore have one.
pub(super) fn without_secret_query(resource: String) -> String {
    let holds_key = Url::parse(&resource)
        .is_ok_and(|url| url.query_pairs().any(|(name, value)| may_be_secret(&name.to_lowercase(), &value)));
    if holds_key { without_query(&resource) } else { resource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_stays_unless_it_may_have_a_key() {
        let check =
            |resource: &str, expected: &str| assert_eq!(without_secret_query(resource.to_owned()), expected);
        check("https://a.example/mcp?qualifier=DEFAULT", "https://a.example/mcp?qualifier=DEFAULT");
        check("https://a.example/mcp?Api_Key=k", "https://a.example/mcp");
        check("https://a.example/mcp?v=a1b2c3d4e5f6", "https://a.example/mcp");
    }
}
