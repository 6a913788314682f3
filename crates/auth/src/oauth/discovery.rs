//! Discovers the authorization server of an MCP server, from the server's URL and its entry.
//!
//! Sends the MCP server a `ping` with the entry's extra headers and without the credential of the sign-in. Its 401 leads to its protected resource metadata (RFC 9728), that
//! to the authorization server's metadata (RFC 8414, OpenID Connect Discovery), that to the endpoints. Every document must
//! name the resource or issuer that it was looked up for ([`super::metadata`]). The entry takes precedence over documents,
//! and is enough if it has all endpoints. Endpoints that neither a document nor the entry names are never guessed.
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>

use std::time::Duration;

use egress::{HttpClient, Shown};
use http::StatusCode;
use url::Url;

use super::resource::{without_query, without_secret_query};
use super::{
    authorization_server::{AuthorizationServer, ProtectedResource},
    challenge::{Challenge, scopes},
    combination::{ask_for_offline_access, check_endpoints},
    config::{GrantType, OAuthConfig, ResourceIndicator},
    error::OAuthError,
    issuer::is_same_issuer,
    metadata::{IssuerLookup, resource_metadata, server_metadata},
    selection::{first_usable, within},
    wire,
};
use crate::credential::Credential;

/// Maximum number of issuers that are read from one server's metadata: a server may name any number.
const MAX_NAMED: usize = 50;
/// Time limit for each of the two steps that read documents which an entry with all endpoints does not need, in seconds.
/// Together they take at most the 8 s that a list has.
const OPTIONAL_WITHIN: Duration = Duration::from_secs(4);

/// Discovers the authorization server of an MCP server. `pinned` is the issuer of the first sign-in: it is used if the
/// server still names it; otherwise the first usable one is returned, and the caller must check the pin. Those in
/// `excluded` are not used; that has no effect on an entry with all endpoints.
///
/// # Errors
/// [`OAuthError`].
#[tracing::instrument(name = "auth.oauth.discover", skip_all)]
pub(crate) async fn discover(
    http: &HttpClient,
    config: &OAuthConfig,
    pinned: Option<&str>,
    excluded: &[String],
) -> Result<AuthorizationServer, OAuthError> {
    match explicit(config) {
        Some(explicit) => {
            let found = complete(http, config, explicit, pinned).await;
            check_endpoints(http, &found).await?;
            Ok(found)
        }
        None => {
            let protected_resource = read_protected_resource(http, config).await?;
            first_usable(http, config, &protected_resource, pinned, excluded).await
        }
    }
}

/// Returns the issuers that the server's metadata names; none if it has no valid metadata.
pub(crate) async fn named_by_server(http: &HttpClient, config: &OAuthConfig) -> Vec<String> {
    let challenge = Challenge::default();
    let metadata = resource_metadata(http, config, &challenge).await.ok().flatten();
    metadata.map(|metadata| metadata.authorization_servers).unwrap_or_default()
}

/// Completes an entry that has all endpoints with scopes and resource from the server's documents. If a document cannot be
/// read, the entry is used without it.
async fn complete(
    http: &HttpClient,
    config: &OAuthConfig,
    explicit: AuthorizationServer,
    pinned: Option<&str>,
) -> AuthorizationServer {
    let alone = match &config.issuer {
        Some(issuer) => {
            AuthorizationServer { issuer: issuer.clone(), issuer_is_told: true, ..explicit.clone() }
        }
        None => explicit.clone(),
    };
    let needs_documents = config.scopes.is_empty() || config.resource == ResourceIndicator::Discovered;
    if !needs_documents && config.issuer.is_none() {
        return alone;
    }
    let Ok(protected_resource) =
        within(&config.server_url, OPTIONAL_WITHIN, read_protected_resource(http, config)).await
    else {
        return alone;
    };
    let mut completed = explicit.clone();
    completed.resource = protected_resource.resource.clone();
    if config.scopes.is_empty() {
        completed.scopes = protected_resource.scopes.clone();
    }
    if let Some(issuer) = &config.issuer {
        let found = first_usable(http, config, &protected_resource, pinned, &[]);
        // The issuer is always the entry's: stored grants must not depend on whether documents can be read.
        return match within(&config.server_url, OPTIONAL_WITHIN, found).await {
            Ok(found) if is_same_issuer(&found.issuer, issuer) => found,
            Ok(found) => AuthorizationServer { issuer: issuer.clone(), issuer_is_told: true, ..found },
            Err(_) => AuthorizationServer { resource: completed.resource, scopes: completed.scopes, ..alone },
        };
    }
    if config.scopes.is_empty()
        && !completed.scopes.is_empty()
        && completed.grant == GrantType::AuthorizationCode
    {
        let supported = scopes_at_entrys_token_endpoint(http, config, &protected_resource);
        let supported = within(&config.server_url, OPTIONAL_WITHIN, supported).await.unwrap_or_default();
        ask_for_offline_access(&mut completed.scopes, &supported);
    }
    completed
}

