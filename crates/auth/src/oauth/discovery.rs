//! Finding out who signs people in to a server, from its URL alone.
//!
//! The server is asked without a credential; its 401 leads to its own metadata (RFC 9728), that to the
//! authorization server's (RFC 8414, OpenID Connect Discovery), that to the endpoints. Every document
//! must say of itself what it was looked up as: one that names another resource or issuer is refused.
//! Finds nothing out by guessing: endpoints that no document names are not tried.
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>

use egress::HttpClient;
use http::{StatusCode, header::WWW_AUTHENTICATE};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    authorization_code::may_be_opened,
    challenge::{Challenge, scopes},
    config::{GrantType, OAuthConfig, ResourceIndicator},
    error::{OAuthError, Place, Shown},
    wire,
};
use crate::{Credential, UserPoolId};

/// Who signs people in to one server, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorizationServer {
    /// Its identifier.
    pub issuer: String,
    /// Whether that is told, and not just made up of where its endpoints are.
    pub issuer_is_told: bool,
    /// Where a browser is sent.
    pub authorization_endpoint: Option<Url>,
    /// Where tokens come from.
    pub token_endpoint: Url,
    /// Where clients register.
    pub registration_endpoint: Option<Url>,
    /// Where tokens are revoked.
    pub revocation_endpoint: Option<Url>,
    /// How clients may prove who they are at the token endpoint.
    pub token_endpoint_auth_methods: Vec<String>,
    /// Whether a client's id may be the URL of its own metadata.
    pub takes_client_metadata_documents: bool,
    /// Whether its redirects always name it.
    pub announces_iss: bool,
    /// What `resource` says in requests to it, if anything.
    pub resource: Option<String>,
    /// What to ask for.
    pub scopes: Vec<String>,
    /// Who signs in.
    pub grant: GrantType,
}

