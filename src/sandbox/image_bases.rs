//! Which images a Dockerfile would have the engine fetch.

/// The images that a Dockerfile builds on or copies from; empty names mean one that only the
/// engine could work out.
pub(super) fn bases(dockerfile: &str) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut bases = Vec::new();
    let joined = dockerfile.replace("\\\n", " ");
    for line in joined.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(instruction) = words.first() else {
            continue;
        };
        let image = if instruction.eq_ignore_ascii_case("FROM") {
            let mut rest = words[1..].iter().filter(|word| !word.starts_with("--"));
            let image = rest.next().copied().unwrap_or_default();
            let known = stages.iter().any(|stage| stage.eq_ignore_ascii_case(image));
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
            from
        };
        bases.push(image.to_owned());
    }
    bases
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
            bases(dockerfile),
            ["rust:1", "debian", "alpine:3", "busybox", "$BASE"]
        );
        assert!(bases("FROM scratch\nCOPY treefort /treefort").is_empty());
    }
}
