//! Evaluates DynamoDB's condition and update expressions, as far as this crate writes them.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html>. An unknown operator,
//! function or clause panics, so that no test passes because a condition was ignored.

use serde_json::{Map, Value, json};

/// An item in DynamoDB's JSON: `{"status": {"S": "PENDING"}, …}`.
pub(crate) type Item = Map<String, Value>;

/// An expression with the names and values of its placeholders.
pub(crate) struct Expression<'a> {
    tokens: Vec<String>,
    position: usize,
    names: &'a Value,
    values: &'a Value,
}

impl<'a> Expression<'a> {
    /// Splits `text` into tokens. `request` has the placeholders.
    pub(crate) fn new(text: &str, request: &'a Value) -> Self {
        let (names, values) = (&request["ExpressionAttributeNames"], &request["ExpressionAttributeValues"]);
        Self { tokens: tokens(text), position: 0, names, values }
    }

    /// Returns true if the condition holds for `item`. An empty item stands for an item that does not exist.
    pub(crate) fn holds(mut self, item: &Item) -> bool {
        let holds = self.any(item);
        assert_eq!(self.peek(), None, "the condition goes on: {:?}", self.tokens);
        holds
    }

    /// Applies an update expression to `item`.
    pub(crate) fn update(mut self, item: &mut Item) {
        while let Some(clause) = self.next() {
            loop {
                let name = self.name();
                match clause.as_str() {
                    "SET" => {
                        self.expect("=");
                        let mut value = self.operand(item).expect("the value of SET");
                        if self.peek() == Some("+") {
                            self.next();
                            value = sum(&value, &self.operand(item).expect("what is added"));
                        }
                        item.insert(name, value);
                    }
                    "ADD" => {
                        let added = self.operand(item).expect("what is added");
                        let value = match item.get(&name) {
                            Some(old) => sum(old, &added),
                            None => added,
                        };
                        item.insert(name, value);
                    }
                    "DELETE" => {
                        let taken = strings(&self.operand(item).expect("what is taken out"));
                        let left: Vec<String> = item.get(&name).map(strings).unwrap_or_default();
                        let left: Vec<String> = left.into_iter().filter(|one| !taken.contains(one)).collect();
                        match left.is_empty() {
                            // DynamoDB does not store empty sets.
                            true => drop(item.remove(&name)),
                            false => drop(item.insert(name, json!({"SS": left}))),
                        }
                    }
                    "REMOVE" => drop(item.remove(&name)),
                    other => panic!("the clause {other} is not known"),
                }
                match self.peek() {
                    Some(",") => drop(self.next()),
                    _ => break,
                }
            }
        }
    }

    // Both sides are always evaluated, so that the tokens of both are read.

    fn any(&mut self, item: &Item) -> bool {
        let mut holds = self.all(item);
        while self.peek() == Some("OR") {
            self.next();
            holds |= self.all(item);
        }
        holds
    }

    fn all(&mut self, item: &Item) -> bool {
        let mut holds = self.one(item);
        while self.peek() == Some("AND") {
            self.next();
            holds &= self.one(item);
        }
        holds
    }

    fn one(&mut self, item: &Item) -> bool {
        match self.peek() {
            Some("NOT") => {
                self.next();
                !self.one(item)
            }
            Some("(") => {
                self.next();
                let holds = self.any(item);
                self.expect(")");
                holds
            }
            Some("attribute_exists") => self.function(item, |args| args[0].is_some()),
            Some("attribute_not_exists") => self.function(item, |args| args[0].is_none()),
            Some("contains") => self.function(item, |args| match args {
                [Some(set), Some(one)] => {
                    strings(set).iter().any(|text| Some(text.as_str()) == one["S"].as_str())
                }
                _ => false,
            }),
            Some("begins_with") => self.function(item, |args| match args {
                [Some(text), Some(start)] => {
                    text["S"].as_str().unwrap_or_default().starts_with(start["S"].as_str().unwrap())
                }
                _ => false,
            }),
            _ => {
                let left = self.operand(item);
                let operator = self.next().expect("an operator");
                let right = self.operand(item);
                // A comparison with a missing attribute is false.
                let (Some(left), Some(right)) = (left, right) else { return false };
                match operator.as_str() {
                    "=" => left == right,
                    "<>" => left != right,
                    "<" => less(&left, &right),
                    ">" => less(&right, &left),
                    other => panic!("the operator {other} is not known"),
                }
            }
        }
    }

    fn function(&mut self, item: &Item, holds: impl Fn(&[Option<Value>]) -> bool) -> bool {
        self.next();
        self.expect("(");
        let mut arguments = vec![self.operand(item)];
        while self.peek() == Some(",") {
            self.next();
            arguments.push(self.operand(item));
        }
        self.expect(")");
        holds(&arguments)
    }

    fn operand(&mut self, item: &Item) -> Option<Value> {
        match self.peek().expect("an operand") {
            "size" => {
                self.next();
                self.expect("(");
                let sized = self.operand(item);
                self.expect(")");
                sized.map(|value| json!({"N": strings(&value).len().to_string()}))
            }
            placeholder if placeholder.starts_with(':') => {
                let placeholder = self.next()?;
                let value = self.values.get(&placeholder);
                Some(value.unwrap_or_else(|| panic!("{placeholder} stands for nothing")).clone())
            }
            _ => {
                let name = self.name();
                item.get(&name).cloned()
            }
        }
    }

    fn name(&mut self) -> String {
        let name = self.next().expect("a name");
        match name.starts_with('#') {
            true => {
                self.names[&name].as_str().unwrap_or_else(|| panic!("{name} stands for nothing")).to_owned()
            }
            false => name,
        }
    }

    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.position).map(String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        let token = self.tokens.get(self.position).cloned();
        self.position += 1;
        token
    }

    fn expect(&mut self, token: &str) {
        assert_eq!(self.next().as_deref(), Some(token), "{:?}", self.tokens);
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '#' | ':');
    let mut goes_on = false;
    for c in text.chars() {
        let continues = goes_on && (is_word(c) || c == '>');
        match c {
            _ if c.is_whitespace() => {}
            _ if continues => tokens.last_mut().expect("a token before").push(c),
            _ => tokens.push(c.to_string()),
        }
        goes_on = is_word(c) || c == '<';
    }
    tokens
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no number"))
}

fn less(a: &Value, b: &Value) -> bool {
    match (a["S"].as_str(), b["S"].as_str()) {
        (Some(a), Some(b)) => a < b,
        _ => number(a) < number(b),
    }
}

fn strings(set: &Value) -> Vec<String> {
    let texts = set["SS"].as_array().into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn sum(a: &Value, b: &Value) -> Value {
    if a["SS"].is_array() {
        let mut all = strings(a);
        all.extend(strings(b).into_iter().filter(|one| !strings(a).contains(one)));
        return json!({"SS": all});
    }
    json!({"N": (number(a) + number(b)).to_string()})
}
