//! Selects one of the authorization servers of an MCP server: the first that can be used.
//!
//! An MCP server may name several; an entry may name one whose metadata is at another address. A server that cannot be
//! used is passed over, unless the entry's secret is meant for it alone. If none can be used, the error names the others.
//! Stores nothing. Called by [`super::discovery`].

use std::{sync::Arc, time::Duration};

use egress::{EgressError, HttpClient, Shown};
use tokio::time::timeout;
use url::Url;

use super::{
    authorization_server::{AuthorizationServer, ProtectedResource},
    combination::{check_endpoints, combine},
    config::{ClientAuthentication, OAuthConfig},
    error::OAuthError,
    issuer::is_same_issuer,
    metadata::{IssuerLookup, more_specific, server_metadata},
    request_context::Endpoint,
};

/// Number of authorization servers that are tried: an MCP server may name any number.
const MAX_SERVERS: usize = 5;
/// Time limit for each authorization server but the last, in seconds: one that does not answer leaves time for the next
/// within the 8 s that a list has.
const ONE_OF_SEVERAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns the first authorization server that can be used. One at which this backend has no client is used only if there
/// is no other. Those in `excluded` have refused to register a client, whatever they announce.
///
/// # Errors
/// The error of the first authorization server; [`OAuthError::OneOfSeveral`] if the MCP server names others.
pub(super) async fn first_usable(
    http: &HttpClient,
    config: &OAuthConfig,
    protected_resource: &ProtectedResource,
    pinned: Option<&str>,
    excluded: &[String],
) -> Result<AuthorizationServer, OAuthError> {
    let mut issuers = candidates(config, protected_resource, pinned);
    issuers.retain(|issuer| !excluded.iter().any(|passed| is_same_issuer(passed, issuer.looked_up)));
    let (mut fault, mut without_client) = (None, None);
    for (index, issuer) in issuers.iter().enumerate() {
        let is_last = index + 1 == issuers.len();
        let found = usable(http, config, protected_resource, *issuer);
        let found = match (is_last, Url::parse(issuer.looked_up)) {
            (false, Ok(url)) => within(&url, ONE_OF_SEVERAL_TIMEOUT, found).await,
            _ => found.await,
        };
        match found {
            Ok(server) if is_last || has_client(config, &server) => {
                return Ok(if has_client(config, &server) {
                    server
                } else {
                    without_client.unwrap_or(server)
                });
            }
            Ok(server) => drop(without_client.get_or_insert(server)),
            Err(error) => {
                let may_recover = config.issuer.is_some() && !is_absent(&error);
                // Of several authorization servers the user expects the first. Of several addresses of one issuer the
                // most specific error is returned.
                fault = match config.issuer {
                    Some(_) => Some(more_specific(fault, error)),
                    None => fault.or(Some(error)),
                };
                if may_recover {
                    break;
                }
            }
        }
    }
    match (without_client, fault) {
        (Some(server), _) => Ok(server),
        (None, Some(error)) => Err(with_alternatives(error, config, protected_resource, &issuers)),
        (None, None) => {
            let field = "authorization_servers";
            Err(OAuthError::Incomplete { endpoint: Endpoint::ResourceMetadata, field })
        }
    }
}

/// Returns the authorization servers to try, in this order.
///
/// An entry's issuer is looked up at its own address, then at those that the MCP server names. Without one, the pinned
/// issuer is used if the server still names it. Else those that the server names, or only the first if the entry has a
/// secret.
fn candidates<'a>(
    config: &'a OAuthConfig,
    protected_resource: &'a ProtectedResource,
    pinned: Option<&str>,
) -> Vec<IssuerLookup<'a>> {
    let named = || protected_resource.issuers.iter().map(String::as_str);
    let still_named = pinned.and_then(|pinned| named().find(|issuer| is_same_issuer(issuer, pinned)));
    if let Some(issuer) = config.issuer.as_deref() {
        let at_its_own = IssuerLookup { looked_up: issuer, named: issuer };
        let elsewhere = named().filter(|named| !is_same_issuer(named, issuer));
        let elsewhere = elsewhere.map(|looked_up| IssuerLookup { looked_up, named: issuer });
        return match (pinned, still_named) {
            (Some(pinned), _) if is_same_issuer(pinned, issuer) => vec![at_its_own],
            (Some(_), Some(looked_up)) => vec![IssuerLookup { looked_up, named: issuer }],
            _ => [at_its_own].into_iter().chain(elsewhere).collect(),
        };
    }
    let has_secret = config
        .client
        .as_ref()
        .is_some_and(|client| !matches!(client.authentication, ClientAuthentication::Public));
    let tried = if pinned.is_some() || has_secret { 1 } else { MAX_SERVERS };
    let of_itself = |issuer| IssuerLookup { looked_up: issuer, named: issuer };
    match still_named {
        Some(pinned) => vec![of_itself(pinned)],
        None => named().take(tried).map(of_itself).collect(),
    }
}

/// Returns true if this backend has a client at the authorization server, or can register one.
fn has_client(config: &OAuthConfig, server: &AuthorizationServer) -> bool {
    config.client.is_some()
        || server.registration_endpoint.is_some()
        || server.takes_client_metadata_documents
}

/// Returns true if an error says that an issuer has no metadata at its own address. If it has some, even if it fails now,
/// no other address is asked.
fn is_absent(error: &OAuthError) -> bool {
    match error {
        OAuthError::Unreachable { source, .. } => {
            matches!(source.as_ref(), EgressError::Dns { .. } | EgressError::Connect { .. })
        }
        OAuthError::NoMetadata { .. } | OAuthError::NotJson { .. } | OAuthError::IssuerMismatch { .. } => {
            true
        }
        _ => false,
    }
}

/// Adds to an error the issuers of the other authorization servers that the MCP server names.
fn with_alternatives(
    error: OAuthError,
    config: &OAuthConfig,
    protected_resource: &ProtectedResource,
    tried: &[IssuerLookup<'_>],
) -> OAuthError {
    let is_first = |issuer: &str| tried.first().is_some_and(|first| is_same_issuer(first.looked_up, issuer));
    let others: Vec<&str> =
        protected_resource.issuers.iter().map(String::as_str).filter(|issuer| !is_first(issuer)).collect();
    if others.is_empty() || !protected_resource.issuers_are_named {
        return error;
    }
    let were_tried = config.issuer.is_none() && tried.len() > 1;
    let (first, others) = (Box::new(error), Shown::new(&others.join(", ")));
    OAuthError::OneOfSeveral { first, others, were_tried }
}

/// Fetches the metadata of one authorization server, combines it with the entry, and checks its endpoints.
async fn usable(
    http: &HttpClient,
    config: &OAuthConfig,
    protected_resource: &ProtectedResource,
    issuer: IssuerLookup<'_>,
) -> Result<AuthorizationServer, OAuthError> {
    let found =
        server_metadata(http, issuer, |metadata| combine(config, protected_resource, metadata, issuer))
            .await?;
    check_endpoints(http, &found).await?;
    Ok(found)
}

/// Runs a step with a time limit. If it passes, the error is a timeout of `url`'s host.
pub(super) async fn within<T>(
    url: &Url,
    limit: Duration,
    step: impl Future<Output = Result<T, OAuthError>>,
) -> Result<T, OAuthError> {
    timeout(limit, step).await.unwrap_or_else(|_| {
        let host = url.host_str().unwrap_or_default().to_owned();
        let source = Arc::new(EgressError::Timeout { host });
        Err(OAuthError::Unreachable { endpoint: Endpoint::AuthorizationServerMetadata, source })
    })
}
