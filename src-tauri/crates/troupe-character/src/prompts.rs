//! The exact prompts of the method, for training and for inference.
//!
//! The same strings reach the model when it learns and when it is asked, so every byte counts:
//! blank lines between blocks, a trailing blank after an empty opening, the final newline of the
//! thinking rules. Texts are inserted verbatim and never trimmed or expanded.
//!
//! Source: UniCharacter (arXiv 2605.08129), upstream `personalize_inference_grpo.py` and the
//! published training rows.

/// Rules for thinking before drawing, ending in a newline.
pub const THINK_PROMPT: &str = "You should first think about the planning process in the mind and then generate the image.\nThe planning process must be enclosed within <think></think>.\nThen provide a concise, standardized generation instruction enclosed within <gen></gen> that can be fed to a text-to-image model.\nThe <gen> instruction should be a single descriptive sentence or a short list of comma-separated attributes, focusing on character, pose/expression, scene context, composition, style, and quality words.\nOutput format (no additional text):\n<think>...your planning process...</think>\n<gen>...your generation instruction...</gen>\n";

/// System prompt of the base model for thinking before an answer (upstream `inferencer.py`).
pub const BASE_THINK_BEFORE_ANSWER: &str = "You should first think about the reasoning process in the mind and then provide the user with the answer. \nThe reasoning process is enclosed within <think> </think> tags, i.e. <think> reasoning process here </think> answer here";

/// System prompt of the base model for thinking before a picture (upstream `inferencer.py`).
pub const BASE_THINK_BEFORE_PICTURE: &str = "You should first think about the planning process in the mind and then generate the image. \nThe planning process is enclosed within <think> </think> tags, i.e. <think> planning process here </think> image here";

const DRAW: &str = "Please generate an image that visualizes this scene with the character responding to the user's input based on the character description.";
const DRAW_WITH_THINKING: &str = "Please generate an image that visualizes this scene with the character responding to the user's input based on the character description, thinking process, and generation instruction.";

/// An earlier turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryTurn<'a> {
    /// `user` or `machine`; see [`crate::Speaker::template_role`].
    pub role: &'a str,
    /// What was said.
    pub text: &'a str,
}

/// What a reply is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolePlay<'a> {
    /// [`crate::Character::description`].
    pub description: &'a str,
    /// The greeting; may be empty.
    pub opening: &'a str,
    /// Earlier turns, oldest first; may be empty.
    pub history: &'a [HistoryTurn<'a>],
    /// What the person says now.
    pub user: &'a str,
    /// [`crate::Character::prompt_name`].
    pub name: &'a str,
}

/// What the picture beside a reply is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScenePicture<'a> {
    /// [`crate::Character::description`].
    pub description: &'a str,
    /// What the person said.
    pub user: &'a str,
    /// What the character answered.
    pub response: &'a str,
}

/// Prompt for the character's next reply.
pub fn role_play(scene: &RolePlay<'_>) -> String {
    let RolePlay { description, opening, history, user, name } = scene;
    let mut earlier = String::new();
    if !history.is_empty() {
        earlier.push_str("Conversation History:\n");
        for HistoryTurn { role, text } in *history {
            earlier.push_str(&format!("{role}: {text}\n"));
        }
        earlier.push('\n');
    }
    format!(
        "Character Description: {description}\n\nOpening: {opening}\n\n{earlier}User Input: {user}\n\nBased on the character description, opening, conversation history, current user input, and the reference image, please generate {name}'s response."
    )
}

fn scene_blocks(scene: &ScenePicture<'_>) -> String {
    let ScenePicture { description, user, response } = scene;
    format!(
        "Character Description: {description}\n\nUser Input: {user}\n\nCharacter Response: {response}"
    )
}

/// Prompt for the picture of a scene.
pub fn scene_picture(scene: &ScenePicture<'_>) -> String {
    format!("{}\n\n{DRAW}", scene_blocks(scene))
}

/// Prompt for the picture of a scene that was thought about first.
pub fn scene_picture_with_thinking(
    scene: &ScenePicture<'_>,
    thinking: &str,
    instruction: &str,
) -> String {
    format!(
        "{}\n\nThinking Process: {thinking}\n\nGeneration Instruction: {instruction}\n\n{DRAW_WITH_THINKING}",
        scene_blocks(scene)
    )
}

