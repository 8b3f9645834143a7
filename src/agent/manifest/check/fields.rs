//! The fields of `agent.toml`: what each holds, and what to write.

use super::{
    Field, Shape, absolute, field, inside, line, name, object, required, template, variable,
    version,
};

pub(super) static MANIFEST: &[Field] = &[
    required(
        "name",
        Shape::Text(name),
        "1 to 32 of a-z, 0-9 and -, like \"my-agent\"",
    ),
    required(
        "title",
        Shape::Text(line),
        "its name for people, like \"My agent\"",
    ),
    required("description", Shape::Text(line), "one sentence"),
    required(
        "version",
        Shape::Text(version),
        "the agent's own version, like \"1.2.3\"",
    ),
    required(
        "argv",
        Shape::Argv,
        "the command with its full path, like [\"/usr/bin/agent\", \"acp\"]",
    ),
    field("driver", Shape::Word(&["acp", "exec"]), ""),
    field(
        "env",
        Shape::Texts(variable),
        "a table of texts, like { NO_COLOR = \"1\" }",
    ),
    field(
        "files",
        Shape::Tables(FILE),
        "[[files]] with path and content",
    ),
    required(
        "kinds",
        Shape::Kinds,
        "5000 to 5999: 5050 is text generation, 5870 an agent task",
    ),
    required(
        "workspace",
        Shape::Bool,
        "true when it works on a project's files",
    ),
    field("history", Shape::Word(&["meta", "prompt"]), ""),
    field("prewarm", Shape::Bool, "true or false"),
    field("grace_s", Shape::Integer(0..=60), "0 to 60 seconds"),
    field(
        "auth_method",
        Shape::Text(line),
        "the id of one of the agent's ACP authMethods",
    ),
    field(
        "session_mode",
        Shape::Text(line),
        "the id of one of the agent's ACP modes",
    ),
    field(
        "session_meta",
        Shape::Text(object),
        "an object of JSON, like \'{\"systemPrompt\": \"Be brief.\"}\'",
    ),
    field("asks", Shape::Bool, "true or false"),
    field(
        "ask_mode",
        Shape::Text(line),
        "the id of the agent's ACP mode in which it asks before it acts",
    ),
    field("resume", Shape::Table(RESUME), "[resume]"),
    field("model", Shape::Table(MODEL), "[model]"),
    required(
        "image",
        Shape::Table(IMAGE),
        "[image] with dockerfile = \"Dockerfile\"",
    ),
    field("embedded", Shape::Table(EMBEDDED), "[embedded]"),
    field("limits", Shape::Table(LIMITS), "[limits]"),
];

pub(super) static EMBEDDED: &[Field] = &[
    field("system", Shape::Bool, "true or false"),
    field(
        "program",
        Shape::Text(line),
        "the name of a program on the PATH, like \"opencode\"",
    ),
    field("install", Shape::Text(line), "the command that installs it"),
    field(
        "files",
        Shape::Texts(inside),
        "a table of texts, like { \"tools.js\" = \"/etc/opencode/tools.js\" }",
    ),
    field(
        "reads",
        Shape::Texts(absolute),
        "a table of texts, like { \"/opt/jdk\" = \"/opt/jdk\" }",
    ),
];

pub(super) static FILE: &[Field] = &[
    required(
        "path",
        Shape::Text(inside),
        "a path below the agent's home, like \".config/agent.json\"",
    ),
    required("content", Shape::Text(template), "the file's text"),
];

pub(super) static RESUME: &[Field] = &[required(
    "state",
    Shape::Places,
    "1 to 8 folders below the agent's home, like [\".local/share/my-agent\"], none in another",
)];

pub(super) static MODEL: &[Field] = &[
    field(
        "dialect",
        Shape::Word(&["openai", "responses", "anthropic", "gemini", "ollama"]),
        "",
    ),
    field(
        "names",
        Shape::Texts(line),
        "a table of texts, like { \"gpt-5\" = \"{model}\" }",
    ),
    field(
        "context",
        Shape::Integer(1024..=1 << 20),
        "1024 to 1048576 tokens",
    ),
];

pub(super) static IMAGE: &[Field] = &[
    field(
        "dockerfile",
        Shape::Text(inside),
        "a path in the agent's folder, like \"Dockerfile\"",
    ),
    field("base", Shape::Bool, "true or false"),
    field("network", Shape::Bool, "true or false"),
];

pub(super) static LIMITS: &[Field] = &[
    field(
        "memory_mb",
        Shape::Integer(16..=1 << 20),
        "16 to 1048576 MiB",
    ),
    field("cpus", Shape::Number(0.05..=1024.0), "0.05 to 1024"),
    field("pids", Shape::Integer(8..=65_536), "8 to 65536"),
];
