//! Stage 2, Character-GRPO: pictures that follow the prompt better while staying the character.
//!
//! An epoch draws groups of pictures of the same prompt, rewards each, and moves the generation
//! expert towards those that beat their group. Trajectories are deterministic but for a short window
//! of noisy steps, and only those are learned from. Nothing but the generation expert changes, so
//! what the character says stays the same to the bit.
//!
//! | module | what |
//! |---|---|
//! | [`profile`] | the numbers of a run, with profiles per machine |
//! | [`prompts`] | what is drawn, from the character or drafted |
//! | [`sampler`] | trajectories with a stochastic window |
//! | [`rewards`] | scores of whole groups |
//! | [`advantage`] | rewards against their group |
//! | [`loss`] | ratios, clipping, divergences |
//! | [`update`] | optimiser steps of an epoch |
//! | [`policy`] | the network as a policy, and stage 1 as its start |
//! | [`judges`] | what a run's rewards and measures are made of |
//! | [`plan`] | what a run would do |
//! | [`trainer`] | a run, resumable to the bit |
//! | [`alarm`] | trials with independent measures, and when to stop |
//!
//! Where the reference is not followed by default, and why: the window is drawn anew each epoch for
//! all groups (there: once per process for the whole run); noise keeps the schedule's variance (there:
//! level 1.3 from t = 1, which wipes the start); diversity counts per picture (there: one number a
//! group, which centring removes); gradients are clipped; prompts are distinct within an epoch. The
//! profile `reference` holds the published numbers.
//!
//! Sources: UniCharacter (arXiv:2605.08129); Flow-GRPO (arXiv:2505.05470).

pub mod advantage;
pub mod alarm;
pub mod judges;
pub mod loss;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod prompts;
pub mod rewards;
pub mod sampler;
pub mod trainer;
mod trial;
pub mod update;
