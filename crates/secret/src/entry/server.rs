//! Reads the fields of the server: its URL or ARN, its transport, the extra headers, and the tools that are offered.

use auth::{AuthConfig, ExtraHeaders};
use mcp::{McpServer, ToolSelection, TransportKind};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use super::{FieldValue, Reader, agentcore::RuntimeArn, fields::AuthType, hints::STARTS_PROGRAM};

impl Reader<'_> {
    /// Returns the server, unless one of its fields is missing or wrong.
    pub(super) fn server(&mut self, kind: Option<AuthType>, agentcore: Option<&Url>) -> Option<McpServer> {
        let (url, is_agentcore) = self.url(agentcore).map_or((None, false), |(url, is)| (Some(url), is));
        if is_agentcore && kind == Some(AuthType::ApiKey) {
            let problem =
                "api_key does not work with AgentCore, which takes OAuth tokens alone: use oauth2 or cognito";
            self.note("auth_type", problem, true);
        }
        let transport = self.transport();
        let extra_headers = self.extra_headers();
        let tools = self.tools();
        let auth: Option<AuthConfig> = kind.and_then(|kind| self.sign_in(kind, url.as_ref(), &extra_headers));
        Some(McpServer { url: url?, transport: transport?, auth: auth?, extra_headers, tools: tools? })
    }

    /// Returns the server's URL, and true if it is an AgentCore runtime.
    fn url(&mut self, agentcore: Option<&Url>) -> Option<(Url, bool)> {
        let (given, arn) = (self.text("mcp_url"), self.text("agent_runtime_arn"));
        let (field, text) = match (given, arn) {
            (Some(_), Some(_)) => {
                self.note("agent_runtime_arn", "is given beside mcp_url: one of them is enough", true);
                return None;
            }
            (None, Some(arn)) => ("agent_runtime_arn", arn),
            (Some(url), None) => ("mcp_url", url),
            (None, None) => {
                if !self.diagnostics.iter().any(|d| d.fatal && d.field.as_deref() == Some("mcp_url")) {
                    self.note("mcp_url", "is missing: give the https URL of the MCP endpoint", true);
                }
                return None;
            }
        };
        let text = text.trim();
        if field == "agent_runtime_arn" || text.starts_with("arn:") {
            return self.runtime_url(field, text, agentcore).map(|url| (url, true));
        }
        for beside in ["region", "qualifier"] {
            if self.is_given(beside) {
                self.note(beside, "is ignored: it belongs to agent_runtime_arn", false);
            }
        }
        let is_runtime =
            |url: &Url| url.path().starts_with("/runtimes/") && url.path().ends_with("/invocations");
        self.endpoint_url(text).map(|url| {
            let is_agentcore = is_runtime(&url);
            (url, is_agentcore)
        })
    }

    fn runtime_url(&mut self, field: &str, text: &str, agentcore: Option<&Url>) -> Option<Url> {
        let (region, qualifier) = (self.text("region"), self.text("qualifier"));
        let Some(arn) = RuntimeArn::parse(text) else {
            let form = "is not a runtime's ARN: give one such as arn:aws:bedrock-agentcore:us-west-2:111122223333:runtime/name";
            self.note(field, form, true);
            return None;
        };
        if region.is_some_and(|region| region.trim() != arn.region) {
            self.note(
                "region",
                "is another one than the ARN's: give the runtime's own, or leave it out",
                true,
            );
            return None;
        }
        arn.invocation_url(qualifier.as_deref().map(str::trim), agentcore)
    }

    fn endpoint_url(&mut self, text: &str) -> Option<Url> {
        let problem = match Url::parse(text) {
            Err(_) => "is not a URL: give one such as https://mcp.example.com/mcp",
            Ok(url) if !matches!(url.scheme(), "https" | "http") => "does not begin with https://",
            Ok(url) if url.host().is_none() => "has no host",
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "holds a user name or password: use the fields for signing in instead"
            }
            Ok(mut url) => {
                url.set_fragment(None);
                return Some(url);
            }
        };
        self.note("mcp_url", problem, true);
        None
    }

    fn transport(&mut self) -> Option<TransportKind> {
        // Other MCP clients write `streamable-http` and `streamableHttp`.
        let letters = |text: String| text.trim().replace(['-', '_'], "").to_ascii_lowercase();
        match self.text("transport").map(letters).as_deref() {
            None | Some("http" | "streamablehttp") => Some(TransportKind::StreamableHttp),
            Some("sse") => Some(TransportKind::Sse),
            Some("stdio") => {
                self.note("transport", format!("stdio is not taken: {STARTS_PROGRAM}"), true);
                None
            }
            Some("websocket") => {
                self.note("transport", "websocket is not supported yet: use streamable_http or sse", true);
                None
            }
            Some(_) => {
                self.note("transport", "is unknown: use streamable_http or sse, or leave it out", true);
                None
            }
        }
    }

    fn extra_headers(&mut self) -> ExtraHeaders {
        let mut headers = ExtraHeaders::default();
        match self.fields.get("extra_headers") {
            None | Some(FieldValue::Plain(_)) => {}
            Some(FieldValue::Headers(given)) => {
                for (name, value) in given {
                    let field = format!("extra_headers.{name}");
                    let added = match value {
                        Some(value) => headers
                            .add(name.trim(), value.expose_secret().trim().into())
                            .map_err(|error| error.to_string()),
                        None => Err("is not a text: put its value in double quotes".to_owned()),
                    };
                    if let Err(problem) = added {
                        self.note(&field, problem, true);
                    }
                }
            }
            Some(_) => self.note("extra_headers", "is not an object: write {\"X-Name\": \"value\"}", true),
        }
        headers
    }

    /// Returns the selection of tools: from a list of globs, or from `{"allow": […], "deny": […]}`.
    fn tools(&mut self) -> Option<ToolSelection> {
        let form = "is neither a list of names nor {\"allow\": […], \"deny\": […]}";
        let names = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let selection = match self.json("tools") {
            None => return Some(ToolSelection::default()),
            Some(Value::String(all)) if matches!(all.trim(), "all" | "*" | "") => {
                return Some(ToolSelection::default());
            }
            Some(list @ Value::Array(_)) => names(list).map(|allow| (Some(allow), Vec::new())),
            Some(Value::Object(lists))
                if lists.keys().all(|key| matches!(key.as_str(), "allow" | "deny")) =>
            {
                let list = |key: &str| lists.get(key).filter(|value| !value.is_null()).map(names);
                match (list("allow"), list("deny")) {
                    (Some(None), _) | (_, Some(None)) => None,
                    (allow, deny) => Some((allow.flatten(), deny.flatten().unwrap_or_default())),
                }
            }
            Some(_) => None,
        };
        let Some((allow, deny)) = selection else {
            self.note("tools", form, true);
            return None;
        };
        match ToolSelection::new(allow.as_deref(), &deny) {
            Ok(selection) => Some(selection),
            Err(error) => {
                self.note("tools", format!("holds a name that {error}"), true);
                None
            }
        }
    }
}
