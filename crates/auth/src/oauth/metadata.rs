//! The documents that lead to an authorization server: a protected resource's (RFC 9728), the authorization
//! server's own (RFC 8414, OpenID Connect Discovery).
//!
//! Looked for where each standard puts them, in the order of the MCP specification, then where older servers
//! have them. A document that names another resource or issuer than it was looked up as, or that cannot be used,
//! counts as missing: the next place is asked. Only if no place has a right one is the fault told.

use std::borrow::Cow;

use egress::{EgressError, HttpClient, Shown};
use http::StatusCode;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{
    about::{About, Place},
    challenge::Challenge,
    config::{OAuthConfig, ResourceIndicator},
    document::Document,
    error::OAuthError,
    issuer::is_same_issuer,
    wire,
};

/// RFC 9728 §2.
#[derive(Debug)]
pub(super) struct ResourceMetadata {
    pub(super) resource: String,
    pub(super) authorization_servers: Vec<String>,
    pub(super) scopes_supported: Vec<String>,
}

/// RFC 8414 §2, OpenID Connect Discovery 1.0 §3, RFC 9207 §3.
#[derive(Debug)]
pub(super) struct ServerMetadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Option<Url>,
    /// Whether there is an `authorization_endpoint` that is no URL.
    pub(super) authorization_endpoint_is_garbled: bool,
    pub(super) token_endpoint: Option<Url>,
    pub(super) registration_endpoint: Option<Url>,
    pub(super) revocation_endpoint: Option<Url>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub(super) grant_types_supported: Option<Vec<String>>,
    pub(super) code_challenge_methods_supported: Option<Vec<String>>,
    pub(super) scopes_supported: Vec<String>,
    pub(super) client_id_metadata_document_supported: bool,
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// Where an authorization server's metadata is looked for, and which issuer it must name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issuer<'a> {
    /// The identifier whose well-known places are asked.
    pub(super) looked_up: &'a str,
    /// What the document must name as its issuer.
    pub(super) named: &'a str,
}

/// The server's metadata, where its 401 says, else where RFC 9728 puts it; `None` if it has none.
pub(super) async fn resource_metadata(
    http: &HttpClient,
    config: &OAuthConfig,
    challenge: &Challenge,
) -> Result<Option<ResourceMetadata>, OAuthError> {
    let url = &config.server_url;
    let origin = url.origin().ascii_serialization();
    let mut candidates: Vec<Url> = challenge.resource_metadata.iter().cloned().collect();
    candidates.extend(appended_for_agentcore(url));
    candidates.extend(well_known(url, "oauth-protected-resource"));
    candidates.extend(Url::parse(&format!("{origin}/.well-known/oauth-protected-resource")));
    let judge = |document: &Document| read_resource(document, config);
    first_of(http, &distinct(candidates), Place::ResourceMetadata, judge).await
}

fn read_resource(document: &Document, config: &OAuthConfig) -> Result<ResourceMetadata, OAuthError> {
    let resource = document.text("resource").ok_or_else(|| document.lacks("resource"))?;
    if !is_ours(resource, config) {
        return Err(OAuthError::ResourceMismatch {
            expected: shown_url(&config.server_url),
            found: Shown::new(resource),
        });
    }
    let servers = document.texts("authorization_servers").unwrap_or_default();
    let servers: Vec<String> = servers.into_iter().filter(|issuer| Url::parse(issuer).is_ok()).collect();
    // An entry that names the authorization server need not be told it.
    if servers.is_empty() && config.issuer.is_none() && config.token_url.is_none() {
        return Err(document.lacks("authorization_servers"));
    }
    Ok(ResourceMetadata {
        resource: resource.to_owned(),
        authorization_servers: servers,
        scopes_supported: document.texts("scopes_supported").unwrap_or_default(),
    })
}

/// Whether `resource` names the server of `config`: as the entry says, or as the official SDKs have it, which
/// take a parent path on the same origin and a slash at the end. RFC 9728 §3.3 alone would have it identical.
fn is_ours(resource: &str, config: &OAuthConfig) -> bool {
    if matches!(&config.resource, ResourceIndicator::Given(given) if given == resource) {
        return true;
    }
    let url = &config.server_url;
    Url::parse(resource).is_ok_and(|resource| is_same_resource(&resource, url) || is_parent(&resource, url))
}

