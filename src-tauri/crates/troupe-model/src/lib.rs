//! The unified multimodal model: networks, contexts, text and flow sampling, checkpoints.
//! Knows no files beyond weights.
//!
//! One network understands and draws: a language model whose layers carry an understanding and a
//! generation expert, a vision tower, and a picture codec (BAGEL, arXiv:2505.14683).
//!
//! | module | what |
//! |---|---|
//! | [`config`] | configuration in the released vocabulary, and our extensions |
//! | [`layout`] | blocks, positions and masks of a forward pass |
//! | [`llm`] | the two-expert decoder and its cache |
//! | [`vit`], [`autoencoder`] | vision tower and picture codec |
//! | [`unified`] | the whole network |
//! | [`context`], [`text`], [`flow`] | reading, decoding, drawing |
//! | [`weights`], [`gguf`], [`tokens`], [`image_ops`] | files |
//! | [`adapter`] | what was learned for one character, attached at run time |
//! | [`inspect`], [`quantize`] | what a folder holds, without loading it; a smaller copy of it |
//! | [`memory`] | how much memory a use would take |
//! | [`scorer`] | how well a picture fits a text |
//! | [`clip`], [`blip`] | judges that others trained, from folders of theirs |
//! | [`draw`] | pictures out of a loaded model, several at a time, after thinking or at once |
//! | [`runtime`] | a loaded model with text and pictures in and out |

pub mod adapter;
pub mod autoencoder;
pub mod blip;
pub mod clip;
pub mod config;
pub mod context;
pub mod draw;
pub mod error;
pub mod flow;
pub mod foreign;
pub mod gguf;
pub mod image_ops;
pub mod inspect;
pub mod layout;
pub mod llm;
pub mod memory;
mod prompt;
pub mod quantize;
pub mod runtime;
pub mod scorer;
pub mod text;
pub mod tokens;
pub mod unified;
pub mod vit;
pub mod weights;
pub mod yes_no;
