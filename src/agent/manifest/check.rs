//! What may stand in `agent.toml`: one table of fields, and one walk that notes all that is wrong.

use std::ops::RangeInclusive;
use std::path::{Component, Path};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::fill::PLACEHOLDERS;
use fields::MANIFEST;
#[cfg(test)]
use fields::{EMBEDDED, FILE, IMAGE, LIMITS, MODEL, RESUME};

mod fields;

/// The longest title or description.
const MAX_LINE: usize = 200;
/// Bytes of one text in a manifest, and of all its files: the system bounds a process's environment.
const MAX_TEXT: usize = 32 * 1024;
/// Entries of a list or a table.
const MAX_ENTRIES: usize = 100;

/// What a field holds. A rule returns what is wrong.
enum Shape {
    Text(fn(&str) -> Result<(), &'static str>),
    Word(&'static [&'static str]),
    Bool,
    Integer(RangeInclusive<i64>),
    Number(RangeInclusive<f64>),
    /// A list of texts, not empty.
    Argv,
    /// A list of job kinds, not empty.
    Kinds,
    /// A list of folders below the agent's home, none in another.
    Places,
    /// A table of texts, with a rule for its keys.
    Texts(fn(&str) -> Result<(), &'static str>),
    Table(&'static [Field]),
    Tables(&'static [Field]),
}

struct Field {
    name: &'static str,
    required: bool,
    shape: Shape,
    /// What to write.
    fix: &'static str,
}

const fn field(name: &'static str, shape: Shape, fix: &'static str) -> Field {
    Field {
        name,
        required: false,
        shape,
        fix,
    }
}

const fn required(name: &'static str, shape: Shape, fix: &'static str) -> Field {
    Field {
        name,
        required: true,
        shape,
        fix,
    }
}

/// The names of all fields.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let inner = [FILE, RESUME, MODEL, IMAGE, EMBEDDED, LIMITS]
        .into_iter()
        .flatten();
    MANIFEST.iter().chain(inner).map(|field| field.name)
}

/// Everything that is wrong with a manifest, in the order of its lines.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk {
        text,
        problems: Vec::new(),
    };
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        walk.note(at, "", error.message().to_owned(), "");
    }
    // What follows from a text that is no TOML is not worth telling.
    if errors.is_empty() {
        walk.table("", 0, table.get_ref(), MANIFEST);
        walk.kept(table.get_ref());
    }
    walk.problems.sort_by_key(|problem| problem.line);
    walk.problems
}