/// The authorization server's metadata, at the first known place that has what `judge` can use.
pub(super) async fn server_metadata<T>(
    http: &HttpClient,
    issuer: Issuer<'_>,
    judge: impl Fn(ServerMetadata) -> Result<T, OAuthError>,
) -> Result<T, OAuthError> {
    let not_https = OAuthError::NotHttps { place: Place::ServerMetadata };
    let url = Url::parse(issuer.looked_up).map_err(|_| not_https)?;
    let candidates = server_metadata_locations(&url);
    let judged = |document: &Document| judge(read_server(document, issuer.named)?);
    first_of(http, &candidates, Place::ServerMetadata, judged).await?.ok_or_else(|| {
        let tried: Vec<&str> = candidates.iter().map(Url::as_str).collect();
        OAuthError::NoMetadata { tried: Shown::new(&tried.join(", ")) }
    })
}

fn read_server(document: &Document, issuer: &str) -> Result<ServerMetadata, OAuthError> {
    let found = document.text("issuer").ok_or_else(|| document.lacks("issuer"))?;
    if !is_same_issuer(found, issuer) {
        let (expected, found) = (Shown::new(issuer), Shown::new(found));
        return Err(OAuthError::IssuerMismatch { expected, found });
    }
    let authorization_endpoint = document.url("authorization_endpoint");
    Ok(ServerMetadata {
        issuer: found.to_owned(),
        authorization_endpoint_is_garbled: authorization_endpoint.is_none()
            && document.is_given("authorization_endpoint"),
        authorization_endpoint,
        token_endpoint: document.url("token_endpoint"),
        registration_endpoint: document.url("registration_endpoint"),
        revocation_endpoint: document.url("revocation_endpoint"),
        token_endpoint_auth_methods_supported: document.texts("token_endpoint_auth_methods_supported"),
        grant_types_supported: document.texts("grant_types_supported"),
        code_challenge_methods_supported: document.texts("code_challenge_methods_supported"),
        scopes_supported: document.texts("scopes_supported").unwrap_or_default(),
        client_id_metadata_document_supported: document.is_true("client_id_metadata_document_supported"),
        authorization_response_iss_parameter_supported: document
            .is_true("authorization_response_iss_parameter_supported"),
    })
}

/// RFC 8414 inserts, OpenID appends; some have OAuth's document where OpenID's belongs.
fn server_metadata_locations(issuer: &Url) -> Vec<Url> {
    let appended = |name: &str| {
        Url::parse(&format!("{}/.well-known/{name}", issuer.as_str().trim_end_matches('/'))).ok()
    };
    let candidates = [
        well_known(issuer, "oauth-authorization-server"),
        well_known(issuer, "openid-configuration"),
        appended("openid-configuration"),
        appended("oauth-authorization-server"),
    ];
    distinct(candidates.into_iter().flatten())
}

fn distinct(urls: impl IntoIterator<Item = Url>) -> Vec<Url> {
    let mut distinct: Vec<Url> = Vec::new();
    for url in urls {
        if !distinct.contains(&url) {
            distinct.push(url);
        }
    }
    distinct
}

/// `https://host/.well-known/{name}/{path}`, with the query.
fn well_known(url: &Url, name: &str) -> Option<Url> {
    let mut at = url.clone();
    at.set_path(&format!("/.well-known/{name}{}", url.path().trim_end_matches('/')));
    at.set_fragment(None);
    Some(at)
}

