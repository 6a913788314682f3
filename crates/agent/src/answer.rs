//! Answers: reads the last text of a model as text, a table or a plot, and writes the `result` of a job.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::transcript::timestamp;

/// A model's answer in a shape that the page shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Markdown.
    Text(String),
    /// `{responseType, headers, rows}`.
    Table(Value),
    /// `{responseType, type, data, options}`.
    Plot(Value),
}

impl Answer {
    /// Reads the last text of a model. A JSON object with a known `responseType`, bare or in a code fence, gives that
    /// type of answer. Any other text is [`Answer::Text`].
    pub fn parse(text: &str) -> Self {
        let json = [Some(text), fenced(text)].into_iter().flatten().find_map(|candidate| {
            serde_json::from_str::<Value>(candidate.trim()).ok().filter(Value::is_object)
        });
        json.and_then(from_json).unwrap_or_else(|| Self::Text(text.to_owned()))
    }

    /// Returns the `result` of a completed job: a JSON text of about `room` bytes at most. A long query or text in it
    /// is cut. A table or chart that is too large is replaced with a text that says so.
    pub fn to_result(&self, query: &str, room: usize, now: Timestamp) -> String {
        let metadata = json!({"generatedAt": timestamp(now), "query": shortened(query, room / 4)});
        let room = room - room / 4;
        let text = |content: &str| json!({"responseType": "text", "metadata": metadata, "content": shortened(content, room)});
        let whole = |field: &str, shape: &Value, content: Value| {
            let size = shape.to_string().len();
            if size > room {
                return text(&format!(
                    "The answer, {size} bytes of {field}, is too large to be kept; ask for less of it."
                ));
            }
            json!({"responseType": shape["responseType"], "metadata": metadata, field: content})
        };
        match self {
            Self::Text(content) => text(content),
            Self::Table(table) => whole("tableData", table, table.clone()),
            Self::Plot(plot) => whole("plotData", plot, json!([plot])),
        }
        .to_string()
    }
}

/// Cuts a text to at most `limit` bytes as written in JSON, where a control character takes six bytes.
fn shortened(text: &str, limit: usize) -> String {
    let mut taken = 0;
    let too_much = text.char_indices().find(|(_, character)| {
        taken += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..'\u{20}' => 6,
            other => other.len_utf8(),
        };
        taken > limit
    });
    let Some((end, _)) = too_much else { return text.to_owned() };
    format!("{} [cut here: {} more bytes]", &text[..end], text.len() - end)
}

fn from_json(json: Value) -> Option<Answer> {
    match json.get("responseType")?.as_str()? {
        "text" => Some(Answer::Text(json.get("content")?.as_str()?.to_owned())),
        // Some models wrap the table or plot in the result's field `tableData` or `plotData`.
        "table" => Some(Answer::Table(inner(&json, "tableData"))),
        "plotData" => Some(Answer::Plot(inner(&json, "plotData"))),
        _ => None,
    }
}

fn inner(json: &Value, field: &str) -> Value {
    let wrapped = match json.get(field) {
        Some(Value::Array(list)) => list.first(),
        other => other,
    };
    match wrapped {
        Some(Value::Object(fields)) => {
            let mut fields = fields.clone();
            fields.entry("responseType").or_insert_with(|| json["responseType"].clone());
            Value::Object(fields)
        }
        _ => json.clone(),
    }
}

/// Returns the content of the first code fence, without the fence's language.
fn fenced(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("```")?;
    let (_language, inside) = after.split_once('\n')?;
    inside.split_once("```").map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Answer) {
        assert_eq!(Answer::parse(text), expected, "{text}");
    }

    #[test]
    fn a_table_or_plot_is_found_bare_and_in_a_code_fence() {
        let table = json!({"responseType": "table", "headers": [{"id": "a"}], "rows": []});
        check(&table.to_string(), Answer::Table(table.clone()));
        check(&format!("```json\n{table}\n```"), Answer::Table(table.clone()));
        check(&format!("Here it is:\n\n```\n{table}\n```\nDone."), Answer::Table(table.clone()));
        let plot = json!({"responseType": "plotData", "type": "bar", "data": {"labels": ["a"]}});
        check(&plot.to_string(), Answer::Plot(plot.clone()));
    }

    #[test]
    fn a_table_or_plot_in_the_results_field_is_unwrapped() {
        let table = json!({"responseType": "table", "headers": [], "rows": []});
        check(
            &json!({"responseType": "table", "tableData": {"headers": [], "rows": []}}).to_string(),
            Answer::Table(table),
        );
        let plot = json!({"responseType": "plotData", "type": "pie"});
        check(
            &json!({"responseType": "plotData", "plotData": [{"type": "pie"}]}).to_string(),
            Answer::Plot(plot),
        );
    }

    #[test]
    fn everything_else_is_text() {
        let text = |text: &str| Answer::Text(text.to_owned());
        check("The sum is 5.", text("The sum is 5."));
        check(r#"{"responseType": "text", "content": "Five."}"#, text("Five."));
        check(r#"{"sum": 5}"#, text(r#"{"sum": 5}"#));
        check(r#"{"responseType": "hologram"}"#, text(r#"{"responseType": "hologram"}"#));
        check(r#"["responseType"]"#, text(r#"["responseType"]"#));
        check("```rust\nfn main() {}\n```", text("```rust\nfn main() {}\n```"));
        check("``` unclosed", text("``` unclosed"));
    }

    #[test]
    fn results_have_the_shape_that_the_page_reads() {
        let result = |answer: Answer| -> Value {
            serde_json::from_str(&answer.to_result("q", 10_000, Timestamp::UNIX_EPOCH)).unwrap()
        };
        let metadata = json!({"generatedAt": "1970-01-01T00:00:00.000000Z", "query": "q"});
        assert_eq!(
            result(Answer::Text("t".into())),
            json!({"responseType": "text", "metadata": metadata, "content": "t"})
        );
        assert_eq!(
            result(Answer::Table(json!({"responseType": "table", "rows": []}))),
            json!({"responseType": "table", "metadata": metadata, "tableData": {"responseType": "table", "rows": []}})
        );
        assert_eq!(
            result(Answer::Plot(json!({"responseType": "plotData", "type": "bar"}))),
            json!({"responseType": "plotData", "metadata": metadata, "plotData": [{"responseType": "plotData", "type": "bar"}]})
        );
    }

    #[test]
    fn a_result_of_control_characters_fits_too() {
        let result = Answer::Text("\u{1}\"\n".repeat(10_000)).to_result("q", 10_000, Timestamp::UNIX_EPOCH);
        assert!((7_000..10_500).contains(&result.len()), "{}", result.len());
    }

    #[test]
    fn a_result_fits_into_its_room() {
        let long = "x".repeat(50_000);
        let answers = [
            Answer::Text(long.clone()),
            Answer::Table(json!({"responseType": "table", "rows": long})),
            Answer::Plot(json!({"responseType": "plotData", "data": long})),
        ];
        for answer in answers {
            let result = answer.to_result(&long, 10_000, Timestamp::UNIX_EPOCH);
            assert!(result.len() < 10_500 && result.contains("[cut here: 47500 more bytes]"), "{result}");
        }
    }
}
