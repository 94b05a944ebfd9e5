//! Text to tokens and back, and the layout of text blocks.
//!
//! Sources: Qwen2's tokenizer as in UniCharacter, `modeling/qwen2/tokenization_qwen2.py`;
//! SmolLM2's tokenizer as in its GGUF file (pre-tokenizer `smollm`).

use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::Tokenizer;

use crate::{
    config::{SpecialTokenIds, SpecialTokenNames},
    error::ModelError,
    gguf::GgufFile,
};

/// Who speaks in a text block. BAGEL does not distinguish them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextRole {
    /// The person, or instructions in their name.
    Prompt,
    /// The character.
    Reply,
    /// Standing instructions.
    System,
    /// A description that a picture is drawn from.
    Caption,
}

/// Text put before the content of a block by role. Empty is BAGEL, which has no chat template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextTemplate {
    /// Before a prompt.
    pub prompt_prefix: String,
    /// Before a reply; decoding is started with it.
    pub reply_prefix: String,
    /// Before standing instructions.
    pub system_prefix: String,
    /// Before a caption.
    pub caption_prefix: String,
}

impl TextTemplate {
    fn prefix(&self, role: TextRole) -> &str {
        match role {
            TextRole::Prompt => &self.prompt_prefix,
            TextRole::Reply => &self.reply_prefix,
            TextRole::System => &self.system_prefix,
            TextRole::Caption => &self.caption_prefix,
        }
    }
}

/// Qwen2's pre-tokenizer pattern.
const QWEN2_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GGUF token type of control tokens.
const GGUF_CONTROL_TOKEN: i32 = 3;

/// A tokenizer with its special tokens and block layout.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    plain: Tokenizer,
    special: SpecialTokenIds,
    template: TextTemplate,
}

fn malformed(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Malformed {
        what: "the tokenizer",
        reason: reason.to_string(),
        path: path.to_path_buf(),
    }
}

fn read(path: &Path) -> Result<String, ModelError> {
    std::fs::read_to_string(path).map_err(|source| ModelError::Io {
        what: "the tokenizer",
        source,
        path: path.to_path_buf(),
    })
}

impl TextTokenizer {
    /// Finds the tokenizer of a model folder: `tokenizer.json`, `vocab.json` with `merges.txt`, or
    /// the one inside `gguf`.
    ///
    /// # Errors
    /// When there is none, it is malformed, or it lacks a special token.
    pub fn from_dir(
        dir: &Path,
        gguf: Option<&GgufFile>,
        names: &SpecialTokenNames,
        template: &TextTemplate,
    ) -> Result<Self, ModelError> {
        let json = dir.join("tokenizer.json");
        if json.exists() {
            let tokenizer = Tokenizer::from_file(&json).map_err(|e| malformed(&json, e))?;
            return Self::new(tokenizer, names, template);
        }
        let (vocab, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
        if vocab.exists() && merges.exists() {
            return Self::new(qwen2(&vocab, &merges, names)?, names, template);
        }
        match gguf {
            Some(gguf) => Self::new(smollm(gguf)?, names, template),
            None => Err(malformed(
                dir,
                "the folder has no tokenizer.json and no vocab.json with merges.txt",
            )),
        }
    }

    fn new(
        mut tokenizer: Tokenizer,
        names: &SpecialTokenNames,
        template: &TextTemplate,
    ) -> Result<Self, ModelError> {
        let id = |token: &str, role| {
            tokenizer
                .token_to_id(token)
                .ok_or_else(|| ModelError::MissingToken { token: token.into(), role })
        };
        let special = SpecialTokenIds {
            im_start: id(&names.im_start, "the start of a text block")?,
            im_end: id(&names.im_end, "the end of a text block")?,
            vision_start: id(&names.vision_start, "the start of a picture")?,
            vision_end: id(&names.vision_end, "the end of a picture")?,
        };
        tokenizer.set_encode_special_tokens(true);
        Ok(Self { plain: tokenizer, special, template: template.clone() })
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialTokenIds {
        self.special
    }

    /// Tokens of the vocabulary, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.plain.get_vocab_size(true)
    }

    /// Tokens of ordinary text. The texts of special tokens are ordinary text here: what a person
    /// types cannot close a block. (The reference maps them to the special tokens.)
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.plain
            .encode(text, false)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|e| ModelError::Request(format!("the text cannot be tokenised: {e}")))
    }

    /// Text of tokens; special tokens are left out.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.plain
            .decode(ids, true)
            .map_err(|e| ModelError::Request(format!("the tokens cannot be read: {e}")))
    }

    /// Text of tokens with special ones spelled out.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn decode_all(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.plain
            .decode(ids, false)
            .map_err(|e| ModelError::Request(format!("the tokens cannot be read: {e}")))
    }

    /// A whole text block and the position from which its content is predicted.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn text_block(&self, role: TextRole, text: &str) -> Result<(Vec<u32>, usize), ModelError> {
        let mut ids = self.block_start(role)?;
        let content_from = ids.len() - 1;
        ids.extend(self.encode(text)?);
        ids.push(self.special.im_end);
        Ok((ids, content_from))
    }

    /// Whether blocks say who speaks, as bases tuned for chat expect.
    pub fn tells_roles(&self) -> bool {
        let TextTemplate { prompt_prefix, reply_prefix, system_prefix, .. } = &self.template;
        [prompt_prefix, reply_prefix, system_prefix].iter().all(|prefix| !prefix.is_empty())
    }

    /// What decoding a block of this role starts with: the start token and the role's prefix.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn block_start(&self, role: TextRole) -> Result<Vec<u32>, ModelError> {
        let mut ids = vec![self.special.im_start];
        let prefix = self.template.prefix(role);
        if !prefix.is_empty() {
            ids.extend(self.encode(prefix)?);
        }
        Ok(ids)
    }
}

