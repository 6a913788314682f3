//! The report of `mcp-agents doctor`, as text and as JSON.

use std::borrow::Cow;

use anstream::println;
use mcp::{McpError, McpServer};
use runtime::plain_json;
use secret::{Diagnostic, ParsedEntry};
use serde::Serialize;

use crate::style::{BAD, GOOD, ODD, STRONG, styled};

/// The steps of a check, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Parsed,
    Resolved,
    /// The TCP connection is open; for URLs with `http`.
    Connected,
    /// The TCP connection and TLS are open; for URLs with `https`.
    Tls,
    Discovered,
    SignedIn,
    Initialized,
    ToolsListed,
}

/// The result of one step.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    step: Step,
    ok: bool,
    /// The finding, or the error.
    detail: String,
    /// The code of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<Cow<'static, str>>,
}

/// The results of one entry's steps. The first failed step is the last one.
#[derive(Debug, Serialize)]
pub(crate) struct EntryReport {
    position: usize,
    agent_name: Option<String>,
    url: Option<String>,
    pub(crate) steps: Vec<StepReport>,
    /// Problems of the entry that do not keep it from working.
    warnings: Vec<String>,
    pub(crate) tools: Vec<String>,
}

impl Step {
    fn title(self) -> &'static str {
        match self {
            Self::Parsed => "parsed",
            Self::Resolved => "name resolved",
            Self::Connected => "connected",
            Self::Tls => "TLS",
            Self::Discovered => "discovered",
            Self::SignedIn => "signed in",
            Self::Initialized => "initialized",
            Self::ToolsListed => "tools listed",
        }
    }
}

impl StepReport {
    pub(crate) fn passed(step: Step, detail: String) -> Self {
        Self { step, ok: true, detail, reason: None, remedy: None }
    }

    /// Removes the entry's credentials from the texts: a server may quote what it was sent.
    pub(crate) fn scrub(&mut self, server: &McpServer) {
        self.detail = server.scrub(std::mem::take(&mut self.detail));
        self.remedy = self.remedy.take().map(|remedy| server.scrub(remedy.into_owned()).into());
    }

    pub(crate) fn is(&self, step: Step) -> bool {
        self.step == step
    }

    pub(crate) fn failed(step: Step, error: &McpError) -> Self {
        let (reason, remedy) = (Some(error.kind()), Some(error.remedy()));
        Self { step, ok: false, detail: error.to_string(), reason, remedy }
    }
}

impl EntryReport {
    /// Starts a report with the first step, parsing the entry.
    pub(crate) fn new(entry: &ParsedEntry) -> Self {
        let (fatal, odd): (Vec<_>, Vec<_>) =
            entry.diagnostics.iter().partition(|diagnostic| diagnostic.fatal);
        let parsed = match fatal.as_slice() {
            [] => StepReport::passed(Step::Parsed, "all fields in order".to_owned()),
            faults => StepReport {
                step: Step::Parsed,
                ok: false,
                detail: joined(faults),
                reason: Some("bad_entry"),
                remedy: Some("mend the named fields in the secret".into()),
            },
        };
        Self {
            position: entry.position,
            agent_name: entry.agent_name.clone(),
            url: entry.server.as_ref().map(mcp::McpServer::shown_url),
            steps: vec![parsed],
            warnings: odd.iter().map(ToString::to_string).collect(),
            tools: Vec::new(),
        }
    }

    pub(crate) fn works(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    /// Returns true if the server may speak the other transport.
    pub(crate) fn may_speak_other_transport(&self) -> bool {
        self.steps.last().is_some_and(|step| matches!(step.reason, Some("http_status" | "not_mcp")))
    }

    /// Returns true if the only failure is that no user has signed in yet.
    pub(crate) fn needs_sign_in(&self) -> bool {
        self.steps.last().is_some_and(|step| step.reason == Some("needs_sign_in"))
    }
}

fn joined(diagnostics: &[&Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Prints one entry's report as text.
pub(crate) fn print_text(report: &EntryReport) {
    let name = printable(report.agent_name.as_deref().unwrap_or("without a name"));
    let url = report.url.as_deref().unwrap_or_default();
    println!("entry {} ({}) {url}", report.position, styled(STRONG, name));
    for warning in &report.warnings {
        println!("  {:<14} {}", styled(ODD, "warning"), printable(warning));
    }
    for step in &report.steps {
        let mark = if step.ok { styled(GOOD, "ok") } else { styled(BAD, "FAILED") };
        println!("  {:<14} {mark:<6} {}", step.step.title(), printable(&step.detail));
        if let (Some(reason), Some(remedy)) = (step.reason, &step.remedy) {
            println!("  {:<14} {reason}", "reason");
            println!("  {:<14} {}", styled(STRONG, "what to do"), printable(remedy));
        }
    }
    if !report.tools.is_empty() {
        println!("  {:<14} {}", "tools", printable(&report.tools.join(", ")));
    }
}

/// Returns a text without control characters: texts of servers and entries must not control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if egress::is_printable(c) { c } else { '\u{fffd}' }).collect()
}

/// Prints all reports as JSON.
pub(crate) fn print_json(reports: &[EntryReport]) -> anyhow::Result<()> {
    println!("{}", plain_json(&serde_json::to_string_pretty(reports)?));
    Ok(())
}
