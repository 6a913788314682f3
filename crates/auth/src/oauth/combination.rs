//! What an authorization server's metadata and an entry say together: the entry goes before.
//!
//! Refuses what this client cannot use, and what nobody may be sent to. Asks for no documents itself:
//! [`super::selection`] does.

use egress::{HttpClient, Shown};

use super::{
    about::Place,
    authorization_code::may_be_opened,
    authorization_server::{Asked, AuthorizationServer},
    config::{GrantType, OAuthConfig},
    error::OAuthError,
    issuer::is_same_issuer,
    metadata::{Issuer, ServerMetadata},
};
use crate::UserPoolId;

/// What the authorization server's metadata and the entry say together; the entry goes before.
pub(super) fn combine(
    config: &OAuthConfig,
    asked: &Asked,
    metadata: ServerMetadata,
    issuer: Issuer<'_>,
) -> Result<AuthorizationServer, OAuthError> {
    let grant = grant(config, &metadata)?;
    // An entry that names the page itself wants no announcement; S256 is sent all the same.
    if grant == GrantType::AuthorizationCode && config.authorization_url.is_none() {
        check_pkce(&metadata.issuer, metadata.code_challenge_methods_supported.as_deref())?;
    }
    let mut scopes = if config.scopes.is_empty() { asked.scopes.clone() } else { config.scopes.clone() };
    if grant == GrantType::AuthorizationCode && config.scopes.is_empty() {
        ask_for_offline_access(&mut scopes, &metadata.scopes_supported);
    }
    // What is looked up at another address is known by that address: nobody but the document itself says that it
    // is the issuer's.
    let is_at_its_own = is_same_issuer(issuer.looked_up, issuer.named);
    let other_iss = [metadata.issuer.clone(), issuer.named.to_owned()].into_iter();
    let other_iss = other_iss.filter(|_| config.issuer.is_some()).collect();
    let issuer = if is_at_its_own { metadata.issuer } else { issuer.looked_up.to_owned() };
    let no_token_endpoint = OAuthError::Incomplete { place: Place::ServerMetadata, field: "token_endpoint" };
    Ok(AuthorizationServer {
        authorization_endpoint: config.authorization_url.clone().or(metadata.authorization_endpoint),
        token_endpoint: config.token_url.clone().or(metadata.token_endpoint).ok_or(no_token_endpoint)?,
        registration_endpoint: metadata.registration_endpoint,
        revocation_endpoint: metadata.revocation_endpoint,
        // RFC 8414 §2: what leaves it out means this.
        token_endpoint_auth_methods: metadata
            .token_endpoint_auth_methods_supported
            .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
        grant_types: metadata.grant_types_supported,
        takes_client_metadata_documents: metadata.client_id_metadata_document_supported,
        announces_iss: metadata.authorization_response_iss_parameter_supported,
        resource: asked.resource.clone(),
        issuer_is_told: is_at_its_own,
        other_iss,
        issuer,
        scopes,
        grant,
    })
}

/// Adds what lets us refresh where it is on offer; never alone, which would give up what a server grants by
/// itself.
pub(super) fn ask_for_offline_access(scopes: &mut Vec<String>, supported: &[String]) {
    let offline = "offline_access".to_owned();
    if !scopes.is_empty() && supported.contains(&offline) && !scopes.contains(&offline) {
        scopes.push(offline);
    }
}

/// Refuses endpoints before anybody or any secret is sent there: pages that no browser may open, addresses
/// that may not be connected to.
pub(super) async fn check_endpoints(
    http: &HttpClient,
    server: &AuthorizationServer,
) -> Result<(), OAuthError> {
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

/// Who signs in, as the entry says or as far as the authorization server offers it.
fn grant(config: &OAuthConfig, metadata: &ServerMetadata) -> Result<GrantType, OAuthError> {
    let lacks = |lacks| OAuthError::NotOffered { issuer: Shown::new(&metadata.issuer), lacks };
    let offers = |grant: &str| {
        metadata.grant_types_supported.as_ref().is_none_or(|offered| offered.iter().any(|one| one == grant))
    };
    let has_page = metadata.authorization_endpoint.is_some() || config.authorization_url.is_some();
    let is_for_users = config.grant != Some(GrantType::ClientCredentials);
    if is_for_users && !has_page && metadata.authorization_endpoint_is_garbled {
        let field = "authorization_endpoint";
        return Err(OAuthError::Incomplete { place: Place::ServerMetadata, field });
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