/// Qwen2's tokenizer from its slow files.
fn qwen2(vocab: &Path, merges: &Path, names: &SpecialTokenNames) -> Result<Tokenizer, ModelError> {
    let vocab_json: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&read(vocab)?).map_err(|e| malformed(vocab, e))?;
    let merge_lines: Vec<String> = read(merges)?
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("#version"))
        .map(str::to_owned)
        .collect();
    // Qwen2's added tokens follow the vocabulary in this order.
    let mut added: Vec<String> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        .into_iter()
        .chain(["<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"])
        .chain(["<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"])
        .map(str::to_owned)
        .collect();
    for name in [&names.im_start, &names.im_end, &names.vision_start, &names.vision_end] {
        if !added.contains(name) && !vocab_json.contains_key(name) {
            added.push(name.clone());
        }
    }
    let next = vocab_json.len();
    let added: Vec<_> =
        added.iter().enumerate().map(|(i, text)| added_token(next + i, text)).collect();
    let normalizer = json!({"type": "NFC"});
    let split = json!({
        "type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": false,
    });
    let pre = json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]});
    build(vocab, &json!(vocab_json), &json!(merge_lines), &added, &normalizer, &pre)
}

/// SmolLM2's tokenizer from its GGUF file.
fn smollm(gguf: &GgufFile) -> Result<Tokenizer, ModelError> {
    let strings = |key: &str| -> Result<Vec<String>, ModelError> {
        let missing = || malformed(gguf.path(), format!("it has no list `{key}`"));
        let Some(Value::Array(values)) = gguf.metadata(key) else {
            return Err(missing());
        };
        values.iter().map(|v| v.to_string().cloned().map_err(|_| missing())).collect()
    };
    let tokens = strings("tokenizer.ggml.tokens")?;
    let merges = strings("tokenizer.ggml.merges")?;
    let kinds: Vec<i32> = match gguf.metadata("tokenizer.ggml.token_type") {
        Some(Value::Array(values)) => values.iter().filter_map(|v| v.to_i32().ok()).collect(),
        _ => Vec::new(),
    };
    let vocab: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, text)| (text.clone(), json!(id))).collect();
    let added: Vec<_> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| kinds.get(*id) == Some(&GGUF_CONTROL_TOKEN))
        .map(|(id, text)| added_token(id, text))
        .collect();
    let digits = json!({"type": "Digits", "individual_digits": true});
    let pre = json!({"type": "Sequence", "pretokenizers": [digits, byte_level(true)]});
    build(gguf.path(), &json!(vocab), &json!(merges), &added, &serde_json::Value::Null, &pre)
}

fn byte_level(use_regex: bool) -> serde_json::Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex,
    })
}

fn added_token(id: usize, text: &str) -> serde_json::Value {
    json!({
        "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn build(
    path: &Path,
    vocab: &serde_json::Value,
    merges: &serde_json::Value,
    added: &[serde_json::Value],
    normalizer: &serde_json::Value,
    pre_tokenizer: &serde_json::Value,
) -> Result<Tokenizer, ModelError> {
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    Tokenizer::from_bytes(tokenizer.to_string()).map_err(|e| malformed(path, e))
}

/// Turns a growing list of tokens into text pieces, never half a character.
#[derive(Debug, Default)]
pub struct StreamDecoder {
    ids: Vec<u32>,
    emitted: usize,
}

/// Stands for bytes that are no whole character yet.
const REPLACEMENT: char = '\u{FFFD}';

impl StreamDecoder {
    /// Takes a token and returns the text that has become certain, perhaps none.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn push(&mut self, tokenizer: &TextTokenizer, id: u32) -> Result<String, ModelError> {
        self.ids.push(id);
        let text = tokenizer.decode(&self.ids)?;
        let sure = text.trim_end_matches(REPLACEMENT).len();
        let piece = text.get(self.emitted..sure).unwrap_or_default().to_owned();
        self.emitted += piece.len();
        Ok(piece)
    }

    /// All text so far.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn text(&self, tokenizer: &TextTokenizer) -> Result<String, ModelError> {
        tokenizer.decode(&self.ids)
    }
}
