//! `mcp-agents ask`: asks agents a question and prints the answer.
//!
//! The run happens in this process, with the code of the deployed processor, a Bedrock model and the agents' servers.
//! There is no job, no job table and no Lambda function. Nothing is stored.

use std::{convert::Infallible, process::ExitCode, sync::Arc, time::Duration};

use agent::{
    Answer, Budgets, Colleague, EffectNote, EffectfulCall, Guardrail, Meter, Model, Permission, Run,
    RunError, RunLabels, RunLimits, Transcript, run_agent, run_agents,
};
use anyhow::{Context, anyhow, bail};
use aws_sdk_bedrockruntime::config::ProvideCredentials;
use catalog::{Agent, Catalog};
use clap::Args;
use mcp::{CacheLimits, ToolCache};
use runtime::{Vars, plain_json};
use secret::SecretAgents;
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::{
    prompt,
    report::printable,
    setup::{CommonOptions, Setup},
    table,
    transcript::TranscriptView,
};

/// Time limit for one turn of a model, in seconds: long answers of large models take minutes.
const MODEL_TURN: Duration = Duration::from_secs(300);
/// Time limit for listing the tools of several agents, which are described to the model with them, in seconds.
const LISTING_TIMEOUT: Duration = Duration::from_secs(8);
/// Time limit for a token refresh that is still under way when the run has ended, in seconds.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of the result in the JSON output, in bytes: more than a model answers.
const RESULT_BYTES: usize = 64 * 1024 * 1024;
/// The exit code of a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Asks one agent or several a question and prints the answer.
///
/// The run happens in this process: it needs AWS credentials for Bedrock, and no deployed stack. The transcript is
/// printed on standard error while it grows, the answer on standard output. Exits with 1 if there is no answer.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The Bedrock model or inference profile that answers; otherwise BEDROCK_MODEL_ID.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Ask before each call of a tool that may change something. Without a terminal such calls are refused.
    #[arg(long)]
    confirm: bool,
    /// Answer as JSON, at the end: answer or error, transcript and usage.
    #[arg(long)]
    json: bool,
    /// The agents' ids, as `mcp-agents list` shows them.
    #[arg(required = true, num_args = 1.., value_name = "AGENT")]
    agents: Vec<String>,
    /// The question.
    question: String,
}

