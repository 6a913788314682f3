//! Combines an authorization server's metadata with the entry, which takes precedence.
//!
//! Refuses an authorization server that lacks what this client needs, and endpoints to which no browser and no secret may
//! be sent. Fetches no documents: [`super::selection`] does.

use egress::{HttpClient, Shown};

use super::{
    authorization_code::may_be_opened,
    authorization_server::{AuthorizationServer, ProtectedResource},
    config::{GrantType, OAuthConfig},
    error::OAuthError,
    issuer::is_same_issuer,
    metadata::{IssuerLookup, ServerMetadata},
    request_context::Endpoint,
};
use crate::UserPoolId;

/// Combines the metadata of an authorization server with the entry, which takes precedence.
///
/// # Errors
/// [`OAuthError::NotOffered`], [`OAuthError::NoPkce`], [`OAuthError::Incomplete`] if the client cannot use the server.
pub(super) fn combine(
    config: &OAuthConfig,
    protected_resource: &ProtectedResource,
    metadata: ServerMetadata,
    issuer: IssuerLookup<'_>,
) -> Result<AuthorizationServer, OAuthError> {
    let grant = grant_type(config, &metadata)?;
    // An entry with `authorization_url` needs no announcement of S256; it is sent all the same.
    if grant == GrantType::AuthorizationCode && config.authorization_url.is_none() {
        check_pkce(&metadata.issuer, metadata.code_challenge_methods_supported.as_deref())?;
    }
    let mut scopes =
        if config.scopes.is_empty() { protected_resource.scopes.clone() } else { config.scopes.clone() };
    if grant == GrantType::AuthorizationCode && config.scopes.is_empty() {
        ask_for_offline_access(&mut scopes, &metadata.scopes_supported);
    }
    // A document that was found at another address than its issuer's counts as that address's: only the document itself
    // says that it is the issuer's.
    let is_at_its_own = is_same_issuer(issuer.looked_up, issuer.named);
    let other_iss = [metadata.issuer.clone(), issuer.named.to_owned()].into_iter();
    let other_iss = other_iss.filter(|_| config.issuer.is_some()).collect();
    let issuer = if is_at_its_own { metadata.issuer } else { issuer.looked_up.to_owned() };
    let no_token_endpoint =
        OAuthError::Incomplete { endpoint: Endpoint::AuthorizationServerMetadata, field: "token_endpoint" };
    Ok(AuthorizationServer {
        authorization_endpoint: config.authorization_url.clone().or(metadata.authorization_endpoint),
        token_endpoint: config.token_url.clone().or(metadata.token_endpoint).ok_or(no_token_endpoint)?,
        registration_endpoint: metadata.registration_endpoint,
        revocation_endpoint: metadata.revocation_endpoint,
        // RFC 8414 §2: the default if omitted.
        token_endpoint_auth_methods: metadata
            .token_endpoint_auth_methods_supported
            .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        grant_types: metadata.grant_types_supported,
        takes_client_metadata_documents: metadata.client_id_metadata_document_supported,
        announces_iss: metadata.authorization_response_iss_parameter_supported,
        resource: protected_resource.resource.clone(),
        issuer_is_told: is_at_its_own,
        other_iss,
        issuer,
        scopes,
        grant,
    })
}

/// Adds `offline_access`, which gives a refresh token, if the server supports it. Not to an empty list: then the server
/// would no longer grant its default scopes.
pub(super) fn ask_for_offline_access(scopes: &mut Vec<String>, supported: &[String]) {
    let offline = "offline_access".to_owned();
    if !scopes.is_empty() && supported.contains(&offline) && !scopes.contains(&offline) {
        scopes.push(offline);
    }
}

/// Refuses endpoints before a user or a secret is sent there: URLs that no browser may open, and addresses that the egress
/// policy refuses.
///
/// # Errors
/// [`OAuthError::NotHttps`], [`OAuthError::Unreachable`].
pub(super) async fn check_endpoints(
    http: &HttpClient,
    server: &AuthorizationServer,
) -> Result<(), OAuthError> {
    if server.grant == GrantType::AuthorizationCode
        && server.authorization_endpoint.as_ref().is_some_and(|page| !may_be_opened(page))
    {
        return Err(OAuthError::NotHttps { endpoint: Endpoint::Authorization });
    }
    let registration = server.registration_endpoint.as_ref().map(|url| (url, Endpoint::Registration));
    for (url, endpoint) in [(&server.token_endpoint, Endpoint::Token)].into_iter().chain(registration) {
        http.resolve(url)
            .await
            .map_err(|error| OAuthError::Unreachable { endpoint, source: error.into() })?;
    }
    Ok(())
}

/// Returns the grant type: the entry's, or the first of authorization code and client credentials that the server offers.
fn grant_type(config: &OAuthConfig, metadata: &ServerMetadata) -> Result<GrantType, OAuthError> {
    let lacks = |lacks| OAuthError::NotOffered { issuer: Shown::new(&metadata.issuer), lacks };
    let offers = |grant: &str| {
        metadata.grant_types_supported.as_ref().is_none_or(|offered| offered.iter().any(|one| one == grant))
    };
    let has_page = metadata.authorization_endpoint.is_some() || config.authorization_url.is_some();
    let is_for_users = config.grant != Some(GrantType::ClientCredentials);
    if is_for_users && !has_page && metadata.authorization_endpoint_is_malformed {
        let field = "authorization_endpoint";
        return Err(OAuthError::Incomplete { endpoint: Endpoint::AuthorizationServerMetadata, field });
    }
    match config.grant {
        Some(GrantType::ClientCredentials) => Ok(GrantType::ClientCredentials),
        Some(GrantType::AuthorizationCode) if !has_page => Err(lacks("has no page to sign in on")),
        Some(GrantType::AuthorizationCode) => Ok(GrantType::AuthorizationCode),
        None if has_page && offers("authorization_code") => Ok(GrantType::AuthorizationCode),
        None if offers("client_credentials") => Ok(GrantType::ClientCredentials),
        None => Err(lacks("offers neither authorization_code nor client_credentials")),
    }
}

/// Checks that the server announces PKCE with S256, as the MCP specification requires. Cognito supports it without
/// announcing it.
fn check_pkce(issuer: &str, methods: Option<&[String]>) -> Result<(), OAuthError> {
    let supported = match methods {
        Some(methods) => methods.iter().any(|method| method == "S256"),
        None => is_cognito(issuer),
    };
    if supported { Ok(()) } else { Err(OAuthError::NoPkce { issuer: Shown::new(issuer) }) }
}

/// Returns true if an issuer is a Cognito user pool: its last segment is the pool's id.
fn is_cognito(issuer: &str) -> bool {
    issuer.rsplit('/').next().is_some_and(|segment| segment.parse::<UserPoolId>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cognito_need_not_announce_pkce() {
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
