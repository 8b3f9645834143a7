//! Gemini's `generateContent` as a session may ask for it, rebuilt from known fields.
//!
//! <https://ai.google.dev/api/generate-content>. Google's own tools (search, URLs, code execution) are left
//! out; files and cached content are refused; other unknown fields are dropped. The API takes `snake_case` as well.

pub(in crate::model) mod answer;
mod chat;

use serde_json::{Map, Value, json};

use super::fields;
use crate::model::ModelOptions;

const REFUSED: &[&str] = &["cachedContent", "cached_content"];
const GENERATION: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "seed",
    "stopSequences",
    "responseMimeType",
    "presencePenalty",
    "frequencyPenalty",
];

/// What is asked of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Method {
    /// A whole answer.
    Generate,
    /// An answer in pieces, as events.
    Stream,
    /// An answer in pieces, as a list that grows.
    Array,
    /// How many tokens the prompt has.
    Count,
}

/// A session's request.
#[derive(Debug)]
pub(in crate::model) struct Generate {
    body: Map<String, Value>,
    config: Map<String, Value>,
    max_tokens: Option<i64>,
    /// What is asked.
    pub(in crate::model) method: Method,
}

impl Method {
    /// The method of a path below `/v1beta/models/`; its query says in which form pieces come.
    pub(in crate::model) fn of_path(path: &str, query: &str) -> Option<Self> {
        let (model, method) = path.strip_prefix("/v1beta/models/")?.split_once(':')?;
        if model.is_empty() || model.contains('/') {
            return None;
        }
        match method {
            "generateContent" => Some(Self::Generate),
            "streamGenerateContent" if query.split('&').any(|pair| pair == "alt=sse") => {
                Some(Self::Stream)
            }
            "streamGenerateContent" => Some(Self::Array),
            "countTokens" => Some(Self::Count),
            _ => None,
        }
    }

    /// Its end of a URL.
    pub(in crate::model) fn suffix(self) -> &'static str {
        match self {
            Self::Generate => "generateContent",
            Self::Stream | Self::Array => "streamGenerateContent?alt=sse",
            Self::Count => "countTokens",
        }
    }
}

impl Generate {
    /// Reads a request's body; the error is a sentence for the session.
    pub(in crate::model) fn parse(body: &[u8], method: Method) -> Result<Self, String> {
        let given: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let given = fields::object(&given, "the request")?;
        fields::refuse(given, REFUSED)?;
        let mut given = camel(given);
        if let Some(inner) = given.get("generateContentRequest") {
            // `countTokens` may hold a whole request.
            let inner = fields::object(inner, "`generateContentRequest`")?;
            fields::refuse(inner, REFUSED)?;
            given = camel(inner);
        }
        let contents = given.get("contents").unwrap_or(&Value::Null);
        let contents = fields::array(contents, "`contents`")?;
        if contents.is_empty() {
            return Err("there are no contents".to_owned());
        }
        let contents = contents
            .iter()
            .map(content)
            .collect::<Result<Vec<_>, _>>()?;
        let mut body = Map::new();
        body.insert("contents".to_owned(), Value::Array(contents));
        if let Some(system) = given.get("systemInstruction").filter(|s| fields::is_set(s)) {
            body.insert("systemInstruction".to_owned(), content(system)?);
        }
        if let Some(tools) = given.get("tools").filter(|tools| fields::is_set(tools)) {
            let tools = fields::tools(fields::array(tools, "`tools`")?, tool)?;
            body.insert("tools".to_owned(), Value::Array(tools));
        }
        if let Some(Value::Object(config)) = given.get("toolConfig")
            && let Some(Value::Object(calling)) = camel(config).get("functionCallingConfig")
        {
            let calling = fields::scalars(&camel(calling), &["mode", "allowedFunctionNames"]);
            body.insert(
                "toolConfig".to_owned(),
                json!({"functionCallingConfig": calling}),
            );
        }
        if let Some(Value::Array(settings)) = given.get("safetySettings") {
            let plain =
                |one: &Value| fields::scalars(one.as_object()?, &["category", "threshold"]).into();
            let settings: Vec<Map<String, Value>> = settings.iter().filter_map(plain).collect();
            body.insert("safetySettings".to_owned(), json!(settings));
        }
        let (config, max_tokens) = match given.get("generationConfig") {
            Some(Value::Object(config)) => generation(&camel(config)),
            _ => (Map::new(), None),
        };
        Ok(Self {
            body,
            config,
            max_tokens,
            method,
        })
    }