/// The model, budgets and time limits of a run, from the same variables as the deployed processor.
struct RunConfig {
    model_id: String,
    guardrail: Option<Guardrail>,
    budgets: Budgets,
    run: Duration,
    sub_agent: Duration,
    tool_call: Duration,
    tool_result_bytes: usize,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    if options.question.trim().is_empty() {
        bail!("the question is empty: give it as the last argument, in quotation marks");
    }
    let config = RunConfig::read(options.model.as_deref())?;
    let setup = Setup::with_pauses(&options.common, config.tool_call).await?;
    let mut agents: Vec<Agent> = Vec::new();
    for id in &options.agents {
        if !agents.iter().any(|agent| agent.id == *id) {
            agents.push(setup.agent(id).await?);
        }
    }
    let model = model(&setup, &config).await?;
    let (transcript, meter) = (Transcript::default(), Meter::new(config.budgets));
    let view = TranscriptView::new(&transcript);
    let asking = answer(&setup, &config, &model, &agents, &options, &meter, &transcript);
    let showing = async {
        match options.json {
            true => std::future::pending().await,
            false => view.follow().await,
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = asking => Some(outcome),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("Ctrl-C cannot be waited for")?;
            None
        }
        never = showing => match never {},
    };
    // The run may have been cut off during a token refresh: wait for it.
    let settled = timeout(REFRESH_TIMEOUT, setup.connector.sign_in().oauth().settled()).await;
    if settled.is_err() {
        eprintln!("A token refresh did not end in time: its server may have to be signed in to again.");
    }
    if !options.json {
        view.show_new();
    }
    let scrubbed = |error: RunError<Infallible>| {
        agents.iter().fold(error.to_string(), |text, agent| agent.server.scrub(text))
    };
    let Some(outcome) = outcome.map(|outcome| outcome.map_err(scrubbed)) else {
        eprintln!("Stopped.");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    match options.json {
        true => print_json(&outcome, &options.question, &transcript, &meter)?,
        false => print_text(&outcome),
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl RunConfig {
    fn read(model: Option<&str>) -> anyhow::Result<Self> {
        let seconds = Duration::from_secs;
        let mut vars = Vars::new(&runtime::environment);
        let model_id = model.map(str::to_owned).or_else(|| vars.optional("BEDROCK_MODEL_ID"));
        let model_id = model_id.context(
            "no model is named: give --model ID, or set BEDROCK_MODEL_ID, to a Bedrock model or inference profile such \
             as global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        )?;
        let config = Self {
            model_id,
            guardrail: vars.parsed_optional("GUARDRAIL_ID_AND_VERSION"),
            budgets: Budgets::read(|name, default| vars.parsed(name, default)),
            run: vars.seconds("MAX_RUN_SECONDS", seconds(900)),
            sub_agent: vars.seconds("SUBAGENT_TIMEOUT_SECONDS", seconds(120)),
            tool_call: vars.seconds("TOOL_TIMEOUT_SECONDS", seconds(60)),
            tool_result_bytes: vars.parsed("MAX_TOOL_RESULT_BYTES", 100_000),
        };
        Ok(vars.finish(config)?)
    }
}

/// Returns the model, or an error if region or credentials are missing.
async fn model(setup: &Setup, config: &RunConfig) -> anyhow::Result<Model> {
    let aws = &setup.aws;
    if aws.region().is_none_or(|region| region.as_ref().is_empty()) {
        bail!("no AWS region is set: set AWS_REGION to the region whose Bedrock is to answer");
    }
    // A Bedrock API key replaces AWS credentials.
    let has_key = Vars::new(&runtime::environment).optional("AWS_BEARER_TOKEN_BEDROCK").is_some();
    if !has_key {
        let missing = || {
            anyhow!(
                "there are no AWS credentials for Bedrock: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY; of a sign-in with IAM Identity Center \
                 `aws configure export-credentials --format env` prints them"
            )
        };
        let provider = aws.credentials_provider().ok_or_else(missing)?;
        provider.provide_credentials().await.map_err(|_| missing())?;
    }
    let client = aws_sdk_bedrockruntime::Client::new(&runtime::slow_service_config(aws, MODEL_TURN));
    Ok(Model::new(client, config.model_id.clone(), config.guardrail.clone()))
}

async fn answer(
    setup: &Setup,
    config: &RunConfig,
    model: &Model,
    agents: &[Agent],
    options: &Options,
    meter: &Meter,
    transcript: &Transcript,
) -> Result<Answer, RunError<Infallible>> {
    let run_id = Uuid::new_v4().to_string();
    let run = Run {
        model,
        connector: &setup.connector,
        effects: &Confirmation { is_asked_for: options.confirm, one_at_a_time: Mutex::default() },
        labels: RunLabels {
            job_id: &run_id,
            user_id: setup.user.as_ref().map_or("terminal", |user| &user.name),
        },
        meter,
        clock: runtime::now,
        limits: RunLimits {
            until: Instant::now() + config.run,
            run: config.run,
            sub_agent: config.sub_agent,
            tool_call: config.tool_call,
            tool_result_bytes: config.tool_result_bytes,
        },
    };
    match agents {
        [agent] => Box::pin(run_agent(&run, agent, &options.question, transcript)).await,
        several => {
            let limits = CacheLimits { ttl: config.run, discovery: setup.timeout };
            let source = SecretAgents::new(setup.secret.clone(), setup.agentcore.clone());
            let catalog =
                Catalog::new(Arc::new(source), ToolCache::new(setup.connector.clone(), None, limits));
            let listed = catalog.listed(several, runtime::now(), Instant::now() + LISTING_TIMEOUT).await;
            let colleagues = several.iter().cloned().zip(listed);
            let colleagues: Vec<_> = colleagues.map(|(agent, listed)| Colleague { agent, listed }).collect();
            Box::pin(run_agents(&run, &colleagues, &options.question, transcript)).await
        }
    }
}

/// The effect note of the command line: with `--confirm` asks the user before each call, otherwise permits every call.
struct Confirmation {
    is_asked_for: bool,
    /// Held while the user is asked, so that agents that run at once ask one after another.
    one_at_a_time: Mutex<()>,
}

impl EffectNote for Confirmation {
    type Error = Infallible;

    async fn before_call(&self, call: EffectfulCall<'_>) -> Result<Permission, Infallible> {
        if !self.is_asked_for {
            return Ok(Permission::Granted);
        }
        let _asking = self.one_at_a_time.lock().await;
        let arguments = Value::Object(call.arguments.clone());
        let question = format!("Call {} of {} with {arguments}?", call.tool, call.server);
        let is_granted = prompt::yes(printable(&question)).await;
        Ok(if is_granted { Permission::Granted } else { Permission::Refused })
    }
}

fn print_json(
    outcome: &Result<Answer, String>,
    question: &str,
    transcript: &Transcript,
    meter: &Meter,
) -> anyhow::Result<()> {
    let mut told = match outcome {
        Ok(answer) => {
            let result = answer.to_result(question, RESULT_BYTES, runtime::now());
            json!({"answer": serde_json::from_str::<Value>(&result)?})
        }
        Err(error) => json!({"error": error}),
    };
    told["transcript"] = transcript.messages().into();
    told["usage"] = json!(meter.usage());
    println!("{}", plain_json(&serde_json::to_string_pretty(&told)?));
    Ok(())
}

fn print_text(outcome: &Result<Answer, String>) {
    match outcome {
        Ok(Answer::Text(text)) => text.lines().for_each(|line| println!("{}", printable(line))),
        Ok(Answer::Table(answer)) => match rows_of_table(answer) {
            Some((header, rows)) => table::print_table(header, rows),
            None => println!("{}", plain_json(&format!("{answer:#}"))),
        },
        Ok(Answer::Plot(answer)) => match rows_of_plot(answer) {
            Some((header, rows)) => table::print_table(header, rows),
            None => println!("{}", plain_json(&format!("{answer:#}"))),
        },
        Err(error) => eprintln!("mcp-agents: there is no answer: {}", printable(error)),
    }
}

type Rows = (Vec<String>, Vec<Vec<String>>);

/// Returns header and rows of a table answer; `None` if it has another shape than the accelerator's page expects.
fn rows_of_table(table: &Value) -> Option<Rows> {
    let headers = table["headers"].as_array().filter(|headers| !headers.is_empty())?;
    let label = |header: &Value| cell(header.get("label").unwrap_or(&header["id"]));
    let row = |row: &Value| {
        let data = row.get("data").unwrap_or(row);
        headers.iter().map(|header| cell(&data[header["id"].as_str().unwrap_or_default()])).collect()
    };
    Some((headers.iter().map(label).collect(), table["rows"].as_array()?.iter().map(row).collect()))
}

/// Returns a chart as a table with a row for each label and a column for each dataset; `None` if it has another shape.
fn rows_of_plot(plot: &Value) -> Option<Rows> {
    let (labels, datasets) = (plot["data"]["labels"].as_array()?, plot["data"]["datasets"].as_array()?);
    let names = datasets.iter().map(|dataset| cell(&dataset["label"]));
    let header = std::iter::once(String::new()).chain(names).collect();
    let row = |(n, label): (usize, &Value)| {
        let values = datasets.iter().map(|dataset| cell(&dataset["data"][n]));
        std::iter::once(cell(label)).chain(values).collect()
    };
    Some((header, labels.iter().enumerate().map(row).collect()))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_charts_have_a_header_and_rows() {
        let table = json!({
            "headers": [{"id": "n", "label": "Name"}, {"id": "v"}],
            "rows": [{"id": "1", "data": {"n": "a", "v": 1.5}}, {"id": "2", "data": {"n": "b"}}],
        });
        let (header, rows) = rows_of_table(&table).unwrap();
        assert_eq!(
            (header.join("|"), rows[0].join("|"), rows[1].join("|")),
            ("Name|v".into(), "a|1.5".into(), "b|".into())
        );
        let plot = json!({"data": {"labels": ["x"], "datasets": [{"label": "sum", "data": [3]}]}});
        assert_eq!(
            rows_of_plot(&plot).unwrap(),
            (vec!["".into(), "sum".into()], vec![vec!["x".into(), "3".into()]])
        );
        assert_eq!(rows_of_table(&json!({"rows": []})), None);
        assert_eq!(rows_of_plot(&json!({})), None);
    }
}
