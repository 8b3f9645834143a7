//! A model file of our own making: llama's architecture, random weights, a tokenizer of bytes. It says nothing
//! that means anything; it makes a real inference server work.
//!
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, version 3.

const EMBED: u64 = 64;
const FEED: u64 = 128;
const LAYERS: u64 = 2;
const HEADS: u32 = 2;
/// Three words of control, then one for each byte.
const WORDS: u64 = 3 + 256;
/// What it was "made for", in tokens.
pub(super) const CONTEXT: u32 = 16_384;
const ALIGNMENT: usize = 32;

const TEMPLATE: &str = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n\
    {% endfor %}assistant:";

#[derive(Default)]
struct Writer {
    fields: Vec<u8>,
    count: u64,
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.count += 1;
        string(&mut self.fields, key);
        self.fields.extend(kind.to_le_bytes());
        &mut self.fields
    }

    fn number(&mut self, key: &str, value: u32) {
        self.key(key, 4).extend(value.to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }

    fn truth(&mut self, key: &str, value: bool) {
        self.key(key, 7).push(u8::from(value));
    }

    fn text(&mut self, key: &str, value: &str) {
        string(self.key(key, 8), value);
    }

    fn list<T>(&mut self, key: &str, kind: u32, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
        let out = self.key(key, 9);
        out.extend(kind.to_le_bytes());
        out.extend((items.len() as u64).to_le_bytes());
        for item in items {
            write(out, item);
        }
    }
}

/// The whole file.
pub(super) fn file() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.text("general.architecture", "llama");
    writer.text("general.name", "treefort's tiny random model");
    for (name, value) in [
        ("context_length", CONTEXT),
        ("embedding_length", EMBED as u32),
        ("block_count", LAYERS as u32),
        ("feed_forward_length", FEED as u32),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", HEADS),
        ("rope.dimension_count", EMBED as u32 / HEADS),
        ("vocab_size", WORDS as u32),
    ] {
        writer.number(&format!("llama.{name}"), value);
    }
    writer.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    tokenizer(&mut writer);

    let tensors = tensors();
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(writer.count.to_le_bytes());
    out.extend(&writer.fields);
    let mut offset = 0u64;
    for (name, shape) in &tensors {
        string(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|side| out.extend(side.to_le_bytes()));
        out.extend(0u32.to_le_bytes()); // 32-bit floats
        out.extend(offset.to_le_bytes());
        // Every size here is a multiple of the alignment.
        offset += shape.iter().product::<u64>() * 4;
        assert_eq!(offset % ALIGNMENT as u64, 0, "{name}");
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for (name, shape) in &tensors {
        for _ in 0..shape.iter().product::<u64>() {
            // xorshift: the same file every time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let random = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            let value = if name.contains("norm") {
                1.0
            } else {
                random * 0.2
            };
            out.extend(value.to_le_bytes());
        }
    }
    out
}

fn tokenizer(writer: &mut Writer) {
    let mut words: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    words.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2i32, 3, 3];
    kinds.resize(words.len(), 6);
    let scores = vec![0f32; words.len()];
    writer.text("tokenizer.ggml.model", "llama");
    writer.list("tokenizer.ggml.tokens", 8, &words, |out, word| {
        string(out, word)
    });
    writer.list("tokenizer.ggml.scores", 6, &scores, |out, score| {
        out.extend(score.to_le_bytes())
    });
    writer.list("tokenizer.ggml.token_type", 5, &kinds, |out, kind| {
        out.extend(kind.to_le_bytes())
    });
    writer.number("tokenizer.ggml.unknown_token_id", 0);
    writer.number("tokenizer.ggml.bos_token_id", 1);
    writer.number("tokenizer.ggml.eos_token_id", 2);
    writer.truth("tokenizer.ggml.add_bos_token", true);
    writer.truth("tokenizer.ggml.add_space_prefix", false);
    writer.text("tokenizer.chat_template", TEMPLATE);
}

fn tensors() -> Vec<(String, Vec<u64>)> {
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![EMBED, WORDS]),
        ("output_norm.weight".to_owned(), vec![EMBED]),
        ("output.weight".to_owned(), vec![EMBED, WORDS]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", vec![EMBED]),
            ("attn_q", vec![EMBED, EMBED]),
            ("attn_k", vec![EMBED, EMBED]),
            ("attn_v", vec![EMBED, EMBED]),
            ("attn_output", vec![EMBED, EMBED]),
            ("ffn_norm", vec![EMBED]),
            ("ffn_gate", vec![EMBED, FEED]),
            ("ffn_up", vec![EMBED, FEED]),
            ("ffn_down", vec![FEED, EMBED]),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    tensors
}