/// Returns `scopes_supported` of the authorization server whose token endpoint has the origin of the entry's token
/// endpoint. The metadata of any other server is ignored.
async fn scopes_at_entrys_token_endpoint(
    http: &HttpClient,
    config: &OAuthConfig,
    protected_resource: &ProtectedResource,
) -> Result<Vec<String>, OAuthError> {
    let entry_origin = config.token_url.as_ref().map(Url::origin);
    let mut fault = None;
    for issuer in &protected_resource.issuers {
        let found = server_metadata(http, IssuerLookup { looked_up: issuer, named: issuer }, |metadata| {
            let has_entry_origin = metadata.token_endpoint.as_ref().map(Url::origin) == entry_origin;
            let lacks = "has its token endpoint elsewhere than the entry";
            let other = OAuthError::NotOffered { issuer: Shown::new(&metadata.issuer), lacks };
            if has_entry_origin { Ok(metadata.scopes_supported) } else { Err(other) }
        });
        match found.await {
            Ok(scopes) => return Ok(scopes),
            Err(error) => fault = Some(error),
        }
    }
    fault.map_or(Ok(Vec::new()), Err)
}

/// Returns the authorization server of an entry that has all endpoints of its grant type; `None` if discovery is needed.
fn explicit(config: &OAuthConfig) -> Option<AuthorizationServer> {
    let token_endpoint = config.token_url.clone()?;
    let grant = match (config.grant, &config.authorization_url) {
        (Some(GrantType::ClientCredentials), _) | (None, None) => GrantType::ClientCredentials,
        (_, Some(_)) => GrantType::AuthorizationCode,
        (Some(GrantType::AuthorizationCode), None) => return None,
    };
    let resource = match &config.resource {
        ResourceIndicator::Discovered => Some(without_query(config.server_url.as_str())),
        ResourceIndicator::Given(resource) => Some(resource.clone()),
        ResourceIndicator::Omitted => None,
    };
    let origin = token_endpoint.origin().ascii_serialization();
    Some(AuthorizationServer {
        issuer_is_told: false,
        other_iss: Vec::new(),
        issuer: origin,
        authorization_endpoint: config.authorization_url.clone(),
        token_endpoint,
        registration_endpoint: None,
        revocation_endpoint: None,
        token_endpoint_auth_methods: Vec::new(),
        grant_types: None,
        takes_client_metadata_documents: false,
        announces_iss: false,
        resource,
        scopes: config.scopes.clone(),
        grant,
    })
}

/// Reads the server's challenge and its protected resource metadata.
async fn read_protected_resource(
    http: &HttpClient,
    config: &OAuthConfig,
) -> Result<ProtectedResource, OAuthError> {
    let headers: Vec<_> = Credential::none().with(&config.extra_headers).headers().collect();
    let answer = wire::ping(http, &config.server_url, &headers).await?;
    let challenge = match answer.status {
        StatusCode::UNAUTHORIZED => Challenge::of(&answer.headers),
        _ => Challenge::default(),
    };
    let metadata = match resource_metadata(http, config, &challenge).await {
        // An entry that names the authorization server needs no document.
        Err(_) if config.issuer.is_some() || explicit(config).is_some() => None,
        metadata => metadata?,
    };
    let url = &config.server_url;
    let issuers_are_named = metadata.is_some();
    let (found, issuers, supported) = match metadata {
        Some(found) => (Some(found.resource), found.authorization_servers, found.scopes_supported),
        // Before the MCP specification of 2025-06-18 a server was its own authorization server.
        None => (None, vec![url.origin().ascii_serialization()], Vec::new()),
    };
    let mut distinct: Vec<String> = Vec::new();
    for issuer in issuers.into_iter().take(MAX_NAMED) {
        if !distinct.iter().any(|known| is_same_issuer(known, &issuer)) {
            distinct.push(issuer);
        }
    }
    let resource = match &config.resource {
        ResourceIndicator::Discovered => {
            Some(found.map_or_else(|| without_query(url.as_str()), without_secret_query))
        }
        ResourceIndicator::Given(resource) => Some(resource.clone()),
        ResourceIndicator::Omitted => None,
    };
    let supported = scopes(&supported.join(" "));
    let scopes = if challenge.scopes.is_empty() { supported } else { challenge.scopes };
    Ok(ProtectedResource { resource, issuers: distinct, issuers_are_named, scopes })
}