/// What `judge` makes of the first document that it can use; `None` if no place has a document. What is wrong is
/// told only if no place has a right one: a web application answers every path with its page.
async fn first_of<T>(
    http: &HttpClient,
    candidates: &[Url],
    place: Place,
    judge: impl Fn(&Document) -> Result<T, OAuthError>,
) -> Result<Option<T>, OAuthError> {
    let mut fault: Option<OAuthError> = None;
    for url in candidates {
        let found = match wire::get(http, url, place).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                Document::read(&answer, place).and_then(|document| judge(&document))
            }
            Ok(answer) if answer.is_busy() => Err(OAuthError::Status {
                place,
                status: answer.status.as_u16(),
                said: None,
                about: About::default(),
            }),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => return Ok(Some(found)),
            Err(error) => fault = Some(more_telling(fault, error)),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// The fault that says more of two; the first, if both say as much.
pub(super) fn more_telling(earlier: Option<OAuthError>, later: OAuthError) -> OAuthError {
    let says = |error: &OAuthError| match error {
        // A document that is one, and of somebody else.
        OAuthError::ResourceMismatch { .. } | OAuthError::IssuerMismatch { .. } => 3,
        OAuthError::Incomplete { .. } | OAuthError::NoPkce { .. } | OAuthError::NotOffered { .. } => 2,
        OAuthError::Unreachable { source, .. } if matches!(source.as_ref(), EgressError::Refused { .. }) => 2,
        _ => 1,
    };
    match earlier {
        Some(earlier) if says(&earlier) >= says(&later) => earlier,
        _ => later,
    }
}

/// AgentCore has a runtime's metadata below the runtime's own path.
fn appended_for_agentcore(url: &Url) -> Option<Url> {
    let is_runtime = url.path().starts_with("/runtimes/") && url.path().ends_with("/invocations");
    let mut at = url.clone();
    at.set_path(&format!("{}/.well-known/oauth-protected-resource", url.path()));
    is_runtime.then_some(at)
}

/// Whether two URLs name one resource: an ARN in a path may be escaped in more than one way, and one may have a
/// slash at the end that the other lacks.
fn is_same_resource(a: &Url, b: &Url) -> bool {
    let path = |url: &Url| decoded(url.path().strip_suffix('/').unwrap_or(url.path())).into_owned();
    a.origin() == b.origin() && path(a) == path(b) && a.query() == b.query()
}

/// Whether `resource` is above `url` on the same origin. A query would narrow it to something else.
fn is_parent(resource: &Url, url: &Url) -> bool {
    let above = resource.path().trim_end_matches('/').split('/').map(decoded);
    let below: Vec<Cow<'_, [u8]>> = url.path().split('/').map(decoded).collect();
    let is_prefix = above.enumerate().all(|(index, segment)| below.get(index) == Some(&segment));
    resource.origin() == url.origin() && resource.query().is_none() && is_prefix
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// A server's URL without what may be a key.
fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_may_be_a_parent_or_differ_by_a_slash() {
        let check = |resource: &str, url: &str, expected: bool| {
            let config = OAuthConfig {
                server_url: url.parse().unwrap(),
                grant: None,
                client: None,
                scopes: Vec::new(),
                audience: None,
                resource: ResourceIndicator::Discovered,
                issuer: None,
                authorization_url: None,
                token_url: None,
                extra_headers: crate::ExtraHeaders::default(),
                owners: vec![crate::Owner::Everybody],
            };
            assert_eq!(is_ours(resource, &config), expected, "{resource} for {url}");
        };
        check("https://a.example/mcp", "https://a.example/mcp", true);
        check("https://a.example/mcp/", "https://a.example/mcp", true);
        check("https://a.example/mcp", "https://a.example/mcp/", true);
        check("https://A.example:443/mcp", "https://a.example/mcp", true);
        check("https://a.example", "https://a.example/t/1/mcp", true);
        check("https://a.example/t", "https://a.example/t/1/mcp", true);
        check("https://a.example/t/", "https://a.example/t/1/mcp?key=1", true);
        check("https://a.example/t/1/mcp", "https://a.example/t", false);
        check("https://a.example/t/2", "https://a.example/t/1/mcp", false);
        check("https://a.example/tt", "https://a.example/t", false);
        check("https://a.example/t", "https://a.example/tt/mcp", false);
        check("https://a.example/mcp?q=1", "https://a.example/mcp", false);
        check("https://a.example/mcp?q=1", "https://a.example/mcp?q=1", true);
        check("https://b.example/mcp", "https://a.example/mcp", false);
        check("http://a.example/mcp", "https://a.example/mcp", false);
        check("https://a.example:8443/", "https://a.example/mcp", false);
        check("https://a.example/r/arn:x:y/invocations", "https://a.example/r/arn%3Ax%3Ay/invocations", true);
        check("a.example/mcp", "https://a.example/mcp", false);
    }

    #[test]
    fn metadata_is_looked_for_where_each_standard_puts_it() {
        let check = |issuer: &str, expected: &[&str]| {
            let found = server_metadata_locations(&issuer.parse().unwrap());
            assert_eq!(found.iter().map(Url::as_str).collect::<Vec<_>>(), expected);
        };
        check(
            "https://a.example/t/1/",
            &[
                "https://a.example/.well-known/oauth-authorization-server/t/1",
                "https://a.example/.well-known/openid-configuration/t/1",
                "https://a.example/t/1/.well-known/openid-configuration",
                "https://a.example/t/1/.well-known/oauth-authorization-server",
            ],
        );
        check(
            "https://a.example",
            &[
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration",
            ],
        );
    }
}
