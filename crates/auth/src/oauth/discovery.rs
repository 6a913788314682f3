//! Finding out who signs people in to a server, from its URL alone.
//!
//! The server is asked without a credential; its 401 leads to its own metadata (RFC 9728), that to the
//! authorization server's (RFC 8414, OpenID Connect Discovery), that to the endpoints. Every document
//! must say of itself what it was looked up as ([`super::metadata`]).
//! What the entry says goes before what documents say, and serves where there are none.
//! Finds nothing out by guessing: endpoints that no document names are not tried.
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>

use std::time::Duration;

use egress::{HttpClient, Shown};
use http::StatusCode;
use url::Url;

use super::resource::{in_clear, without_keys};
use super::{
    authorization_server::{Asked, AuthorizationServer},
    challenge::{Challenge, scopes},
    combination::{ask_for_offline_access, check_endpoints},
    config::{GrantType, OAuthConfig, ResourceIndicator},
    error::OAuthError,
    issuer::is_same_issuer,
    metadata::{Issuer, resource_metadata, server_metadata},
    selection::{first_usable, within},
    wire,
};
use crate::credential::Credential;

/// How many authorization servers of one server are looked at: it may name any number.
const MAX_NAMED: usize = 50;
/// How long documents may take that an entry with both endpoints can do without.
const OPTIONAL_WITHIN: Duration = Duration::from_secs(4);

/// Finds out who signs people in to the server. `pinned` is the issuer that was found at the first
/// sign-in: of several that the server names, it alone is used. Of several, those in `passed_over` are not used.
///
/// # Errors
/// [`OAuthError`], by what is in the way.
#[tracing::instrument(name = "auth.oauth.discover", skip_all)]
pub(crate) async fn discover(
    http: &HttpClient,
    config: &OAuthConfig,
    pinned: Option<&str>,
    passed_over: &[String],
) -> Result<AuthorizationServer, OAuthError> {
    match explicit(config) {
        Some(explicit) => {
            let found = complete(http, config, explicit, pinned).await;
            check_endpoints(http, &found).await?;
            Ok(found)
        }
        None => {
            let asked = ask_server(http, config).await?;
            first_usable(http, config, &asked, pinned, passed_over).await
        }
    }
}

/// The authorization servers that the server's own metadata names; none if it has no metadata that is right.
pub(crate) async fn named_by_server(http: &HttpClient, config: &OAuthConfig) -> Vec<String> {
    let challenge = Challenge::default();
    let metadata = resource_metadata(http, config, &challenge).await.ok().flatten();
    metadata.map(|metadata| metadata.authorization_servers).unwrap_or_default()
}

/// What an entry with both endpoints leaves open, as far as the server and its authorization server say it. A
/// fault of theirs costs nothing: the entry serves without them.
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
    let is_open = config.scopes.is_empty() || config.resource == ResourceIndicator::Discovered;
    if !is_open && config.issuer.is_none() {
        return alone;
    }
    let Ok(asked) = within(&config.server_url, OPTIONAL_WITHIN, ask_server(http, config)).await else {
        return alone;
    };
    let mut asking = explicit.clone();
    asking.resource = asked.resource.clone();
    if config.scopes.is_empty() {
        asking.scopes = asked.scopes.clone();
    }
    if let Some(issuer) = &config.issuer {
        let found = first_usable(http, config, &asked, pinned, &[]);
        // Whatever is found, the issuer is the entry's: its grants must not depend on whether documents are there.
        return match within(&config.server_url, OPTIONAL_WITHIN, found).await {
            Ok(found) if is_same_issuer(&found.issuer, issuer) => found,
            Ok(found) => AuthorizationServer { issuer: issuer.clone(), issuer_is_told: true, ..found },
            Err(_) => AuthorizationServer { resource: asking.resource, scopes: asking.scopes, ..alone },
        };
    }
    if config.scopes.is_empty() && !asking.scopes.is_empty() && asking.grant == GrantType::AuthorizationCode {
        let supported = scopes_at_own_endpoint(http, config, &asked);
        let supported = within(&config.server_url, OPTIONAL_WITHIN, supported).await.unwrap_or_default();
        ask_for_offline_access(&mut asking.scopes, &supported);
    }
    asking
}

