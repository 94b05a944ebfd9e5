//! A character on disk: persona, scenes, questions and pictures; importers, checks and training samples.
