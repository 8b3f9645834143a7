//! What a file is, by the end of its name.

/// The type of a file for a browser.
pub(super) fn of(name: &str) -> &'static str {
    let end = match name.rsplit_once('.') {
        Some((_, end)) => end.to_ascii_lowercase(),
        None => return "application/octet-stream",
    };
    match end.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" | "apng" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "bmp" => "image/bmp",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "mp3" => "audio/mpeg",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "m4a" => "audio/mp4",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "ogv" => "video/ogg",
        "pdf" => "application/pdf",
        // Sources are read, not run.
        "txt" | "md" | "csv" | "tsv" | "log" | "toml" | "yaml" | "yml" | "ini" | "rs" | "py"
        | "ts" | "tsx" | "jsx" | "c" | "h" | "cpp" | "go" | "java" | "rb" | "sh" | "sql"
        | "glsl" | "vert" | "frag" | "obj" | "vtt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_type_is_told_by_the_end_of_the_name() {
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("a.b.JS"), "text/javascript; charset=utf-8");
        assert_eq!(of("x.html.txt"), "text/plain; charset=utf-8");
        for name in ["", "html", "a.", "a.exe"] {
            assert_eq!(of(name), "application/octet-stream", "{name}");
        }
    }
}
