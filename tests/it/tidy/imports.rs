//! Reads which modules of the crate a source file names, with nothing but the standard library.

/// A token that matters for paths; the rest of the language is [`Token::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Ident(String),
    /// `::`
    Path,
    Open,
    Close,
    Other(char),
}

/// Modules that a `lib.rs` declares.
pub(crate) fn declared(source: &str) -> Vec<String> {
    let tokens = tokens(source);
    tokens
        .windows(3)
        .filter_map(|window| match window {
            [Token::Ident(keyword), Token::Ident(name), Token::Other(';')] if keyword == "mod" => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect()
}

/// Modules at the crate's root that a file with this module path names, outside of `#[cfg(test)]` modules.
pub(crate) fn of(source: &str, module: &[String]) -> Vec<String> {
    let tokens = without_tests(tokens(source));
    let mut found = Vec::new();
    // Inline modules that are open here, each with the depth of braces outside it.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            Token::Open => depth += 1,
            Token::Close => {
                depth -= 1;
                if inline.last().is_some_and(|(_, outside)| *outside == depth) {
                    inline.pop();
                }
            }
            Token::Ident(word) => {
                let starts_path = at == 0 || tokens[at - 1] != Token::Path;
                if word == "mod" {
                    if let (Some(Token::Ident(name)), Some(Token::Open)) =
                        (tokens.get(at + 1), tokens.get(at + 2))
                    {
                        inline.push((name.clone(), depth));
                    }
                } else if starts_path
                    && matches!(word.as_str(), "crate" | "treefort" | "super" | "self")
                    && tokens.get(at + 1) == Some(&Token::Path)
                {
                    let here: Vec<String> = module
                        .iter()
                        .cloned()
                        .chain(inline.iter().map(|(name, _)| name.clone()))
                        .collect();
                    at = path(&tokens, at, &here, here.clone(), &mut found);
                    continue;
                }
            }
            Token::Path | Token::Other(_) => {}
        }
        at += 1;
    }
    found
}

/// Follows one path from `at`, with `current` as the module reached so far; returns where it ends.
fn path(
    tokens: &[Token],
    mut at: usize,
    here: &[String],
    mut current: Vec<String>,
    found: &mut Vec<String>,
) -> usize {
    loop {
        match tokens.get(at) {
            Some(Token::Ident(word)) => match word.as_str() {
                // The program names the library by its name.
                "crate" | "treefort" => current.clear(),
                "self" => {}
                "super" => {
                    current.pop();
                }
                name => {
                    if current.is_empty() {
                        found.push(name.to_owned());
                    }
                    current.push(name.to_owned());
                }
            },
            Some(Token::Open) => return group(tokens, at + 1, here, &current, found),
            _ => return at,
        }
        at += 1;
        if tokens.get(at) != Some(&Token::Path) {
            return at;
        }
        at += 1;
    }
}

/// Follows the paths of a braced group whose brace is before `at`; returns what follows the group.
fn group(
    tokens: &[Token],
    mut at: usize,
    here: &[String],
    current: &[String],
    found: &mut Vec<String>,
) -> usize {
    loop {
        match tokens.get(at) {
            None => return at,
            Some(Token::Close) => return at + 1,
            Some(Token::Ident(word)) if word == "as" => at += 2,
            Some(Token::Ident(_) | Token::Open) => {
                at = path(tokens, at, here, current.to_vec(), found);
            }
            Some(_) => at += 1,
        }
    }
}

/// Leaves out every `#[cfg(test)] mod name { … }`: what tests import is no part of the architecture.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let marker: Vec<Token> = {
        let ident = |word: &str| Token::Ident(word.to_owned());
        let other = Token::Other;
        vec![
            other('#'),
            other('['),
            ident("cfg"),
            other('('),
            ident("test"),
            other(')'),
            other(']'),
            ident("mod"),
        ]
    };
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].starts_with(&marker) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += marker.len();
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                Token::Open => depth += 1,
                Token::Close if depth == 1 => break,
                Token::Close => depth -= 1,
                Token::Other(';') if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

/// Splits Rust into tokens; comments, strings and character literals vanish.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let get = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let here = chars[at];
        if here == '/' && get(at + 1) == '/' {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if here == '/' && get(at + 1) == '*' {
            at = after_comment(&chars, at);
        } else if here == '"' {
            at = after_string(&chars, at + 1);
        } else if here == '\'' {
            at = after_quote(&chars, at);
        } else if here.is_alphabetic() || here == '_' {
            let start = at;
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            match after_raw_string(&chars, &word, at) {
                Some(end) => at = end,
                None => found.push(Token::Ident(word)),
            }
        } else {
            at += 1;
            match here {
                ':' if get(at) == ':' => {
                    at += 1;
                    found.push(Token::Path);
                }
                '{' => found.push(Token::Open),
                '}' => found.push(Token::Close),
                other if other.is_whitespace() => {}
                other => found.push(Token::Other(other)),
            }
        }
    }
    found
}

/// The end of a block comment, which may hold others.
fn after_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The end of a string whose opening quote is before `at`.
fn after_string(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The end of a character literal, or the character after the quote of a lifetime.
fn after_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let mut end = at + 3;
            while end < chars.len() && chars[end] != '\'' {
                end += 1;
            }
            end + 1
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// The end of a raw string whose prefix `word` ends at `at`, if it is one.
fn after_raw_string(chars: &[char], word: &str, at: usize) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[at..].iter().take_while(|char| **char == '#').count();
    let mut end = at + hashes;
    if chars.get(end) != Some(&'"') {
        return None;
    }
    end += 1;
    while end < chars.len() {
        end += 1;
        if chars[end - 1] == '"'
            && chars[end..].iter().take_while(|char| **char == '#').count() >= hashes
        {
            return Some(end + hashes);
        }
    }
    Some(end)
}
