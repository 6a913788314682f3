//! Tokens of a Cognito user pool: access tokens and ID tokens, verified with the pool's public keys, which are cached.
//! Cognito is not asked about single tokens.
//!
//! Source: <https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html>

use auth::UserPoolId;
use egress::HttpClient;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, Validation, dangerous::insecure_decode, decode, decode_header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{caller::Caller, error::AuthenticationError, signing_keys::SigningKeys};

/// How far the clock of the user pool may be ahead of this process's, in seconds, for `nbf`. `exp` has no tolerance: a client
/// renews its token before that.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// A user pool whose tokens are accepted. Cheap to clone; clones share the cached signing keys.
#[derive(Clone)]
pub struct UserPool {
    issuers: [String; 2],
    clients: Vec<String>,
    keys: SigningKeys,
}

impl UserPool {
    /// The pool `id`, for tokens of the app clients `clients`. Its signing keys are read over `http`, from `endpoint` if it
    /// is given (a local AWS), otherwise from AWS.
    pub fn new(http: HttpClient, id: &UserPoolId, clients: Vec<String>, endpoint: Option<&Url>) -> Self {
        let region = id.region();
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        // A pool's issuer has one of these two forms. The first host serves the keys of both.
        let hosts =
            ["cognito-idp", "issuer-cognito-idp"].map(|host| format!("https://{host}.{region}.{domain}"));
        let base = endpoint.map_or(hosts[0].as_str(), Url::as_str).trim_end_matches('/');
        let keys = SigningKeys::new(http, format!("{base}/{id}/.well-known/jwks.json"));
        let issuers = hosts.map(|host| format!("{host}/{id}"));
        Self { issuers, clients, keys }
    }

    /// Verifies a token and returns its user.
    ///
    /// The claims are checked first, so that a token that cannot be valid costs no read of the keys.
    ///
    /// # Errors
    /// [`AuthenticationError::Invalid`], [`AuthenticationError::KeysUnavailable`].
    pub async fn verify(&self, token: &SecretString, now: Timestamp) -> Result<Caller, AuthenticationError> {
        use AuthenticationError::Invalid;
        let token = token.expose_secret();
        let header = decode_header(token).map_err(|_| Invalid("it is not a JSON Web Token"))?;
        if header.alg != Algorithm::RS256 {
            return Err(Invalid("it is not signed with RS256"));
        }
        let claims =
            insecure_decode::<Value>(token).map_err(|_| Invalid("it is not a JSON Web Token"))?.claims;
        self.check(&claims, now)?;
        let key_id = header.kid.ok_or(Invalid("it names no signing key"))?;
        let key = self
            .keys
            .find(&key_id, now)
            .await?
            .ok_or(Invalid("its signing key is not one of the user pool"))?;
        let mut signature_only = Validation::new(Algorithm::RS256);
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        signature_only.required_spec_claims.clear();
        let verified = decode::<Value>(token, &key, &signature_only);
        let claims = verified.map_err(|_| Invalid("its signature is wrong"))?.claims;
        Caller::of_claims(&claims).ok_or(Invalid("it names no user"))
    }

