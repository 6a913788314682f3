//! The errors of requests.

use std::error::Error as StdError;

use crate::policy::Refusal;

/// The reason why a request got no response. Messages name the host, and never a path, query, header or body.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The URL is neither `https` nor (where the policy opens the address) `http`, or has no host.
    #[error("only https URLs with a host are allowed")]
    Url,
    /// The policy does not permit the address of the URL's host.
    #[error("{host}: {refusal}, which ALLOW_PRIVATE_MCP_SERVERS does not allow")]
    Refused {
        /// The host in the URL.
        host: String,
        /// The reason of the policy.
        #[source]
        refusal: Refusal,
    },
    /// The name did not resolve.
    #[error("{host}: the name does not resolve")]
    Dns {
        /// The host in the URL.
        host: String,
        /// The resolver's error.
        #[source]
        source: std::io::Error,
    },
    /// The TCP connection or the TLS handshake failed.
    #[error("{host}: {}", connect_reason(source))]
    Connect {
        /// The host in the URL.
        host: String,
        /// The transport's error.
        #[source]
        source: reqwest::Error,
    },
    /// A connect or read deadline passed.
    #[error("{host}: no answer in time")]
    Timeout {
        /// The host in the URL.
        host: String,
    },
    /// The response ended too early, or was not HTTP.
    #[error("{host}: the connection broke before the answer was complete")]
    Broken {
        /// The host in the URL.
        host: String,
        /// The transport's error.
        #[source]
        source: reqwest::Error,
    },
    /// The body is larger than the limit.
    #[error("{host}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// The host in the URL.
        host: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is in a content coding that was not asked for and is not known.
    #[error("{host}: the answer is in the content coding {coding}, which was not asked for")]
    Coding {
        /// The host in the URL.
        host: String,
        /// The coding's name, cut and without unprintable characters.
        coding: String,
    },
    /// The client could not be created.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
}

impl EgressError {
    pub(crate) fn from_reqwest(host: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let host = host.to_owned();
        if let Some(refused) = find::<Refused>(&error) {
            return Self::Refused { host, refusal: refused.0 };
        }
        if let Some(dns) = find::<Unresolved>(&error) {
            let source = std::io::Error::new(dns.0.kind(), dns.0.to_string());
            return Self::Dns { host, source };
        }
        // First: a connect deadline that passed is both.
        if error.is_connect() {
            Self::Connect { host, source: error }
        } else if error.is_timeout() {
            Self::Timeout { host }
        } else {
            Self::Broken { host, source: error }
        }
    }

    /// Returns true if the TLS handshake failed, and not the connection to the server.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if tls_reason(source).is_some())
    }
}

/// The resolver's error for a refused address. It is found in the source chain of the transport's error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Refused(pub(crate) Refusal);

/// The resolver's error for a name that does not resolve. It is found in the source chain of the transport's error.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub(crate) struct Unresolved(#[source] pub(crate) std::io::Error);

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn connect_reason(error: &reqwest::Error) -> String {
    match tls_reason(error) {
        Some(reason) => format!("the TLS handshake failed ({reason})"),
        None if error.is_timeout() => "no connection in time".to_owned(),
        None => match find::<std::io::Error>(error) {
            Some(io) => format!("no connection ({})", io.kind()),
            None => "no connection".to_owned(),
        },
    }
}

/// Returns the fault of a TLS handshake in our own words, because the TLS library's messages quote the certificate, which
/// the server chose. The library reports every fault of TLS as invalid data.
fn tls_reason(error: &reqwest::Error) -> Option<&'static str> {
    // The connector wraps it once more, where `source` does not lead.
    let is_invalid = |error: &(dyn StdError + 'static)| {
        let outer = error.downcast_ref::<std::io::Error>();
        let inner = outer.and_then(|io| io.get_ref()?.downcast_ref::<std::io::Error>());
        [outer, inner].into_iter().flatten().any(|io| io.kind() == std::io::ErrorKind::InvalidData)
    };
    if !chain(error).any(is_invalid) {
        return None;
    }
    let words: String = chain(error).map(|error| error.to_string().to_lowercase()).collect();
    let known = [
        ("expired", "the certificate has expired"),
        ("notvalidyet", "the certificate is not valid yet"),
        ("unknownissuer", "the certificate's issuer is not trusted"),
        ("not valid for name", "the certificate is for another name"),
        ("notvalidforname", "the certificate is for another name"),
        ("revoked", "the certificate is revoked"),
    ];
    let reason = known.iter().find(|(word, _)| words.contains(word)).map(|(_, reason)| *reason);
    Some(reason.unwrap_or("the server does not speak TLS here, or offers nothing acceptable"))
}
