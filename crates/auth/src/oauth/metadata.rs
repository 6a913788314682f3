//! The documents that lead to an authorization server: a protected resource's (RFC 9728), the authorization
//! server's own (RFC 8414, OpenID Connect Discovery).
//!
//! Looked for where each standard puts them, in the order of the MCP specification, then where older servers
//! have them. A document that names another resource or issuer than it was looked up as is refused.

use egress::HttpClient;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::{
    challenge::Challenge,
    config::{OAuthConfig, ResourceIndicator},
    error::{About, OAuthError, Place},
    shown::Shown,
    wire,
};

/// RFC 9728 §2.
#[derive(Debug, Deserialize)]
pub(super) struct ResourceMetadata {
    pub(super) resource: String,
    #[serde(default)]
    pub(super) authorization_servers: Vec<String>,
    #[serde(default)]
    pub(super) scopes_supported: Vec<String>,
}

/// RFC 8414 §2, OpenID Connect Discovery 1.0 §3, RFC 9207 §3.
#[derive(Debug, Deserialize)]
pub(super) struct ServerMetadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Option<Url>,
    pub(super) token_endpoint: Option<Url>,
    pub(super) registration_endpoint: Option<Url>,
    pub(super) revocation_endpoint: Option<Url>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub(super) grant_types_supported: Option<Vec<String>>,
    pub(super) code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(super) scopes_supported: Vec<String>,
    #[serde(default)]
    pub(super) client_id_metadata_document_supported: bool,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
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
    candidates.dedup();
    let found = first_of(http, &candidates, Place::ResourceMetadata).await?;
    let Some((at, metadata)): Option<(Url, ResourceMetadata)> = found else { return Ok(None) };
    let is_root = at.path() == "/.well-known/oauth-protected-resource" && at.origin() == url.origin();
    let is_ours = |resource: &str| match (&config.resource, Url::parse(resource)) {
        (ResourceIndicator::Given(given), _) if given == resource => true,
        (_, Ok(resource)) => {
            is_same_resource(&resource, url)
                || is_root && resource.origin() == url.origin() && resource.path() == "/"
        }
        (_, Err(_)) => false,
    };
    match is_ours(&metadata.resource) {
        true => Ok(Some(metadata)),
        false => Err(OAuthError::ResourceMismatch {
            expected: shown_url(url),
            found: Shown::new(&metadata.resource),
        }),
    }
}

/// The authorization server's metadata, wherever of the known places it is.
pub(super) async fn server_metadata(http: &HttpClient, issuer: &str) -> Result<ServerMetadata, OAuthError> {
    let not_https = OAuthError::NotHttps { place: Place::ServerMetadata };
    let url = Url::parse(issuer).map_err(|_| not_https)?;
    let candidates = server_metadata_locations(&url);
    let found = first_of(http, &candidates, Place::ServerMetadata).await?;
    let Some((_, metadata)): Option<(Url, ServerMetadata)> = found else {
        let tried: Vec<&str> = candidates.iter().map(Url::as_str).collect();
        return Err(OAuthError::NoMetadata { tried: Shown::new(&tried.join(", ")) });
    };
    if is_same_issuer(&metadata.issuer, issuer) {
        Ok(metadata)
    } else {
        let (expected, found) = (Shown::new(issuer), Shown::new(&metadata.issuer));
        Err(OAuthError::IssuerMismatch { expected, found })
    }
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
    let mut distinct: Vec<Url> = Vec::new();
    for candidate in candidates.into_iter().flatten() {
        if !distinct.contains(&candidate) {
            distinct.push(candidate);
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

/// The first of the documents that is there and is one. What is broken is told only if none is: a web
/// application answers every path with its page.
async fn first_of<T: DeserializeOwned>(
    http: &HttpClient,
    candidates: &[Url],
    place: Place,
) -> Result<Option<(Url, T)>, OAuthError> {
    let mut worst = None;
    for url in candidates {
        let answer = match wire::get(http, url, place).await {
            Ok(answer) => answer,
            Err(error) => {
                worst.get_or_insert(error);
                continue;
            }
        };
        match answer.status {
            StatusCode::OK => match answer.json(place) {
                Ok(found) => return Ok(Some((url.clone(), found))),
                Err(error) => {
                    worst.get_or_insert(error);
                }
            },
            _ if answer.is_busy() => {
                let (status, about) = (answer.status.as_u16(), About::default());
                worst.get_or_insert(OAuthError::Status { place, status, about });
            }
            _ => {}
        }
    }
    worst.map_or(Ok(None), Err)
}

/// AgentCore has a runtime's metadata below the runtime's own path.
fn appended_for_agentcore(url: &Url) -> Option<Url> {
    let is_runtime = url.path().starts_with("/runtimes/") && url.path().ends_with("/invocations");
    let mut at = url.clone();
    at.set_path(&format!("{}/.well-known/oauth-protected-resource", url.path()));
    is_runtime.then_some(at)
}

/// Whether two URLs name one resource: an ARN in a path may be escaped in more than one way.
fn is_same_resource(a: &Url, b: &Url) -> bool {
    let decoded = |url: &Url| percent_decode_str(url.path()).collect::<Vec<u8>>();
    a.origin() == b.origin() && decoded(a) == decoded(b) && a.query() == b.query()
}

/// Whether two texts name one issuer: people and documents differ on a trailing slash, and on nothing else.
pub(super) fn is_same_issuer(a: &str, b: &str) -> bool {
    a.strip_suffix('/').unwrap_or(a) == b.strip_suffix('/').unwrap_or(b)
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