struct Walk<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn note(&mut self, at: usize, field: &str, message: String, fix: &str) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        self.problems.push(Problem {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            field: field.to_owned(),
            message,
            fix: fix.to_owned(),
        });
    }

    fn table(&mut self, prefix: &str, at: usize, table: &DeTable<'_>, fields: &'static [Field]) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            let known = fields
                .iter()
                .find(|field| field.name == key.get_ref().as_ref());
            match known {
                Some(field) => self.field(&path, value, field),
                None => {
                    let fix = nearest(key.get_ref(), fields);
                    let message = "is no field of a manifest".to_owned();
                    self.note(key.span().start, &path, message, &fix);
                }
            }
        }
        for field in fields.iter().filter(|field| field.required) {
            if !table.keys().any(|key| key.get_ref() == field.name) {
                let path = format!("{prefix}{}", field.name);
                self.note(at, &path, "is missing".to_owned(), field.fix);
            }
        }
    }

    /// What is kept for the next sandbox: of an agent that can go on, and none of what it is given anew each time,
    /// which may hold its token.
    fn kept(&mut self, table: &DeTable<'_>) {
        let Some((key, kept)) = table.get_key_value("resume") else {
            return;
        };
        let is = |name: &str, word: &str| {
            let value = table.get(name).and_then(|value| value.get_ref().as_str());
            value == Some(word)
        };
        let works_on_files = table.get("workspace").map(Spanned::get_ref);
        if is("driver", "exec") || works_on_files.and_then(DeValue::as_bool) == Some(false) {
            let message = "is for agents that speak ACP and work on files".to_owned();
            self.note(key.span().start, "resume", message, "leave it out");
        }
        let state = kept.get_ref().as_table().and_then(|kept| kept.get("state"));
        let state = state.and_then(|state| state.get_ref().as_array());
        let places: Vec<&str> = state
            .into_iter()
            .flatten()
            .filter_map(|place| place.get_ref().as_str())
            .collect();
        let files = table
            .get("files")
            .and_then(|files| files.get_ref().as_array());
        for file in files.into_iter().flatten() {
            let path = file.get_ref().as_table().and_then(|file| file.get("path"));
            let Some(path) = path.and_then(|path| path.get_ref().as_str()) else {
                continue;
            };
            if places
                .iter()
                .any(|place| Path::new(path).starts_with(place))
            {
                let message = format!("would keep {path:?}, which it is given anew each time");
                let fix = "name the folder of its conversations alone";
                self.note(key.span().start, "resume.state", message, fix);
            }
        }
    }

    fn field(&mut self, path: &str, value: &Spanned<DeValue<'_>>, field: &'static Field) {
        let at = value.span().start;
        let found = value.get_ref();
        let outcome = match &field.shape {
            Shape::Text(rule) => text_of(found).and_then(|text| Ok(rule(text)?)),
            Shape::Word(words) => text_of(found).and_then(|word| {
                let fix = || format!("is not one of {}", words.join(", "));
                words.contains(&word).then_some(()).ok_or_else(fix)
            }),
            Shape::Bool => found
                .as_bool()
                .map(drop)
                .ok_or_else(|| wrong(found, "true or false")),
            Shape::Integer(range) => match integer(found) {
                Some(number) if range.contains(&number) => Ok(()),
                Some(number) => Err(format!("is {number}, which is out of range")),
                None => Err(wrong(found, "a whole number")),
            },
            Shape::Number(range) => match number(found) {
                Some(number) if range.contains(&number) => Ok(()),
                Some(number) => Err(format!("is {number}, which is out of range")),
                None => Err(wrong(found, "a number")),
            },
            Shape::Argv => argv(found),
            Shape::Kinds => kinds(found),
            Shape::Places => places(found),
            Shape::Texts(rule) => return self.texts(path, value, *rule, field.fix),
            Shape::Table(fields) => match found.as_table() {
                Some(table) => return self.table(&format!("{path}."), at, table, fields),
                None => Err(wrong(found, "a table")),
            },
            Shape::Tables(fields) => match found.as_array() {
                Some(tables) if tables.len() <= MAX_ENTRIES => {
                    for (n, table) in tables.iter().enumerate() {
                        let path = format!("{path}[{n}].");
                        let at = table.span().start;
                        match table.get_ref().as_table() {
                            Some(table) => self.table(&path, at, table, fields),
                            None => {
                                self.note(at, &path, wrong(table.get_ref(), "a table"), field.fix)
                            }
                        }
                    }
                    let text = |entry: &Spanned<DeValue<'_>>| {
                        let content = entry.get_ref().as_table()?.get("content")?;
                        content.get_ref().as_str().map(str::len)
                    };
                    if tables.iter().filter_map(text).sum::<usize>() > MAX_TEXT {
                        Err("hold more than 32 KiB together".to_owned())
                    } else {
                        Ok(())
                    }
                }
                Some(_) => Err("has too many entries".to_owned()),
                None => Err(wrong(found, "a list of tables")),
            },
        };
        if let Err(message) = outcome {
            self.note(at, path, message, field.fix);
        }
    }

    fn texts(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        rule: fn(&str) -> Result<(), &'static str>,
        fix: &str,
    ) {
        let Some(table) = value.get_ref().as_table() else {
            let message = wrong(value.get_ref(), "a table of texts");
            return self.note(value.span().start, path, message, fix);
        };
        if table.len() > MAX_ENTRIES {
            self.note(
                value.span().start,
                path,
                "has too many entries".to_owned(),
                "",
            );
        }
        for (key, value) in table {
            let path = format!("{path}.{}", key.get_ref());
            if let Err(message) = rule(key.get_ref()) {
                self.note(key.span().start, &path, message.to_owned(), "");
            }
            let outcome = text_of(value.get_ref()).and_then(|text| Ok(template(text)?));
            if let Err(message) = outcome {
                self.note(value.span().start, &path, message, "");
            }
        }
    }
}

fn text_of<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wrong(value, "a text"))
}

fn wrong(value: &DeValue<'_>, wanted: &str) -> String {
    format!("is of type {}, not {wanted}", value.type_str())
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of processors are small"
)]
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(number) => number.as_str().replace('_', "").parse().ok(),
        None => integer(value).map(|number| number as f64),
    }
}

fn argv(value: &DeValue<'_>) -> Result<(), String> {
    let list = value
        .as_array()
        .ok_or_else(|| wrong(value, "a list of texts"))?;
    let words: Vec<&str> = list
        .iter()
        .map(|word| text_of(word.get_ref()))
        .collect::<Result<_, _>>()
        .map_err(|_| "is not a list of texts".to_owned())?;
    if words.len() > MAX_ENTRIES {
        return Err("has too many words".to_owned());
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("holds a character that no process can be given".to_owned());
    }
    match words.first() {
        Some(program) if program.starts_with('/') => Ok(()),
        Some(program) => Err(format!("starts with {program:?}, which is no full path")),
        None => Err("is empty".to_owned()),
    }
}

