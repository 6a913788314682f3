//! ARNs of Amazon Bedrock AgentCore runtimes, and the URL that each is invoked at.
//!
//! Source: <https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp.html>

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// The endpoint name that is used if an entry has no `qualifier`.
const DEFAULT_QUALIFIER: &str = "DEFAULT";
/// The characters that are percent-encoded in a path segment: colons and slashes of an ARN among them.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A runtime's ARN and the parts of it that make the URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RuntimeArn<'a> {
    text: &'a str,
    partition: &'a str,
    pub(super) region: &'a str,
}

impl<'a> RuntimeArn<'a> {
    /// Parses `arn:{partition}:bedrock-agentcore:{region}:{account}:runtime/{id}`. Every part is checked, since the ARN
    /// names the host that tokens are sent to.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "bedrock-agentcore", region, account, runtime] = parts[..] else {
            return None;
        };
        let is_word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let id = runtime.strip_prefix("runtime/")?;
        let is_id =
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let fits =
            partition.starts_with("aws") && is_word(partition) && is_word(region) && is_id && is_account;
        fits.then_some(Self { text, partition, region })
    }

    /// Returns the URL that the runtime is invoked at: on `endpoint` if it is given, otherwise on AWS's host.
    pub(super) fn invocation_url(&self, qualifier: Option<&str>, endpoint: Option<&Url>) -> Option<Url> {
        let domain = if self.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let host = format!("https://bedrock-agentcore.{}.{domain}", self.region);
        let base = endpoint.map_or(host, |endpoint| endpoint.as_str().trim_end_matches('/').to_owned());
        let arn = utf8_percent_encode(self.text, SEGMENT);
        let mut url = Url::parse(&format!("{base}/runtimes/{arn}/invocations")).ok()?;
        url.query_pairs_mut().append_pair("qualifier", qualifier.unwrap_or(DEFAULT_QUALIFIER));
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:bedrock-agentcore:us-west-2:228145693324:runtime/dev_mcp_runtime-TB1ryl3RKy";

    #[test]
    fn an_arn_gives_the_invocation_url() {
        let arn = RuntimeArn::parse(ARN).unwrap();
        let encoded =
            "arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A228145693324%3Aruntime%2Fdev_mcp_runtime-TB1ryl3RKy";
        assert_eq!(
            arn.invocation_url(None, None).unwrap().as_str(),
            format!(
                "https://bedrock-agentcore.us-west-2.amazonaws.com/runtimes/{encoded}/invocations?qualifier=DEFAULT"
            )
        );
        let endpoint = Url::parse("http://127.0.0.1:9000/").unwrap();
        assert_eq!(
            arn.invocation_url(Some("prod"), Some(&endpoint)).unwrap().as_str(),
            format!("http://127.0.0.1:9000/runtimes/{encoded}/invocations?qualifier=prod")
        );
    }

    #[test]
    fn what_is_no_runtime_is_none() {
        for garbled in [
            "",
            "arn:aws:bedrock:us-west-2:228145693324:agent/x",
            "arn:aws:bedrock-agentcore:evil.example/#:228145693324:runtime/x",
            "arn:aws:bedrock-agentcore:us-west-2:1:runtime/x",
            "arn:aws:bedrock-agentcore:us-west-2:228145693324:runtime/",
            "arn:evil.example:bedrock-agentcore:us-west-2:228145693324:runtime/x",
            "arn:aws:bedrock-agentcore:us-west-2:228145693324:runtime/a/b",
        ] {
            assert_eq!(RuntimeArn::parse(garbled), None, "{garbled}");
        }
    }
}
