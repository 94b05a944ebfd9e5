/** Findings in the language of the window. */
import type { FindingItem } from '../ipc/bindings/FindingItem';
import { keyOf, language, t } from '../messages/index.svelte';

/** Values that are tags of languages. */
const TAGS = ['persona', 'spoken'];

function shown([name, value]: [string, string | undefined]): [string, string] {
  const text = value ?? '';
  if (!TAGS.includes(name)) return [name, text];
  return [name, new Intl.DisplayNames([language()], { type: 'language' }).of(text) ?? text];
}

/** What was found and what to do; as the studio said it where the catalogue does not know the code. */
export function findingWords(finding: FindingItem): { message: string; hint: string } {
  const [message, hint] = [keyOf(`finding.${finding.code}`), keyOf(`finding.${finding.code}.hint`)];
  if (message === null || hint === null) return { message: `${finding.message}.`, hint: finding.hint };
  const values = Object.fromEntries(Object.entries(finding.values).map(shown));
  return { message: t(message, values), hint: t(hint, values) };
}
