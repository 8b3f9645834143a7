//! Which images a Dockerfile would have the engine fetch.

use std::collections::HashMap;

/// The images that a Dockerfile builds on or copies from; empty names mean one that only the
/// engine could work out. `args` are the build's arguments; what an `ARG` says holds without one.
pub(super) fn bases(dockerfile: &str, args: &HashMap<String, String>) -> Vec<String> {
    let mut known: HashMap<String, String> = HashMap::new();
    let mut stages: Vec<String> = Vec::new();
    let mut bases = Vec::new();
    let joined = dockerfile.replace("\\\n", " ");
    for line in joined.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(instruction) = words.first() else {
            continue;
        };
        if instruction.eq_ignore_ascii_case("ARG") && stages.is_empty() {
            for word in &words[1..] {
                let (name, default) = word.split_once('=').unwrap_or((word, ""));
                let value = args.get(name).map_or(default, String::as_str);
                known.insert(name.to_owned(), value.to_owned());
            }
            continue;
        }
        let image = if instruction.eq_ignore_ascii_case("FROM") {
            let mut rest = words[1..].iter().filter(|word| !word.starts_with("--"));
            let image = resolve(rest.next().copied().unwrap_or_default(), &known);
            let known = stages
                .iter()
                .any(|stage| stage.eq_ignore_ascii_case(&image));
            // `FROM image AS stage`
            stages.push(rest.nth(1).copied().unwrap_or_default().to_owned());
            if known || image == "scratch" {
                continue;
            }
            image
        } else {
            let Some(from) = words.iter().find_map(|word| word.strip_prefix("--from=")) else {
                continue;
            };
            let numbered = from.parse::<usize>().is_ok_and(|n| n < stages.len());
            if numbered || stages.iter().any(|stage| stage.eq_ignore_ascii_case(from)) {
                continue;
            }
            from.to_owned()
        };
        bases.push(image);
    }
    bases
}

/// An image's name that is one variable as a whole; any other use of variables stays as it is.
fn resolve(image: &str, known: &HashMap<String, String>) -> String {
    let variable = image.strip_prefix('$').map(|name| {
        let inner = name
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'));
        inner.unwrap_or(name)
    });
    let value = variable.and_then(|name| known.get(name));
    value.map_or_else(|| image.to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_image_that_a_dockerfile_would_fetch() {
        let dockerfile = "# FROM comment\nFROM rust:1 AS build\nRUN true\n\
            from --platform=linux/amd64 debian\nCOPY --from=build /x /x\nCOPY --from=0 /y /y\n\
            COPY --from=alpine:3 /z /z\nFROM scratch\nFROM BUILD\nFROM \\\nbusybox\nFROM $BASE";
        assert_eq!(
            bases(dockerfile, &HashMap::new()),
            ["rust:1", "debian", "alpine:3", "busybox", "$BASE"]
        );
        assert!(bases("FROM scratch\nCOPY treefort /treefort", &HashMap::new()).is_empty());
    }

    #[test]
    fn knows_the_arguments_that_stand_before_the_first_stage() {
        let dockerfile = "ARG BASE\nARG OTHER=debian:12\nFROM ${BASE} AS one\nFROM $OTHER\nFROM ${NONE}\n\
            FROM x/${OTHER}\nARG LATE=scratch\nFROM $LATE";
        let args = HashMap::from([("BASE".to_owned(), "treefort/base:1".to_owned())]);
        assert_eq!(
            bases(dockerfile, &args),
            [
                "treefort/base:1",
                "debian:12",
                "${NONE}",
                "x/${OTHER}",
                "$LATE"
            ]
        );
        assert_eq!(bases("ARG BASE\nFROM ${BASE}", &HashMap::new()), [""]);
    }
}
