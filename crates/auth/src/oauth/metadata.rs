//! Fetches metadata documents: of a protected resource (RFC 9728), and of an authorization server (RFC 8414, OpenID
//! Connect Discovery).
//!
//! Tries the URLs of the standards, in the order of the MCP specification, then those of older servers. A document that
//! names another resource or issuer, or that cannot be used, counts as missing, and the next URL is tried. An error is
//! returned only if no URL has a valid document. Called by [`super::discovery`] and [`super::selection`].

use std::borrow::Cow;

use egress::{EgressError, HttpClient, Shown};
use http::StatusCode;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{
    challenge::Challenge,
    config::{OAuthConfig, ResourceIndicator},
    document::Document,
    error::OAuthError,
    issuer::is_same_issuer,
    request_context::{Endpoint, RequestContext},
    wire,
};

/// Protected resource metadata (RFC 9728 §2).
#[derive(Debug)]
pub(super) struct ResourceMetadata {
    pub(super) resource: String,
    pub(super) authorization_servers: Vec<String>,
    pub(super) scopes_supported: Vec<String>,
}

/// Authorization server metadata (RFC 8414 §2, OpenID Connect Discovery 1.0 §3, RFC 9207 §3).
#[derive(Debug)]
pub(super) struct ServerMetadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Option<Url>,
    /// True if `authorization_endpoint` is present and not a URL.
    pub(super) authorization_endpoint_is_malformed: bool,
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

/// The issuer that metadata is looked up for, and the issuer that it must name.
#[derive(Debug, Clone, Copy)]
pub(super) struct IssuerLookup<'a> {
    /// The issuer whose well-known URLs are tried.
    pub(super) looked_up: &'a str,
    /// The issuer that the document must name.
    pub(super) named: &'a str,
}

/// Fetches the protected resource metadata: from the URL in the challenge, else from the well-known URLs of RFC 9728.
/// Returns `None` if there is none.
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
    first_usable_document(http, &distinct(candidates), Endpoint::ResourceMetadata, judge).await
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
    // An entry that names the authorization server does not need it from the metadata.
    if servers.is_empty() && config.issuer.is_none() && config.token_url.is_none() {
        return Err(document.lacks("authorization_servers"));
    }
    Ok(ResourceMetadata {
        resource: resource.to_owned(),
        authorization_servers: servers,
        scopes_supported: document.texts("scopes_supported").unwrap_or_default(),
    })
}

/// Returns true if `resource` names the server of `config`: it is the entry's `resource`, or the server's URL, or a parent
/// path of it on the same origin, with or without a trailing slash. The official SDKs accept the same; RFC 9728 §3.3 asks
/// for identity.
fn is_ours(resource: &str, config: &OAuthConfig) -> bool {
    if matches!(&config.resource, ResourceIndicator::Given(given) if given == resource) {
        return true;
    }
    let url = &config.server_url;
    Url::parse(resource).is_ok_and(|resource| is_same_resource(&resource, url) || is_parent(&resource, url))
}

/// Fetches the authorization server's metadata: the first document that `judge` accepts.
pub(super) async fn server_metadata<T>(
    http: &HttpClient,
    issuer: IssuerLookup<'_>,
    judge: impl Fn(ServerMetadata) -> Result<T, OAuthError>,
) -> Result<T, OAuthError> {
    let not_https = OAuthError::NotHttps { endpoint: Endpoint::AuthorizationServerMetadata };
    let url = Url::parse(issuer.looked_up).map_err(|_| not_https)?;
    let candidates = server_metadata_locations(&url);
    let judged = |document: &Document| judge(read_server(document, issuer.named)?);
    first_usable_document(http, &candidates, Endpoint::AuthorizationServerMetadata, judged).await?.ok_or_else(
        || {
            let tried: Vec<&str> = candidates.iter().map(Url::as_str).collect();
            OAuthError::NoMetadata { tried: Shown::new(&tried.join(", ")) }
        },
    )
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
        authorization_endpoint_is_malformed: authorization_endpoint.is_none()
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

/// Returns the URLs to try. RFC 8414 inserts the well-known path before the issuer's path, OpenID Connect appends it; some
/// servers have the document of RFC 8414 at the appended path.
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

/// Returns `https://host/.well-known/{name}/{path}`, with the query.
fn well_known(url: &Url, name: &str) -> Option<Url> {
    let mut at = url.clone();
    at.set_path(&format!("/.well-known/{name}{}", url.path().trim_end_matches('/')));
    at.set_fragment(None);
    Some(at)
}

/// Returns the result of `judge` for the first document that it accepts; `None` if no URL has a document. An error is
/// returned only if no document is accepted: a web application answers every path with a page.
async fn first_usable_document<T>(
    http: &HttpClient,
    candidates: &[Url],
    endpoint: Endpoint,
    judge: impl Fn(&Document) -> Result<T, OAuthError>,
) -> Result<Option<T>, OAuthError> {
    let mut fault: Option<OAuthError> = None;
    for url in candidates {
        let found = match wire::get(http, url, endpoint).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                Document::read(&answer, endpoint).and_then(|document| judge(&document))
            }
            Ok(answer) if answer.is_busy() => Err(OAuthError::Status {
                endpoint,
                status: answer.status.as_u16(),
                server_message: None,
                context: RequestContext::default(),
            }),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => return Ok(Some(found)),
            Err(error) => fault = Some(more_specific(fault, error)),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// Returns the more specific of two errors; the earlier one if both are alike.
pub(super) fn more_specific(earlier: Option<OAuthError>, later: OAuthError) -> OAuthError {
    let rank = |error: &OAuthError| match error {
        // A valid document of another resource or issuer.
        OAuthError::ResourceMismatch { .. } | OAuthError::IssuerMismatch { .. } => 3,
        OAuthError::Incomplete { .. } | OAuthError::NoPkce { .. } | OAuthError::NotOffered { .. } => 2,
        OAuthError::Unreachable { source, .. } if matches!(source.as_ref(), EgressError::Refused { .. }) => 2,
        _ => 1,
    };
    match earlier {
        Some(earlier) if rank(&earlier) >= rank(&later) => earlier,
        _ => later,
    }
}

/// Returns the URL of the metadata of an AgentCore runtime, which is below the runtime's path.
fn appended_for_agentcore(url: &Url) -> Option<Url> {
    let is_runtime = url.path().starts_with("/runtimes/") && url.path().ends_with("/invocations");
    let mut at = url.clone();
    at.set_path(&format!("{}/.well-known/oauth-protected-resource", url.path()));
    is_runtime.then_some(at)
}

/// Returns true if two URLs name the same resource. Percent-encoding may differ, as of an ARN in a path, and so may a
/// trailing slash.
fn is_same_resource(a: &Url, b: &Url) -> bool {
    let path = |url: &Url| decoded(url.path().strip_suffix('/').unwrap_or(url.path())).into_owned();
    a.origin() == b.origin() && path(a) == path(b) && a.query() == b.query()
}

/// Returns true if the path of `resource` is a parent of that of `url` on the same origin, and `resource` has no query.
fn is_parent(resource: &Url, url: &Url) -> bool {
    let above = resource.path().trim_end_matches('/').split('/').map(decoded);
    let below: Vec<Cow<'_, [u8]>> = url.path().split('/').map(decoded).collect();
    let is_prefix = above.enumerate().all(|(index, segment)| below.get(index) == Some(&segment));
    resource.origin() == url.origin() && resource.query().is_none() && is_prefix
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// Returns a server's URL without its query, which may have a key.
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
    fn metadata_is_fetched_from_the_urls_of_each_standard() {
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
