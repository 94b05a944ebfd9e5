//! The prompt read last, kept so that a conversation does not read its unchanged start at every turn.

use candle_core::Result;

use crate::context::{Context, Reader};

/// Tokens read in one pass, counted from the start of the prompt: keys are then the same to the bit
/// whether a part was kept or is read anew.
const CHUNK_TOKENS: usize = 128;
/// Longest prompt that is kept: about 190 MB of keys and values with `mini`.
const MAX_KEPT_TOKENS: usize = 4096;

/// A text prompt and the context that has read it.
#[derive(Debug, Default)]
pub(crate) struct ReadPrompt {
    ids: Vec<u32>,
    context: Context,
}

impl ReadPrompt {
    /// The context of `ids`, of which only what differs from the last prompt is read.
    pub(crate) fn read(self, reader: Reader, ids: Vec<u32>) -> Result<Self> {
        let shared = self.ids.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        let is_same = shared == ids.len() && shared == self.ids.len();
        let kept = if is_same { shared } else { shared / CHUNK_TOKENS * CHUNK_TOKENS };
        let mut context = self.context;
        context.truncate_text(kept);
        for chunk in ids[kept..].chunks(CHUNK_TOKENS) {
            reader.read_text(&mut context, chunk)?;
        }
        Ok(Self { ids, context })
    }

    /// What was read.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Itself, or nothing when it would take too much memory.
    pub(crate) fn worth_keeping(self) -> Self {
        if self.ids.len() > MAX_KEPT_TOKENS { Self::default() } else { self }
    }
}
