//! What the function reads from its environment, once, at cold start.

use auth::ClientIdentity;
use backend::BackendConfig;
use runtime::{ConfigError, Vars};

use crate::origins::AllowedOrigins;

/// The function's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) backend: BackendConfig,
    /// `OAUTH_CALLBACK_URL`: where browsers come back to. `OAUTH_CLIENT_METADATA_URL`: where this function's
    /// client metadata document is to be had; only an `https` one is taken by anybody.
    pub(crate) identity: ClientIdentity,
    /// `OAUTH_ALLOWED_ORIGINS`: origins of pages that are told when a sign-in is back, separated by commas. None if
    /// not set.
    pub(crate) allowed_origins: AllowedOrigins,
}

impl Config {
    /// Reads what its fields name.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        // Without a table a sign-in would be forgotten before its user is back.
        vars.required("CONNECTIONS_TABLE", "the name of the table of connections");
        let config = Self {
            backend: BackendConfig::from_vars(&mut vars),
            identity: ClientIdentity {
                redirect_uri: vars.required("OAUTH_CALLBACK_URL", "the public URL of GET /oauth/callback"),
                metadata_url: vars
                    .optional("OAUTH_CLIENT_METADATA_URL")
                    .filter(|url| url.starts_with("https://")),
                redirect_uri_per_issuer: true,
            },
            allowed_origins: vars.parsed("OAUTH_ALLOWED_ORIGINS", AllowedOrigins::default()),
        };
        vars.finish(config)
    }
}