/// RFC 9728 §2.
#[derive(Debug, Deserialize)]
struct ResourceMetadata {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// RFC 8414 §2, OpenID Connect Discovery 1.0 §3, RFC 9207 §3.
#[derive(Debug, Deserialize)]
struct ServerMetadata {
    issuer: String,
    authorization_endpoint: Option<Url>,
    token_endpoint: Option<Url>,
    registration_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    grant_types_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    client_id_metadata_document_supported: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What the server itself says.
struct Asked {
    resource: Option<String>,
    issuers: Vec<String>,
    scopes: Vec<String>,
}

/// Finds out who signs people in to the server. `pinned` is the issuer that was found at the first
/// sign-in: of several that the server names, it is preferred.
///
/// # Errors
/// [`OAuthError`], by what is in the way.
#[tracing::instrument(name = "auth.oauth.discover", skip_all)]
pub(crate) async fn discover(
    http: &HttpClient,
    config: &OAuthConfig,
    pinned: Option<&str>,
) -> Result<AuthorizationServer, OAuthError> {
    if let Some(explicit) = explicit(config) {
        check_endpoints(http, &explicit).await?;
        return Ok(explicit);
    }
    let asked = ask_server(http, config).await?;
    let issuer = match (&config.issuer, pinned) {
        (Some(issuer), _) => issuer.clone(),
        (None, Some(pinned)) if asked.issuers.iter().any(|issuer| is_same_issuer(issuer, pinned)) => {
            pinned.to_owned()
        }
        _ => asked.issuers[0].clone(),
    };
    let metadata = server_metadata(http, &issuer).await?;
    let grant = grant(config, &metadata)?;
    let issuer = metadata.issuer;
    if grant == GrantType::AuthorizationCode {
        check_pkce(&issuer, metadata.code_challenge_methods_supported.as_deref())?;
    }
    let mut scopes = if config.scopes.is_empty() { asked.scopes } else { config.scopes.clone() };
    // What lets us refresh is asked for where it is on offer, unless an entry says what to ask for; never
    // alone, which would give up what a server grants by itself.
    let offline = "offline_access".to_owned();
    if grant == GrantType::AuthorizationCode
        && config.scopes.is_empty()
        && !scopes.is_empty()
        && metadata.scopes_supported.contains(&offline)
        && !scopes.contains(&offline)
    {
        scopes.push(offline);
    }
    let found = AuthorizationServer {
        authorization_endpoint: config.authorization_url.clone().or(metadata.authorization_endpoint),
        token_endpoint: config
            .token_url
            .clone()
            .or(metadata.token_endpoint)
            .ok_or(OAuthError::Incomplete { place: Place::ServerMetadata, field: "token_endpoint" })?,
        registration_endpoint: metadata.registration_endpoint,
        revocation_endpoint: metadata.revocation_endpoint,
        // RFC 8414 §2: what leaves it out means this.
        token_endpoint_auth_methods: metadata
            .token_endpoint_auth_methods_supported
            .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        takes_client_metadata_documents: metadata.client_id_metadata_document_supported,
        announces_iss: metadata.authorization_response_iss_parameter_supported,
        resource: asked.resource,
        issuer_is_told: true,
        issuer,
        scopes,
        grant,
    };
    check_endpoints(http, &found).await?;
    Ok(found)
}

/// Refuses endpoints before anybody or any secret is sent there: pages that no browser may open, addresses
/// that may not be connected to.
async fn check_endpoints(http: &HttpClient, server: &AuthorizationServer) -> Result<(), OAuthError> {
    if server.grant == GrantType::AuthorizationCode
        && server.authorization_endpoint.as_ref().is_some_and(|page| !may_be_opened(page))
    {
        return Err(OAuthError::NotHttps { place: Place::Authorization });
    }
    let registration = server.registration_endpoint.as_ref().map(|url| (url, Place::Registration));
    for (url, place) in [(&server.token_endpoint, Place::Token)].into_iter().chain(registration) {
        http.resolve(url).await.map_err(|error| OAuthError::Unreachable { place, source: error.into() })?;
    }
    Ok(())
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
        ResourceIndicator::Discovered => Some(config.server_url.to_string()),
        ResourceIndicator::Given(resource) => Some(resource.clone()),
        ResourceIndicator::Omitted => None,
    };
    let origin = token_endpoint.origin().ascii_serialization();
    Some(AuthorizationServer {
        issuer_is_told: config.issuer.is_some(),
        issuer: config.issuer.clone().unwrap_or(origin),
        authorization_endpoint: config.authorization_url.clone(),
        token_endpoint,
        registration_endpoint: None,
        revocation_endpoint: None,
        token_endpoint_auth_methods: vec!["client_secret_basic".to_owned()],
        takes_client_metadata_documents: false,
        announces_iss: false,
        resource,
        scopes: config.scopes.clone(),
        grant,
    })
}

/// Who signs in, as the entry says or as far as the authorization server offers it.
fn grant(config: &OAuthConfig, metadata: &ServerMetadata) -> Result<GrantType, OAuthError> {
    let lacks = |lacks| OAuthError::NotOffered { issuer: Shown::new(&metadata.issuer), lacks };
    let offers = |grant: &str| {
        metadata.grant_types_supported.as_ref().is_none_or(|offered| offered.iter().any(|one| one == grant))
    };
    let has_page = metadata.authorization_endpoint.is_some() || config.authorization_url.is_some();
    match config.grant {
        Some(GrantType::ClientCredentials) => Ok(GrantType::ClientCredentials),
        Some(GrantType::AuthorizationCode) if !has_page => Err(lacks("has no page to sign in on")),
        Some(GrantType::AuthorizationCode) => Ok(GrantType::AuthorizationCode),
        None if has_page && offers("authorization_code") => Ok(GrantType::AuthorizationCode),
        None if offers("client_credentials") => Ok(GrantType::ClientCredentials),
        None => Err(lacks("offers neither authorization_code nor client_credentials")),
    }
}

/// The specification has clients refuse a server that does not announce S256. Cognito has it, and
/// announces nothing.
fn check_pkce(issuer: &str, methods: Option<&[String]>) -> Result<(), OAuthError> {
    let supported = match methods {
        Some(methods) => methods.iter().any(|method| method == "S256"),
        None => is_cognito(issuer),
    };
    if supported { Ok(()) } else { Err(OAuthError::NoPkce { issuer: Shown::new(issuer) }) }
}

/// Whether an issuer is a Cognito user pool: its last segment is the pool's id.
fn is_cognito(issuer: &str) -> bool {
    issuer.rsplit('/').next().is_some_and(|segment| segment.parse::<UserPoolId>().is_ok())
}

/// Asks the server, and reads its metadata.
async fn ask_server(http: &HttpClient, config: &OAuthConfig) -> Result<Asked, OAuthError> {
    let headers: Vec<_> = Credential::none().with(&config.extra_headers).headers().collect();
    let answer = wire::ping(http, &config.server_url, &headers).await?;
    let header = answer.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    let challenge = match answer.status {
        StatusCode::UNAUTHORIZED => Challenge::parse(header.unwrap_or_default()),
        _ => Challenge::default(),
    };
    let metadata = match (resource_metadata(http, config, &challenge).await, &config.issuer) {
        // Whoever names the authorization server need not be told by a document that is broken.
        (Err(error), Some(_)) if !matches!(error, OAuthError::ResourceMismatch { .. }) => None,
        (metadata, _) => metadata?,
    };
    let url = &config.server_url;
    let (found, issuers, supported) = match metadata {
        Some(found) if found.authorization_servers.is_empty() && config.issuer.is_none() => {
            let field = "authorization_servers";
            return Err(OAuthError::Incomplete { place: Place::ResourceMetadata, field });
        }
        Some(found) => (Some(found.resource), found.authorization_servers, found.scopes_supported),
        // Before 2025-06-18 a server was its own authorization server.
        None => (None, vec![url.origin().ascii_serialization()], Vec::new()),
    };
    let resource = match &config.resource {
        ResourceIndicator::Discovered => Some(found.unwrap_or_else(|| url.to_string())),
        ResourceIndicator::Given(resource) => Some(resource.clone()),
        ResourceIndicator::Omitted => None,
    };
    let supported = scopes(&supported.join(" "));
    let scopes = if challenge.scopes.is_empty() { supported } else { challenge.scopes };
    Ok(Asked { resource, issuers, scopes })
}

/// The server's metadata, where its 401 says, else where RFC 9728 puts it; `None` if it has none.
async fn resource_metadata(
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
async fn server_metadata(http: &HttpClient, issuer: &str) -> Result<ServerMetadata, OAuthError> {
    let not_https = OAuthError::NotHttps { place: Place::ServerMetadata };
    let url = Url::parse(issuer).map_err(|_| not_https)?;
    let candidates = server_metadata_locations(&url);
    let found = first_of(http, &candidates, Place::ServerMetadata).await?;
    let Some((_, metadata)): Option<(Url, ServerMetadata)> = found else {
        let tried: Vec<&str> = candidates.iter().map(Url::as_str).collect();
        return Err(OAuthError::NoMetadata { tried: Shown::new(&tried.join(", ")).as_str().to_owned() });
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
async fn first_of<T: serde::de::DeserializeOwned>(
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
                worst.get_or_insert(OAuthError::Status { place, status: answer.status.as_u16() });
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
pub(crate) fn is_same_issuer(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
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

    #[test]
    fn only_cognito_may_keep_silent_on_pkce() {
        let check = |issuer, methods: Option<&[&str]>, ok| {
            let methods: Option<Vec<String>> = methods.map(|m| m.iter().map(|&m| m.into()).collect());
            assert_eq!(check_pkce(issuer, methods.as_deref()).is_ok(), ok, "{issuer} {methods:?}");
        };
        check("https://a.example", Some(&["S256"]), true);
        check("https://a.example", Some(&["plain"]), false);
        check("https://a.example", None, false);
        check("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbC", None, true);
        check("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbC", Some(&[]), false);
    }
}