    /// The request as it goes to the provider.
    pub(in crate::model) fn rebuild(&self, model: &str, options: &ModelOptions) -> Value {
        let mut body = self.body.clone();
        let mut config = self.config.clone();
        let limit = options.num_predict.filter(|limit| *limit > 0);
        let tokens = match (self.max_tokens, limit) {
            (Some(asked), Some(limit)) => Some(asked.min(limit)),
            (asked, limit) => asked.or(limit),
        };
        let host = [
            ("maxOutputTokens", tokens.map(Value::from)),
            ("temperature", options.temperature.map(Value::from)),
            ("topP", options.top_p.map(Value::from)),
            ("topK", options.top_k.map(Value::from)),
            ("seed", options.seed.map(Value::from)),
            (
                "frequencyPenalty",
                options.frequency_penalty.map(Value::from),
            ),
        ];
        for (name, value) in host {
            if let Some(value) = value {
                config.insert(name.to_owned(), value);
            }
        }
        if self.method == Method::Count {
            body.insert("model".to_owned(), format!("models/{model}").into());
            return json!({"generateContentRequest": body});
        }
        if !config.is_empty() {
            body.insert("generationConfig".to_owned(), Value::Object(config));
        }
        Value::Object(body)
    }
}

fn generation(given: &Map<String, Value>) -> (Map<String, Value>, Option<i64>) {
    let mut config = fields::scalars(given, GENERATION);
    for name in ["responseSchema", "responseJsonSchema"] {
        if let Some(schema @ Value::Object(_)) = given.get(name) {
            config.insert(name.to_owned(), schema.clone());
        }
    }
    if let Some(Value::Object(thinking)) = given.get("thinkingConfig") {
        let known = ["includeThoughts", "thinkingBudget", "thinkingLevel"];
        let thinking = fields::scalars(&camel(thinking), &known);
        config.insert("thinkingConfig".to_owned(), Value::Object(thinking));
    }
    let tokens = given.get("maxOutputTokens").and_then(Value::as_i64);
    (config, tokens.filter(|tokens| *tokens > 0))
}

fn content(content: &Value) -> Result<Value, String> {
    let content = fields::object(content, "a content")?;
    let mut kept = fields::scalars(content, &["role"]);
    let parts = content.get("parts").unwrap_or(&Value::Null);
    // One part stands for a list of one.
    let parts: Vec<Value> = match parts {
        Value::Object(_) => vec![part(parts)?],
        parts => {
            let parts = fields::array(parts, "`parts`")?.iter().map(part);
            parts.collect::<Result<_, _>>()?
        }
    };
    kept.insert("parts".to_owned(), Value::Array(parts));
    Ok(Value::Object(kept))
}

fn part(part: &Value) -> Result<Value, String> {
    let part = camel(fields::object(part, "a part")?);
    let mut kept = Map::new();
    for (name, value) in &part {
        let value = match (name.as_str(), value) {
            (_, Value::Null) => continue,
            ("text" | "thoughtSignature", Value::String(_)) | ("thought", Value::Bool(_)) => {
                value.clone()
            }
            ("inlineData", Value::Object(data)) => {
                Value::Object(fields::scalars(&camel(data), &["mimeType", "data"]))
            }
            ("functionCall", Value::Object(call)) => function(call, "args"),
            ("functionResponse", Value::Object(response)) => {
                let mut kept = function(response, "response");
                if let Some(Value::Array(parts)) = response.get("parts") {
                    let parts = parts.iter().map(self::part).collect::<Result<_, _>>()?;
                    kept["parts"] = Value::Array(parts);
                }
                kept
            }
            _ => {
                let name: String = name.chars().take(60).collect();
                return Err(format!("a part with `{name}` does not pass here"));
            }
        };
        kept.insert(name.clone(), value);
    }
    Ok(Value::Object(kept))
}

/// A call of a function, or what came of it.
fn function(given: &Map<String, Value>, with: &str) -> Value {
    let mut kept = fields::scalars(given, &["id", "name"]);
    if let Some(value @ Value::Object(_)) = given.get(with) {
        kept.insert(with.to_owned(), value.clone());
    }
    Value::Object(kept)
}

/// The functions of a tool. What else it has is the provider's own.
fn tool(tool: &Map<String, Value>) -> Result<Option<Value>, String> {
    let tool = camel(tool);
    let declared = tool
        .get("functionDeclarations")
        .filter(|declared| fields::is_set(declared));
    let Some(declared) = declared else {
        return Ok(None);
    };
    let declared = fields::array(declared, "`functionDeclarations`")?;
    let declaration = |given: &Value| {
        let given = camel(fields::object(given, "a function")?);
        let mut kept = fields::scalars(&given, &["name", "description"]);
        for name in [
            "parameters",
            "parametersJsonSchema",
            "response",
            "responseJsonSchema",
        ] {
            if let Some(schema @ Value::Object(_)) = given.get(name) {
                kept.insert(name.to_owned(), schema.clone());
            }
        }
        Ok(Value::Object(kept))
    };
    let declared: Vec<Value> = declared
        .iter()
        .map(declaration)
        .collect::<Result<_, String>>()?;
    Ok(Some(json!({"functionDeclarations": declared})))
}