/// Request to think about a scene's picture, as the training rows put it.
pub fn thinking_request(scene: &ScenePicture<'_>) -> String {
    format!(
        "{}\n\nSystem Instruction for Thinking and Generation:\n{THINK_PROMPT}",
        scene_picture(scene)
    )
}

/// The same request as the reference's inference code puts it, which differs from training.
///
/// Models of this project are asked with [`thinking_request`], which they have seen.
pub fn thinking_request_of_reference(scene: &ScenePicture<'_>) -> String {
    format!(
        "{THINK_PROMPT}\n\n{}\n\nPlease think about how to generate an image for this scene.",
        scene_blocks(scene)
    )
}

/// The answer to [`thinking_request`].
pub fn thinking_answer(thinking: &str, instruction: &str) -> String {
    format!("<think>{thinking}</think>\n<gen>{instruction}</gen>")
}

/// Reads an answer back: trimmed contents of the first `<think>` and `<gen>` pairs, empty if absent.
pub fn parse_thinking(answer: &str) -> (String, String) {
    (between(answer, "<think>", "</think>"), between(answer, "<gen>", "</gen>"))
}

fn between(text: &str, open: &str, close: &str) -> String {
    text.find(open)
        .map(|at| &text[at + open.len()..])
        .and_then(|rest| rest.find(close).map(|end| rest[..end].trim().to_owned()))
        .unwrap_or_default()
}

/// Question of the consistency samples that asks for a picture's short caption. Ours, not upstream's.
pub fn ask_caption(name: &str) -> String {
    format!("Write a short caption for this picture of {name}.")
}

/// Question of the consistency samples that asks what a scene's picture shows. Ours, not upstream's.
pub fn ask_description(name: &str) -> String {
    format!("Describe what this picture of {name} shows.")
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    const SCENE: ScenePicture<'_> =
        ScenePicture { description: "{description}", user: "{user}", response: "{response}" };

    fn fingerprint(text: &str) -> (usize, String) {
        let digest = Sha256::digest(text.as_bytes());
        let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        (text.len(), hex)
    }

    /// Sizes and digests of the published templates with their placeholders in place.
    #[test]
    fn templates_are_the_published_ones() {
        let reply = role_play(&RolePlay {
            description: "{description}",
            opening: "{opening}",
            history: &[],
            user: "{user}",
            name: "{name}",
        });
        let cases = [
            (
                scene_picture(&SCENE),
                227,
                "77a9f5fca8da7ebd516f3f0adf0e202f838b2883562b4fd19df256d00961ede1",
            ),
            (
                scene_picture_with_thinking(&SCENE, "{thinking}", "{instruction}"),
                342,
                "0360d54b0fa25356f99252b3aa4a431d986ea50c0564e08e01aaeee8e57fc647",
            ),
            (reply, 224, "e59e9da9c58cc54359876e0db9bf5d67a4cb9de72087c96856bac74c0d2c1c24"),
            (
                thinking_request(&SCENE),
                887,
                "ac59323805928982db087a2f18e5ef31a570b536b47d62a5229f9d09773c203d",
            ),
        ];
        for (text, len, digest) in cases {
            assert_eq!(fingerprint(&text), (len, digest.to_owned()), "{text}");
        }
    }

    #[test]
    fn history_ends_in_a_blank_line() {
        let history = [
            HistoryTurn { role: "user", text: "Hello." },
            HistoryTurn { role: "machine", text: "Ahoy." },
        ];
        let text = role_play(&RolePlay {
            description: "An otter.",
            opening: "",
            history: &history,
            user: "And now?",
            name: "Pip",
        });
        assert_eq!(
            text,
            "Character Description: An otter.\n\nOpening: \n\nConversation History:\nuser: Hello.\nmachine: Ahoy.\n\nUser Input: And now?\n\nBased on the character description, opening, conversation history, current user input, and the reference image, please generate Pip's response."
        );
    }

    #[test]
    fn answers_are_read_back() {
        let answer = thinking_answer(" a\nb ", "c");
        assert_eq!(parse_thinking(&answer), ("a\nb".into(), "c".into()));
        assert_eq!(parse_thinking("<think>never closed"), (String::new(), String::new()));
        assert_eq!(parse_thinking("<gen>x</gen><gen>y</gen>").1, "x");
    }

    #[test]
    fn placeholders_in_texts_are_left_alone() {
        let text = scene_picture(&ScenePicture { user: "{response}", response: "r", ..SCENE });
        assert!(text.contains("User Input: {response}\n\nCharacter Response: r\n\n"));
    }
}
