//! Which of the authorization servers that may be meant is used: the first that can be.
//!
//! A server may name several, and an entry may name one whose document lies at another address. What cannot be
//! used is passed over while nothing secret is meant for it alone; the others are named where none can be used.

use std::{sync::Arc, time::Duration};

use egress::{EgressError, HttpClient, Shown};
use tokio::time::timeout;
use url::Url;

use super::{
    about::Place,
    authorization_server::{Asked, AuthorizationServer},
    combination::{check_endpoints, combine},
    config::{ClientProof, OAuthConfig},
    error::OAuthError,
    issuer::is_same_issuer,
    metadata::{Issuer, more_telling, server_metadata},
};

/// How many of the authorization servers that one server names are tried: it may name any number.
const MAX_SERVERS: usize = 5;
/// How long one of several authorization servers may take, so that one that hangs leaves time for the next within
/// the 8 s that a list has.
const ONE_OF_SEVERAL_WITHIN: Duration = Duration::from_secs(3);

/// The first of the authorization servers that can be used. One that lets no client of ours in is used only if
/// no other can be. `passed_over` are those that were found to let none in, whatever they announce.
pub(super) async fn first_usable(
    http: &HttpClient,
    config: &OAuthConfig,
    asked: &Asked,
    pinned: Option<&str>,
    passed_over: &[String],
) -> Result<AuthorizationServer, OAuthError> {
    let mut issuers = candidates(config, asked, pinned);
    issuers.retain(|issuer| !passed_over.iter().any(|passed| is_same_issuer(passed, issuer.looked_up)));
    let (mut fault, mut closed) = (None, None);
    for (index, issuer) in issuers.iter().enumerate() {
        let is_last = index + 1 == issuers.len();
        let found = usable(http, config, asked, *issuer);
        let found = match (is_last, Url::parse(issuer.looked_up)) {
            (false, Ok(url)) => within(&url, ONE_OF_SEVERAL_WITHIN, found).await,
            _ => found.await,
        };
        match found {
            Ok(server) if is_last || has_client(config, &server) => {
                return Ok(if has_client(config, &server) { server } else { closed.unwrap_or(server) });
            }
            Ok(server) => drop(closed.get_or_insert(server)),
            Err(error) => {
                let may_come_back = config.issuer.is_some() && !is_absent(&error);
                // Of several the first is the one that a user will expect; of the places of one issuer the fault
                // that says most is told.
                fault = match config.issuer {
                    Some(_) => Some(more_telling(fault, error)),
                    None => fault.or(Some(error)),
                };
                if may_come_back {
                    break;
                }
            }
        }
    }
    match (closed, fault) {
        (Some(server), _) => Ok(server),
        (None, Some(error)) => Err(beside_others(error, config, asked, &issuers)),
        (None, None) => {
            let field = "authorization_servers";
            Err(OAuthError::Incomplete { place: Place::ResourceMetadata, field })
        }
    }
}

/// Which authorization servers to try, in this order.
///
/// The entry's issuer is looked up under its own name, then where the server says that its authorization server
/// is. Else the one of the first sign-in is used, if the server still names it. Else the first that the server
/// names; the others too, unless there is a secret that is meant for one alone.
fn candidates<'a>(config: &'a OAuthConfig, asked: &'a Asked, pinned: Option<&str>) -> Vec<Issuer<'a>> {
    let named = || asked.issuers.iter().map(String::as_str);
    let still_named = pinned.and_then(|pinned| named().find(|issuer| is_same_issuer(issuer, pinned)));
    if let Some(issuer) = config.issuer.as_deref() {
        let at_its_own = Issuer { looked_up: issuer, named: issuer };
        let elsewhere = named().filter(|named| !is_same_issuer(named, issuer));
        let elsewhere = elsewhere.map(|looked_up| Issuer { looked_up, named: issuer });
        return match (pinned, still_named) {
            (Some(pinned), _) if is_same_issuer(pinned, issuer) => vec![at_its_own],
            (Some(_), Some(looked_up)) => vec![Issuer { looked_up, named: issuer }],
            _ => [at_its_own].into_iter().chain(elsewhere).collect(),
        };
    }
    let has_secret =
        config.client.as_ref().is_some_and(|client| !matches!(client.proof, ClientProof::Public));
    let tried = if pinned.is_some() || has_secret { 1 } else { MAX_SERVERS };
    let of_itself = |issuer| Issuer { looked_up: issuer, named: issuer };
    match still_named {
        Some(pinned) => vec![of_itself(pinned)],
        None => named().take(tried).map(of_itself).collect(),
    }
}

/// Whether there is a client to be at the server, or a way to become one.
fn has_client(config: &OAuthConfig, server: &AuthorizationServer) -> bool {
    config.client.is_some()
        || server.registration_endpoint.is_some()
        || server.takes_client_metadata_documents
}

/// Whether a fault says that an issuer has no metadata of its own. What it has, even if that is out of order now,
/// goes before whatever another address says of it.
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

/// A fault with the names of the authorization servers that might do instead.
fn beside_others(error: OAuthError, config: &OAuthConfig, asked: &Asked, tried: &[Issuer<'_>]) -> OAuthError {
    let is_first = |issuer: &str| tried.first().is_some_and(|first| is_same_issuer(first.looked_up, issuer));
    let others: Vec<&str> =
        asked.issuers.iter().map(String::as_str).filter(|issuer| !is_first(issuer)).collect();
    if others.is_empty() || !asked.issuers_are_named {
        return error;
    }
    let were_tried = config.issuer.is_none() && tried.len() > 1;
    let (first, others) = (Box::new(error), Shown::new(&others.join(", ")));
    OAuthError::OneOfSeveral { first, others, were_tried }
}

/// Looks one authorization server up, and looks at where it would send people and secrets.
async fn usable(
    http: &HttpClient,
    config: &OAuthConfig,
    asked: &Asked,
    issuer: Issuer<'_>,
) -> Result<AuthorizationServer, OAuthError> {
    let found = server_metadata(http, issuer, |metadata| combine(config, asked, metadata, issuer)).await?;
    check_endpoints(http, &found).await?;
    Ok(found)
}

/// What comes of something in time; that it was not in time is the fault of `url`'s host.
pub(super) async fn within<T>(
    url: &Url,
    limit: Duration,
    step: impl Future<Output = Result<T, OAuthError>>,
) -> Result<T, OAuthError> {
    timeout(limit, step).await.unwrap_or_else(|_| {
        let host = url.host_str().unwrap_or_default().to_owned();
        let source = Arc::new(EgressError::Timeout { host });
        Err(OAuthError::Unreachable { place: Place::ServerMetadata, source })
    })
}
