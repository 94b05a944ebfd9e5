//! The unified multimodal model: networks, contexts, text and flow sampling, checkpoints. Knows no files beyond weights.
