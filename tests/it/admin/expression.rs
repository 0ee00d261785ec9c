//! PromQL, as far as the alerts and the dashboard use it: parsed here, so that each metric and label can be looked up, and evaluated
//! over a few scrapes by [`super::evaluation`]. Whatever it does not know is an error: an expression must be in this small form.

use std::collections::BTreeSet;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Number(f64),
    Selector(Selector),
    /// A function over a window, such as `rate(x[5m])`.
    Window(String, Selector),
    /// `sum`, `min`, `max` or `count` by these labels.
    Aggregate(String, Vec<String>, Box<Expression>),
    /// `histogram_quantile(0.95, …)`.
    Quantile(f64, Box<Expression>),
    Binary(String, Box<Expression>, Box<Expression>),
}

/// A metric with the values that its labels must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    pub name: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

/// The functions over a window.
const WINDOWS: [&str; 5] = ["rate", "increase", "changes", "min_over_time", "max_over_time"];
const AGGREGATES: [&str; 4] = ["sum", "min", "max", "count"];
/// Operators, those that bind least first.
const OPERATORS: [&[&str]; 4] = [&["and"], &["==", "!=", ">=", "<=", ">", "<"], &["+", "-"], &["*", "/"]];

impl Expression {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.trim() };
        let expression = reader.binary(0)?;
        match reader.rest {
            "" => Ok(expression),
            rest => Err(format!("{text}: what follows from `{rest}` on?")),
        }
    }

    /// The metrics in it.
    pub fn selectors(&self) -> Vec<&Selector> {
        match self {
            Self::Number(_) => Vec::new(),
            Self::Selector(selector) | Self::Window(_, selector) => vec![selector],
            Self::Aggregate(_, _, inner) | Self::Quantile(_, inner) => inner.selectors(),
            Self::Binary(_, left, right) => [left.selectors(), right.selectors()].concat(),
        }
    }

    /// The labels by which it aggregates.
    pub fn grouped_by(&self) -> BTreeSet<&str> {
        match self {
            Self::Number(_) | Self::Selector(_) | Self::Window(..) => BTreeSet::new(),
            Self::Aggregate(_, by, inner) => by.iter().map(String::as_str).chain(inner.grouped_by()).collect(),
            Self::Quantile(_, inner) => inner.grouped_by(),
            Self::Binary(_, left, right) => left.grouped_by().union(&right.grouped_by()).copied().collect(),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn takes(&mut self, mark: &str) -> bool {
        let rest = self.rest.strip_prefix(mark);
        // A word ends where another one cannot go on.
        let rest = rest.filter(|rest| !mark.ends_with(char::is_alphabetic) || !rest.starts_with(is_of_word));
        self.rest = rest.map_or(self.rest, str::trim_start);
        rest.is_some()
    }

    fn needs(&mut self, mark: &str) -> Result<(), String> {
        if self.takes(mark) { Ok(()) } else { Err(format!("`{mark}` is missing before `{}`", self.rest)) }
    }

    fn word(&mut self) -> Result<&'a str, String> {
        let (word, rest) = self.rest.split_at(self.rest.find(|c| !is_of_word(c)).unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        if word.is_empty() { Err(format!("a name is missing before `{rest}`")) } else { Ok(word) }
    }

    fn number(&mut self) -> Result<f64, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        number.parse().map_err(|_| format!("a number is missing before `{rest}`"))
    }

    /// What is between this mark and the next one.
    fn up_to(&mut self, end: char) -> Result<&'a str, String> {
        let (text, rest) = self.rest.split_once(end).ok_or_else(|| format!("`{end}` is missing in `{}`", self.rest))?;
        self.rest = rest.trim_start();
        Ok(text)
    }

    fn binary(&mut self, level: usize) -> Result<Expression, String> {
        let Some(operators) = OPERATORS.get(level) else { return self.operand() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|operator| self.takes(operator)) {
            let right = self.binary(level + 1)?;
            left = Expression::Binary((*operator).to_owned(), Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Expression, String> {
        if self.takes("(") {
            let inner = self.binary(0)?;
            self.needs(")")?;
            return Ok(inner);
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.number().map(Expression::Number);
        }
        let word = self.word()?;
        if AGGREGATES.contains(&word) {
            return self.aggregate(word);
        }
        if word == "histogram_quantile" {
            self.needs("(")?;
            let quantile = self.number()?;
            self.needs(",")?;
            let inner = self.binary(0)?;
            self.needs(")")?;
            return Ok(Expression::Quantile(quantile, Box::new(inner)));
        }
        if !self.rest.starts_with('(') {
            return self.selector(word).map(Expression::Selector);
        }
        if !WINDOWS.contains(&word) {
            return Err(format!("the function {word} is not known here"));
        }
        self.needs("(")?;
        let name = self.word()?;
        let selector = self.selector(name)?;
        self.needs("[")?;
        let window = self.up_to(']')?;
        let is_duration = window.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(|number| number.parse::<u32>().is_ok());
        if !is_duration && window != "$__rate_interval" {
            return Err(format!("{window} is no window"));
        }
        self.needs(")")?;
        Ok(Expression::Window(word.to_owned(), selector))
    }

    fn aggregate(&mut self, word: &str) -> Result<Expression, String> {
        let mut by = Vec::new();
        if self.takes("by") {
            self.needs("(")?;
            while !self.takes(")") {
                by.push(self.word()?.to_owned());
                self.takes(",");
            }
        }
        self.needs("(")?;
        let inner = self.binary(0)?;
        self.needs(")")?;
        Ok(Expression::Aggregate(word.to_owned(), by, Box::new(inner)))
    }

    fn selector(&mut self, name: &str) -> Result<Selector, String> {
        let mut matchers = Vec::new();
        if self.takes("{") {
            while !self.takes("}") {
                let label = self.word()?.to_owned();
                let operators = ["=~", "!~", "!=", "="];
                let operator = operators.iter().find(|operator| self.takes(operator));
                let operator = operator.ok_or_else(|| format!("an operator is missing behind {label}"))?;
                self.needs("\"")?;
                matchers.push((label, (*operator).to_owned(), self.up_to('"')?.to_owned()));
                self.takes(",");
            }
        }
        Ok(Selector { name: name.to_owned(), matchers })
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[test]
fn the_small_form_is_read_and_nothing_else() {
    let ratio = r#"sum by (site) (rate(a_total{s="5xx",r=~"x|y"}[5m])) / sum by (site) (rate(a_total[5m])) > 0.05 and b == 1"#;
    let expression = Expression::parse(ratio).unwrap();
    let names: Vec<&str> = expression.selectors().iter().map(|selector| selector.name.as_str()).collect();
    assert_eq!(names, ["a_total", "a_total", "b"]);
    assert_eq!(expression.grouped_by(), BTreeSet::from(["site"]));
    assert!(matches!(&expression, Expression::Binary(and, left, _) if and == "and"
        && matches!(&**left, Expression::Binary(more, quotient, _) if more == ">"
            && matches!(&**quotient, Expression::Binary(by, ..) if by == "/"))));
    assert!(Expression::parse("histogram_quantile(0.95, sum by (le) (rate(a_bucket[$__rate_interval])))").is_ok());
    for wrong in ["", "a >", "a{b}", "topk(3, a)", "rate(a)", "rate(a[5x])", "a b", "sum by (x a)", "a > 1)"] {
        assert!(Expression::parse(wrong).is_err(), "{wrong}");
    }
}