    fn check(&self, claims: &Value, now: Timestamp) -> Result<(), AuthenticationError> {
        let text = |claim: &str| claims[claim].as_str();
        let time =
            |claim: &str| claims[claim].as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let is_client =
            |client: &Value| client.as_str().is_some_and(|id| self.clients.iter().any(|one| one == id));
        let client = match text("token_use") {
            Some("access") => &claims["client_id"],
            Some("id") => &claims["aud"],
            _ => return Err(AuthenticationError::Invalid("it is neither an access token nor an ID token")),
        };
        let of_client = match client {
            // RFC 7519 §4.1.3 allows a list of audiences.
            Value::Array(audiences) => audiences.iter().any(is_client),
            one => is_client(one),
        };
        let problem = if !text("iss").is_some_and(|iss| self.issuers.iter().any(|issuer| issuer == iss)) {
            "it is not of this stack's user pool"
        } else if !of_client {
            "it is not for an app client of this stack"
        } else if time("exp").is_none_or(|expiry| expiry <= now) {
            "it has expired"
        } else if !claims["nbf"].is_null() && time("nbf").is_none_or(|start| start > now + CLOCK_SKEW) {
            "it is not valid yet"
        } else {
            return Ok(());
        };
        Err(AuthenticationError::Invalid(problem))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use aws_lc_rs::{
        encoding::AsDer,
        rsa::{KeyPair, KeySize},
    };
    use axum::{Router, http::StatusCode, routing::get};
    use base64::{Engine, prelude::BASE64_STANDARD};
    use egress::{Deadlines, EgressPolicy};
    use jsonwebtoken::{EncodingKey, Header, encode, jwk::Jwk};
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    const POOL: &str = "us-east-1_AbCdEf123";
    const ISSUER: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123";

    /// A new RSA key.
    fn new_key() -> EncodingKey {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let lines = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            lines.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let label = "PRIVATE KEY";
        let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
        EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
    }

    fn claims(over: Value) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "sub": "sub-1", "username": "ada", "token_use": "access", "client_id": "app",
            "exp": at(3600).as_second(), "cognito:groups": ["Author", "org/acme"],
        });
        claims.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        claims
    }

    fn token(claims: &Value, kid: &str, key: &EncodingKey) -> SecretString {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        encode(&header, claims, key).unwrap().into()
    }

    /// A pool whose key set is served on loopback, and how often it was read. `works` says whether it is served.
    struct Served {
        pool: UserPool,
        key: EncodingKey,
        reads: Arc<AtomicUsize>,
        works: Arc<AtomicBool>,
    }

    async fn served() -> Served {
        let (reads, works) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let key = new_key();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some("key-1".to_owned());
        let set = json!({"keys": [jwk]}).to_string();
        let (counted, open) = (reads.clone(), works.clone());
        let answer = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = match open.load(Ordering::Relaxed) {
                true => Ok(set.clone()),
                false => Err(StatusCode::SERVICE_UNAVAILABLE),
            };
            async move { answer }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let router = Router::new().route(&format!("/{POOL}/.well-known/jwks.json"), get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        // Answers come at once or not at all: the limit is only what a test may hang.
        let deadlines = Deadlines { connect: Duration::from_secs(10), read: Duration::from_secs(10) };
        let http = HttpClient::new(EgressPolicy::with_private_addresses(), deadlines);
        let pool = UserPool::new(http, &POOL.parse().unwrap(), vec!["app".to_owned()], Some(&endpoint));
        Served { pool, key, reads, works }
    }

    impl Served {
        fn reads(&self) -> usize {
            self.reads.load(Ordering::Relaxed)
        }

        async fn refuses(&self, token: &SecretString, part: &str) {
            let error = self.pool.verify(token, at(0)).await.unwrap_err();
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }

    #[tokio::test]
    async fn access_and_id_tokens_name_their_user_and_the_keys_are_read_once() {
        let served = served().await;
        let access = token(&claims(json!({})), "key-1", &served.key);
        let caller = served.pool.verify(&access, at(0)).await.unwrap();
        assert_eq!((caller.user.name.as_str(), caller.user.sub.as_deref()), ("ada", Some("sub-1")));
        assert!(caller.may_use_agents());
        let newer = "https://issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEf123";
        let id = json!({"token_use": "id", "aud": "app", "client_id": null, "username": null, "cognito:username": "grace", "iss": newer});
        let caller = served.pool.verify(&token(&claims(id), "key-1", &served.key), at(0)).await.unwrap();
        assert_eq!((caller.user.name.as_str(), served.reads()), ("grace", 1));
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_valid_is_refused_without_a_read_of_the_keys() {
        let served = served().await;
        for (over, part) in [
            (
                json!({"iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Other"}),
                "not of this stack's",
            ),
            (json!({"iss": null}), "not of this stack's"),
            (json!({"client_id": "another"}), "not for an app client"),
            (json!({"client_id": null, "aud": "app"}), "not for an app client"),
            (json!({"token_use": "refresh"}), "neither an access token"),
            (json!({"exp": at(0).as_second()}), "has expired"),
            (json!({"exp": null}), "has expired"),
            (json!({"nbf": at(60).as_second()}), "not valid yet"),
            (json!({"nbf": "soon"}), "not valid yet"),
        ] {
            served.refuses(&token(&claims(over), "key-1", &served.key), part).await;
        }
        let none = format!("eyJhbGciOiJub25lIn0.{}.", "e30");
        let symmetric = encode(
            &Header { kid: Some("key-1".to_owned()), ..Header::new(Algorithm::HS256) },
            &claims(json!({})),
            &EncodingKey::from_secret(b"secret"),
        );
        served.refuses(&symmetric.unwrap().into(), "not signed with RS256").await;
        served.refuses(&none.into(), "not a JSON Web Token").await;
        served.refuses(&"abc".into(), "not a JSON Web Token").await;
        assert_eq!(served.reads(), 0);
    }

    #[tokio::test]
    async fn a_forged_signature_and_an_unknown_key_are_refused_and_read_the_keys_once_a_minute() {
        let served = served().await;
        let forged = token(&claims(json!({})), "key-1", &new_key());
        served.refuses(&forged, "signature is wrong").await;
        assert_eq!(served.reads(), 1);
        let unknown = token(&claims(json!({})), "key-2", &new_key());
        for _ in 0..20 {
            served.refuses(&unknown, "signing key is not one").await;
        }
        assert_eq!(served.reads(), 1, "the keys were read within the last minute");
        for _ in 0..20 {
            served.pool.verify(&unknown, at(60)).await.unwrap_err();
        }
        assert_eq!(served.reads(), 2);
    }

    #[tokio::test]
    async fn keys_that_cannot_be_read_again_stay_in_use() {
        let served = served().await;
        let long = token(&claims(json!({"exp": at(90_000).as_second()})), "key-1", &served.key);
        served.works.store(false, Ordering::Relaxed);
        let error = served.pool.verify(&long, at(0)).await.unwrap_err();
        assert!(matches!(error, AuthenticationError::KeysUnavailable { .. }), "{error}");
        served.works.store(true, Ordering::Relaxed);
        served.pool.verify(&long, at(1)).await.unwrap();
        served.works.store(false, Ordering::Relaxed);
        served.pool.verify(&long, at(7_200)).await.unwrap();
        assert_eq!(served.reads(), 3, "one that failed, one that succeeded, one that failed again");
    }
}
