//! The errors of this crate, and what to do about them.
//!
//! Errors of OAuth are in [`crate::OAuthError`].

use std::borrow::Cow;

use crate::oauth::{OAuthError, SignInNeeded};

/// The reason why a sign-in failed. No message has a secret. Of Cognito's answers a message has the code only, since
/// Cognito's texts quote what they were sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// Cognito answered with a challenge, which only a person could answer.
    #[error("Cognito answered with the challenge {name}: {}", self.remedy())]
    Challenge {
        /// The challenge's name, such as `NEW_PASSWORD_REQUIRED`.
        name: String,
    },
    /// Cognito refused the sign-in.
    #[error("Cognito refused the sign-in with {code}: {}", self.remedy())]
    Refused {
        /// The error's code, such as `NotAuthorizedException`.
        code: String,
    },
    /// Cognito was not reached, or did not answer in time.
    #[error(
        "Cognito in {region} was not reached: check the network of this function and the region in the pool id"
    )]
    Unreachable {
        /// The pool's region.
        region: String,
    },
    /// Cognito answered without a token and without a challenge.
    #[error("Cognito answered without an access token: {}", self.remedy())]
    NoToken,
    /// A user must sign in. Trying again does not help.
    #[error("a user must sign in: {0}")]
    NeedsSignIn(SignInNeeded),
    /// OAuth failed.
    #[error(transparent)]
    OAuth(OAuthError),
}

impl From<SignInNeeded> for AuthError {
    fn from(needed: SignInNeeded) -> Self {
        Self::NeedsSignIn(needed)
    }
}

impl From<OAuthError> for AuthError {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::IssuerChanged { pinned, found } => {
                let [pinned, found] = [pinned, found].map(|issuer| issuer.whole().to_owned());
                SignInNeeded::Ended(crate::GrantEndReason::IssuerChanged { pinned, found }).into()
            }
            error => Self::OAuth(error),
        }
    }
}

impl AuthError {
    /// Returns the kind of failure, as a code that programs can match on.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NeedsSignIn(_) => "needs_sign_in",
            Self::OAuth(error) => error.kind(),
            _ => "sign_in_failed",
        }
    }

    /// Returns what to do about the error, as an instruction that can be followed as it stands.
    pub fn remedy(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::OAuth(error) => return error.remedy(),
            Self::Challenge { name } => challenge_remedy(name),
            Self::Refused { code } => refusal_remedy(code),
            Self::Unreachable { .. } => "check the network of this function and the region in the pool id",
            Self::NoToken => "check that the app client is one of this user pool",
            Self::NeedsSignIn(SignInNeeded::Ended(crate::GrantEndReason::IssuerChanged { .. })) => {
                "find out whether that change is meant; if you trust the new authorization server, give it as issuer in the entry"
            }
            Self::NeedsSignIn(SignInNeeded::Ended(crate::GrantEndReason::Expired)) => {
                "sign in again with POST /oauth/start or `mcp-agents login`; for a sign-in that lasts, have the authorization server give a refresh token: add offline_access to scopes, or for Google give authorization_url with ?access_type=offline&prompt=consent"
            }
            Self::NeedsSignIn(_) => "sign in with POST /oauth/start or `mcp-agents login`",
        };
        fixed.into()
    }
}

fn challenge_remedy(name: &str) -> &'static str {
    match name {
        "NEW_PASSWORD_REQUIRED" => {
            "the password is still temporary; set a permanent one with `aws cognito-idp admin-set-user-password --permanent`"
        }
        "SOFTWARE_TOKEN_MFA" | "SMS_MFA" | "EMAIL_OTP" | "SMS_OTP" | "SELECT_MFA_TYPE" | "MFA_SETUP" => {
            "a second factor is asked for, which a service user cannot give; turn MFA off for this user"
        }
        "DEVICE_SRP_AUTH" | "DEVICE_PASSWORD_VERIFIER" => {
            "the pool remembers devices; turn device tracking off or use another pool"
        }
        _ => "use a user and an app client that sign in with a password alone",
    }
}

fn refusal_remedy(code: &str) -> &'static str {
    match code {
        "NotAuthorizedException" => {
            "check cognito_username and cognito_password, that the user is enabled, and cognito_client_secret if the app client has a secret"
        }
        "UserNotFoundException" => "the pool has no such user; check cognito_username",
        "UserNotConfirmedException" => {
            "the user is not confirmed; use `aws cognito-idp admin-confirm-sign-up`"
        }
        "PasswordResetRequiredException" => {
            "the password must be reset; use `aws cognito-idp admin-set-user-password --permanent`"
        }
        "InvalidParameterException" => {
            "check that the app client allows ALLOW_USER_PASSWORD_AUTH and, if it has a secret, that cognito_client_secret is given"
        }
        "ResourceNotFoundException" => {
            "the app client or the pool does not exist in that region; check cognito_client_id and cognito_user_pool_id"
        }
        "TooManyRequestsException" | "LimitExceededException" => {
            "the account's quota of sign-ins is used up; try again later, or ask AWS for a higher quota"
        }
        "UserLambdaValidationException" | "UnexpectedLambdaException" | "InvalidLambdaResponseException" => {
            "a Lambda trigger of the pool refused or failed; look at its logs"
        }
        _ => "look the code up in Cognito's InitiateAuth reference",
    }
}
