//! Finding out who signs people in to a server, from its URL alone.
//!
//! The server is asked without a credential; its 401 leads to its own metadata (RFC 9728), that to the
//! authorization server's (RFC 8414, OpenID Connect Discovery), that to the endpoints. Every document
//! must say of itself what it was looked up as ([`super::metadata`]).
//! Finds nothing out by guessing: endpoints that no document names are not tried.
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>

use egress::HttpClient;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    authorization_code::may_be_opened,
    challenge::{Challenge, scopes},
    config::{GrantType, OAuthConfig, ResourceIndicator},
    error::{OAuthError, Place},
    metadata::{ServerMetadata, is_same_issuer, resource_metadata, server_metadata},
    shown::Shown,
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
    /// The grants that the authorization server announces; `None` if it is silent.
    #[serde(default)]
    pub grant_types: Option<Vec<String>>,
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
    let found = match explicit(config) {
        Some(explicit) if config.issuer.is_none() => explicit,
        explicit => {
            let asked = ask_server(http, config).await?;
            let issuer = choose(config, &asked, pinned);
            match (server_metadata(http, &issuer).await, explicit) {
                (Ok(metadata), _) => combine(config, asked, metadata)?,
                // The entry says all that is needed, and there is nothing to set against it.
                (Err(OAuthError::NoMetadata { .. }), Some(explicit)) => {
                    AuthorizationServer { issuer, issuer_is_told: true, ..explicit }
                }
                (Err(error), _) => return Err(error),
            }
        }
    };
    check_endpoints(http, &found).await?;
    Ok(found)
}

/// Which of the authorization servers to use: the entry's, the one of the first sign-in if the server still
/// names it, else the first that it names.
fn choose(config: &OAuthConfig, asked: &Asked, pinned: Option<&str>) -> String {
    let still_named =
        pinned.filter(|pinned| asked.issuers.iter().any(|issuer| is_same_issuer(issuer, pinned)));
    let first = asked.issuers.first().map(String::as_str);
    config.issuer.as_deref().or(still_named).or(first).unwrap_or_default().to_owned()
}

/// What the authorization server's metadata and the entry say together; the entry goes before.
fn combine(
    config: &OAuthConfig,
    asked: Asked,
    metadata: ServerMetadata,
) -> Result<AuthorizationServer, OAuthError> {
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
    Ok(AuthorizationServer {
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
        grant_types: metadata.grant_types_supported,
        takes_client_metadata_documents: metadata.client_id_metadata_document_supported,
        announces_iss: metadata.authorization_response_iss_parameter_supported,
        resource: asked.resource,
        issuer_is_told: true,
        issuer,
        scopes,
        grant,
    })
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
        issuer_is_told: false,
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
    let challenge = match answer.status {
        StatusCode::UNAUTHORIZED => Challenge::of(&answer.headers),
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

#[cfg(test)]
mod tests {
    use super::*;

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