/// The same object with its fields in `camelCase`.
fn camel(object: &Map<String, Value>) -> Map<String, Value> {
    let name = |snake: &str| {
        let mut upper = false;
        let mut name = String::with_capacity(snake.len());
        for c in snake.chars() {
            if c == '_' {
                upper = true;
            } else if std::mem::take(&mut upper) {
                name.push(c.to_ascii_uppercase());
            } else {
                name.push(c);
            }
        }
        name
    };
    object
        .iter()
        .map(|(key, value)| (name(key), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &Value) -> Result<Generate, String> {
        Generate::parse(body.to_string().as_bytes(), Method::Generate)
    }

    #[test]
    fn passes_known_fields_only_and_the_host_decides_the_rest() {
        let chat = parse(&json!({
            "model": "models/other", "labels": {"a": "b"}, "store": false,
            "system_instruction": {"parts": {"text": "be brief"}},
            "contents": [
                {"role": "user", "x": 1, "parts": [{"text": "hi"}, {"inline_data": {"mime_type": "image/png", "data": "aGk=", "x": 1}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a_b": 1}, "x": 1}, "thoughtSignature": "s"}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}],
            "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}, "x": 1}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "x": {}}, "retrievalConfig": {}},
            "generationConfig": {"temperature": 1, "max_output_tokens": 500, "responseModalities": ["IMAGE"],
                "thinkingConfig": {"includeThoughts": true, "x": {}}},
        }))
        .unwrap();
        let options = ModelOptions {
            num_predict: Some(100),
            ..ModelOptions::default()
        };
        assert_eq!(
            chat.rebuild("m", &options),
            json!({
                "systemInstruction": {"parts": [{"text": "be brief"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a_b": 1}}, "thoughtSignature": "s"}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]}],
                "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
                "generationConfig": {"temperature": 1, "maxOutputTokens": 100, "thinkingConfig": {"includeThoughts": true}},
            })
        );
    }

    #[test]
    fn refuses_what_would_make_the_provider_act_or_fetch() {
        let text = json!([{"parts": [{"text": "hi"}]}]);
        for (name, value) in [
            ("cachedContent", json!("cachedContents/1")),
            ("cached_content", json!("cachedContents/1")),
            ("tools", json!([{"googleSearch": {}}])),
            ("tools", json!([{"google_search": {}}])),
            ("tools", json!([{"urlContext": {}}])),
            ("tools", json!([{"codeExecution": {}}])),
            ("tools", json!([{"googleSearchRetrieval": {}}])),
            (
                "tools",
                json!([{"functionDeclarations": [], "url_context": {}}]),
            ),
            ("tools", json!([{"computerUse": {}}])),
            ("tools", json!([{"mcpServers": []}])),
            (
                "generateContentRequest",
                json!({"contents": text, "cachedContent": "x"}),
            ),
        ] {
            let mut body = json!({"contents": text});
            body[name] = value.clone();
            assert!(parse(&body).is_err(), "{name} {value}");
        }
        for part in [
            json!({"fileData": {"fileUri": "https://x"}}),
            json!({"file_data": {"file_uri": "gs://x"}}),
            json!({"executableCode": {"code": "1"}}),
            json!({"text": 1}),
        ] {
            let body = json!({"contents": [{"parts": [part]}]});
            assert!(parse(&body).is_err(), "{body}");
        }
        assert!(parse(&json!({"contents": []})).is_err());
    }

    #[test]
    fn only_three_methods_of_a_model_are_known() {
        let of = |path| Method::of_path(path, "key=x&alt=sse");
        assert_eq!(
            of("/v1beta/models/x:generateContent"),
            Some(Method::Generate)
        );
        let stream = "/v1beta/models/x:streamGenerateContent";
        assert_eq!(of(stream), Some(Method::Stream));
        assert_eq!(Method::of_path(stream, "alt=json"), Some(Method::Array));
        assert_eq!(of("/v1beta/models/x:countTokens"), Some(Method::Count));
        for path in [
            "/v1beta/models/x:embedContent",
            "/v1beta/models/:generateContent",
            "/v1beta/models/../files:generateContent",
            "/v1beta/tunedModels/x:generateContent",
            "/v1beta/cachedContents",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
