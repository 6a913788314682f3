//! Tables on standard output. At a terminal they fit its width; in a file or a pipe no cell is wrapped or cut.

use std::io::{IsTerminal, stdout};

use comfy_table::{ContentArrangement, Table, TableStyle, presets};
use console::Term;

use crate::report::printable;

/// Prints a list, one row per line. At a terminal it has a header, and long cells are wrapped. Elsewhere it has neither, so
/// that each line is one row.
pub(crate) fn print_list(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = table(presets::NOTHING, rows);
    if stdout().is_terminal() {
        table.set_header(header);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    println!("{}", table.trim_fmt());
}

/// Prints a table with its header: with lines at a terminal, in Markdown otherwise.
pub(crate) fn print_table(header: Vec<String>, rows: Vec<Vec<String>>) {
    let preset = match stdout().is_terminal() {
        true => presets::UTF8_FULL_CONDENSED,
        false => presets::ASCII_MARKDOWN,
    };
    let mut table = table(preset, rows);
    table.set_header(header.iter().map(|cell| on_one_line(cell)));
    println!("{}", table.trim_fmt());
}

fn table(style: TableStyle, rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let width = stdout().is_terminal().then(|| Term::stdout().size_checked()).flatten();
    if let Some((_, columns)) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| on_one_line(cell)));
    }
    table
}

/// Returns a cell's text without line breaks and control characters.
fn on_one_line(text: &str) -> String {
    printable(&text.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" "))
}
