//! What is wrong with a settings file, in words for those who write one: where, and what belongs there.

/// The place and the mistake, as lines; types of this program's language become what a person writes.
#[must_use]
pub fn mistake(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let mut said = error.message().to_owned();
    for (from, to) in WORDS {
        said = said.replace(from, to);
    }
    // Before it stands the line of the file, which is shown as it is.
    match text.rfind(error.message()) {
        Some(at) => format!("{}{said}", &text[..at]),
        None => said,
    }
}

/// The longer ones first: `u16` is in none of the others.
const WORDS: [(&str, &str); 22] = [
    ("invalid type: ", "this does not belong here: "),
    ("invalid value: ", "this does not belong here: "),
    ("invalid length ", "this does not belong here: length "),
    ("unknown variant ", "unknown word "),
    ("unknown field ", "unknown key "),
    ("missing field ", "missing key "),
    ("duplicate field ", "written twice: the key "),
    (
        "expected a sequence",
        "expected a list, such as [1, 2] or [\"a\", \"b\"]",
    ),
    ("sequence, expected", "a list, expected"),
    ("expected a map", "expected a table of keys and values"),
    ("map, expected", "a table, expected"),
    ("expected a boolean", "expected true or false"),
    ("boolean `", "`"),
    ("expected a string", "expected text in quotation marks"),
    ("string \"", "the text \""),
    ("floating point `", "the number `"),
    ("integer `", "the number `"),
    ("expected u16", "expected a number from 0 to 65535"),
    ("expected u32", "expected a number from 0 to 4294967295"),
    ("expected u64", "expected a number that is 0 or more"),
    ("expected usize", "expected a number that is 0 or more"),
    ("expected struct ", "expected a table: "),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only mistakes are read")]
    struct Written {
        kinds: BTreeSet<u16>,
        #[serde(default)]
        on: bool,
        #[serde(default)]
        name: String,
        #[serde(default)]
        most: usize,
        dir: Option<Way>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Way {
        Up,
        Down,
    }

    #[test]
    fn mistakes_are_said_without_the_names_of_types() {
        for (text, says) in [
            ("kinds = 1", "the number `1`, expected a list, such as"),
            (
                "kinds = [\"a\"]",
                "the text \"a\", expected a number from 0 to 65535",
            ),
            (
                "kinds = [70000]",
                "the number `70000`, expected a number from 0 to 65535",
            ),
            (
                "kinds = [-1]",
                "the number `-1`, expected a number from 0 to 65535",
            ),
            ("kinds = []\non = 1", "expected true or false"),
            (
                "kinds = []\nname = [1]",
                "a list, expected text in quotation marks",
            ),
            (
                "kinds = []\nmost = \"x\"",
                "expected a number that is 0 or more",
            ),
            (
                "kinds = []\ndir = \"out\"",
                "unknown word `out`, expected `up` or `down`",
            ),
            ("kind = []", "unknown key `kind`, expected one of"),
            ("name = \"x\"", "missing key `kinds`"),
        ] {
            let said = mistake(&toml::from_str::<Written>(text).unwrap_err());
            assert!(said.contains(says), "{text}: {said}");
            for type_name in [
                "u16", "usize", "sequence", "struct", "variant", "field", "boolean",
            ] {
                assert!(!said.contains(type_name), "{text}: {said}");
            }
        }
        let said = mistake(&toml::from_str::<Written>("kinds = []\nmost = -1").unwrap_err());
        assert!(said.contains("line 2"), "{said}");
    }
}