/// The scopes of the authorization server whose token endpoint is on the origin of the entry's: of another one
/// nothing is believed.
async fn scopes_at_own_endpoint(
    http: &HttpClient,
    config: &OAuthConfig,
    asked: &Asked,
) -> Result<Vec<String>, OAuthError> {
    let ours = config.token_url.as_ref().map(Url::origin);
    let mut fault = None;
    for issuer in &asked.issuers {
        let found = server_metadata(http, Issuer { looked_up: issuer, named: issuer }, |metadata| {
            let is_ours = metadata.token_endpoint.as_ref().map(Url::origin) == ours;
            let lacks = "has its token endpoint elsewhere than the entry";
            let other = OAuthError::NotOffered { issuer: Shown::new(&metadata.issuer), lacks };
            if is_ours { Ok(metadata.scopes_supported) } else { Err(other) }
        });
        match found.await {
            Ok(scopes) => return Ok(scopes),
            Err(error) => fault = Some(error),
        }
    }
    fault.map_or(Ok(Vec::new()), Err)
}

/// What the entry says itself needs no finding out: with both endpoints, or the one that is needed.
fn explicit(config: &OAuthConfig) -> Option<AuthorizationServer> {
    let token_endpoint = config.token_url.clone()?;
    let grant = match (config.grant, &config.authorization_url) {
        (Some(GrantType::ClientCredentials), _) | (None, None) => GrantType::ClientCredentials,
        (_, Some(_)) => GrantType::AuthorizationCode,
        (Some(GrantType::AuthorizationCode), None) => return None,
    };
    let resource = match &config.resource {
        ResourceIndicator::Discovered => Some(in_clear(config.server_url.as_str())),
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

/// Asks the server, and reads its metadata.
async fn ask_server(http: &HttpClient, config: &OAuthConfig) -> Result<Asked, OAuthError> {
    let headers: Vec<_> = Credential::none().with(&config.extra_headers).headers().collect();
    let answer = wire::ping(http, &config.server_url, &headers).await?;
    let challenge = match answer.status {
        StatusCode::UNAUTHORIZED => Challenge::of(&answer.headers),
        _ => Challenge::default(),
    };
    let metadata = match resource_metadata(http, config, &challenge).await {
        // An entry that names the authorization server goes on as if there were no document.
        Err(_) if config.issuer.is_some() || explicit(config).is_some() => None,
        metadata => metadata?,
    };
    let url = &config.server_url;
    let issuers_are_named = metadata.is_some();
    let (found, issuers, supported) = match metadata {
        Some(found) => (Some(found.resource), found.authorization_servers, found.scopes_supported),
        // Before 2025-06-18 a server was its own authorization server.
        None => (None, vec![url.origin().ascii_serialization()], Vec::new()),
    };
    let mut distinct: Vec<String> = Vec::new();
    for issuer in issuers.into_iter().take(MAX_NAMED) {
        if !distinct.iter().any(|known| is_same_issuer(known, &issuer)) {
            distinct.push(issuer);
        }
    }
    let resource = match &config.resource {
        ResourceIndicator::Discovered => Some(found.map_or_else(|| in_clear(url.as_str()), without_keys)),
        ResourceIndicator::Given(resource) => Some(resource.clone()),
        ResourceIndicator::Omitted => None,
    };
    let supported = scopes(&supported.join(" "));
    let scopes = if challenge.scopes.is_empty() { supported } else { challenge.scopes };
    Ok(Asked { resource, issuers: distinct, issuers_are_named, scopes })
}