fn places(value: &DeValue<'_>) -> Result<(), String> {
    let list = value
        .as_array()
        .ok_or_else(|| wrong(value, "a list of texts"))?;
    let places: Vec<&str> = list
        .iter()
        .map(|place| text_of(place.get_ref()))
        .collect::<Result<_, _>>()
        .map_err(|_| "is not a list of texts".to_owned())?;
    if !(1..=8).contains(&places.len()) {
        return Err(format!("names {} folders", places.len()));
    }
    for (n, place) in places.iter().enumerate() {
        inside(place)?;
        let mut others = places.iter().enumerate();
        if others.any(|(m, other)| m != n && Path::new(place).starts_with(other)) {
            return Err(format!("names {place:?}, which another one holds already"));
        }
    }
    Ok(())
}

fn kinds(value: &DeValue<'_>) -> Result<(), String> {
    let list = value
        .as_array()
        .ok_or_else(|| wrong(value, "a list of numbers"))?;
    let requests = crate::nips::kind::JOB_REQUESTS;
    let is_request = |kind: &Spanned<DeValue<'_>>| {
        let kind = integer(kind.get_ref()).and_then(|kind| u16::try_from(kind).ok());
        kind.is_some_and(|kind| requests.contains(&kind))
    };
    if list.is_empty() {
        return Err("is empty".to_owned());
    }
    if !list.iter().all(is_request) {
        return Err("holds what is no kind of job".to_owned());
    }
    Ok(())
}

pub(super) fn name(text: &str) -> Result<(), &'static str> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let all = (1..=32).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('-');
    all.then_some(()).ok_or("is no name of an agent")
}

fn version(text: &str) -> Result<(), &'static str> {
    // It is put into a command of the image's build.
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte);
    let all = (1..=64).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('-');
    all.then_some(()).ok_or("is no version")
}

fn line(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("is empty");
    }
    if text.len() > MAX_LINE || text.chars().any(char::is_control) {
        return Err("is not one line of at most 200 bytes");
    }
    Ok(())
}

fn inside(text: &str) -> Result<(), &'static str> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if text.is_empty() || text.contains('\0') || !Path::new(text).components().all(plain) {
        return Err("leads out of its folder");
    }
    Ok(())
}

fn absolute(text: &str) -> Result<(), &'static str> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    let whole = Path::new(text).is_absolute() && Path::new(text).components().all(plain);
    if !whole || text.contains('\0') {
        return Err("is not a whole path from / on");
    }
    Ok(())
}

fn variable(text: &str) -> Result<(), &'static str> {
    if text.starts_with("TREEFORT_") {
        return Err("is treefort's own to set");
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit = text.starts_with(|first: char| first.is_ascii_digit());
    let all = !text.is_empty() && text.bytes().all(good) && !digit;
    all.then_some(()).ok_or("is no name of a variable")
}

fn template(text: &str) -> Result<(), &'static str> {
    if text.contains('\0') {
        return Err("holds a character that no process can be given");
    }
    if text.len() > MAX_TEXT {
        return Err("is longer than 32 KiB");
    }
    // `{word}` and nothing else is a placeholder: `{}`, `{"json"…` and `${shell}` are not.
    for (at, _) in text.match_indices('{') {
        let Some((word, _)) = text[at + 1..].split_once('}') else {
            continue;
        };
        let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        let known = PLACEHOLDERS
            .iter()
            .any(|name| name[1..name.len() - 1] == *word);
        if is_word && !known && !text[..at].ends_with('$') {
            return Err(
                "has a placeholder that is none of {model}, {context}, {output}, {token}, {dialect}",
            );
        }
    }
    Ok(())
}

fn object(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_TEXT {
        return Err("is longer than 32 KiB");
    }
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(()),
        _ => Err("is no object of JSON"),
    }
}

/// The field that was probably meant.
fn nearest(key: &str, fields: &'static [Field]) -> String {
    let near = fields
        .iter()
        .map(|field| (distance(key, field.name), field.name))
        .min()
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 2));
    match near {
        Some((_, name)) => format!("did you mean {name}?"),
        None => {
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            format!("there are: {}", names.join(", "))
        }
    }
}

/// Letters to insert, remove or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(x != *y))
                .min(above + 1)
                .min(row[j] + 1);
            corner = above;
        }
    }
    row[b.len()]
}
