import type { CharacterDraft } from '../ipc/bindings/CharacterDraft';

/** A draft with nothing in it. */
export const emptyDraft: CharacterDraft = {
  name: '',
  persona: '',
  speakingStyle: '',
  habits: '',
  catchphrases: [],
  tabooWords: [],
  exampleLines: [],
  appearance: '',
  outfit: '',
  colours: '',
  expressions: [],
  greeting: '',
  otherGreetings: [],
  notes: '',
};

/** Parts of a draft that every prompt carries, by name: what their length costs. */
export function promptParts(draft: CharacterDraft) {
  const { persona, speakingStyle, habits, appearance, outfit, colours, greeting } = draft;
  return {
    persona,
    speakingStyle,
    habits,
    catchphrases: draft.catchphrases.join(' '),
    tabooWords: draft.tabooWords.join(' '),
    exampleLines: draft.exampleLines.join(' '),
    appearance,
    outfit,
    colours,
    greeting,
  };
}
